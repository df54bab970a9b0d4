"""What is fuzzed at the XKS door: bodies, base64, signatures, paths, and the bytes of HTTP themselves."""

import asyncio
import base64
import binascii
import json
import logging
import random
import re
import time
from collections.abc import Callable
from typing import Any

from tests.fuzz.targets import expect, json_value, text
from tests.xksdoor import (
    ACCESS_KEY_ID,
    DECRYPT,
    DESCRIBE,
    ENCRYPT,
    HEALTH,
    SECRET,
    FakeProxy,
    Notes,
    call,
    make_door,
    signed,
    uri,
)

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.xks import names
from strongroomd.frontends.sigv4 import HttpParts, Verifier
from strongroomd.frontends.xks import errors, requests, routes
from strongroomd.frontends.xks.connection import Connection
from strongroomd.frontends.xks.door import SERVICE
from strongroomd.frontends.xks.errors import ErrorName
from strongroomd.frontends.xks.routes import Operation
from strongroomd.frontends.xks.server import Server, ServerSettings

DOCUMENTS: dict[Operation, dict[str, Any]] = {
    Operation.HEALTH: HEALTH,
    Operation.METADATA: DESCRIBE,
    Operation.ENCRYPT: ENCRYPT
    | {"additionalAuthenticatedData": "", "ciphertextDataIntegrityValueAlgorithm": "SHA_256"},
    Operation.DECRYPT: DECRYPT | {"additionalAuthenticatedData": "QQ==", "ciphertextMetadata": "AQAAAAE="},
}
_REFUSALS = {Reason.INVALID_FIELD, Reason.UNKNOWN_ENUM, Reason.FIELD_TOO_LARGE}
_BASE64 = "AZaz09+/==-_ \n\0é"
_NOW = 1_700_000_000.0
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) [^\r]*\r\n")
_STATUSES = {100, 200, 405, 408, 431} | {name.status for name in ErrorName}
NAMES = {name.wire for name in ErrorName}


def altered(source: random.Random, document: dict[str, Any]) -> dict[str, Any]:
    """Change some members of a request, those of its metadata included."""
    changed = {**document, "requestMetadata": dict(document["requestMetadata"])}
    for _ in range(source.randint(0, 3)):
        place = changed
        if source.random() < 0.4 and isinstance(changed.get("requestMetadata"), dict):
            place = changed["requestMetadata"]
        name = source.choice([*place, text(source, 5)])
        match source.randrange(5):
            case 0:
                place.pop(name, None)
            case 1:
                place[name] = json_value(source)
            case 2:
                place[name] = "A" * source.choice((4, 8, 2_049, 5_464, 10_924, 21_848))
            case 3:
                place[name] = base64_like(source)
            case _:
                place[name] = text(source)
    return changed


def body_of(source: random.Random, document: dict[str, Any]) -> bytes:
    """Spell a request; sometimes its bytes are damaged."""
    body = bytearray(
        json.dumps(altered(source, document), ensure_ascii=source.random() < 0.5).encode(
            "utf-8", "surrogatepass"
        )
    )
    if source.random() < 0.3:
        for _ in range(source.randint(1, 4)):
            place = source.randint(0, len(body))
            body[place : place + source.randint(0, 3)] = source.choice(
                (
                    b"",
                    b"\xff",
                    b"\xed\xa0\x80",
                    b"\\ud800",
                    b"1e999",
                    b"NaN",
                    b"[" * 3_000,
                    b'"',
                    b",",
                    b"{}",
                    b"\0",
                )
            )
    return bytes(body)


def base64_like(source: random.Random) -> str:
    """Make a text that is nearly base64."""
    kept = base64.b64encode(source.randbytes(source.randint(0, 40))).decode()
    place = source.randint(0, len(kept))
    return (
        kept[:place]
        + "".join(source.choices(_BASE64, k=source.randint(0, 2)))
        + kept[place + source.randint(0, 1) :]
    )


def fuzz_xks_body(source: random.Random) -> None:
    """Any bytes are a request, or are refused at a field, in words that may be shown."""
    operation = source.choice(list(DOCUMENTS))
    try:
        document = requests.parse(body_of(source, DOCUMENTS[operation]))
        requests.metadata(document, operation).told()
        requests.encrypt(document) if operation is Operation.ENCRYPT else requests.decrypt(document)
    except StrongroomError as error:
        expect(error.reason in _REFUSALS, "a refusal of the table")
        expect(error.field is not None, "a field")
        told = json.loads(errors.body_of(error, "0" * 24))
        expect(re.fullmatch(r"[ -~]{1,511}", told["errorMessage"]) is not None, "a message that may be shown")


def fuzz_xks_base64(source: random.Random) -> None:
    """A text is taken exactly if it is the one spelling of its bytes."""
    spelt = base64_like(source)
    try:
        value = binascii.a2b_base64(spelt.encode(), strict_mode=True)
        canonical = base64.b64encode(value).decode() == spelt
    except ValueError:
        canonical = False
    try:
        taken = requests.encrypt(ENCRYPT | {"plaintext": spelt}).plaintext.value
    except StrongroomError as error:
        expect(error.reason is Reason.INVALID_FIELD, "one refusal")
        expect(not canonical, "what is canonical is taken")
    else:
        expect(canonical, "what is not canonical is refused")
        expect(taken == value, "the very bytes")


def fuzz_xks_path(source: random.Random) -> None:
    """A path leads where its one spelling says, or nowhere."""
    path = uri(
        source.choice(("health", "encrypt", "decrypt", "metadata")),
        prefix=source.choice(("", "/p1", "/a/b-_")),
    )
    for _ in range(source.randint(0, 2)):
        place = source.randint(0, len(path))
        piece = source.choice(
            ("/", "//", ".", "..", "%2e", "%00", "\n", "é", "A", "?", "#", "kms", text(source, 3))
        )
        path = path[:place] + piece + path[place + source.randint(0, 2) :]
    route = routes.find(path)
    if route is not None:
        act = {"GetHealthStatus": "health", "GetKeyMetadata": "metadata"}.get(
            route.operation, route.operation.lower()
        )
        expect(uri(act, route.external_key_id, route.prefix) == path, "one spelling")


class _Signer:
    access_key_id, secret, revision = ACCESS_KEY_ID, SECRET, 1


def fuzz_xks_signature(source: random.Random) -> None:
    """Whatever the headers, a request is believed only with the signature of these very bytes."""
    path, body = uri("health"), source.randbytes(8)
    headers = {name.lower(): value for name, value in signed(path, body, at=_NOW).items()}
    pairs = [(name, _bent(source, value)) for name, value in headers.items()]
    if source.random() < 0.3:
        pairs.insert(
            source.randrange(4), source.choice([*pairs, ("x-amz-date", text(source)), (text(source, 6), "")])
        )
    sent = body if source.random() < 0.7 else body[:-1]
    parts = HttpParts("POST", path, "", tuple(pairs), sent)
    verifier = Verifier(lambda: _NOW, SERVICE)
    try:
        claim = verifier.read(parts)
        known = names.is_access_key_id(claim.access_key_id)
        verifier.verify(parts, claim, _Signer() if known else None)
    except StrongroomError as error:
        expect(error.reason is Reason.UNAUTHENTICATED_PEER, "one refusal")
    else:
        told = {name: " ".join(value.split()) for name, value in pairs if name in headers}
        same = all(told[name] == headers[name] for name in ("host", "x-amz-date"))
        expect(
            same and sent == body and claim.signature in headers["authorization"],
            "nothing signed was changed",
        )


def _bent(source: random.Random, value: str) -> str:
    if source.random() < 0.7:
        return value
    place = source.randint(0, len(value))
    piece = source.choice(("", " ", ",", ";", "=", "/", "A", "0", "\x00", "é", text(source, 3)))
    bent = value[:place] + piece + value[place + source.randint(0, 2) :]
    # As the door reads headers: bytes that are no UTF-8 come as the surrogates that stand for them.
    return bent.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")


class _Logged(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, kept: list[Any]) -> None:
        super().__init__()
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(record.getMessage())


class _Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written, self.closing = bytearray(), False

    def write(self, data: Any) -> None:
        if self.closing:
            raise RuntimeError("the handler is closed")  # as uvloop says
        self.written += data

    def close(self) -> None:
        self.closing = True

    abort = close

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        """Nothing to do."""

    resume_reading = pause_reading

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing to do."""


_LINES = (
    b"\r\n", b"\n", b"\r", b" ", b"\0", b":", b"GET /ping HTTP/1.1\r\nHost: h\r\n\r\n", b"Host: h\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"0\r\n\r\n", b"5;a=b\r\nhello\r\n",
    b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"X: " + b"a" * 5_000 + b"\r\n",
)  # fmt: skip


def fuzz_xks_http(source: random.Random) -> None:
    """Any bytes, in any pieces, end in answers of the table, one after the other, or in a closed connection."""
    stream = bytearray()
    for _ in range(source.randint(1, 3)):
        request = bytearray(call("health", HEALTH))
        for _ in range(source.randint(0, 3)):
            place = source.randint(0, len(request))
            request[place : place + source.randint(0, 4)] = source.choice((*_LINES, source.randbytes(3)))
        stream += request
    asyncio.run(_poured(source, bytes(stream)))


async def _poured(source: random.Random, stream: bytes) -> None:
    unexpected: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: unexpected.append(what))
    logged = _Logged(unexpected)
    logging.getLogger("uvicorn.error").addHandler(logged)
    proxy, notes, wire = FakeProxy(), Notes(), _Wire()
    door = make_door(proxy, notes)
    server = Server(ServerSettings("127.0.0.1", 0, 10), None, door, lambda: True)
    connection = Connection(server, time.monotonic())
    connection.connection_made(wire)
    while stream and not wire.closing:
        size = source.choice((1, 7, 100, 10_000))
        connection.data_received(stream[:size])
        stream = stream[size:]
        if source.random() < 0.2:
            await asyncio.sleep(0)
    ends = time.monotonic() + 2
    while server.state.tasks and time.monotonic() < ends:
        await asyncio.sleep(0.001)
        if connection.phase.name != "ANSWERING":
            break
    connection.connection_lost(None)
    await asyncio.sleep(0)
    logging.getLogger("uvicorn.error").removeHandler(logged)
    expect(not unexpected, f"nothing unexpected: {unexpected}")
    for status in _STATUS.findall(bytes(wire.written)):
        expect(int(status) in _STATUSES, f"a status of the table: {int(status)}")
    for name in re.findall(rb'"errorName":"(\w+)"', wire.written):
        expect(name.decode() in NAMES - {"InternalException"}, f"a name of the table: {name!r}")
    expect(len(proxy.calls) <= 3, "no request is served twice")


TARGETS: dict[str, Callable[[random.Random], None]] = {
    "xks-body": fuzz_xks_body,
    "xks-base64": fuzz_xks_base64,
    "xks-path": fuzz_xks_path,
    "xks-signature": fuzz_xks_signature,
    "xks-http": fuzz_xks_http,
}
