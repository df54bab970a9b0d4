"""Which event a change of a key store, an external key or a credential is.

The subject of all of them is the ARN under which the store uses keys, so that a store's events come in order.
Facts are names, states and limits; never a policy's text, a description or a secret, not even a sealed one.
"""

from collections.abc import Iterator
from typing import Any, Final

from strongroomd.domain.events import Draft, EventType
from strongroomd.domain.protection import Record
from strongroomd.domain.xks.names import store_arn
from strongroomd.domain.xks.records import CredentialRecord, ExternalKeyRecord, StoreRecord

STORE_SWITCHES: Final[dict[bool, EventType]] = {
    True: EventType.KEY_STORE_BLOCKED,
    False: EventType.KEY_STORE_UNBLOCKED,
}
KEY_SWITCHES: Final[dict[bool, EventType]] = {
    True: EventType.EXTERNAL_KEY_BLOCKED,
    False: EventType.EXTERNAL_KEY_UNBLOCKED,
}
"""What store and external key became, by whether they are blocked now."""

_STORE_FIELDS: Final = (
    *("description", "policy", "per_second", "burst", "key_per_second", "key_burst"),
    *("principal_per_second", "principal_burst"),
)
_KEY_FIELDS: Final = ("key_id", "token", "encrypts", "decrypts", "pinning", "compatible")
_RATES: Final = _STORE_FIELDS[2:]


def happenings(before: Record | None, after: Record | None) -> list[Draft]:
    """Say what the change of one record of key stores means; nothing for a record of anything else."""
    match before or after:
        case StoreRecord():
            return list(_of_store(before, after))
        case ExternalKeyRecord():
            return list(_of_key(before, after))
        case CredentialRecord():
            return list(_of_credential(before, after))
    return []


def _of_store(before: Any, after: Any) -> Iterator[Draft]:  # noqa: ANN401 - a store or None
    store: StoreRecord = after or before
    subject = store_arn(store.account, store.store_id)
    facts = {"account": store.account, "key_store": store.store_id, "uri_prefix": store.uri_prefix}
    if before is None:
        yield Draft(EventType.KEY_STORE_CREATED, subject, facts)
        return
    if after is None:
        yield Draft(EventType.KEY_STORE_DELETED, subject, facts)
        return
    if before.blocked != after.blocked:
        yield Draft(STORE_SWITCHES[after.blocked], subject, facts)
    changed = _differing(before, after, _STORE_FIELDS)
    if changed:
        rates = {name: getattr(after, name) for name in _RATES}
        yield Draft(EventType.KEY_STORE_CHANGED, subject, facts | {"changed": changed} | rates)


def _of_key(before: Any, after: Any) -> Iterator[Draft]:  # noqa: ANN401 - an external key or None
    key: ExternalKeyRecord = after or before
    subject, facts = store_arn(key.account, key.store_id), _key_facts(key)
    if before is None:
        yield Draft(EventType.EXTERNAL_KEY_ADDED, subject, facts)
        return
    if after is None:
        yield Draft(EventType.EXTERNAL_KEY_REMOVED, subject, facts)
        return
    if before.blocked != after.blocked:
        yield Draft(KEY_SWITCHES[after.blocked], subject, facts)
    if before.kms_key_arn != after.kms_key_arn and after.kms_key_arn:
        yield Draft(EventType.EXTERNAL_KEY_PINNED, subject, facts)
    changed = _differing(before, after, _KEY_FIELDS)
    if changed or (before.kms_key_arn and not after.kms_key_arn):
        yield Draft(EventType.EXTERNAL_KEY_CHANGED, subject, facts | {"changed": changed})


def _key_facts(key: ExternalKeyRecord) -> dict[str, Any]:
    return {
        "account": key.account,
        "key_store": key.store_id,
        "external_key": key.external_key_id,
        "key_id": key.key_id,
        "pinning": key.pinning.value,
        "kms_key": key.kms_key_arn,
    }


def _of_credential(before: Any, after: Any) -> Iterator[Draft]:  # noqa: ANN401 - a credential or None
    credential: CredentialRecord = after or before
    facts = {
        "account": credential.account,
        "key_store": credential.store_id,
        "access_key": credential.access_key_id,
    }
    subject = store_arn(credential.account, credential.store_id)
    if before is None:
        yield Draft(EventType.KEY_STORE_CREDENTIAL_CREATED, subject, facts)
    elif after is None:
        yield Draft(EventType.KEY_STORE_CREDENTIAL_DELETED, subject, facts)


def _differing(before: object, after: object, fields: tuple[str, ...]) -> list[str]:
    return [name for name in fields if getattr(before, name) != getattr(after, name)]
