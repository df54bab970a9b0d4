"""The one place where SQL's errors become the daemon's."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from strongroomd.domain.errors import Reason, StrongroomError

_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
RETRY_AFTER = 0.5  # seconds: a busy writer is usually done by then


@contextmanager
def translated(conflict: Reason = Reason.INTERNAL) -> Iterator[None]:
    """Turn whatever SQL raises into one StrongroomError.

    Args:
        conflict: the reason for a violated constraint, where the caller can cause one.
    """
    try:
        yield
    except SQLAlchemyError as error:
        raise _translate(error, conflict) from error
    except sqlite3.Error as error:
        raise _damage(error) if _is_damage(error) else _unavailable(error) from error
    except OSError as error:
        raise _unavailable(error) from error


def _translate(error: SQLAlchemyError, conflict: Reason) -> StrongroomError:
    if isinstance(error, IntegrityError):
        return StrongroomError(conflict, detail=f"store: {_name(error)}")
    if isinstance(error, PoolTimeout) or not isinstance(error, DBAPIError):
        return _unavailable(error)
    return _damage(error) if _is_damage(error.orig) else _unavailable(error)


def _is_damage(orig: BaseException | None) -> bool:
    # The primary code is the low byte. Text that is not UTF-8 carries no code of its own.
    code = getattr(orig, "sqlite_errorcode", 0) or 0
    return code & 0xFF in _DAMAGE or "Could not decode to UTF-8" in str(orig)


def _damage(error: BaseException) -> StrongroomError:
    return StrongroomError(Reason.INTEGRITY_FAILURE, detail=f"store: {_name(error)}")


def _unavailable(error: BaseException) -> StrongroomError:
    return StrongroomError(Reason.STORE_UNAVAILABLE, retry_after=RETRY_AFTER, detail=f"store: {_name(error)}")


def _name(error: BaseException) -> str:
    """Name an error without its statement and values, which may be long."""
    orig = getattr(error, "orig", None)
    return getattr(orig, "sqlite_errorname", None) or type(orig or error).__name__
