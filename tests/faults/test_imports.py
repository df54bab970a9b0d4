"""Imported keys in the core, on a real token with clocks that the test turns: life, tokens, expiry, rotation."""

import dataclasses
import json
import os
from typing import Any

import pytest
from tests.faults.core import Core
from tests.harness import ACCOUNT
from tests.imports import wrapped

from strongroomd.custody.importparameters import ImportParameters, Parameters
from strongroomd.custody.importtokens import ImportTokens
from strongroomd.custody.keyforms import NewKey
from strongroomd.custody.materials import Materials, NewMaterial
from strongroomd.custody.schedules import Schedules
from strongroomd.domain import rotations
from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.importing import (
    ExpirationModel,
    ImportLevel,
    ImportType,
    WrappingAlgorithm,
    WrappingKeySpec,
)
from strongroomd.domain.keys import WrappingPair
from strongroomd.domain.materials import MaterialRecord, WrappingPairRecord
from strongroomd.domain.records import KeyRecord, KeyState, Origin, VersionRecord, VersionState
from strongroomd.domain.rotations import RotationType

pytestmark = pytest.mark.softhsm
DAY = 24 * 3600.0
W = WrappingAlgorithm
OAEP = W.RSAES_OAEP_SHA_1
NEVER = ExpirationModel.KEY_MATERIAL_DOES_NOT_EXPIRE
NEW = ImportType.NEW_KEY_MATERIAL
SYMMETRIC = KeySpec.SYMMETRIC_DEFAULT
_made: dict[Any, WrappingPair] = {}


@pytest.fixture(autouse=True)
def _quick_pairs(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrapping pairs are made once for the module: that each is a new one is tested where the vault is."""
    make = type(core.vault).make_wrapping_pair

    async def once(
        self: Any, bits: WrappingKeySpec, algorithm: WrappingAlgorithm, **kwargs: Any
    ) -> WrappingPair:
        name = (id(self), bits, algorithm.is_sha256)
        if name not in _made:
            _made[name] = await make(self, bits, algorithm, **kwargs)
        return _made[name]

    monkeypatch.setattr(type(core.vault), "make_wrapping_pair", once)


async def external(core: Core, spec: KeySpec = SYMMETRIC, usage: KeyUsage | None = None) -> KeyRecord:
    return await core.keys.create(core.caller(), NewKey(spec, usage), origin=Origin.EXTERNAL)


async def parameters(
    core: Core, key: KeyRecord, algorithm: WrappingAlgorithm = OAEP, **more: Any
) -> Parameters:
    return await core.parameters.give(core.caller(), key.key_id, algorithm, WrappingKeySpec.RSA_2048, **more)


async def bring(
    core: Core, key: KeyRecord, material: bytes, given: Parameters | None = None, days: float = 0, **more: Any
) -> MaterialRecord:
    """Import material that expires after some days, or never."""
    given = given or await parameters(core, key)
    valid_to = core.clock.wall_ms() + int(days * DAY * 1000) if days else 0
    sent = wrapped(material, given.pair.algorithm, given.pair.public_key)
    wanted = NewMaterial(given.token, sent, None if days else NEVER, valid_to, **more)
    return await core.materials.import_material(core.caller(), key.key_id, wanted)


async def state_of(core: Core, key: KeyRecord) -> KeyState:
    return (await core.keys.describe(core.caller(), key.key_id)).state


async def refused(job: Any, reason: Reason, field: str | None = None) -> StrongroomError:
    with pytest.raises(StrongroomError) as caught:
        await job
    assert caught.value.reason is reason
    if field:
        assert caught.value.field == field
    return caught.value


def events(core: Core, key: KeyRecord) -> list[str]:
    rows = core.rows("SELECT type FROM events WHERE subject LIKE ? ORDER BY position", f"%{key.key_id}")
    return [row["type"].removeprefix("strongroom.key.") for row in rows]


async def test_key_waits_for_its_material_and_works_once_it_is_there(core: Core) -> None:
    key = await external(core)
    assert (key.state, key.origin) == (KeyState.PENDING_IMPORT, Origin.EXTERNAL)
    await refused(core.catalog.version(await core.catalog.entry(key.key_id)), Reason.INVALID_FIELD)

    made = await bring(core, key, os.urandom(32))

    assert (made.version, made.level, made.expires_at) == (1, ImportLevel.TOKEN, 0)
    assert await state_of(core, key) is KeyState.ENABLED
    await core.use(key.key_id)
    assert events(core, key) == ["created", "material_imported", "enabled"]


async def test_token_is_good_once_and_a_failed_import_does_not_use_it_up(core: Core) -> None:
    key, material = await external(core), os.urandom(32)
    given = await parameters(core, key)

    await refused(bring(core, key, material[:16], given), Reason.INVALID_FIELD, "encrypted_key_material")
    await bring(core, key, material, given)

    await refused(bring(core, key, material, given), Reason.INVALID_IMPORT_TOKEN, "import_token")
    assert core.rows("SELECT * FROM wrapping_pairs WHERE key_id = ?", key.key_id) == []


async def test_token_outlives_a_restart_and_ends_after_a_day(core: Core) -> None:
    key, material = await external(core), os.urandom(32)
    given = await parameters(core, key)
    core.clock.pass_time(DAY - 60)

    reborn = Materials(core.gate, core.control, core.vault, ImportLevel.HOST)
    sent = wrapped(material, OAEP, given.pair.public_key)
    wanted = NewMaterial(given.token, sent, NEVER)
    again = await parameters(core, key)
    core.clock.pass_time(61)
    await refused(
        reborn.import_material(core.caller(), key.key_id, wanted), Reason.EXPIRED_IMPORT_TOKEN, "import_token"
    )

    await bring(core, key, material, again)


async def test_forged_foreign_and_malformed_tokens_are_refused_alike(core: Core) -> None:
    key, other = await external(core), await external(core)
    mine, theirs = await parameters(core, key), await parameters(core, other)
    later = bytearray(mine.token)
    later[3] ^= 1  # a later end
    forged = [b"", b"x", mine.token[:-1], mine.token + b"\0", bytes(57), bytes(later), theirs.token]
    texts = set()

    for token in forged:
        given = dataclasses.replace(mine, token=token)
        error = await refused(bring(core, key, os.urandom(32), given), Reason.INVALID_IMPORT_TOKEN)
        texts.add(str(error))

    assert len(texts) == 1
    long = dataclasses.replace(mine, token=bytes(6_145))
    await refused(bring(core, key, os.urandom(32), long), Reason.FIELD_TOO_LARGE, "import_token")


async def test_of_two_imports_under_one_token_one_is_stored(core: Core) -> None:
    """Both unwrap; the transaction decides. The second worker's ledger is another, as in another process."""
    key, material = await external(core), os.urandom(32)
    given = await parameters(core, key)
    import asyncio  # noqa: PLC0415 - for this race alone

    ends = await asyncio.gather(
        *(bring(core, key, material, given) for _ in range(4)), return_exceptions=True
    )

    stored = [end for end in ends if isinstance(end, MaterialRecord)]
    assert len(stored) == 1
    others = [end.reason for end in ends if isinstance(end, StrongroomError)]
    assert others == [Reason.INVALID_IMPORT_TOKEN] * 3


async def test_only_the_same_material_comes_back(core: Core) -> None:
    key, material = await external(core), os.urandom(32)
    await bring(core, key, material)
    sealed = await seal(core, key)
    deleted = await core.materials.delete(core.caller(), key.key_id)
    assert deleted.state is KeyState.PENDING_IMPORT

    for kind in (None, ImportType.EXISTING_KEY_MATERIAL):
        await refused(bring(core, key, os.urandom(32), kind=kind), Reason.INCORRECT_KEY_MATERIAL)
    await refused(bring(core, key, os.urandom(32), kind=NEW), Reason.INVALID_KEY_STATE)
    await refused(bring(core, key, material, kind=NEW), Reason.INCORRECT_KEY_MATERIAL)
    assert await state_of(core, key) is KeyState.PENDING_IMPORT
    again = await bring(core, key, material, await parameters(core, key, W.RSA_AES_KEY_WRAP_SHA_256))

    assert (again.version, again.level) == (1, ImportLevel.HOST_EPHEMERAL)
    assert await unseal(core, key, sealed) == b"plaintext"


async def seal(core: Core, key: KeyRecord, version: int = 0) -> bytes:
    bound = await core.catalog.version(await core.catalog.entry(key.key_id), version)
    return await core.vault.seal(bound, b"plaintext", b"", deadline=core.caller().deadline)


async def unseal(core: Core, key: KeyRecord, sealed: bytes, version: int = 0) -> bytes:
    bound = await core.catalog.version(await core.catalog.entry(key.key_id), version)
    return await core.vault.open(bound, sealed, b"", deadline=core.caller().deadline)


async def test_deletion_takes_blob_recovery_copy_and_check_value_and_leaves_nothing_to_test_guesses_by(
    core: Core,
) -> None:
    key, material = await external(core), os.urandom(32)
    await bring(core, key, material)
    before = core.rows("SELECT * FROM versions WHERE key_id = ?", key.key_id)[0]
    assert before["blob"]
    assert before["check_value"]

    await core.materials.delete(core.caller(), key.key_id)

    [after] = core.rows("SELECT * FROM versions WHERE key_id = ?", key.key_id)
    assert [after[name] for name in ("blob", "recovery_blob", "check_value", "kek_id")] == [b"", b"", b"", ""]
    assert after["state"] == VersionState.AWAITING_IMPORT
    [kept] = core.rows("SELECT * FROM materials WHERE key_id = ?", key.key_id)
    assert (len(kept["fingerprint"]), kept["expires_at"], kept["removed_at"] > 0) == (32, 0, True)
    # Not what anybody with the material and the database could compute: another key's differs for the same.
    other = await external(core)
    await bring(core, other, material)
    [same] = core.rows("SELECT * FROM materials WHERE key_id = ?", other.key_id)
    assert same["fingerprint"] != kept["fingerprint"]
    with pytest.raises(StrongroomError):
        await core.use(key.key_id)


async def test_deleting_what_is_not_there_changes_nothing_or_is_refused(core: Core) -> None:
    key = await external(core)
    delete = core.materials.delete
    assert await delete(core.caller(), key.key_id) == key
    await refused(delete(core.caller(), key.key_id, 1), Reason.INVALID_FIELD, "key_version")
    await bring(core, key, os.urandom(32))
    once = await delete(core.caller(), key.key_id)

    assert await delete(core.caller(), key.key_id) == once
    await refused(delete(core.caller(), key.key_id, 2), Reason.INVALID_FIELD, "key_version")


async def test_keys_made_here_have_no_imported_material(core: Core) -> None:
    key = await core.create()

    await refused(parameters(core, key), Reason.INVALID_KEY_USAGE)
    await refused(core.materials.delete(core.caller(), key.key_id), Reason.INVALID_KEY_USAGE)
    wanted = NewMaterial(bytes(57), b"x", NEVER)
    await refused(core.materials.import_material(core.caller(), key.key_id, wanted), Reason.INVALID_KEY_USAGE)


async def test_disabled_key_stays_disabled_whatever_becomes_of_its_material(core: Core) -> None:
    key, material = await external(core), os.urandom(32)
    await bring(core, key, material)
    await core.keys.disable(core.caller(), key.key_id)

    assert (await core.materials.delete(core.caller(), key.key_id)).state is KeyState.DISABLED
    assert (await core.keys.enable(core.caller(), key.key_id)).state is KeyState.PENDING_IMPORT
    await refused(core.keys.disable(core.caller(), key.key_id), Reason.KEY_PENDING_IMPORT)
    await bring(core, key, material)
    await core.keys.disable(core.caller(), key.key_id)
    await bring(core, key, material, days=3)
    assert await state_of(core, key) is KeyState.DISABLED
    assert (await core.keys.enable(core.caller(), key.key_id)).state is KeyState.ENABLED


async def test_pending_deletion_takes_no_import_but_lets_material_go(core: Core) -> None:
    key, material = await external(core), os.urandom(32)
    await bring(core, key, material)
    given = await parameters(core, key)
    await core.keys.schedule_deletion(core.caller(), key.key_id, 7)

    await refused(bring(core, key, material, given), Reason.KEY_PENDING_DELETION)
    await refused(parameters(core, key), Reason.KEY_PENDING_DELETION)
    assert (await core.materials.delete(core.caller(), key.key_id)).state is KeyState.PENDING_DELETION
    assert (await core.keys.cancel_deletion(core.caller(), key.key_id)).state is KeyState.DISABLED
    assert (await core.keys.enable(core.caller(), key.key_id)).state is KeyState.PENDING_IMPORT


async def test_destruction_ends_every_material_and_forgets_how_to_tell_it(core: Core) -> None:
    key = await external(core)
    await bring(core, key, os.urandom(32), days=300)
    await bring(core, key, os.urandom(32), kind=NEW, days=300)
    await core.keys.schedule_deletion(core.caller(), key.key_id, 7)
    await core.upkeep.settle()
    core.clock.pass_time(7 * DAY + 60)

    await core.upkeep.settle()

    rows = core.rows("SELECT state, blob FROM versions WHERE key_id = ?", key.key_id)
    assert [(row["state"], row["blob"]) for row in rows] == [(VersionState.DESTROYED, b"")] * 2
    known = core.rows("SELECT fingerprint, expires_at FROM materials WHERE key_id = ?", key.key_id)
    assert [(row["fingerprint"], row["expires_at"]) for row in known] == [(b"", 0)] * 2
    assert events(core, key)[-1] == "destroyed"


async def test_material_expires_on_its_day_and_not_before(core: Core) -> None:
    key, material = await external(core), os.urandom(32)
    await bring(core, key, material, days=2)
    await core.upkeep.settle()
    core.clock.pass_time(2 * DAY - 60)
    await core.upkeep.settle()
    assert await state_of(core, key) is KeyState.ENABLED

    core.clock.pass_time(61)
    await core.upkeep.settle()

    assert await state_of(core, key) is KeyState.PENDING_IMPORT
    assert events(core, key)[-2:] == ["material_expired", "pending_import"]
    told = core.audited("upkeep")[-2:]
    assert [(r["action"], r["kind"], r["outcome"]) for r in told] == [
        ("strongroom:ExpireKeyMaterial", "intent", "PENDING"),
        ("strongroom:ExpireKeyMaterial", "outcome", "OK"),
    ]
    assert await core.store.next_expiry() == 0
    await bring(core, key, material, days=2)
    await core.use(key.key_id)


async def test_a_clock_that_jumps_makes_nothing_expire_for_a_day(core: Core) -> None:
    key = await external(core)
    await bring(core, key, os.urandom(32), days=2)
    await core.upkeep.settle()
    core.clock.wall_offset += int(40 * DAY * 1000)

    await core.upkeep.settle()
    await core.new_leader().settle()
    assert await state_of(core, key) is KeyState.ENABLED
    core.clock.pass_time(DAY + 60)
    await core.upkeep.settle()

    assert await state_of(core, key) is KeyState.PENDING_IMPORT


async def test_importing_again_moves_the_day_and_is_no_rotation(core: Core) -> None:
    key, material = await external(core), os.urandom(32)
    first = await bring(core, key, material, days=1)
    second = await bring(core, key, material, days=300)
    core.clock.pass_time(2 * DAY)
    await core.upkeep.settle()
    await core.upkeep.settle()

    assert second.expires_at > first.expires_at
    assert await state_of(core, key) is KeyState.ENABLED
    found = await core.keys.describe(core.caller(), key.key_id)
    assert found.current_version == 1
    assert "rotated" not in events(core, key)


async def test_further_material_waits_for_rotation_and_old_ciphertexts_open_while_all_is_there(
    core: Core,
) -> None:
    key, first, second = await external(core), os.urandom(32), os.urandom(32)
    await bring(core, key, first)
    old = await seal(core, key)
    await refused(core.keys.rotate(core.caller(), key.key_id), Reason.INVALID_KEY_STATE)

    waiting = await bring(core, key, second, kind=NEW)
    assert waiting.version == 2
    assert await state_of(core, key) is KeyState.ENABLED
    await refused(bring(core, key, os.urandom(32), kind=NEW), Reason.INVALID_KEY_STATE)
    await refused(seal(core, key, 2), Reason.INVALID_FIELD)
    rotated = await core.keys.rotate(core.caller(), key.key_id)
    new = await seal(core, key)

    assert rotated.current_version == 2
    assert events(core, key)[-1] == "rotated"
    assert await unseal(core, key, old, 1) == await unseal(core, key, new, 2) == b"plaintext"
    assert (await core.materials.delete(core.caller(), key.key_id, 1)).state is KeyState.PENDING_IMPORT
    await bring(core, key, first)
    assert await state_of(core, key) is KeyState.ENABLED
    assert await unseal(core, key, old, 1) == b"plaintext"


async def test_material_that_waits_can_go_without_harm_and_its_number_is_not_used_again(core: Core) -> None:
    key, second = await external(core), os.urandom(32)
    await bring(core, key, os.urandom(32))
    await bring(core, key, second, kind=NEW, days=1)
    await core.upkeep.settle()
    core.clock.pass_time(DAY + 60)
    await core.upkeep.settle()
    assert await state_of(core, key) is KeyState.ENABLED

    await refused(bring(core, key, second), Reason.INCORRECT_KEY_MATERIAL)
    again = await bring(core, key, second, kind=NEW)

    assert again.version == 3
    assert (await core.keys.rotate(core.caller(), key.key_id)).current_version == 3
    await core.use(key.key_id)


async def test_rotation_of_an_imported_key_is_on_demand_and_stays_so_when_it_is_imported_again(
    core: Core,
) -> None:
    key, second = await external(core), os.urandom(32)
    schedules = Schedules(core.gate, core.mutations, core.store)
    await bring(core, key, os.urandom(32))
    await bring(core, key, second, kind=NEW)
    assert (await schedules.rotations(core.caller(), key.key_id)).versions == []
    await core.keys.rotate(core.caller(), key.key_id)

    for _ in range(2):
        (rotation,) = (await schedules.rotations(core.caller(), key.key_id)).versions
        assert (rotation.version, rotation.rotation) == (2, RotationType.ON_DEMAND)
        assert (await schedules.status(core.caller(), key.key_id)).on_demand == 1
        await core.materials.delete(core.caller(), key.key_id, 2)
        await bring(core, key, second)


async def test_an_imported_key_is_rotated_on_demand_as_often_as_others_and_no_more(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotations, "MAX_ON_DEMAND", 2)
    key, materials = await external(core), [os.urandom(32) for _ in range(4)]
    await bring(core, key, materials[0])
    for material in materials[1:3]:
        await bring(core, key, material, kind=NEW)
        await core.keys.rotate(core.caller(), key.key_id)
    await core.materials.delete(core.caller(), key.key_id, 3)
    await bring(core, key, materials[2])
    await bring(core, key, materials[3], kind=NEW)

    await refused(core.keys.rotate(core.caller(), key.key_id), Reason.LIMIT_EXCEEDED)

    assert (await core.keys.describe(core.caller(), key.key_id)).current_version == 3
    waiting = await core.ledger.read(VersionRecord, f"{key.key_id}/4")
    assert waiting is not None
    assert waiting.state is VersionState.PENDING_ROTATION
    await core.keys.disable(core.caller(), key.key_id)
    await refused(core.keys.rotate(core.caller(), key.key_id), Reason.KEY_DISABLED)


async def test_only_symmetric_keys_take_further_material(core: Core) -> None:
    key = await external(core, KeySpec.HMAC_256)
    await bring(core, key, os.urandom(32), kind=NEW)

    await refused(bring(core, key, os.urandom(32), kind=NEW), Reason.INVALID_FIELD, "import_type")
    await refused(core.keys.rotate(core.caller(), key.key_id), Reason.INVALID_KEY_STATE)


async def test_at_most_ten_tokens_of_a_key_wait_and_old_ones_make_room(core: Core) -> None:
    key, other = await external(core), await external(core)
    for _ in range(10):
        await parameters(core, key)
    await refused(parameters(core, key), Reason.LIMIT_EXCEEDED)
    await parameters(core, other)
    await core.upkeep.settle()
    core.clock.pass_time(DAY + 1)
    await parameters(core, key)

    core.clock.pass_time(3_601)
    await core.upkeep.purge()

    assert len(core.rows("SELECT * FROM wrapping_pairs")) == 1


async def test_the_same_request_is_answered_alike_and_imports_once(core: Core) -> None:
    key, material = await external(core), os.urandom(32)
    given = await parameters(core, key, request_id="p1")
    assert await parameters(core, key, request_id="p1") == given
    wanted = NewMaterial(given.token, wrapped(material, OAEP, given.pair.public_key), NEVER)
    importing = core.materials.import_material

    first = await importing(core.caller(), key.key_id, wanted, "r1")
    second = await importing(core.caller(), key.key_id, wanted, "r1")

    assert (first.version, second.version, second.imported_at) == (1, 1, first.imported_at)
    await refused(parameters(core, key, request_id="p1"), Reason.INVALID_IMPORT_TOKEN)
    other = dataclasses.replace(wanted, valid_to=core.clock.wall_ms() + 10_000, model=None)
    await refused(importing(core.caller(), key.key_id, other, "r1"), Reason.REQUEST_ID_REUSED)


async def test_level_is_held_to_what_the_caller_and_the_configuration_want(core: Core) -> None:
    key, material = await external(core), os.urandom(32)
    strict = Materials(core.gate, core.control, core.vault, ImportLevel.TOKEN)
    careful = ImportParameters(core.gate, core.mutations, core.vault, ImportLevel.TOKEN)
    bits = WrappingKeySpec.RSA_2048
    weak = await parameters(core, key, W.RSAES_OAEP_SHA_256)
    assert weak.pair.level is ImportLevel.HOST

    await refused(
        careful.give(core.caller(), key.key_id, W.RSAES_OAEP_SHA_256, bits), Reason.INVALID_FIELD,
        "wrapping_algorithm",
    )  # fmt: skip
    sent = wrapped(material, W.RSAES_OAEP_SHA_256, weak.pair.public_key)
    await refused(
        strict.import_material(core.caller(), key.key_id, NewMaterial(weak.token, sent, NEVER)),
        Reason.INVALID_FIELD,
    )
    asked = NewMaterial(weak.token, sent, NEVER, level=ImportLevel.TOKEN)
    await refused(
        core.materials.import_material(core.caller(), key.key_id, asked), Reason.INVALID_FIELD, "level"
    )
    named = dataclasses.replace(asked, level=ImportLevel.HOST)
    await core.materials.import_material(core.caller(), key.key_id, named)

    record = core.audited(core.caller().principal.arn)[-1]
    assert {name: record[name] for name in ("action", "level", "wrapping_algorithm", "version", "outcome")} == {
        "action": "kms:ImportKeyMaterial", "level": "host", "wrapping_algorithm": "RSAES_OAEP_SHA_256", "version": 1,
        "outcome": "OK",
    }  # fmt: skip


async def test_a_level_that_cannot_be_known_is_not_taken_for_none(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy denies a level; whoever can have the look at the token fail must not get by."""
    everything = {"Effect": "Allow", "Principal": {"AWS": core.caller().principal.arn}, "Action": "kms:*"}
    not_host = {"Effect": "Deny", "Principal": "*", "Action": "kms:ImportKeyMaterial"}
    condition = {"StringEquals": {"strongroom:ImportLevel": "host"}}
    statements = [everything | {"Resource": "*"}, not_host | {"Resource": "*", "Condition": condition}]
    wanted = NewKey(SYMMETRIC, policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))
    key = await core.keys.create(core.caller(), wanted, origin=Origin.EXTERNAL)
    given = await parameters(core, key, W.RSAES_OAEP_SHA_256)
    await refused(bring(core, key, os.urandom(32), given), Reason.ACCESS_DENIED)
    look, looks = ImportTokens.pair, iter([StrongroomError(Reason.STORE_UNAVAILABLE)])

    async def fails_at_first(self: ImportTokens, *args: Any) -> WrappingPairRecord:
        if (failure := next(looks, None)) is not None:
            raise failure
        return await look(self, *args)

    monkeypatch.setattr(ImportTokens, "pair", fails_at_first)
    with pytest.raises(StrongroomError):
        await bring(core, key, os.urandom(32), given)
    assert await state_of(core, key) is KeyState.PENDING_IMPORT


async def test_no_record_event_or_audit_line_holds_material(core: Core) -> None:
    key, material = await external(core), os.urandom(32)
    given = await parameters(core, key, W.RSAES_OAEP_SHA_256)
    await bring(core, key, material, given)

    everything = json.dumps(core.audited(core.caller().principal.arn))
    everything += json.dumps(core.rows("SELECT data FROM events"))
    database = core.database.read_bytes()

    assert material.hex() not in everything
    assert material not in database
    assert given.token.hex() not in everything


@pytest.mark.parametrize("table", ["materials", "wrapping_pairs", "versions"])
async def test_edited_rows_of_an_import_are_not_believed(core: Core, table: str) -> None:
    key, material = await external(core), os.urandom(32)
    await bring(core, key, material)
    given = await parameters(core, key)
    columns = {"materials": "expires_at", "wrapping_pairs": "expires_at", "versions": "created_at"}
    core.edit(f"UPDATE {table} SET {columns[table]} = 5 WHERE key_id = ?", key.key_id)

    await refused(bring(core, key, material, given), Reason.INTEGRITY_FAILURE)


async def test_used_token_does_not_come_back_with_an_old_row(core: Core) -> None:
    key, material = await external(core), os.urandom(32)
    given = await parameters(core, key)
    [row] = core.rows("SELECT * FROM wrapping_pairs WHERE key_id = ?", key.key_id)
    await bring(core, key, material, given)
    names = ", ".join(f'"{name}"' for name in row)
    core.edit(f"INSERT INTO wrapping_pairs ({names}) VALUES ({', '.join('?' * len(row))})", *row.values())

    await refused(bring(core, key, material, given), Reason.INTEGRITY_FAILURE)


async def test_what_cannot_be_imported_is_said_when_the_key_is_made(core: Core) -> None:
    create = core.keys.create
    edwards = NewKey(KeySpec.ECC_NIST_EDWARDS25519)
    error = await refused(create(core.caller(), edwards, origin=Origin.EXTERNAL), Reason.UNSUPPORTED_BY_TOKEN)
    assert "Ed25519" in error.message
    from strongroomd.domain.records import CustodyMode  # noqa: PLC0415 - for this test alone

    resident = NewKey(SYMMETRIC, None, CustodyMode.RESIDENT)
    await refused(
        create(core.caller(), resident, origin=Origin.EXTERNAL), Reason.INVALID_FIELD, "custody_mode"
    )
    await refused(
        create(core.caller(), NewKey(SYMMETRIC), origin=Origin.EXTERNAL_KEY_STORE),
        Reason.INVALID_FIELD,
        "origin",
    )


async def test_account_is_in_the_records(core: Core) -> None:
    key = await external(core)
    given = await parameters(core, key)
    made = await bring(core, key, os.urandom(32), given)

    assert {given.pair.account, made.account} == {ACCOUNT}
    assert isinstance(given.pair, WrappingPairRecord)
    assert await core.ledger.read(VersionRecord, f"{key.key_id}/1") is not None
