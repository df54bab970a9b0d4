"""AWS Signature Version 4, the verifying side: who signed a request, whatever the door.

The signature covers method, path, query, the named headers and the whole body, so it is worked out from the
parts as they were sent; nothing is decoded first. A request is taken apart by `read_claim`, which believes
nothing; only `Verifier.verify` says that whoever sent it holds the secret. Every refusal is
UNAUTHENTICATED_PEER; its detail is for the log. An unknown access key is verified against a secret that
nobody has, so that neither the answer nor its time tells whether the key exists.
"""

import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NoReturn, Protocol
from urllib.parse import quote, unquote_to_bytes

from strongroomd.domain.errors import Reason, StrongroomError

SKEW_SECONDS: Final = 300
"""How far the clocks of signer and verifier may be apart, either way."""
MAX_AUTHORIZATION: Final = 2_048  # bytes; KMS's has about 250
_MOST_KEYS: Final = 1_024  # signing keys remembered; one for each credential, day and Region
_SECRET: Final = range(43, 65)  # characters of a secret access key
_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_TERMINATOR: Final = "aws4_request"
_AUTHORIZATION: Final = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=(?P<id>[!-+\--.0-~]{1,128})/(?P<day>[0-9]{8})"
    r"/(?P<region>[a-z0-9-]{1,32})/(?P<service>[a-z0-9-]{1,64})/aws4_request"
    r", *SignedHeaders=(?P<headers>[!-+\--:<-~]+(?:;[!-+\--:<-~]+)*)"
    r", *Signature=(?P<signature>[0-9a-f]{64})",
    re.ASCII,
)
_DATE: Final = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z", re.ASCII)
_RAW: Final = "surrogateescape"  # how doors decode what need not be UTF-8, so that its bytes come back
_UNRESERVED: Final = "-_.~"  # besides letters and digits: never percent-encoded (RFC 3986, 2.3)
_PLAIN_PATH: Final = re.compile(r"/[A-Za-z0-9_~/-]*", re.ASCII)
_MESSAGE: Final = "the request's signature is missing, malformed or not that of a known credential"
_EARLY_OR_LATE: Final = "the request was signed more than 5 minutes ago or ahead"


class Signer(Protocol):
    """A credential that requests may be signed with."""

    @property
    def access_key_id(self) -> str:
        """Its public name."""
        ...

    @property
    def secret(self) -> bytes:
        """The secret access key, 43 to 64 characters."""
        ...

    @property
    def revision(self) -> int:
        """Changes whenever the secret does."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class HttpParts:
    """A request as it was sent; its body may hold plaintext.

    Attributes:
        method: e.g. `POST`.
        path, query: what stands before and after the first question mark of the target.
        headers: lower-case names and values, in order.
        body: all of it.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """What an Authorization header says, not yet believed.

    Attributes:
        access_key_id: who claims to have signed.
        stamp: x-amz-date as sent.
        region, service: of the credential scope.
        signed: names of the headers under the signature, sorted.
        signature: 64 hexadecimal digits.
    """

    access_key_id: str
    stamp: str
    region: str
    service: str
    signed: tuple[str, ...]
    signature: str

    @property
    def day(self) -> str:
        """The day of the scope, the same as the stamp's."""
        return self.stamp[:8]

    @property
    def scope(self) -> str:
        """The credential scope."""
        return f"{self.day}/{self.region}/{self.service}/{_TERMINATOR}"


def refuse(detail: str, message: str = _MESSAGE) -> NoReturn:
    """Refuse a request whose signature is not good; the detail is for the log alone."""
    raise StrongroomError(Reason.UNAUTHENTICATED_PEER, message, detail=detail)


def read_claim(headers: Iterable[tuple[str, str]], service: str, now: float) -> Claim:
    """Take the Authorization header apart, and see that the request is of now and for this service.

    Args:
        headers: lower-case names and values.
        service: whom the request must be meant for, e.g. `kms-xks-proxy`.
        now: seconds since the Unix epoch.

    Raises:
        StrongroomError: UNAUTHENTICATED_PEER.
    """
    authorization = stamp = None
    for name, value in headers:
        if name == "authorization":
            authorization = value if authorization is None else refuse("two Authorization headers")
        elif name == "x-amz-date":
            stamp = value if stamp is None else refuse("two x-amz-date headers")
    if authorization is None or stamp is None:
        refuse("no Authorization or no x-amz-date header")
    claim = _taken_apart(authorization, stamp, service)
    if abs(_seconds(stamp) - now) > SKEW_SECONDS:
        refuse("x-amz-date is too far from now", _EARLY_OR_LATE)
    return claim


def _taken_apart(authorization: str, stamp: str, service: str) -> Claim:
    match = _AUTHORIZATION.fullmatch(authorization) if len(authorization) <= MAX_AUTHORIZATION else None
    if match is None:
        refuse("the Authorization header is not in its form")
    if match["day"] != stamp[:8]:
        refuse("the credential scope is of another day than x-amz-date")
    if match["service"] != service:
        refuse("the credential scope is for another service")
    signed = tuple(match["headers"].split(";"))
    if list(signed) != sorted(set(signed)) or match["headers"].lower() != match["headers"]:
        refuse("SignedHeaders are not sorted, unique and in lower case")
    if "host" not in signed or "x-amz-date" not in signed:
        refuse("host or x-amz-date is not signed")
    return Claim(match["id"], stamp, match["region"], service, signed, match["signature"])


def _seconds(stamp: str) -> float:
    """Read an x-amz-date; the calendar keeps out what is in its form and no date."""
    match = _DATE.fullmatch(stamp)
    if match is None:
        refuse("x-amz-date is not in its form")
    year, month, day, hour, minute, second = map(int, match.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        refuse("x-amz-date is no date")


def canonical_request(parts: HttpParts, signed: tuple[str, ...]) -> str:
    """Spell a request as its signer must have spelt it.

    Raises:
        StrongroomError: UNAUTHENTICATED_PEER if a signed header is missing.
    """
    values: dict[str, str] = {}
    for name, value in parts.headers:
        if name in signed:
            text = " ".join(value.split())
            values[name] = f"{values[name]},{text}" if name in values else text
    if len(values) != len(signed):
        refuse("a signed header is missing")
    lines = "".join([f"{name}:{values[name]}\n" for name in signed])
    body = hashlib.sha256(parts.body).hexdigest()
    path, query = canonical_path(parts.path), canonical_query(parts.query)
    return f"{parts.method}\n{path}\n{query}\n{lines}\n{';'.join(signed)}\n{body}"


def canonical_path(path: str) -> str:
    """Remove dot segments and doubled slashes, and percent-encode the path as sent once more."""
    if _PLAIN_PATH.fullmatch(path) and "//" not in path:
        return path
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in {"", "."}:
            kept.append(segment)
    folder = "/" if kept and path.rpartition("/")[2] in {"", ".", ".."} else ""
    return quote(f"/{'/'.join(kept)}{folder}".encode("utf-8", _RAW), safe=f"/{_UNRESERVED}")


def canonical_query(query: str) -> str:
    """Sort the parameters, each percent-encoded in one way."""
    if not query:
        return ""
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    spelt = sorted((_encoded(name), _encoded(value)) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in spelt)


def _encoded(text: str) -> str:
    return quote(unquote_to_bytes(text.encode("utf-8", _RAW)), safe=_UNRESERVED)


def signing_key(secret: bytes, day: str, region: str, service: str) -> bytes:
    """Derive the key that signs one day's requests to one service of one Region."""
    key = b"AWS4" + secret
    for part in (day, region, service, _TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def signature(key: bytes, claim: Claim, canonical: str) -> str:
    """Sign a canonical request by a derived key: 64 hexadecimal digits."""
    digest = hashlib.sha256(canonical.encode("utf-8", _RAW)).hexdigest()
    text = f"{_ALGORITHM}\n{claim.stamp}\n{claim.scope}\n{digest}"
    return hmac.digest(key, text.encode(), "sha256").hex()


@dataclass(frozen=True, slots=True, repr=False)
class _Derived:
    secret: bytes
    key: bytes


class Verifier:
    """Verifies signatures, remembering derived keys.

    Args:
        clock: seconds since the Unix epoch.
        service: whom requests must be meant for.
    """

    def __init__(self, clock: Callable[[], float], service: str) -> None:
        self._clock = clock
        self._service = service
        self._nobodys = secrets.token_hex(24).encode()
        self._derived: OrderedDict[tuple[str, int, str, str], _Derived] = OrderedDict()

    def read(self, parts: HttpParts) -> Claim:
        """Take a request's claim. Raises UNAUTHENTICATED_PEER."""
        return read_claim(parts.headers, self._service, self._clock())

    def verify(self, parts: HttpParts, claim: Claim, signer: Signer | None) -> None:
        """Require that a request was signed by this credential.

        Args:
            parts: the request.
            claim: what `read` gave for it.
            signer: the credential with the claim's access key id; None if there is none.

        Raises:
            StrongroomError: UNAUTHENTICATED_PEER.
        """
        known = signer is not None and signer.access_key_id == claim.access_key_id
        if signer is None or not known or len(signer.secret) not in _SECRET:
            key, known = self._key("", 0, self._nobodys, claim), False
        else:
            key = self._key(signer.access_key_id, signer.revision, signer.secret, claim)
        expected = signature(key, claim, canonical_request(parts, claim.signed))
        if not hmac.compare_digest(expected, claim.signature) or not known:
            refuse("the signature is not that of a known credential")

    def _key(self, access_key_id: str, revision: int, secret: bytes, claim: Claim) -> bytes:
        """Give the derived key; one that was derived from another secret is never found."""
        name = (access_key_id, revision, claim.day, claim.region)
        found = self._derived.get(name)
        if found is None or not hmac.compare_digest(found.secret, secret):
            found = self._derived[name] = _Derived(
                secret, signing_key(secret, claim.day, claim.region, self._service)
            )
            if len(self._derived) > _MOST_KEYS:
                self._derived.popitem(last=False)
        else:
            self._derived.move_to_end(name)
        return found.key
