"""Bringing a database to this daemon's schema, and telling whether it is there.

Migrations are Alembic scripts packaged in `migrations/`; they run in one transaction, so a kill leaves the
old schema or the new one. Alembic is imported only to migrate: workers start without it.
"""

from contextlib import closing
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Engine, inspect, text

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.storage.database import create_file, parse_url, reading_engine, writing_engine
from strongroomd.storage.faults import translated
from strongroomd.storage.schema import REVISIONS


class SchemaState(StrEnum):
    """How a database's schema stands to the one that this daemon needs."""

    ABSENT = "absent"
    OUTDATED = "outdated"
    CURRENT = "current"
    NEWER = "newer"


_ADVICE = {
    SchemaState.ABSENT: "the database was never set up; run `strongroomd init` or `strongroomd migrate`",
    SchemaState.OUTDATED: "the database needs `strongroomd migrate`",
    SchemaState.NEWER: "the database belongs to a newer strongroomd",
}


def migrate(url: str) -> None:
    """Bring the database to this daemon's schema, making the file (mode 0600) if need be.

    Raises:
        StrongroomError: CONFIGURATION for a database of a newer daemon or a bad URL; STORE_UNAVAILABLE.
    """
    if schema_state(url) is SchemaState.NEWER:
        raise _refusal(SchemaState.NEWER)
    parsed = parse_url(url)
    with translated():
        create_file(parsed)
        engine = writing_engine(parsed)
        try:
            _upgrade(engine)
        finally:
            engine.dispose()


def schema_state(url: str) -> SchemaState:
    """Tell a database's state without changing it.

    Raises:
        StrongroomError: CONFIGURATION for a bad URL; STORE_UNAVAILABLE or INTEGRITY_FAILURE if the file
            cannot be read.
    """
    parsed = parse_url(url)
    if not Path(parsed.database or "").exists():
        return SchemaState.ABSENT
    with translated():
        engine = reading_engine(parsed, 1)
        try:
            return _state_of(_revision(engine))
        finally:
            engine.dispose()


def require_current(url: str) -> None:
    """Refuse a database that is not at this daemon's revision. Raises CONFIGURATION, saying what to do."""
    state = schema_state(url)
    if state is not SchemaState.CURRENT:
        raise _refusal(state)


def _refusal(state: SchemaState) -> StrongroomError:
    return StrongroomError(Reason.CONFIGURATION, _ADVICE[state], field="store.url")


def _state_of(revision: str | None) -> SchemaState:
    if revision is None:
        return SchemaState.ABSENT
    if revision not in REVISIONS:
        return SchemaState.NEWER
    return SchemaState.CURRENT if revision == REVISIONS[-1] else SchemaState.OUTDATED


def _revision(engine: Engine) -> str | None:
    with closing(engine.connect()) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return None if revision is None else str(revision)


def _upgrade(engine: Engine, revision: str = "head") -> None:
    from alembic import command  # noqa: PLC0415 - only a migration needs it
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
