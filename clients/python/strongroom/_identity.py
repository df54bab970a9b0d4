"""What a client says of itself beyond its certificate, as metadata of each call.

A role that the settings name is assumed when it is first needed, and again a minute before the session ends.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

from strongroom import results
from strongroom._rpc import Call
from strongroom.calls import credentials

Metadata = tuple[tuple[str, str], ...]
SESSION: Final = "strongroom-session"
_SESSION_NAME: Final = "strongroom-python"
_RENEW_SECONDS: Final = 60.0


class AssumedRole:
    """The session of a client's role; shared by all views of the client.

    Args:
        role: the role's ARN.
        wall: seconds since the Unix epoch.
    """

    def __init__(self, role: str, wall: Callable[[], float] = time.time) -> None:
        self.lock = threading.Lock()
        self._role = role
        self._wall = wall
        self._session: results.RoleSession | None = None

    def call(self) -> Call[results.RoleSession]:
        """Make the call that assumes the role."""
        return credentials.assume_role(self._role, _SESSION_NAME)

    def keep(self, session: results.RoleSession) -> Metadata:
        """Use this session from now on; gives its metadata."""
        self._session = session
        return session_metadata(session.session_token)

    def metadata(self) -> Metadata | None:
        """Give the metadata of the session; None when it is time for another."""
        session = self._session
        if session is None or session.expire_time is None:
            return None
        left = session.expire_time.timestamp() - self._wall()
        return session_metadata(session.session_token) if left > _RENEW_SECONDS else None


def session_metadata(token: str) -> Metadata:
    """Spell a role session's token."""
    return ((SESSION, token),)


def behalf_metadata(
    via_service: str,
    caller_account: str,
    source_principal: str,
    source_arn: str = "",
    source_account: str = "",
) -> Metadata:
    """Spell for whom a trusted service calls."""
    given = (
        ("strongroom-via-service", via_service),
        ("strongroom-caller-account", caller_account),
        ("strongroom-source-principal", source_principal),
        ("strongroom-source-arn", source_arn),
        ("strongroom-source-account", source_account),
    )
    return tuple((name, value) for name, value in given if value)
