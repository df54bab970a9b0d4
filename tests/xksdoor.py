"""The XKS door with a made-up core behind it, and clients: one that signs as KMS does, and one that is rude."""

import asyncio
import datetime as dt
import functools
import hashlib
import hmac
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvloop

from strongroomd.custody.threshold import Attempt
from strongroomd.custody.xks.proxy import XksCall
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.principals import Caller, Principal
from strongroomd.domain.xks.layout import SealedParts
from strongroomd.frontends.grpc.pki import Authority
from strongroomd.frontends.sigv4 import Verifier
from strongroomd.frontends.xks.door import SERVICE, Door
from strongroomd.frontends.xks.server import Server, ServerSettings
from strongroomd.frontends.xks.tls import Tls, TlsFiles, load

ACCESS_KEY_ID = "BETWEEN2TENAND3TENCHARACTERS"
SECRET = b"PleaseReplaceThisWithSomeSecretOfLength43To64"
PREFIX = "/p1"
ACCOUNT = "111122223333"
STORE = SimpleNamespace(
    store_id="xks-0123456789abcdef",
    prefix=PREFIX,
    account=ACCOUNT,
    blocked=False,
    principal=Principal(f"arn:aws:iam::{ACCOUNT}:service/xks/xks-0123456789abcdef", ACCOUNT),
)
METADATA = {
    "kmsRequestId": "4112f4d6-db54-4af4-ae30-c55a22a8dfae",
    "kmsOperation": "Encrypt",
    "awsPrincipalArn": "arn:aws:iam::123456789012:user/alice",
    "kmsKeyArn": "arn:aws:kms:us-east-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
}
HEALTH = {"requestMetadata": {"kmsRequestId": "", "kmsOperation": "KmsHealthCheck"}}
DESCRIBE = {"requestMetadata": METADATA | {"kmsOperation": "CreateKey"}}
ENCRYPT = {"requestMetadata": METADATA, "plaintext": "SGVsbG8=", "encryptionAlgorithm": "AES_GCM"}
DECRYPT = {
    "requestMetadata": METADATA | {"kmsOperation": "Decrypt"},
    "ciphertext": "SGVsbG8=",
    "initializationVector": "AAAAAAAAAAAAAAAA",
    "authenticationTag": "AAAAAAAAAAAAAAAAAAAAAA==",
    "encryptionAlgorithm": "AES_GCM",
}
FLEET = SimpleNamespace(
    fleet_size=1,
    vendor="Strongroom",
    model="Strongroom 1",
    ekm_vendor="SoftHSM",
    fleet=(SimpleNamespace(id="main", model="SoftHSM 2.6.1", status="ACTIVE"),),
)


@dataclass
class FakeProxy:
    """A core that does no cryptography: what is encrypted is the plaintext.

    Attributes:
        fails: raised by every use case, if set.
        hangs: awaited by every use case, if set.
        calls: what use cases were called with.
        uses: good signatures.
        called: set once a use case is called.
        shed: deadlines that were held against what waits before the token; with `sheds` they are refused.
        left: calls that the store's limit still grants; None where it has no limit.
    """

    fails: Exception | None = None
    hangs: Any = None
    calls: list[tuple[str, Caller, XksCall]] = field(default_factory=list)
    uses: list[tuple[str, str]] = field(default_factory=list)
    called: asyncio.Event = field(default_factory=asyncio.Event)
    shed: list[float] = field(default_factory=list)
    sheds: bool = False
    left: int | None = None
    signers: dict[str, Any] = field(
        default_factory=lambda: {
            ACCESS_KEY_ID: SimpleNamespace(access_key_id=ACCESS_KEY_ID, secret=SECRET, revision=1)
        }
    )

    def require_turn(self, _store: Any, deadline: float, ahead: int = 0) -> None:
        self.shed.append(deadline)
        if self.left is not None and self.left <= ahead:
            raise StrongroomError(Reason.QUOTA_EXCEEDED, retry_after=0.1)
        if self.sheds:
            raise StrongroomError(Reason.OVERLOADED, retry_after=0.1)

    def store(self, prefix: str) -> Any:
        return STORE if prefix == PREFIX else None

    async def secrets(self, _store: Any, access_key_id: str) -> Any:
        return self.signers.get(access_key_id)

    def used(self, store: Any, access_key_id: str) -> None:
        self.uses.append((store.store_id, access_key_id))

    async def _called(self, name: str, caller: Caller, call: XksCall) -> None:
        caller.passed = True
        if self.left is not None:
            self.left -= 1
        self.calls.append((name, caller, call))
        self.called.set()
        if self.hangs is not None:
            await self.hangs.wait()
        if self.fails is not None:
            raise self.fails

    async def health(self, caller: Caller, call: XksCall) -> Any:
        await self._called("health", caller, call)
        return FLEET

    async def metadata(self, caller: Caller, call: XksCall) -> Any:
        await self._called("metadata", caller, call)
        return SimpleNamespace(spec="AES_256", usages=("ENCRYPT", "DECRYPT"), enabled=True)

    async def encrypt(
        self, caller: Caller, call: XksCall, plaintext: bytes, aad: bytes | None, *, integrity: bool
    ) -> SealedParts:
        await self._called("encrypt", caller, call)
        value = hashlib.sha256(aad or b"").digest() if integrity else b""
        return SealedParts(plaintext, bytes(12), bytes(16), b"\1\0\0\0\1", value)

    async def decrypt(self, caller: Caller, call: XksCall, parts: SealedParts, aad: bytes | None) -> bytes:
        await self._called("decrypt", caller, call)
        return parts.ciphertext


@dataclass
class Notes:
    """A threshold and a meter that remember."""

    refused: list[tuple[Attempt, StrongroomError]] = field(default_factory=list)
    finished_calls: list[tuple[str, str, str]] = field(default_factory=list)
    drops: list[str] = field(default_factory=list)

    async def refuse(self, attempt: Attempt, error: StrongroomError) -> StrongroomError:
        self.refused.append((attempt, error))
        return error

    def finished(self, operation: str, kms_operation: str, error: str, _seconds: float) -> None:
        self.finished_calls.append((operation, kms_operation, error))

    def dropped(self, cause: str) -> None:
        self.drops.append(cause)


def make_door(proxy: Any, notes: Any, *, deadline: float = 5.0, most: int = 64) -> Door:
    return Door(proxy, Verifier(time.time, SERVICE), notes, notes, deadline=deadline, most=most)


def signed(
    path: str,
    body: bytes,
    *,
    method: str = "POST",
    host: str = "xks.example.com",
    secret: bytes = SECRET,
    access_key_id: str = ACCESS_KEY_ID,
    region: str = "us-east-1",
    service: str = SERVICE,
    at: float | None = None,
) -> dict[str, str]:
    """Headers as KMS signs them; written without the daemon's own code."""
    when = dt.datetime.fromtimestamp(time.time() if at is None else at, dt.UTC)
    stamp = when.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    canonical = f"{method}\n{path}\n\nhost:{host}\nx-amz-date:{stamp}\n\nhost;x-amz-date\n"
    canonical += hashlib.sha256(body).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = b"AWS4" + secret
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), "sha256").digest()
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    credential = f"Credential={access_key_id}/{scope}, SignedHeaders=host;x-amz-date, Signature={signature}"
    return {"Host": host, "X-Amz-Date": stamp, "Authorization": f"AWS4-HMAC-SHA256 {credential}"}


def uri(act: str, key: str = "key-1", prefix: str = PREFIX) -> str:
    return f"{prefix}/kms/xks/v1/health" if act == "health" else f"{prefix}/kms/xks/v1/keys/{key}/{act}"


def raw(path: str, body: bytes, headers: dict[str, str], method: str = "POST") -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def call(act: str, document: Any, **options: Any) -> bytes:
    """A whole signed request."""
    body = json.dumps(document).encode()
    path = uri(act)
    return raw(path, body, signed(path, body, **options))


def on_uvloop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on the daemon's own loop, whose TLS is not asyncio's."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        uvloop.run(test(*args, **kwargs))

    return run


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return str(self.json.get("errorName", ""))


class Peer:
    """One connection to the door."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, request: bytes, *, body: bool = True) -> Answer:
        self.writer.write(request)
        return await self.answer(body=body)

    async def answer(self, *, body: bool = True) -> Answer:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)).decode().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
        }
        length = int(headers.get("content-length", 0)) if body else 0
        return Answer(int(head[0].split(" ")[1]), headers, await self.reader.readexactly(length))

    async def closed(self, seconds: float = 5.0) -> bool:
        """Whether the door hangs up within a time."""
        try:
            return not await asyncio.wait_for(self.reader.read(1), seconds)
        except TimeoutError:
            return False
        except (ConnectionError, ssl.SSLError):
            return True

    def close(self) -> None:
        self.writer.transport.abort()


def issue(folder: Path, authority: Authority, *, name: str = "server") -> TlsFiles:
    folder.mkdir(exist_ok=True)
    files = TlsFiles(folder / f"{name}.pem", folder / f"{name}.key")
    authority.server(["localhost", "127.0.0.1"]).write(files.certificate, files.key)
    return files


@dataclass
class Served:
    server: Server
    door: Door
    proxy: FakeProxy
    notes: Notes
    port: int
    trust: ssl.SSLContext | None
    peers: list[Peer] = field(default_factory=list)

    async def connect(self) -> Peer:
        name = None if self.trust is None else "localhost"
        peer = Peer(
            *await asyncio.open_connection("127.0.0.1", self.port, ssl=self.trust, server_hostname=name)
        )
        self.peers.append(peer)
        return peer


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that nobody tells of."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


@asynccontextmanager
async def served(
    tls: Tls | None = None,
    trust: ssl.SSLContext | None = None,
    *,
    ready: bool = True,
    deadline: float = 5.0,
    most: int = 64,
    **settings: Any,
) -> AsyncIterator[Served]:
    """The real server, plain unless `tls` is given."""
    proxy, notes = FakeProxy(), Notes()
    door = make_door(proxy, notes, deadline=deadline, most=most)
    given: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "max_connections": 100} | settings
    server = Server(ServerSettings(**given), tls, door, lambda: ready)
    port = await server.start()
    peers: list[Peer] = []
    try:
        yield Served(server, door, proxy, notes, port, trust, peers)
    finally:
        for peer in peers:
            peer.close()
        await server.drain(0.1)
        await asyncio.sleep(0.01)


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority.certificate.decode())


def tls_of(folder: Path, authority: Authority) -> Tls:
    return load(issue(folder, authority))
