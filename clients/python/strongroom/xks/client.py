"""`ProxyClient`: the four calls of the XKS proxy API, as AWS KMS makes them."""

import json
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

from strongroom.errors import damaged, invalid
from strongroom.xks import address, sigv4, wire
from strongroom.xks.credential import Credential
from strongroom.xks.link import Link, Reply, Trust

DEFAULT_REGION: Final = "us-east-1"
DEFAULT_TIMEOUT: Final = 5.0
_KEY: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")


class ProxyClient:
    """A caller of one key store. One connection, shared by threads in turn.

    Refusals are the errors of `strongroom.errors` whose `code` is the proxy's errorName; an answer that does
    not keep to the API is an IntegrityError (REPLY_DAMAGED).

    Args:
        url: `https://host[:port]/prefix/kms/xks/v1`.
        credential: an access key of the store.
        region: that signs; a proxy may serve several.
        trust: PEM files of TLS.
        origin: what is said of KMS's own caller.
        insecure_http: take an `http://` URL as well.
        timeout: of each step on the network, in seconds. KMS itself waits 0.25 s for the whole.
        wall: seconds since the Unix epoch.
    """

    def __init__(  # noqa: PLR0913 - keywords, most of them seldom given
        self,
        url: str | address.Address,
        credential: Credential,
        *,
        region: str = DEFAULT_REGION,
        trust: Trust | None = None,
        origin: wire.Origin | None = None,
        insecure_http: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.address = address.parse(url, insecure_http=insecure_http) if isinstance(url, str) else url
        self.credential = credential
        self.region = region
        self.trust = trust or Trust()
        self.origin = origin or wire.Origin()
        self.wall = wall
        self._lock = threading.Lock()
        context = self.trust.context() if self.address.scheme == "https" else None
        self.link = Link(self.address, context, timeout)

    def health(self, *, operation: str = "KmsHealthCheck") -> wire.Health:
        """Ask for the health of the proxy and of what stands behind it.

        Raises:
            StrongroomError: see the class.
        """
        body = {"requestMetadata": self.origin.metadata(operation, of_key=False)}
        return wire.read_health(wire.answer_of(self.call("/health", body)))

    def metadata(self, key: str, *, operation: str = "CreateKey") -> wire.KeyMetadata:
        """Ask what an external key is.

        Raises:
            StrongroomError: see the class.
        """
        body = {"requestMetadata": self.origin.metadata(operation)}
        return wire.read_key_metadata(wire.answer_of(self.call(_of_key(key, "metadata"), body)))

    def encrypt(
        self,
        key: str,
        plaintext: bytes,
        *,
        aad: bytes | None = None,
        cdiv: bool = True,
        operation: str = "Encrypt",
    ) -> wire.Sealed:
        """Encrypt under an external key; with `cdiv` the proxy proves that it can be decrypted.

        Raises:
            StrongroomError: see the class.
        """
        body = wire.encryption(self.origin.metadata(operation), plaintext, aad, cdiv=cdiv)
        answer = wire.answer_of(self.call(_of_key(key, "encrypt"), body))
        return wire.read_sealed(answer, plaintext, aad, cdiv=cdiv)

    def decrypt(
        self, key: str, sealed: wire.Sealed, *, aad: bytes | None = None, operation: str = "Decrypt"
    ) -> bytes:
        """Decrypt what `encrypt` gave.

        Raises:
            NotGenuine: INVALID_CIPHERTEXT: parts, AAD and key do not belong together.
            StrongroomError: see the class.
        """
        body = wire.decryption(self.origin.metadata(operation), sealed, aad)
        plaintext = wire.binary(wire.answer_of(self.call(_of_key(key, "decrypt"), body)), "plaintext")
        if len(plaintext) != len(sealed.ciphertext):
            raise damaged("must be as long as the ciphertext", "plaintext")
        return plaintext

    def call(self, path: str, body: wire.Json) -> Reply:
        """Sign a call and send it; gives the answer as it comes. `path` begins after `/kms/xks/v1`.

        Raises:
            Unavailable: CONNECTION_FAILED.
        """
        data = json.dumps(body, separators=(",", ":")).encode()
        request = sigv4.Request("POST", self.address.authority, self.address.path + path, data)
        moment = datetime.fromtimestamp(self.wall(), UTC)
        return self.send(request, sigv4.headers(request, self.credential, self.region, moment))

    def send(self, request: sigv4.Request, headers: dict[str, str]) -> Reply:
        """Send a request whose headers are made already.

        Raises:
            Unavailable: CONNECTION_FAILED.
        """
        typed = {"Content-Type": "application/json", **headers}
        with self._lock:
            return self.link.send(request.method, request.path, typed, request.body)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self.link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _of_key(key: str, call: str) -> str:
    if not _KEY.fullmatch(key) or key in {".", ".."}:  # these two would be another path
        raise invalid("key", "must be 1 to 128 letters, digits, -, . and _")
    return f"/keys/{key}/{call}"
