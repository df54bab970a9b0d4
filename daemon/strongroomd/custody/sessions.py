"""Role sessions: tokens that say who has assumed which role, believed because the HSM made their MAC.

Nothing is stored. A token is bound to the certificate that it was given to, ends by itself, and is void as
soon as its role is disabled, made anew, or has its epoch raised.

    token = base64url(JSON of the session || HMAC-SHA-256(label || JSON)), without padding
"""

import base64
import binascii
import hmac
from collections import OrderedDict
from dataclasses import astuple
from typing import Final

import orjson

from strongroomd.custody.clock import Clock
from strongroomd.custody.directory import Directory
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.limits import MAX_SESSION_TOKEN, SESSIONS_REMEMBERED
from strongroomd.domain.principals import Principal, RoleSession
from strongroomd.ports import RowMacs

_LABEL: Final = b"strongroom.role-session.v1"
_MAC: Final = 32


class Sessions:
    """Makes tokens and takes them back.

    Args:
        vault: makes the MACs.
        directory: knows the roles.
        clock: ends sessions.
    """

    def __init__(self, vault: RowMacs, directory: Directory, clock: Clock) -> None:
        self._vault = vault
        self._directory = directory
        self._clock = clock
        self._opened: OrderedDict[str, RoleSession] = OrderedDict()

    async def token(self, session: RoleSession) -> str:
        """Make the token of a session."""
        body = orjson.dumps(astuple(session))
        return base64.urlsafe_b64encode(body + await self._mac(body)).decode().rstrip("=")

    async def open(self, token: str) -> RoleSession:
        """Believe a token that the HSM made; whether the session still holds is for `role` to say.

        Raises:
            StrongroomError: UNAUTHENTICATED_PEER.
        """
        session = self._opened.get(token)
        if session is None:
            session = await self._open(token)
            await self._directory.catch_up()  # another worker may have made the role just now
            self._opened[token] = session
            if len(self._opened) > SESSIONS_REMEMBERED:
                self._opened.popitem(last=False)
        return session

    async def _open(self, token: str) -> RoleSession:
        if len(token) > MAX_SESSION_TOKEN:
            raise void("too long")
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise void("not base64url") from None
        body, mac = raw[:-_MAC], raw[-_MAC:]
        if not hmac.compare_digest(await self._mac(body), mac):
            raise void("not made by this token")
        return RoleSession(*orjson.loads(body))

    async def _mac(self, body: bytes) -> bytes:
        return await self._vault.row_mac(_LABEL + body)

    def role(self, session: RoleSession, holder: Principal, certificate: str) -> Principal:
        """Give the role as which the holder of a certificate may call now.

        Raises:
            StrongroomError: UNAUTHENTICATED_PEER, for every cause the same.
        """
        self._directory.require_fresh()
        if (session.source, session.certificate) != (holder.arn, certificate):
            raise void("of another certificate")
        if self._clock.wall_ms() >= session.expires_at:
            raise void("expired")
        record = self._directory.principal(session.role)
        if record is None or (record.unique_id, record.session_epoch) != (session.unique_id, session.epoch):
            raise void("revoked")
        role = self._directory.admit(session.role)
        if role is None:
            raise void("the role is disabled")
        return role


def void(detail: str) -> StrongroomError:
    """Make the one answer for every session that is not valid."""
    return StrongroomError(Reason.UNAUTHENTICATED_PEER, "the role session is not valid", detail=detail)
