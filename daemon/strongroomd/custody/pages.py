"""Opaque page tokens, bound to the request that they continue."""

import base64
import binascii
import hashlib

from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.limits import DEFAULT_PAGE, MAX_PAGE

_TAG_BYTES = 12


def page_size(asked: int, field: str = "page_size") -> int:
    """Settle a page size: 0 means 100, at most 1,000."""
    if not 0 <= asked <= MAX_PAGE:
        raise invalid(field, f"must be from 0 to {MAX_PAGE}")
    return asked or DEFAULT_PAGE


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


def _tag(request: tuple[str, ...]) -> bytes:
    return hashlib.sha256(b"\x00".join(part.encode() for part in request)).digest()[:_TAG_BYTES]
