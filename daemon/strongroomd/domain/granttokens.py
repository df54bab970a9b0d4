"""Grant tokens: a grant's name that only this house can have written.

A token is no right by itself: it lets a worker that has not heard of the grant yet know that it must read the
journal first. Layout, in base64url without padding: version (1), nonce, the journal's position by which the
grant was made (big-endian), grant id, MAC of all before it. The nonce makes each token of a grant a new one.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.limits import MAX_GRANT_TOKEN

NONCE_BYTES: Final = 8
GRANT_ID_BYTES: Final = 32
_VERSION: Final = b"\x01"
_SEQUENCE_BYTES: Final = 8
_MAC_BYTES: Final = 32
_BODY_BYTES: Final = 1 + NONCE_BYTES + _SEQUENCE_BYTES + GRANT_ID_BYTES
_DOMAIN: Final = b"strongroom.grant-token.v1"


@dataclass(frozen=True, slots=True)
class GrantToken:
    """What a token says.

    Attributes:
        grant_id: 64 hexadecimal digits.
        sequence: a journal position at which the grant exists.
        nonce: 8 random bytes.
    """

    grant_id: str
    sequence: int
    nonce: bytes

    def message(self) -> bytes:
        """Give the bytes under the MAC."""
        return _DOMAIN + self._body()

    def _body(self) -> bytes:
        sequence = self.sequence.to_bytes(_SEQUENCE_BYTES)
        return _VERSION + self.nonce + sequence + bytes.fromhex(self.grant_id)

    def spell(self, mac: bytes) -> str:
        """Write the token."""
        return base64.urlsafe_b64encode(self._body() + mac).decode().rstrip("=")


def parse(text: str, field: str = "grant_tokens") -> tuple[GrantToken, bytes]:
    """Read a token and its MAC, which is not verified here.

    Raises:
        StrongroomError: INVALID_GRANT_TOKEN for what no daemon writes, another spelling of a token included.
    """
    raw = _raw(text)
    if len(raw) != _BODY_BYTES + _MAC_BYTES or not raw.startswith(_VERSION):
        raise refused(field)
    nonce, rest = raw[1 : 1 + NONCE_BYTES], raw[1 + NONCE_BYTES : _BODY_BYTES]
    sequence, grant_id = rest[:_SEQUENCE_BYTES], rest[_SEQUENCE_BYTES:]
    token = GrantToken(grant_id.hex(), int.from_bytes(sequence), nonce)
    mac = raw[_BODY_BYTES:]
    if token.spell(mac) != text:
        raise refused(field)
    return token, mac


def _raw(text: str) -> bytes:
    if len(text) > MAX_GRANT_TOKEN:
        return b""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""


def refused(field: str) -> StrongroomError:
    """Make the one answer for what is no token of this house."""
    return StrongroomError(Reason.INVALID_GRANT_TOKEN, field=field)
