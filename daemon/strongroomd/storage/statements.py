"""The store's SQL, built once: building a statement costs more than running it."""

from functools import cache
from typing import Any, Final

from sqlalchemy import (
    Delete,
    Insert,
    Select,
    Table,
    Update,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.dml import ReturningInsert

from strongroomd.domain.housekeys import MAC_TAG_BYTES
from strongroomd.domain.records import KeyManager, KeyState, VersionState
from strongroomd.domain.replication import MultiRegion
from strongroomd.storage.schema import (
    ALIASES,
    ANSWERS,
    APPROVAL_REQUESTS,
    DELETIONS,
    GRANTS,
    INVOCATIONS,
    JOURNAL,
    KEYS,
    LEASES,
    MATERIALS,
    QUOTA_REQUESTS,
    SCHEDULES,
    USAGE,
    VERSIONS,
    WRAPPING_PAIRS,
    RawBytes,
)


@cache
def by_id(table: Table) -> Select[Any]:
    """One record; parameter `id`."""
    return select(table).where(table.c.record_id == bindparam("id"))


@cache
def page(table: Table, columns: tuple[str, ...]) -> Select[Any]:
    """Records after `after` in record_id order, at most `limit`, whose `columns` equal `is_<column>`."""
    rows = select(table).where(table.c.record_id > bindparam("after"))
    for column in columns:
        rows = rows.where(table.c[column] == bindparam(f"is_{column}"))
    return rows.order_by(table.c.record_id).limit(bindparam("limit"))


@cache
def counting(table: Table, columns: tuple[str, ...]) -> Select[Any]:
    """How many records there are whose `columns` equal `is_<column>`."""
    rows = select(func.count().label("count")).select_from(table)
    for column in columns:
        rows = rows.where(table.c[column] == bindparam(f"is_{column}"))
    return rows


@cache
def every(table: Table) -> Select[Any]:
    """All records of a kind in record_id order."""
    return select(table).order_by(table.c.record_id)


@cache
def names(table: Table) -> Select[Any]:
    """The ids of all records of a kind."""
    return select(table.c.record_id)


@cache
def insertion(table: Table) -> Insert:
    """Insert a row."""
    return insert(table)


@cache
def replacement(table: Table) -> Update:
    """Replace the record `old_id` whose row_version is `old_version`."""
    old = (table.c.record_id == bindparam("old_id")) & (table.c.row_version == bindparam("old_version"))
    names = [column.name for column in table.columns if column.name != "record_id"]
    return update(table).where(old).values({name: bindparam(name) for name in names})


@cache
def removal(table: Table) -> Delete:
    """Delete the record `id` whose row_version is `version`."""
    return delete(table).where(
        table.c.record_id == bindparam("id"), table.c.row_version == bindparam("version")
    )


@cache
def resealing(table: Table) -> Update:
    """Give the record `old_id`, if its row_version is `old_version`, another MAC, `new_mac`."""
    this = (table.c.record_id == bindparam("old_id")) & (table.c.row_version == bindparam("old_version"))
    return update(table).where(this).values(mac=bindparam("new_mac"))


@cache
def sealed_otherwise(table: Table) -> Select[Any]:
    """The ids of at most `limit` records behind `after` whose MAC does not begin with `tag`."""
    mac = func.substr(table.c.mac, 1, MAC_TAG_BYTES)
    other = (table.c.record_id > bindparam("after")) & (mac != bindparam("tag", type_=RawBytes()))
    return select(table.c.record_id).where(other).order_by(table.c.record_id).limit(bindparam("limit"))


VERSIONS_OF_KEY: Final = (
    select(VERSIONS).where(VERSIONS.c.key_id == bindparam("key_id")).order_by(VERSIONS.c.version)
)
ALIASES_OF_KEY: Final = (
    select(ALIASES).where(ALIASES.c.key_id == bindparam("key_id")).order_by(ALIASES.c.record_id)
)
GRANTS_LEFT: Final = (
    select(GRANTS)
    .join(KEYS, GRANTS.c.key_id == KEYS.c.record_id)
    .where(KEYS.c.state == KeyState.DESTROYED.value)
    .order_by(GRANTS.c.record_id)
    .limit(bindparam("limit"))
)
REQUESTS_CLOSED: Final = (
    select(QUOTA_REQUESTS)
    .where(QUOTA_REQUESTS.c.closed_at > 0, QUOTA_REQUESTS.c.closed_at <= bindparam("before"))
    .order_by(QUOTA_REQUESTS.c.closed_at, QUOTA_REQUESTS.c.record_id)
    .limit(bindparam("limit"))
)
APPROVALS_DUE: Final = (
    select(APPROVAL_REQUESTS)
    .where(
        APPROVAL_REQUESTS.c.state == bindparam("state"), APPROVAL_REQUESTS.c.expires_at <= bindparam("before")
    )
    .order_by(APPROVAL_REQUESTS.c.expires_at, APPROVAL_REQUESTS.c.record_id)
    .limit(bindparam("limit"))
)
DUE_KEYS: Final = (
    select(KEYS)
    .where(
        KEYS.c.state == bindparam("state"), KEYS.c.deletion_at > 0, KEYS.c.deletion_at <= bindparam("before")
    )
    .order_by(KEYS.c.deletion_at, KEYS.c.record_id)
)
RESIDENT_VERSIONS: Final = (
    select(VERSIONS).where(VERSIONS.c.hsm_id > "").order_by(VERSIONS.c.key_id, VERSIONS.c.version)
)
UNSETTLED_VERSIONS: Final = RESIDENT_VERSIONS.where(
    VERSIONS.c.state.in_([VersionState.INTENT.value, VersionState.DESTROYING.value])
)
WORN_VERSIONS: Final = (
    select(INVOCATIONS)
    .where(INVOCATIONS.c.reserved >= bindparam("reserved"))
    .order_by(INVOCATIONS.c.reserved.desc(), INVOCATIONS.c.record_id)
)
AGED_VERSIONS: Final = (
    select(VERSIONS)
    .join(KEYS, VERSIONS.c.key_id == KEYS.c.record_id)
    .where(
        KEYS.c.manager == KeyManager.SERVICE.value,
        KEYS.c.state == KeyState.ENABLED.value,
        VERSIONS.c.version == KEYS.c.current_version,
        VERSIONS.c.created_at <= bindparam("before"),
    )
    .order_by(VERSIONS.c.created_at, VERSIONS.c.record_id)
)
DUE_SCHEDULES: Final = (
    select(SCHEDULES)
    .join(KEYS, SCHEDULES.c.key_id == KEYS.c.record_id)
    .where(
        KEYS.c.state == KeyState.ENABLED.value,
        KEYS.c.multi_region != MultiRegion.REPLICA.value,
        SCHEDULES.c.next_at > 0,
        SCHEDULES.c.next_at <= bindparam("before"),
    )
    .order_by(SCHEDULES.c.next_at, SCHEDULES.c.record_id)
    .limit(bindparam("limit"))
)
WAITING_VERSIONS: Final = (
    select(func.count().label("count"))
    .select_from(VERSIONS.join(KEYS, VERSIONS.c.key_id == KEYS.c.record_id))
    .where(
        KEYS.c.multi_region == MultiRegion.PRIMARY.value,
        VERSIONS.c.state == VersionState.PENDING_ROTATION.value,
        VERSIONS.c.created_at <= bindparam("before"),
    )
)
UNCERTIFIED: Final = (
    select(DELETIONS)
    .where(
        DELETIONS.c.destroyed_at > 0,
        DELETIONS.c.signer == "",
        ~exists().where(
            VERSIONS.c.key_id == DELETIONS.c.key_id, VERSIONS.c.state == VersionState.DESTROYING.value
        ),
    )
    .order_by(DELETIONS.c.destroyed_at, DELETIONS.c.record_id)
    .limit(bindparam("limit"))
)
_EXPIRING: Final = MATERIALS.c.expires_at > 0
EXPIRED_MATERIALS: Final = (
    select(MATERIALS)
    .where(_EXPIRING, MATERIALS.c.expires_at <= bindparam("before"))
    .order_by(MATERIALS.c.expires_at, MATERIALS.c.record_id)
)
NEXT_EXPIRY: Final = select(func.min(MATERIALS.c.expires_at).label("next")).where(_EXPIRING)
STALE_PAIRS: Final = (
    select(WRAPPING_PAIRS)
    .where(WRAPPING_PAIRS.c.expires_at <= bindparam("before"))
    .order_by(WRAPPING_PAIRS.c.expires_at, WRAPPING_PAIRS.c.record_id)
    .limit(bindparam("limit"))
)
ENTRIES_AFTER: Final = (
    select(JOURNAL)
    .where(JOURNAL.c.sequence > bindparam("after"))
    .order_by(JOURNAL.c.sequence)
    .limit(bindparam("limit"))
)
ANSWER: Final = select(ANSWERS).where(
    ANSWERS.c.principal == bindparam("principal"), ANSWERS.c.request_id == bindparam("request_id")
)
OLD_ANSWERS: Final = delete(ANSWERS).where(ANSWERS.c.created_at < bindparam("before"))
USAGE_OF_KEY: Final = select(USAGE).where(USAGE.c.key_id == bindparam("key_id")).order_by(USAGE.c.operation)
KEY_STATES: Final = select(KEYS.c.state, func.count().label("count")).group_by(KEYS.c.state)
LEASE: Final = select(LEASES).where(LEASES.c.name == bindparam("name"))


def _add_usage() -> sqlite.Insert:
    row = sqlite.insert(USAGE)
    return row.on_conflict_do_update(
        index_elements=["key_id", "operation"],
        set_={
            "count": USAGE.c.count + row.excluded.count,
            "last_used": func.max(USAGE.c.last_used, row.excluded.last_used),
        },
    )


def _take_lease() -> ReturningInsert[Any]:
    row = sqlite.insert(LEASES)
    free = or_(
        LEASES.c.holder == row.excluded.holder,
        LEASES.c.expires_at <= bindparam("now"),
        LEASES.c.expires_at > bindparam("absurd"),
    )
    return row.on_conflict_do_update(
        index_elements=["name"],
        set_={"holder": row.excluded.holder, "expires_at": row.excluded.expires_at},
        where=free,
    ).returning(LEASES.c.holder)


ADD_USAGE: Final = _add_usage()
TAKE_LEASE: Final = _take_lease()
