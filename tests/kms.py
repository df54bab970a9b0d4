"""AWS KMS before a key store of a real daemon: it signs, keeps its connection, and tries again as KMS does."""

import base64
import dataclasses
import http.client
import json
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.harness import BUSY, Daemon, wait_until
from tests.xksdoor import DECRYPT, DESCRIBE, ENCRYPT, HEALTH, Answer, signed, uri

from strongroom import Client
from strongroom.errors import StrongroomError
from strongroom.results import KeyStore
from strongroomd.frontends.grpc.pki import Authority

AAD = {"additionalAuthenticatedData": base64.b64encode(b"key context").decode()}
CDIV = {"ciphertextDataIntegrityValueAlgorithm": "SHA_256"}
PARTS = ("ciphertext", "initializationVector", "authenticationTag", "ciphertextMetadata")
HOST = "xks.example.com"
OK = (200, "")
NO_TIME = frozenset({429, 503})
PATIENCE = 8
"""Tries of a call that the daemon had no time for: what other tests do to this machine proves nothing here."""


@dataclass
class Kms:
    """One connection of KMS to one key store; another connection may be another worker's."""

    port: int
    authority: Authority
    prefix: str
    access_key_id: str
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        trust = ssl.create_default_context(cadata=self.authority.certificate.decode())
        self.connection = http.client.HTTPSConnection("localhost", self.port, context=trust, timeout=10)

    def again(self, **changed: Any) -> "Kms":
        """Another connection, maybe with another credential or store."""
        return dataclasses.replace(self, **changed)

    def ask(
        self, act: str, document: Any, key: str = "key-1", *, hasty: bool = False, **changed: Any
    ) -> Answer:
        """Call, and again while the daemon only says that it has no time.

        Args:
            act: what is asked for.
            document: the body, as bytes or for JSON.
            key: the external key.
            hasty: do not try again.
            changed: what is not as it should be: prefix, secret, access_key_id, region, at, method,
                content_type.
        """
        for _ in range(PATIENCE):
            answer = self._ask(act, document, key, **changed)
            if hasty or answer.status not in NO_TIME:
                break
            time.sleep(0.02)
        return answer

    def _ask(self, act: str, document: Any, key: str, **changed: Any) -> Answer:
        path = uri(act, key, changed.get("prefix", self.prefix))
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        method = changed.get("method", "POST")
        headers = signed(
            path,
            body,
            method=method,
            host=HOST,
            secret=changed.get("secret", self.secret).encode(),
            access_key_id=changed.get("access_key_id", self.access_key_id),
            region=changed.get("region", "eu-central-1"),
            at=changed.get("at"),
        )
        form = {"Content-Type": changed.get("content_type", "application/json")}
        self.connection.request(method, path, body, {**headers, **form})
        reply = self.connection.getresponse()
        return Answer(reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read())

    def outcome(self, act: str, document: Any, key: str = "key-1", **options: Any) -> tuple[int, str]:
        """Status and error name of an answer."""
        answer = self.ask(act, document, key, **options)
        return answer.status, answer.error

    def worker(self) -> str:
        """Which worker this connection leads to, by the request id that errors carry."""
        answer = self.ask("health", {}, hasty=True)
        return str(answer.json["errorMessage"].rpartition("[")[2][:16])


@contextmanager
def each_worker(kms: Kms, daemon: Daemon) -> Iterator[list[Kms]]:
    """A connection to every worker, warmed by a signed call."""
    with ExitStack() as stack:
        found: dict[str, Kms] = {}
        for _ in range(200):
            other = kms.again()
            stack.callback(other.connection.close)
            found.setdefault(other.worker(), other)
            if len(found) == len(daemon.workers()):
                break
        assert len(found) == len(daemon.workers())
        yield list(found.values())


def everywhere(workers: list[Kms], outcome: tuple[int, str], act: str = "encrypt", **options: Any) -> float:
    """Wait until every worker answers so; gives the seconds that it took."""
    document = {"health": HEALTH, "metadata": DESCRIBE, "encrypt": ENCRYPT}[act]
    return wait_until(lambda: all(each.outcome(act, document, **options) == outcome for each in workers), 5)


def open_store(daemon: Daemon, owner: Client, token: str = "") -> tuple[KeyStore, Kms]:
    """A store with one external key, `key-1`, in a token, and a credential that every worker knows."""
    store = patiently(owner.create_key_store)
    key = patiently(owner.create_key, token=token).key_id
    patiently(owner.add_external_key, store.key_store_id, "key-1", key)
    return store, credential(daemon, owner, store)


def credential(daemon: Daemon, owner: Client, store: KeyStore) -> Kms:
    """A further credential of a store, which every worker knows."""
    new = patiently(owner.create_key_store_credential, store.key_store_id)
    assert daemon.authority is not None
    port = int(daemon.state["xks_port"])
    kms = Kms(port, daemon.authority, store.uri_prefix, new.credential.access_key_id, new.secret_access_key)
    with each_worker(kms, daemon) as workers:
        everywhere(workers, OK, "health")
    return kms


def patiently(call: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Make a call of management again while the machine stalls."""
    for _ in range(PATIENCE):
        try:
            return call(*given, **named)
        except StrongroomError as error:
            if error.reason not in BUSY:
                raise
    return call(*given, **named)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def request(document: dict[str, Any], **said: Any) -> dict[str, Any]:
    """A request in which KMS says something else of itself; None: nothing at all."""
    metadata = {**document["requestMetadata"], **said}
    kept = {name: value for name, value in metadata.items() if value is not None}
    return {**document, "requestMetadata": kept}


def encryption(plaintext: bytes, aad: bytes | None = None, **more: Any) -> dict[str, Any]:
    given = {} if aad is None else {"additionalAuthenticatedData": b64(aad)}
    return {**ENCRYPT, "plaintext": b64(plaintext), **given, **more}


def decryption(sealed: dict[str, str], **more: Any) -> dict[str, Any]:
    return {**DECRYPT, **{name: sealed[name] for name in PARTS if name in sealed}, **more}


def decoded(sealed: dict[str, str]) -> dict[str, bytes]:
    return {name: base64.b64decode(value, validate=True) for name, value in sealed.items()}


def audited(daemon: Daemon, kms_request_id: str) -> list[dict[str, Any]]:
    """The audit records of a request of KMS, in no order."""
    return [
        json.loads(line[line.index("{") :])
        for file in (daemon.folder / "state" / "audit").rglob("*")
        if file.is_file()
        for line in file.read_text().splitlines()
        if kms_request_id in line
    ]
