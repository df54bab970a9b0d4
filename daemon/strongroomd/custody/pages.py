"""Opaque page tokens, bound to the request that they continue.

A token is a bookmark and no secret: whoever makes one up sees nothing that the request itself would not show.
Where the place itself tells something, as in the audit log, it is sealed.
"""

import base64
import binascii
import hashlib
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroomd.custody.passage import Passage
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.limits import DEFAULT_PAGE, MAX_PAGE

LABEL: Final = b"strongroom.page-token.v1"
"""What the row MAC key makes the key of sealed tokens of."""
_NONCE_BYTES: Final = 12
_TAG_BYTES = 12
_MOST_DIGITS = 18


def page_size(asked: int, field: str = "page_size") -> int:
    """Settle a page size: 0 means 100, at most 1,000."""
    if not 0 <= asked <= MAX_PAGE:
        raise invalid(field, f"must be from 0 to {MAX_PAGE}")
    return asked or DEFAULT_PAGE


def asker(passage: Passage) -> tuple[str, str]:
    """Give what every token is bound to: the method and who calls it."""
    return passage.action.value, passage.caller.principal.arn


def encode(after: str, *request: str) -> str:
    """Make the token that continues a request after an id."""
    return base64.urlsafe_b64encode(_tag(request) + after.encode()).decode().rstrip("=")


def decode(token: str, *request: str) -> str:
    """Give the id after which a token continues; empty for the first page.

    Raises:
        StrongroomError: INVALID_PAGE_TOKEN for anything but a token of the same request.
    """
    if not token:
        return ""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        after = raw[_TAG_BYTES:].decode()
    except (binascii.Error, ValueError):
        raise StrongroomError(Reason.INVALID_PAGE_TOKEN, field="page_token") from None
    if raw[:_TAG_BYTES] != _tag(request) or not after:
        raise StrongroomError(Reason.INVALID_PAGE_TOKEN, field="page_token")
    return after


def decode_number(token: str, *request: str) -> int:
    """Give the number after which a token continues; 0 for the first page. Raises INVALID_PAGE_TOKEN."""
    after = decode(token, *request)
    if not after:
        return 0
    if not (after.isascii() and after.isdigit() and len(after) <= _MOST_DIGITS):
        raise StrongroomError(Reason.INVALID_PAGE_TOKEN, field="page_token")
    return int(after)


class SealedTokens:
    """Tokens whose content is nobody's but the daemon's: where a page ends in what its asker may not see.

    Args:
        key: AES-256 key; the same in every worker.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def encode(self, after: str, *request: str) -> str:
        """Make the token that continues a request after a place."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, after.encode(), _tag(request))
        return base64.urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    def decode(self, token: str, *request: str) -> str:
        """Give the place after which a token continues; empty for the first page.

        Raises:
            StrongroomError: INVALID_PAGE_TOKEN for anything but a token of the same request.
        """
        if not token:
            return ""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            return self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _tag(request)).decode()
        except (binascii.Error, ValueError, InvalidTag):
            raise StrongroomError(Reason.INVALID_PAGE_TOKEN, field="page_token") from None


def _tag(request: tuple[str, ...]) -> bytes:
    body = b"".join(len(part).to_bytes(4) + part for part in (text.encode() for text in request))
    return hashlib.sha256(body).digest()[:_TAG_BYTES]
