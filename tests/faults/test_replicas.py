"""Multi-region keys on a real store and token: what a copy holds, who waits for whom, and what a destruction leaves."""

import dataclasses
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.faults.core import ACCOUNT, Core
from tests.faults.test_rotations import DAY, Rig, rig_of
from tests.hsmkeys import choosing, soon

from strongroomd.custody.copies import audience_for
from strongroomd.custody.keyforms import NewKey
from strongroomd.custody.replicaimports import NewReplica, ReplicaImports
from strongroomd.domain.algorithms import KeySpec, KeyUsage, MacAlgorithm, Scheme
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import Material
from strongroomd.domain.records import KeyRecord, KeyState, VersionState
from strongroomd.domain.replicastatements import BUNDLE, Bundle, Shipped
from strongroomd.domain.replication import (
    CopyRecord,
    MultiRegion,
    PeerRecord,
    ReplicaRecord,
    copy_id,
    pair_id,
)
from strongroomd.domain.rotations import RotationType
from strongroomd.domain.statements import Statement
from strongroomd.ports import Vault

if TYPE_CHECKING:
    from strongroomd.custody.notary import Notary

pytestmark = pytest.mark.softhsm
REGION = "local-2"


@pytest.fixture(scope="module")
def pair() -> rsa.RSAPrivateKey:
    """Another house's replica pair, whose private half a test has."""
    return rsa.generate_private_key(65_537, 3_072)


@pytest.fixture
async def rig(core: Core, pair: rsa.RSAPrivateKey) -> Rig:
    public = pair.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    async with core.ledger.change() as change:
        await change.put(PeerRecord(ACCOUNT, REGION, "/strongroom/x", public, b"statement", "arn", 1))
    return rig_of(core)


async def made(core: Core, spec: KeySpec = KeySpec.SYMMETRIC_DEFAULT) -> KeyRecord:
    return await core.keys.create(core.caller(), NewKey(spec), multi_region=True)


async def replicated(core: Core, key: KeyRecord, acknowledged: int = 0) -> None:
    async with core.ledger.change() as change:
        await change.put(ReplicaRecord(key.key_id, REGION, acknowledged, 1))


async def test_a_copy_is_the_keys_material_and_opens_by_the_peers_pair_alone(
    rig: Rig, pair: rsa.RSAPrivateKey
) -> None:
    core = rig.core
    key = await made(core, KeySpec.HMAC_256)
    copy = await core.ledger.read(CopyRecord, copy_id(key.key_id, 1, REGION))
    assert copy is not None
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303 - as the token
    root = pair.decrypt(copy.blob[:384], oaep)
    binding = audience_for(key, ()).binding
    carrier = Cipher(algorithms.AES(root), modes.ECB()).encryptor().update(binding)  # noqa: S305 - a PRF of it
    material = aes_key_unwrap_with_padding(carrier, copy.blob[384:])

    bound = await core.catalog.version(await core.catalog.entry(key.key_id))
    mac = await core.vault.mac(bound, MacAlgorithm.HMAC_SHA_256, b"m", deadline=soon())

    assert mac == hmac.digest(material, b"m", "sha256")
    public = pair.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert copy.pair == pair_id(public) == hashlib.sha256(public).hexdigest()


async def test_a_copy_is_bound_to_what_the_key_is(rig: Rig) -> None:
    key = await made(rig.core)
    others = (
        dataclasses.replace(key, account="999988887777"),
        dataclasses.replace(key, key_id="mrk-" + "5" * 32),
        dataclasses.replace(key, spec=KeySpec.HMAC_256),
        dataclasses.replace(key, usage=KeyUsage.GENERATE_VERIFY_MAC),
        dataclasses.replace(key, exportable=True),
        dataclasses.replace(key, quorum=2),
    )
    elsewhere = dataclasses.replace(key, description="there", multi_region=MultiRegion.REPLICA, term=7)

    bindings = {audience_for(each, ()).binding for each in (key, *others)}

    assert len(bindings) == 1 + len(others)
    assert audience_for(elsewhere, ()).binding == audience_for(key, ()).binding


async def test_a_key_of_one_region_has_no_copy(rig: Rig) -> None:
    await rig.core.create()

    assert rig.core.rows("SELECT record_id FROM replica_copies") == []


async def test_an_automatic_rotation_waits_for_the_replicas_too(rig: Rig) -> None:
    core, key = rig.core, await made(rig.core)
    await replicated(core, key, 1)
    await rig.schedules.enable(core.caller(), key.key_id, 90)
    for _ in range(3):
        core.clock.pass_time(30 * DAY + 60)
        await rig.tick()

    states = core.rows("SELECT version, state FROM versions WHERE key_id = ? ORDER BY version", key.key_id)
    assert [row["state"] for row in states] == [VersionState.ACTIVE, VersionState.PENDING_ROTATION]
    assert await rig.version(key.key_id) == 1
    assert len(core.rows("SELECT record_id FROM replica_copies")) == 2
    assert rig.meter.behind == 0
    core.clock.pass_time(DAY / 2)
    await rig.tick()
    core.clock.pass_time(DAY / 2 + 60)
    await rig.tick()
    assert rig.meter.behind == 1


async def test_a_destroyed_key_leaves_no_copy(rig: Rig) -> None:
    core, key = rig.core, await made(rig.core)
    await core.keys.rotate(core.caller(), key.key_id)
    assert len(core.rows("SELECT record_id FROM replica_copies")) == 2
    await core.keys.schedule_deletion(core.caller(), key.key_id, 7)
    core.clock.pass_time(7 * DAY + 1)
    await core.upkeep.settle()

    assert core.rows("SELECT state FROM keys") == [{"state": KeyState.DESTROYED}]
    assert core.rows("SELECT record_id FROM replica_copies UNION SELECT record_id FROM replicas") == []


async def test_a_symmetric_key_whose_encryptions_are_counted_cannot_be_in_several_houses(rig: Rig) -> None:
    core = rig.core
    with choosing(core.opened.vault, "aes-gcm"), pytest.raises(StrongroomError) as refusal:
        await made(core)

    assert (refusal.value.reason, refusal.value.field) == (Reason.UNSUPPORTED_BY_TOKEN, "multi_region")
    assert core.rows("SELECT record_id FROM keys UNION SELECT record_id FROM replica_copies") == []


class _Meanwhile:
    """A vault in which something else happens while a copy comes in."""

    def __init__(self, vault: Vault, happens: Callable[[], Awaitable[None]]) -> None:
        self._vault = vault
        self._happens = happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vault, name)

    async def receive(self, *_args: object, **_named: object) -> Material:
        await self._happens()
        return Material("kek", "", b"blob", 32, b"", b"check", b"", copies=(b"copy",))


async def test_a_new_replica_never_lands_in_a_key_that_came_meanwhile(core: Core) -> None:
    signer = ec.generate_private_key(ec.SECP256R1())
    public = signer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    async with core.ledger.change() as change:
        await change.put(PeerRecord(ACCOUNT, REGION, "/strongroom/x", b"pair", public, "arn", 1))
    strangers = dataclasses.replace(
        await core.create(),
        key_id="mrk-" + "5" * 32,
        account="999988887777",
        multi_region=MultiRegion.REPLICA,
        primary_region=REGION,
        term=1,
        row_version=1,
    )

    async def stranger_comes() -> None:
        async with core.ledger.change() as change:
            await change.put(strangers)

    bundle = Bundle(
        key_id=strangers.key_id,
        account=ACCOUNT,
        spec=KeySpec.SYMMETRIC_DEFAULT,
        usage=KeyUsage.ENCRYPT_DECRYPT,
        exportable=False,
        quorum=0,
        created_at=strangers.created_at,
        source=REGION,
        target="eu-test-1",
        primary=REGION,
        term=1,
        period_days=0,
        current_version=1,
        after=0,
        replicas=(),
        versions=(Shipped(1, 5, RotationType.FIRST, Scheme.DEFAULT, 32, b"", b"check", "ab" * 32, b"blob"),),
    )
    payload = Statement(BUNDLE, "/strongroom/x", core.clock.wall_ms(), bundle.claims()).payload()
    signature = signer.sign(payload, ec.ECDSA(hashes.SHA256()))
    vault, nobody = cast("Vault", _Meanwhile(core.vault, stranger_comes)), cast("Notary", None)
    imports = ReplicaImports(core.gate, core.mutations, core.store, vault, nobody)

    with pytest.raises(StrongroomError) as refusal:
        await imports.bring_in(core.caller(), NewReplica(payload, signature))

    assert refusal.value.reason is Reason.ETAG_MISMATCH
    assert core.rows("SELECT record_id FROM versions WHERE key_id = ?", strangers.key_id) == []


async def test_without_a_peer_there_is_no_multi_region_key(core: Core) -> None:
    with pytest.raises(StrongroomError) as refusal:
        await made(core)

    assert (refusal.value.reason, refusal.value.field) == (Reason.INVALID_FIELD, "multi_region")


async def test_a_repeated_call_makes_one_key_and_another_kind_of_call_is_another(rig: Rig) -> None:
    core, wanted = rig.core, NewKey(KeySpec.SYMMETRIC_DEFAULT)
    first = await core.keys.create(core.caller(), wanted, "once", multi_region=True)

    again = await core.keys.create(core.caller(), wanted, "once", multi_region=True)
    assert again == first
    with pytest.raises(StrongroomError) as refusal:
        await core.keys.create(core.caller(), wanted, "once")
    assert refusal.value.reason is Reason.REQUEST_ID_REUSED
