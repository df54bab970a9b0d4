"""What is guarded, in the words of requests: parameters that approvers read and that spending compares."""

import base64
import hashlib

from strongroomd.custody.catalog import Entry
from strongroomd.custody.dualcontrol import Wanted
from strongroomd.domain.approvals import GuardedAction
from strongroomd.domain.exporting import ExportAlgorithm, ExportLevel, WrappingKeyKind
from strongroomd.domain.records import KeyRecord, protection_of
from strongroomd.domain.statements import spell_time


def _pairs(**parameters: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(parameters.items()))


def _key_parameters(public_key: bytes) -> dict[str, str]:
    fingerprint = hashlib.sha256(public_key).hexdigest()
    return {"public_key": base64.b64encode(public_key).decode(), "public_key_sha256": fingerprint}


def export(
    entry: Entry,
    version: int,
    level: ExportLevel,
    algorithm: ExportAlgorithm,
    public_key: bytes,
    wrapping_key_id: str,
) -> Wanted:
    """Describe an export; a registered wrapping key is named with the public key of its holder."""
    parameters = _key_parameters(public_key) | {"algorithm": algorithm.value, "level": level.value}
    if wrapping_key_id:
        parameters["wrapping_key"] = wrapping_key_id
    return _of_key(GuardedAction.EXPORT_KEY, entry.key, entry.arn, parameters, version)


def policy_change(key: KeyRecord, arn: str, text: str, *, bypass: bool) -> Wanted:
    """Describe a new key policy."""
    parameters = {"policy": text, "bypass_policy_lockout_safety_check": str(bypass).lower()}
    return _of_key(GuardedAction.PUT_KEY_POLICY, key, arn, parameters)


def deletion(key: KeyRecord, arn: str, days: int) -> Wanted:
    """Describe a scheduled deletion."""
    parameters = {"pending_window_days": str(days)}
    return _of_key(GuardedAction.SCHEDULE_KEY_DELETION, key, arn, parameters)


def material_deletion(key: KeyRecord, arn: str, version: int) -> Wanted:
    """Describe the deletion of a version's imported material, which is at once."""
    return _of_key(GuardedAction.DELETE_KEY_MATERIAL, key, arn, {}, version)


def material_expiry(key: KeyRecord, arn: str, version: int, expires_at: int) -> Wanted:
    """Describe an end (ms since the Unix epoch) of a version's imported material."""
    parameters = {"valid_to": spell_time(expires_at)}
    return _of_key(GuardedAction.EXPIRE_KEY_MATERIAL, key, arn, parameters, version)


def _of_key(
    action: GuardedAction, key: KeyRecord, arn: str, parameters: dict[str, str], version: int = 0
) -> Wanted:
    return Wanted(action, key.account, protection_of(key), _pairs(**parameters), key.key_id, arn, version)


def wrapping_key(account: str, quorum: int, name: str, kind: WrappingKeyKind, public_key: bytes) -> Wanted:
    """Describe the registration of a wrapping key."""
    parameters = _key_parameters(public_key) | {"name": name, "kind": kind.value}
    return Wanted(GuardedAction.REGISTER_WRAPPING_KEY, account, quorum, _pairs(**parameters))


def peer(
    account: str, quorum: int, region: str, house: str, replica_key: bytes, statement_key: bytes
) -> Wanted:
    """Describe the registration of a peer: the fingerprints are what people compare."""
    parameters = {
        "region": region,
        "house": house,
        "replica_key_sha256": hashlib.sha256(replica_key).hexdigest(),
        "statement_key_sha256": hashlib.sha256(statement_key).hexdigest(),
    }
    return Wanted(GuardedAction.REGISTER_PEER, account, quorum, _pairs(**parameters))


def lost_primary(key: KeyRecord, quorum: int, arn: str, region: str) -> Wanted:
    """Describe that a key's primary is elsewhere from now on, without the word of the house that had it.

    The account's people approve it, not the key's: it is about what a whole house is to the others.
    """
    parameters = {
        "key": arn,
        "lost_region": key.primary_region,
        "primary_region": region,
        "term": str(key.term + 1),
    }
    needed = max(quorum, protection_of(key))
    return Wanted(GuardedAction.MOVE_LOST_PRIMARY, key.account, needed, _pairs(**parameters))


def quorum_change(account: str, quorum: int, wanted: int) -> Wanted:
    """Describe another quorum of an account."""
    return Wanted(GuardedAction.PUT_QUORUM, account, quorum, _pairs(quorum=str(wanted)))
