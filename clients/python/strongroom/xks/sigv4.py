"""Signs a request to an XKS proxy as AWS KMS does: Signature Version 4 (XKS API, appendix A)."""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from strongroom.xks.credential import Credential

ALGORITHM: Final = "AWS4-HMAC-SHA256"
SERVICE: Final = "kms-xks-proxy"
SIGNED_HEADERS: Final = ("host", "x-amz-date")


@dataclass(frozen=True, slots=True)
class Request:
    """What is signed. An XKS path holds only characters that stand for themselves, and there is no query."""

    method: str
    authority: str
    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Scope:
    """For which day (yyyymmdd), Region and service a derived key is good."""

    day: str
    region: str
    service: str = SERVICE

    def __str__(self) -> str:
        return f"{self.day}/{self.region}/{self.service}/aws4_request"


def headers(
    request: Request, credential: Credential, region: str, moment: datetime, *, scope: Scope | None = None
) -> dict[str, str]:
    """Give the headers Host, X-Amz-Date and Authorization of a request.

    Args:
        request: what is signed.
        credential: with whose secret.
        region: of the caller.
        moment: the time of the request; proxies refuse more than five minutes of difference.
        scope: another scope than that of region and moment, to try out a proxy.
    """
    stamp = f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    within = scope or Scope(stamp[:8], region)
    key = signing_key(credential.secret, within)
    return {
        "Host": request.authority,
        "X-Amz-Date": stamp,
        "Authorization": f"{ALGORITHM} Credential={credential.access_key_id}/{within}, "
        f"SignedHeaders={';'.join(SIGNED_HEADERS)}, Signature={signature(request, key, stamp, within)}",
    }


def signing_key(secret: str, scope: Scope) -> bytes:
    """Derive the key of a scope; a busy caller keeps it for the day."""
    key = b"AWS4" + secret.encode()
    for part in (scope.day, scope.region, scope.service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def signature(request: Request, key: bytes, stamp: str, scope: Scope) -> str:
    """Sign with a derived key; `stamp` is the value of X-Amz-Date."""
    lines = (
        request.method,
        request.path,
        "",
        f"host:{request.authority}",
        f"x-amz-date:{stamp}",
        "",
        ";".join(SIGNED_HEADERS),
        hashlib.sha256(request.body).hexdigest(),
    )
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return hmac.digest(key, f"{ALGORITHM}\n{stamp}\n{scope}\n{digest}".encode(), "sha256").hex()
