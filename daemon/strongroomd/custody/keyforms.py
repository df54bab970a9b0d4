"""What callers say about keys: new ones, filters, tags, usages; checked here before anything is done."""

from dataclasses import dataclass

from strongroomd.domain import names
from strongroomd.domain.algorithms import SPECS, KeyFamily, KeySpec, KeyUsage
from strongroomd.domain.errors import Reason, StrongroomError, invalid, too_large
from strongroomd.domain.limits import (
    DELETION_WINDOW_MAX,
    DELETION_WINDOW_MIN,
    MAX_TAG_KEY,
    MAX_TAG_VALUE,
    MAX_TAGS,
)
from strongroomd.domain.records import (
    CustodyMode,
    KeyManager,
    KeyRecord,
    KeyState,
    Origin,
)

Tags = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a caller wants created; None means the default.

    Attributes:
        policy: policy JSON, or empty for the default: the account's root and the creator may do everything.
    """

    spec: KeySpec
    usage: KeyUsage | None = None
    mode: CustodyMode | None = None
    exportable: bool = False
    description: str = ""
    policy: str = ""
    bypass_lockout_check: bool = False
    tags: Tags = ()


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """Which keys to list; None and empty mean any."""

    state: KeyState | None = None
    spec: KeySpec | None = None
    manager: KeyManager | None = None
    tag_key: str = ""
    tag_value: str | None = None


def where(account: str, wanted: KeyFilter) -> dict[str, str]:
    """Give the columns that the store can filter by."""
    where = {"account": account}
    if wanted.state:
        where["state"] = wanted.state.value
    if wanted.spec:
        where["spec"] = wanted.spec.value
    if wanted.manager:
        where["manager"] = wanted.manager.value
    return where


def filter_binding(wanted: KeyFilter) -> tuple[str, ...]:
    """Check a filter and spell it, for page tokens; an absent value is not an empty one."""
    if wanted.tag_key:
        check_tag_key("tag_key", wanted.tag_key)
    elif wanted.tag_value is not None:
        raise invalid("tag_value", "is of no use without tag_key")
    place = (wanted.state or "", wanted.spec or "", wanted.manager or "", wanted.tag_key)
    if wanted.tag_value is None:
        return place
    _check_tag_value("tag_value", wanted.tag_value)
    return (*place, wanted.tag_value)


def is_wanted(key: KeyRecord, wanted: KeyFilter) -> bool:
    """Say whether a key is to be listed: destroyed ones never are, and tags are looked at here."""
    if key.state is KeyState.DESTROYED:
        return False
    if not wanted.tag_key:
        return True
    value = dict(key.tags).get(wanted.tag_key)
    return value is not None and wanted.tag_value in (None, value)


def check_etag(row_version: int, etag: str) -> None:
    """Refuse a change that was decided on an older state of the record. Raises ETAG_MISMATCH."""
    if etag and etag != str(row_version):
        raise StrongroomError(Reason.ETAG_MISMATCH, field="etag")


def settle_usage(spec: KeySpec, usage: KeyUsage | None) -> KeyUsage:
    """Settle a new key's usage, which must be given unless the spec has only one."""
    usages = SPECS[spec].usages
    if usage is None and len(usages) > 1:
        raise invalid("key_usage", "must be set: this key spec has several usages")
    chosen = usage or usages[0]
    if chosen not in usages:
        raise invalid("key_usage", "does not go with this key spec")
    return chosen


def is_imported(wanted: NewKey, origin: Origin) -> bool:
    """Say whether a new key is to have its material imported, and refuse what then cannot be.

    Raises:
        StrongroomError: INVALID_FIELD (`origin`, `custody_mode`), UNSUPPORTED_BY_TOKEN for Ed25519.
    """
    if origin is Origin.HSM:
        return False
    if origin is not Origin.EXTERNAL:
        raise invalid("origin", "must be HSM or EXTERNAL: AdoptKey makes keys of objects of others")
    if wanted.mode not in {None, CustodyMode.WRAPPED}:
        raise invalid("custody_mode", "must be WRAPPED, or not set: imported material is kept wrapped")
    if SPECS[wanted.spec].family is KeyFamily.EDWARDS:
        text = "Ed25519 keys cannot be imported: CKM_AES_KEY_WRAP_PAD of SoftHSM does not unwrap them"
        raise StrongroomError(Reason.UNSUPPORTED_BY_TOKEN, text, field="key_spec")
    return True


def check_window(days: int) -> int:
    """Check for how many days a key waits for its deletion. Raises INVALID_FIELD."""
    if not DELETION_WINDOW_MIN <= days <= DELETION_WINDOW_MAX:
        raise invalid("pending_window_days", f"must be from {DELETION_WINDOW_MIN} to {DELETION_WINDOW_MAX}")
    return days


def check_tags(tags: Tags) -> Tags:
    """Check tags and put them in order.

    Raises:
        StrongroomError: INVALID_FIELD, FIELD_TOO_LARGE or LIMIT_EXCEEDED naming the tag's part.
    """
    if len(tags) > MAX_TAGS:
        raise StrongroomError(Reason.LIMIT_EXCEEDED, f"a key has at most {MAX_TAGS} tags", field="tags")
    for number, (key, value) in enumerate(tags):
        _check_tag(f"tags[{number}]", key, value)
    if len({key for key, _ in tags}) != len(tags):
        raise invalid("tags", "must not name one tag key twice")
    return tuple(sorted(tags))


def check_tag_key(place: str, key: str) -> None:
    """Check the key of a tag. Raises INVALID_FIELD or FIELD_TOO_LARGE naming the place."""
    if not key:
        raise invalid(place, "must not be empty")
    if len(key) > MAX_TAG_KEY:
        raise too_large(place, MAX_TAG_KEY, "characters")
    names.plain_text(key, place)


def _check_tag_value(place: str, value: str) -> None:
    if len(value) > MAX_TAG_VALUE:
        raise too_large(place, MAX_TAG_VALUE, "characters")
    names.plain_text(value, place)


def _check_tag(place: str, key: str, value: str) -> None:
    check_tag_key(f"{place}.key", key)
    _check_tag_value(f"{place}.value", value)
    if key.lower().startswith("aws:"):
        raise invalid(f"{place}.key", "must not begin with aws:, which is reserved")
