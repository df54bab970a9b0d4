"""Everything of a house brought into another token, inside this process: what is imported, waits, or was open."""

import dataclasses
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pkcs11 import exceptions
from tests.contracts.test_landing import log_in
from tests.databases import make_database
from tests.faults.core import Core, make_core
from tests.faults.test_imports import NEW, bring, external, parameters, refused, seal, state_of, unseal
from tests.hsmkeys import OpenedVault
from tests.softhsm import TokenFactory

from strongroomd.custody.inventory import verify_records
from strongroomd.custody.ledger import Ledger
from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.errors import Reason
from strongroomd.domain.keys import Anchor
from strongroomd.domain.materials import MaterialRecord, WrappingPairRecord
from strongroomd.domain.records import KeyRecord, KeyState, VersionRecord, VersionState
from strongroomd.domain.restores import RestoreReport
from strongroomd.hsm import recovery
from strongroomd.hsm.ceremony import initialise
from strongroomd.hsm.handles import Session, TokenObject
from strongroomd.hsm.opening import open_vault
from strongroomd.storage.database import StoreSettings
from strongroomd.storage.store import open_store
from strongroomd.wiring.recovering import _Mover

pytestmark = pytest.mark.softhsm


@dataclass
class Lost:
    """A house with a recovery key, the token that has its private half, and a way into another house.

    Attributes:
        old: the house that will be lost.
        keeper, private: the recovery token's session and key.
        public_key: the recovery key's public half.
    """

    old: Core
    keeper: Session
    private: TokenObject
    public_key: bytes
    make: Any
    folder: Path

    async def recover(self) -> tuple[Core, RestoreReport]:
        """Bring everything into a fresh token; gives the new house at work, and the report."""
        opened, folder, report = self.make(), self.folder / "new", RestoreReport("set", "")
        folder.mkdir()
        url = f"sqlite:///{folder / 'strongroom.db'}"
        make_database(url)
        store = open_store(StoreSettings(url))
        ledger = Ledger(store, opened.vault)
        with opened.vault.landing() as landing:
            attached = Attached(self, landing.public_key)
            await _Mover(self.old.store, ledger, opened.vault, report, landing, attached).move(opened.house)
        assert await verify_records(ledger, store) > 0
        await opened.vault.write_anchor(Anchor(ledger.sequence, ledger.head, 0, bytes(32)))
        await store.close()
        core = await make_core(folder, opened)
        core.own_token = True
        return core, report


@dataclass
class Attached:
    """The recovery token's part, without a process of its own."""

    lost: Lost
    transport: bytes

    def retarget(self, blob: bytes) -> bytes:
        size = recovery.head_bytes(self.lost.public_key)
        try:
            return recovery.retarget(self.lost.keeper, self.lost.private, blob, size, self.transport)
        except exceptions.PKCS11Error:
            return b""


@pytest.fixture(scope="module")
def recovery_token(fresh_token: TokenFactory) -> Iterator[tuple[Session, bytes]]:
    session = log_in(fresh_token())
    yield session, recovery.make_recovery_pair(session, os.urandom(16), 3_072)
    session.close()


@pytest.fixture
async def lost(
    fresh_token: TokenFactory, recovery_token: tuple[Session, bytes], tmp_path: Path
) -> AsyncIterator[Lost]:
    keeper, public_key = recovery_token
    vaults = []

    def make() -> OpenedVault:
        token = fresh_token()
        settings = dataclasses.replace(token.settings, recovery_public_key=public_key)
        house = initialise(settings, token.pin)
        vaults.append(open_vault(settings, token.pin, house))
        return OpenedVault(vaults[-1], token, house)

    (tmp_path / "old").mkdir()
    old = await make_core(tmp_path / "old", make())
    private = recovery.find_recovery_key(keeper, public_key)
    yield Lost(old, keeper, private, public_key, make, tmp_path)
    await old.close()
    for vault in vaults:
        vault.close()


async def version_of(core: Core, key: KeyRecord, number: int = 1) -> VersionRecord:
    found = await core.ledger.read(VersionRecord, f"{key.key_id}/{number}")
    assert found is not None
    return found


# Imported material.


@pytest.mark.parametrize("spec", [KeySpec.SYMMETRIC_DEFAULT, KeySpec.HMAC_224, KeySpec.HMAC_512])
@pytest.mark.parametrize("gone", ["before", "after"])
async def test_secret_is_told_again_in_another_token(lost: Lost, spec: KeySpec, gone: str) -> None:
    size = {KeySpec.HMAC_224: 28, KeySpec.HMAC_512: 64}.get(spec, 32)
    material = os.urandom(size)
    key = await external(lost.old, spec)
    await bring(lost.old, key, material)
    if gone == "before":
        await lost.old.materials.delete(lost.old.caller(), key.key_id)

    core, report = await lost.recover()

    assert (report.lost, report.untold) == ([], [])
    if gone == "after":
        await core.materials.delete(core.caller(), key.key_id)
    assert await state_of(core, key) is KeyState.PENDING_IMPORT
    await refused(bring(core, key, os.urandom(size)), Reason.INCORRECT_KEY_MATERIAL)
    await bring(core, key, material)
    assert await state_of(core, key) is KeyState.ENABLED
    await core.close()


async def test_pair_is_told_again_by_its_public_half(lost: Lost) -> None:
    form = (Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    mine, other = (ec.generate_private_key(ec.SECP256R1()).private_bytes(*form) for _ in range(2))
    key = await external(lost.old, KeySpec.ECC_NIST_P256, KeyUsage.SIGN_VERIFY)
    await bring(lost.old, key, mine)
    await lost.old.materials.delete(lost.old.caller(), key.key_id)

    core, _ = await lost.recover()

    await refused(bring(core, key, other), Reason.INCORRECT_KEY_MATERIAL)
    await bring(core, key, mine)
    await core.close()


async def test_it_is_told_once_more_after_a_second_loss(lost: Lost) -> None:
    key, material = await external(lost.old), os.urandom(32)
    await bring(lost.old, key, material)
    await lost.old.materials.delete(lost.old.caller(), key.key_id)
    core, _ = await lost.recover()
    (lost.folder / "new").rename(lost.folder / "first")
    again = dataclasses.replace(lost, old=core)

    second, report = await again.recover()

    assert report.untold == []
    await bring(second, key, material)
    await core.close()
    await second.close()


@pytest.mark.parametrize("gone", [True, False])
async def test_what_has_no_trait_for_recovery_is_told_by_itself_or_named(lost: Lost, gone: bool) -> None:
    """Records from before 0017; what cannot be told again takes no material at all, not any."""
    key, material = await external(lost.old), os.urandom(32)
    await bring(lost.old, key, material)
    if gone:
        await lost.old.materials.delete(lost.old.caller(), key.key_id)
    async with lost.old.ledger.change() as change:
        record = await change.get(MaterialRecord, f"{key.key_id}/1")
        assert record is not None
        assert record.recovery_trait
        older = dataclasses.replace(record, recovery_trait=b"", row_version=record.row_version + 1)
        await change.put(older)

    core, report = await lost.recover()

    assert report.untold == ([f"{key.key_id}/1"] if gone else [])
    if gone:
        await refused(bring(core, key, material), Reason.INCORRECT_KEY_MATERIAL)
        await refused(bring(core, key, os.urandom(32)), Reason.INCORRECT_KEY_MATERIAL)
        assert await state_of(core, key) is KeyState.PENDING_IMPORT
    else:
        await bring(core, key, material)
    await core.close()


async def test_key_whose_recovery_blob_is_bad_takes_its_material_again(lost: Lost) -> None:
    key, material = await external(lost.old), os.urandom(32)
    await bring(lost.old, key, material)
    sealed = await seal(lost.old, key)
    version = await version_of(lost.old, key)
    async with lost.old.ledger.change() as change:
        blob = version.recovery_blob[:-1] + bytes([version.recovery_blob[-1] ^ 1])
        await change.put(
            dataclasses.replace(version, recovery_blob=blob, row_version=version.row_version + 1)
        )

    core, report = await lost.recover()

    assert (report.lost, report.untold) == ([f"{key.key_id}/1"], [])
    await refused(bring(core, key, os.urandom(32)), Reason.INCORRECT_KEY_MATERIAL)
    await bring(core, key, material)
    assert await unseal(core, key, sealed) == b"plaintext"
    await core.close()


# What waits, and what was open.


async def test_material_that_waits_for_a_rotation_comes_along_and_is_rotated_to(lost: Lost) -> None:
    key, first, second = await external(lost.old), os.urandom(32), os.urandom(32)
    await bring(lost.old, key, first)
    sealed = await seal(lost.old, key)
    await bring(lost.old, key, second, kind=NEW)

    core, report = await lost.recover()

    waiting = await version_of(core, key, 2)
    assert report.lost == []
    assert waiting.state is VersionState.PENDING_ROTATION
    assert waiting.kek_id in {record.hsm_id for record in core.opened.house}
    assert (await core.keys.rotate(core.caller(), key.key_id)).current_version == 2
    assert await unseal(core, key, await seal(core, key), 2) == b"plaintext"
    assert await unseal(core, key, sealed, 1) == b"plaintext"
    await bring(core, key, second)
    await core.close()


async def test_open_import_tokens_are_no_good_in_the_new_house(lost: Lost) -> None:
    key, material = await external(lost.old), os.urandom(32)
    given = await parameters(lost.old, key)

    core, _ = await lost.recover()

    assert await core.store.all(WrappingPairRecord) == []
    await refused(bring(core, key, material, given), Reason.INVALID_IMPORT_TOKEN)
    await bring(core, key, material)
    await core.close()
