"""What becomes of an imported key when its material comes and goes; each within one transaction.

A key has one version for each material that it was given. It is Enabled only while all of them are there:
otherwise some old ciphertext could not be opened. Disabled stays Disabled: neither expiry nor import switches
a key on that somebody switched off.
"""

import dataclasses
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from strongroomd.custody.keyforms import check_etag
from strongroomd.custody.ledger import Change
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.lifecycle import Act, require
from strongroomd.domain.materials import MaterialRecord
from strongroomd.domain.records import KeyRecord, KeyState, Origin, VersionRecord, VersionState
from strongroomd.domain.rotations import RotationType

Bound = Callable[[Change, str], Awaitable[None]]
"""Refuses what a key (its id) may not do once more."""

LIVING: Final = frozenset({VersionState.ACTIVE, VersionState.AWAITING_IMPORT, VersionState.PENDING_ROTATION})
"""States of versions whose material is there or may come back."""

_FOLLOWS_MATERIAL: Final = frozenset({KeyState.ENABLED, KeyState.PENDING_IMPORT})


async def versions_of(change: Change, key_id: str) -> list[VersionRecord]:
    """Read a key's versions, verified, oldest first, those that are gone included."""
    stored = await change.transaction.find(VersionRecord, {"key_id": key_id})
    found = [await change.get(VersionRecord, each.record.record_id) for each in stored]
    return sorted((version for version in found if version), key=lambda version: version.version)


def is_whole(versions: list[VersionRecord]) -> bool:
    """Say whether all material is there that a key ever used, and any at all."""
    states = {version.state for version in versions}
    return VersionState.ACTIVE in states and VersionState.AWAITING_IMPORT not in states


def is_there(version: VersionRecord | None) -> bool:
    """Say whether a version's imported material is there, used or waiting for a rotation."""
    return version is not None and version.state in LIVING - {VersionState.AWAITING_IMPORT}


def require_imported(key: KeyRecord) -> None:
    """Refuse a key that was not made to have its material imported. Raises INVALID_KEY_USAGE."""
    if key.origin is not Origin.EXTERNAL:
        raise StrongroomError(
            Reason.INVALID_KEY_USAGE, "only keys made with origin EXTERNAL have imported material"
        )


def no_material() -> StrongroomError:
    """Make the refusal of a version that has no imported material."""
    return invalid("key_version", "the key has no imported material of this version")


async def ends_of(change: Change, key_id: str) -> dict[int, int]:
    """Say of each version whose material is there when that goes, in ms since the Unix epoch; 0 is never."""
    there = [version for version in await versions_of(change, key_id) if is_there(version)]
    return {version.version: (await material_of(change, version)).expires_at for version in there}


def shortens(ends: Mapping[int, int], stored: MaterialRecord) -> bool:
    """Say whether material that was just stored makes its key end sooner than what was there before.

    What was there under its number must not go earlier. New material must not go before all the other: once
    it was rotated to, the key does not work without it. What comes back takes nothing away.
    """
    if stored.version in ends:
        return _end(stored.expires_at) < _end(ends[stored.version])
    is_new = stored.row_version == 1
    return is_new and bool(ends) and _end(stored.expires_at) < min(map(_end, ends.values()))


def _end(expires_at: int) -> float:
    return expires_at or math.inf


async def settled(change: Change, key: KeyRecord) -> KeyRecord:
    """Give an imported key the state that its material allows; any other key stays as it is."""
    if key.origin is not Origin.EXTERNAL or key.state not in _FOLLOWS_MATERIAL:
        return key
    whole = is_whole(await versions_of(change, key.key_id))
    return dataclasses.replace(key, state=KeyState.ENABLED if whole else KeyState.PENDING_IMPORT)


async def settle(change: Change, key: KeyRecord) -> KeyRecord:
    """Write the state that a key's material allows, if it is another than it has."""
    now = await settled(change, key)
    if now == key:
        return key
    now = dataclasses.replace(now, row_version=key.row_version + 1)
    await change.put(now)
    return now


async def remove(change: Change, key: KeyRecord, version: VersionRecord, at: int) -> KeyRecord:
    """Take a version's material away, at a time in ms; its recovery copy goes with it.

    Material that only waited for a rotation was never used: nothing needs it, and its version ends.
    """
    unused = version.state is VersionState.PENDING_ROTATION
    gone = dataclasses.replace(
        version,
        state=VersionState.DESTROYED if unused else VersionState.AWAITING_IMPORT,
        kek_id="",
        blob=b"",
        check_value=b"",
        recovery_blob=b"",
        row_version=version.row_version + 1,
    )
    await change.put(gone)
    material = await material_of(change, version)
    row_version = material.row_version + 1
    told = _forgotten(material) if unused else material
    await change.put(dataclasses.replace(told, removed_at=at, expires_at=0, row_version=row_version))
    return await settle(change, key)


async def material_of(change: Change, version: VersionRecord) -> MaterialRecord:
    """Read what is known of a version's material. Raises INTEGRITY_FAILURE when it is missing."""
    found = await change.get(MaterialRecord, version.record_id)
    if found is None:
        raise StrongroomError(Reason.INTEGRITY_FAILURE, detail="an imported version's material is missing")
    return found


async def forget_material(change: Change, version: VersionRecord) -> None:
    """Forget what would tell a destroyed key's material again; nothing comes back to it."""
    material = await change.get(MaterialRecord, version.record_id)
    if material is not None:
        row_version = material.row_version + 1
        await change.put(dataclasses.replace(_forgotten(material), expires_at=0, row_version=row_version))


def _forgotten(material: MaterialRecord) -> MaterialRecord:
    """Take away what would tell material again."""
    return dataclasses.replace(material, fingerprint=b"", recovery_trait=b"")


async def turn(change: Change, key_id: str, etag: str, within: Bound) -> KeyRecord:
    """Make the material that waits for it the current one: RotateKey of an imported key.

    Args:
        change: the transaction.
        key_id: the key.
        etag: refuses a key that changed since, if given.
        within: refuses one rotation on demand too many.

    Raises:
        StrongroomError: INVALID_KEY_STATE where none waits, ETAG_MISMATCH, LIMIT_EXCEEDED, the state's
            refusal.
    """
    key = await change.get(KeyRecord, key_id)
    if key is None:
        raise StrongroomError(Reason.ACCESS_DENIED)
    require(key.state, Act.ROTATE)
    check_etag(key.row_version, etag)
    versions = await versions_of(change, key_id)
    pending = next((v for v in versions if v.state is VersionState.PENDING_ROTATION), None)
    if pending is None:
        text = "no imported material waits for rotation: import some as NEW_KEY_MATERIAL first"
        raise StrongroomError(Reason.INVALID_KEY_STATE, text)
    await within(change, key_id)
    row_version = pending.row_version + 1
    turned = dataclasses.replace(pending, state=VersionState.ACTIVE, rotation=RotationType.ON_DEMAND)
    await change.put(dataclasses.replace(turned, row_version=row_version))
    rotated = dataclasses.replace(key, current_version=pending.version, row_version=key.row_version + 1)
    await change.put(rotated)
    return rotated
