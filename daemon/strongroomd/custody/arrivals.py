"""Where imported material goes: which version of its key it becomes, or why none; within one transaction."""

import dataclasses
import hmac

from strongroomd.custody.importedkeys import LIVING, is_whole, material_of, settle, versions_of
from strongroomd.custody.ledger import Change
from strongroomd.domain.algorithms import SPECS, KeyFamily
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.importing import ImportType, refused_token
from strongroomd.domain.keys import Imported
from strongroomd.domain.lifecycle import Act, require
from strongroomd.domain.limits import MAX_VERSIONS
from strongroomd.domain.materials import MaterialRecord, WrappingPairRecord
from strongroomd.domain.records import KeyRecord, VersionRecord, VersionState


async def current(change: Change, key_id: str) -> KeyRecord:
    """Read a key that was claimed. Raises ACCESS_DENIED for one that is gone."""
    key = await change.get(KeyRecord, key_id)
    if key is None:
        raise StrongroomError(Reason.ACCESS_DENIED)
    return key


async def use_up(change: Change, pair: WrappingPairRecord) -> None:
    """Take a pair away with the import that used it; of two workers the second finds none."""
    waiting = await change.get(WrappingPairRecord, pair.record_id)
    if waiting is None:
        raise refused_token()
    await change.delete(waiting)


async def store(
    change: Change, fresh: MaterialRecord, imported: Imported, kind: ImportType | None
) -> MaterialRecord:
    """Store material as the version that it is, and give the key the state that it allows."""
    key = await current(change, fresh.key_id)
    require(key.state, Act.IMPORT)
    living = [v for v in await versions_of(change, key.key_id) if v.state in LIVING]
    same = await _same(change, living, fresh.fingerprint)
    if same is not None and kind is not ImportType.NEW_KEY_MATERIAL:
        stored = await _put_again(change, same, fresh, imported)
    else:
        number, state = await _place(change, key, living, same, kind)
        stored = dataclasses.replace(fresh, version=number)
        await change.put(_version(stored, imported, state))
        await change.put(stored)
    await settle(change, key)
    return stored


async def _same(change: Change, living: list[VersionRecord], fingerprint: bytes) -> VersionRecord | None:
    for version in living:
        if hmac.compare_digest((await material_of(change, version)).fingerprint, fingerprint):
            return version
    return None


async def _place(
    change: Change,
    key: KeyRecord,
    living: list[VersionRecord],
    same: VersionRecord | None,
    kind: ImportType | None,
) -> tuple[int, VersionState]:
    """Find the number and state of material that a key did not have before, or refuse it."""
    if not living:
        return 1, VersionState.ACTIVE
    if kind is not ImportType.NEW_KEY_MATERIAL:
        raise StrongroomError(Reason.INCORRECT_KEY_MATERIAL, field="encrypted_key_material")
    if SPECS[key.spec].family is not KeyFamily.AES:
        raise invalid("import_type", "only symmetric keys can have several materials")
    if same is not None:
        text = "the key has this material already: import it as EXISTING_KEY_MATERIAL"
        raise StrongroomError(Reason.INCORRECT_KEY_MATERIAL, text, field="encrypted_key_material")
    if any(version.state is VersionState.PENDING_ROTATION for version in living):
        raise StrongroomError(
            Reason.INVALID_KEY_STATE, "other material of the key waits for rotation already"
        )
    if not is_whole(living):
        raise StrongroomError(Reason.INVALID_KEY_STATE, "all earlier material of the key must be there first")
    number = (await versions_of(change, key.key_id))[-1].version + 1
    if number > MAX_VERSIONS:
        raise StrongroomError(Reason.LIMIT_EXCEEDED, f"a key has at most {MAX_VERSIONS} versions")
    return number, VersionState.PENDING_ROTATION


async def _put_again(
    change: Change, version: VersionRecord, fresh: MaterialRecord, imported: Imported
) -> MaterialRecord:
    """Store material that a key had before in its old place; what waits for rotation goes on waiting."""
    before = await material_of(change, version)
    stored = dataclasses.replace(fresh, version=version.version, row_version=before.row_version + 1)
    waits = version.state is VersionState.PENDING_ROTATION
    again = _version(stored, imported, VersionState.PENDING_ROTATION if waits else VersionState.ACTIVE)
    row_version = version.row_version + 1
    await change.put(
        dataclasses.replace(
            again, created_at=version.created_at, rotation=version.rotation, row_version=row_version
        )
    )
    await change.put(stored)
    return stored


def _version(stored: MaterialRecord, imported: Imported, state: VersionState) -> VersionRecord:
    made = imported.material
    return VersionRecord(
        key_id=stored.key_id,
        version=stored.version,
        state=state,
        created_at=stored.imported_at,
        kek_id=made.kek_id,
        hsm_id="",
        blob=made.blob,
        length=made.length,
        public_key=made.public_key,
        check_value=made.check_value,
        recovery_blob=made.recovery_blob,
        scheme=made.scheme,
    )
