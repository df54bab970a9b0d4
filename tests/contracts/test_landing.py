"""Recovery blobs brought into a token by way of the recovery token, which never sees the material."""

import dataclasses
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from pkcs11 import exceptions
from pkcs11.constants import Attribute
from pkcs11.mechanisms import Mechanism
from tests.contracts.test_exports import older_kek
from tests.contracts.test_recovery import spki
from tests.hsmkeys import altered, make, soon
from tests.softhsm import TestToken, TokenFactory

from strongroomd.domain.algorithms import KeySpec, KeyUsage, MacAlgorithm, SigningAlgorithm
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import BoundVersion, Material
from strongroomd.hsm import handles, recovery, transport
from strongroomd.hsm.ceremony import initialise
from strongroomd.hsm.handles import Session, TokenObject
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.module import load
from strongroomd.hsm.opening import open_vault
from strongroomd.hsm.packing import MAPPER, pack
from strongroomd.hsm.templates import Life, customer_template
from strongroomd.hsm.transport import Landing

pytestmark = pytest.mark.softhsm


def log_in(token: TestToken) -> Session:
    found = load(token.settings).token(token.settings)
    return found.open(rw=True, user_pin=token.pin.reveal(), attribute_mapper=MAPPER)


@dataclass
class Scene:
    """A daemon's token, another one for its keys, and the token with the recovery key."""

    old: TokenVault
    new: TokenVault
    keeper: Session
    private: TokenObject
    public_key: bytes
    transport: recovery.Transport
    landing: Session

    def retarget(self, blob: bytes) -> bytes:
        size = recovery.head_bytes(self.public_key)
        return recovery.retarget(self.keeper, self.private, blob, size, self.transport.public_key)

    def land(self, blob: bytes, key: BoundVersion) -> Material:
        return recovery.land(self.landing, self.transport, blob, key, self.new._parts.cradle)

    def moved(self, key: BoundVersion) -> BoundVersion:
        """The key as it is under the other token's KEK, under another id."""
        made = self.land(self.retarget(key.record.recovery_blob), key)
        record = dataclasses.replace(
            key.record, blob=made.blob, kek_id=made.kek_id, recovery_blob=made.recovery_blob
        )
        return dataclasses.replace(key, record=record)


@pytest.fixture(scope="module")
def scene(fresh_token: TokenFactory) -> Iterator[Scene]:
    away = fresh_token()
    keeper = log_in(away)
    public_key = recovery.make_recovery_pair(keeper, os.urandom(16))
    vaults = []
    for _ in range(2):
        token = fresh_token()
        settings = dataclasses.replace(token.settings, recovery_public_key=public_key)
        vaults.append(open_vault(settings, token.pin, initialise(settings, token.pin)))
    with vaults[1]._parts.pool.fresh() as landing:
        private = recovery.find_recovery_key(keeper, public_key)
        yield Scene(
            vaults[0], vaults[1], keeper, private, public_key, recovery.open_transport(landing), landing
        )
    for vault in vaults:
        vault.close()
    keeper.close()


@pytest.mark.parametrize("exportable", [False, True])
async def test_a_secret_works_in_another_token_as_it_did(scene: Scene, exportable: bool) -> None:
    aes = await make(scene.old, KeySpec.SYMMETRIC_DEFAULT, exportable=exportable)
    mac = await make(scene.old, KeySpec.HMAC_224, exportable=exportable)
    sealed = await scene.old.seal(aes, b"secret", b"aad", deadline=soon())
    expected = await scene.old.mac(mac, MacAlgorithm.HMAC_SHA_224, b"data", deadline=soon())

    moved = scene.moved(aes)

    assert moved.record.kek_id in (scene.new._house.sealed, scene.new._house.exportable)
    assert (moved.record.kek_id == scene.new._house.exportable) is exportable
    assert await scene.new.open(moved, sealed, b"aad", deadline=soon()) == b"secret"
    assert (
        await scene.new.mac(scene.moved(mac), MacAlgorithm.HMAC_SHA_224, b"data", deadline=soon()) == expected
    )


@pytest.mark.parametrize("spec", [KeySpec.RSA_2048, KeySpec.ECC_NIST_P521])
async def test_a_pair_works_in_another_token_as_it_did(scene: Scene, spec: KeySpec) -> None:
    key = await make(scene.old, spec, KeyUsage.SIGN_VERIFY)
    algorithm, size = {
        KeySpec.RSA_2048: (SigningAlgorithm.RSASSA_PSS_SHA_256, 32),
        KeySpec.ECC_NIST_P521: (SigningAlgorithm.ECDSA_SHA_512, 64),
    }[spec]

    moved = scene.moved(key)  # it proves itself with the record's public half

    assert await scene.new.sign(moved, algorithm, bytes(size), deadline=soon())


async def test_it_can_be_moved_once_more_by_the_blob_of_its_new_token(scene: Scene) -> None:
    key = await make(scene.old, KeySpec.HMAC_256)
    moved = scene.moved(key)
    assert moved.record.recovery_blob != key.record.recovery_blob

    again = scene.moved(moved)

    assert again.record.blob == moved.record.blob  # AES-KWP knows no randomness: the same material and KEK


async def test_a_key_under_a_kek_that_lets_nothing_leave_moves_by_its_recovery_blob(scene: Scene) -> None:
    """An exportable KEK that forces WRAP_WITH_TRUSTED (ADR 0036): the re-wrap inside the token is refused."""
    vault = scene.new
    key = await make(vault, KeySpec.SYMMETRIC_DEFAULT, exportable=True)
    sealed = await vault.seal(key, b"secret", b"aad", deadline=soon())
    with older_kek(vault) as (kek_id, kek):
        with vault._parts.pool.fresh() as session:
            leaving = customer_template(key.spec, key.usage, Life.LEAVING, key.record.scheme)
            held = handles.unwrap(session, vault._house.keks[key.record.kek_id], key.record.blob, leaving)
            blob = handles.wrap(session, kek, Mechanism.AES_KEY_WRAP_PAD, held.handle)
            held.destroy()
        old = dataclasses.replace(key, record=dataclasses.replace(key.record, kek_id=kek_id, blob=blob))
        await vault.prove(old, deadline=soon())
        with pytest.raises(StrongroomError) as refusal:
            await vault.rewrap(old, deadline=soon())

        moved = scene.moved(old)

    assert refusal.value.reason is Reason.KEY_UNAVAILABLE
    assert moved.record.kek_id == vault._house.exportable != kek_id
    assert await vault.open(moved, sealed, b"aad", deadline=soon()) == b"secret"


async def test_a_blob_of_another_key_is_not_this_key(scene: Scene) -> None:
    key, other = await make(scene.old, KeySpec.HMAC_256), await make(scene.old, KeySpec.HMAC_256)

    with pytest.raises(StrongroomError) as refusal:
        scene.land(scene.retarget(other.record.recovery_blob), key)

    assert refusal.value.reason is Reason.KEY_UNAVAILABLE


@pytest.mark.parametrize("position", [0, 511, 512, -1])
async def test_an_edited_blob_opens_nowhere(scene: Scene, position: int) -> None:
    key = await make(scene.old, KeySpec.HMAC_256)
    blob = key.record.recovery_blob

    with pytest.raises(exceptions.PKCS11Error):
        scene.land(scene.retarget(altered(blob, position % len(blob))), key)


async def test_the_blob_of_a_recovery_token_is_useless_without_it(scene: Scene) -> None:
    key = await make(scene.old, KeySpec.HMAC_256)

    with pytest.raises(exceptions.PKCS11Error):
        scene.land(key.record.recovery_blob, key)


def test_another_tokens_recovery_key_is_not_taken_for_it(scene: Scene) -> None:
    stranger = spki(rsa.generate_private_key(65537, 3072))

    with pytest.raises(StrongroomError) as refusal:
        recovery.find_recovery_key(scene.keeper, stranger)

    assert refusal.value.reason is Reason.CONFIGURATION


@pytest.mark.parametrize("bits", [1024, 2048])
async def test_nothing_is_wrapped_to_a_weak_transport_key(scene: Scene, bits: int) -> None:
    key = await make(scene.old, KeySpec.HMAC_256)
    weak = spki(rsa.generate_private_key(65537, bits))

    with pytest.raises(StrongroomError) as refusal:
        recovery.retarget(scene.keeper, scene.private, key.record.recovery_blob, 512, weak)

    assert refusal.value.reason is Reason.CONFIGURATION


def test_the_recovery_key_does_nothing_but_unwrap_and_stays(scene: Scene) -> None:
    private = scene.private
    attempts = [
        lambda: handles.decrypt_rsa(scene.keeper, private.handle, Mechanism.RSA_X_509, bytes(512)),
        lambda: handles.decrypt_rsa(scene.keeper, private.handle, Mechanism.RSA_PKCS_OAEP, bytes(512)),
        lambda: handles.sign(scene.keeper, private.handle, Mechanism.RSA_PKCS, None, b"data"),
        lambda: private[Attribute.PRIVATE_EXPONENT],
        lambda: private.copy(pack({Attribute.TOKEN: False})),
        private.destroy,
    ]
    for attempt in attempts:
        with pytest.raises(exceptions.PKCS11Error):
            attempt()


# Whose fault it is that a blob does not open.


@pytest.fixture
def landing(scene: Scene) -> Iterator[Landing]:
    with scene.new.landing() as made:
        yield made


def for_pair(scene: Scene, landing: Landing, blob: bytes) -> bytes:
    return recovery.retarget(
        scene.keeper, scene.private, blob, recovery.head_bytes(scene.public_key), landing.public_key
    )


@pytest.mark.parametrize("position", [0, 383, 384, -1])
async def test_an_edited_blob_is_that_keys_loss(scene: Scene, landing: Landing, position: int) -> None:
    key = await make(scene.old, KeySpec.HMAC_256)
    blob = for_pair(scene, landing, key.record.recovery_blob)

    with pytest.raises(StrongroomError) as refusal:
        landing.receive(altered(blob, position % len(blob)), key)

    assert refusal.value.reason is Reason.KEY_UNAVAILABLE
    assert landing.receive(blob, key).check_value == key.record.check_value


@pytest.mark.parametrize("size", [0, 383, 384, 392])
async def test_a_cut_blob_is_that_keys_loss(scene: Scene, landing: Landing, size: int) -> None:
    key = await make(scene.old, KeySpec.HMAC_256)
    blob = for_pair(scene, landing, key.record.recovery_blob)

    with pytest.raises(StrongroomError) as refusal:
        landing.receive(blob[:size], key)

    assert refusal.value.reason is Reason.KEY_UNAVAILABLE


async def test_a_session_that_died_loses_no_key(scene: Scene) -> None:
    key = await make(scene.old, KeySpec.HMAC_256)
    pool = scene.new._parts.pool
    with Landing(pool, scene.new._parts.cradle) as landing:
        blob = for_pair(scene, landing, key.record.recovery_blob)
        living, landing._session = landing._session, pool.open()
        landing._session.close()

        with pytest.raises(StrongroomError) as refusal:
            landing.receive(blob, key)

        landing._session = living
    assert refusal.value.reason is Reason.HSM_UNAVAILABLE


E = exceptions
SOUND = None
FAULTS: list[tuple[type[E.PKCS11Error], type[E.PKCS11Error] | None, Reason]] = [
    (E.WrappedKeyInvalid, SOUND, Reason.KEY_UNAVAILABLE),
    (E.WrappedKeyLenRange, SOUND, Reason.KEY_UNAVAILABLE),
    (E.EncryptedDataInvalid, SOUND, Reason.KEY_UNAVAILABLE),
    (E.KeySizeRange, SOUND, Reason.KEY_UNAVAILABLE),
    (E.GeneralError, SOUND, Reason.KEY_UNAVAILABLE),
    (E.FunctionFailed, SOUND, Reason.KEY_UNAVAILABLE),
    (E.GeneralError, E.GeneralError, Reason.HSM_UNAVAILABLE),
    (E.WrappedKeyInvalid, E.SessionHandleInvalid, Reason.HSM_UNAVAILABLE),
    (E.MechanismInvalid, E.MechanismInvalid, Reason.INTERNAL),
    (E.SessionHandleInvalid, SOUND, Reason.HSM_UNAVAILABLE),
    (E.SessionClosed, SOUND, Reason.HSM_UNAVAILABLE),
    (E.UserNotLoggedIn, SOUND, Reason.HSM_UNAVAILABLE),
    (E.DeviceError, SOUND, Reason.HSM_UNAVAILABLE),
    (E.DeviceRemoved, SOUND, Reason.HSM_UNAVAILABLE),
    (E.TokenNotPresent, SOUND, Reason.HSM_UNAVAILABLE),
    (E.UnwrappingKeyHandleInvalid, SOUND, Reason.HSM_UNAVAILABLE),
    (E.KeyHandleInvalid, SOUND, Reason.HSM_UNAVAILABLE),
    (E.DeviceMemory, SOUND, Reason.OVERLOADED),
    (E.HostMemory, SOUND, Reason.OVERLOADED),
]
IDS = [f"{error.__name__}-{trial.__name__ if trial else 'sound'}" for error, trial, _ in FAULTS]


def raising(error: type[Exception] | None) -> Callable[..., bytes]:
    def work(*_: object) -> bytes:
        if error is not None:
            raise error
        return b"head"

    return work


@pytest.mark.parametrize(("error", "trial", "reason"), FAULTS, ids=IDS)
def test_only_what_is_the_blobs_own_fault_loses_a_key(
    monkeypatch: pytest.MonkeyPatch,
    error: type[E.PKCS11Error],
    trial: type[E.PKCS11Error] | None,
    reason: Reason,
) -> None:
    monkeypatch.setattr(recovery, "land", raising(error))
    monkeypatch.setattr(recovery, "try_transport", raising(trial))
    landing = Landing(*cast("Any", (None, None)))
    landing._transport = cast("Any", None)

    with pytest.raises(StrongroomError) as refusal:
        landing.receive(b"blob", cast("Any", None))

    assert refusal.value.reason is reason


@pytest.mark.parametrize(("error", "trial", "reason"), FAULTS, ids=IDS)
def test_the_recovery_token_gives_up_no_blob_for_its_own_faults(
    monkeypatch: pytest.MonkeyPatch,
    error: type[E.PKCS11Error],
    trial: type[E.PKCS11Error] | None,
    reason: Reason,
) -> None:
    def retarget(_session: object, _private: object, blob: bytes, *_: object) -> bytes:
        return raising(trial if blob == b"sound" else error)()

    monkeypatch.setattr(recovery, "retarget", retarget)
    monkeypatch.setattr(recovery, "head_bytes", lambda _: 512)
    monkeypatch.setattr(recovery, "fresh_head", lambda _: b"sound")
    monkeypatch.setattr(recovery, "find_recovery_key", raising(None))
    login = SimpleNamespace(session=SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(transport, "log_in", lambda *_: login)
    answers = transport.retarget_all(*cast("Any", (None, None, b"", b"", [b"bad"])))

    if reason is Reason.KEY_UNAVAILABLE:
        assert list(answers) == [b""]
    else:
        with pytest.raises(StrongroomError) as refusal:
            next(answers)
        assert refusal.value.reason is reason
