"""A small XKS proxy that keeps to the API, and breaks it where a test says so. Its keys are in memory."""

import base64
import binascii
import contextlib
import hashlib
import hmac
import http.server
import json
import os
import re
import ssl
import struct
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PREFIX = "/blue"
BASE = f"{PREFIX}/kms/xks/v1"
ACCESS_KEY_ID = "BETWEEN2TENAND3TENCHARACTERS"
SECRET = "PleaseReplaceThisWithSomeSecretOfLength43To64"
METADATA = b"\x02\x00\x00\x00\x01"
MAX_BODY = 65_536
_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/kms-xks-proxy/aws4_request, "
    r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})"
)


class Refusal(Exception):  # noqa: N818 - it is an answer
    """An answer that is an error."""

    def __init__(self, status: int, name: str) -> None:
        self.status = status
        self.name = name


VALIDATION = Refusal(400, "ValidationException")
UNAUTHENTICATED = Refusal(401, "AuthenticationFailedException")
FORGED = Refusal(400, "InvalidCiphertextException")


@dataclass
class MockProxy:
    """A proxy of one store.

    Attributes:
        pem: certificate chain and key of TLS, in one file; None for plain HTTP.
        defects: names of what it does wrong; each stands where it is done.
        keys: external keys.
        seen: (method, path, body) of every request.
        answers: path below `/kms/xks/v1` -> answer instead of its own.
    """

    pem: Path | None = None
    defects: set[str] = field(default_factory=set)
    keys: dict[str, bytes] = field(default_factory=lambda: {"foo": bytes(range(32))})
    seen: list[tuple[str, str, bytes]] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3

    def start(self) -> str:
        """Serve from a thread; gives the URL."""
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self.server = _Server(("127.0.0.1", 0), Handler)
        self.context = None
        if self.pem is not None:
            self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self.context.load_cert_chain(self.pem)
            self.context.maximum_version = self.newest
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        scheme = "http" if self.pem is None else "https"
        return f"{scheme}://localhost:{self.server.server_address[1]}{BASE}"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def has(self, defect: str) -> bool:
        return defect in self.defects

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Any:
        """Answer a request, or raise a refusal."""
        store, rest = (BASE, path.removeprefix(BASE)) if path.startswith(BASE) else ("", "")
        parts = rest.strip("/").split("/")
        known = rest == "/health" or (
            len(parts) == 3 and parts[0] == "keys" and parts[2] in {"metadata", "encrypt", "decrypt"}
        )
        if self.has("credentials-before-path") and not store:
            raise UNAUTHENTICATED
        if not (store and known):
            raise Refusal(404, "InvalidUriPathException")
        if method != "POST" and not self.has("answers-get"):
            raise Refusal(405, "")
        if not self.has("unsigned-is-fine"):
            self.authenticate(method, path, headers, body)
        if rest in self.answers:
            return self.answers[rest]
        request = self.parse(body)
        return self.health(request) if rest == "/health" else self.of_key(parts[1], parts[2], request)

    def authenticate(self, method: str, path: str, headers: Any, body: bytes) -> None:
        match = _SIGNED.fullmatch(headers.get("Authorization", ""))
        stamp = headers.get("X-Amz-Date", "")
        if match is None or match[1] != ACCESS_KEY_ID or not re.fullmatch(r"\d{8}T\d{6}Z", stamp):
            raise UNAUTHENTICATED
        moment = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        if abs(moment - time.time()) > 300 and not self.has("any-clock"):
            raise UNAUTHENTICATED
        if match[2] != stamp[:8] and not self.has("any-day"):
            raise UNAUTHENTICATED
        digest = hashlib.sha256(b"" if self.has("body-unsigned") else body).hexdigest()
        names = match[4].split(";")
        lines = [method, path, "", *(f"{n}:{headers.get(n)}" for n in names), "", match[4], digest]
        scope = f"{match[2]}/{match[3]}/kms-xks-proxy/aws4_request"
        if not self.has("body-unsigned"):
            hashed = hashlib.sha256("\n".join(lines).encode()).hexdigest()
            key = ("AWS4" + SECRET).encode()
            for part in scope.split("/"):
                key = hmac.digest(key, part.encode(), "sha256")
            wanted = hmac.digest(key, f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashed}".encode(), "sha256")
            if wanted.hex() != match[5] and not self.has("any-secret"):
                raise UNAUTHENTICATED

    def parse(self, body: bytes) -> dict[str, Any]:
        try:
            request = json.loads(body)
        except ValueError:
            if self.has("crashes"):
                raise Refusal(500, "InternalException") from None
            raise VALIDATION from None
        if not isinstance(request, dict) or not isinstance(request.get("requestMetadata"), dict):
            raise VALIDATION
        said = request["requestMetadata"]
        if not (isinstance(said.get("kmsRequestId"), str) and isinstance(said.get("kmsOperation"), str)):
            raise VALIDATION
        if self.has("closed-fields") and set(said) - {
            "kmsRequestId", "kmsOperation", "awsPrincipalArn", "kmsKeyArn"
        }:  # fmt: skip
            raise VALIDATION
        return request

    def health(self, _request: dict[str, Any]) -> Any:
        state = "UNAVAILABLE" if self.has("unavailable") else "ACTIVE"
        fleet = [{"id": "hsm-1", "model": "Mock HSM", "healthStatus": state}]
        if self.has("twins"):
            fleet *= 2
        return {
            "xksProxyFleetSize": 0 if self.has("no-fleet") else 1,
            "xksProxyVendor": "Tests",
            "xksProxyModel": "Mock 1.0",
            "ekmVendor": "Tests",
            "ekmFleetDetails": fleet,
        }

    def of_key(self, name: str, call: str, request: dict[str, Any]) -> Any:
        key = self.keys.get(name)
        if key is None:
            raise (
                Refusal(400, "ValidationException")
                if self.has("unknown-key-is-400")
                else Refusal(404, "KeyNotFoundException")
            )
        if call == "metadata":
            spec = "RSA_0" if self.has("rsa-0") else "AES_256"
            status = "DISABLED" if self.has("disabled") else "ENABLED"
            return {"keySpec": spec, "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": status}
        if request.get("encryptionAlgorithm") != "AES_GCM" and not self.has("any-algorithm"):
            raise VALIDATION
        time.sleep(0.26 if self.has("slow") else 0)
        return self.encrypt(key, request) if call == "encrypt" else self.decrypt(key, request)

    def encrypt(self, key: bytes, request: dict[str, Any]) -> Any:
        plaintext = self.binary(request, "plaintext")
        aad = self.binary(request, "additionalAuthenticatedData", needed=False)
        algorithm = request.get("ciphertextDataIntegrityValueAlgorithm")
        if algorithm not in {None, "SHA_256"}:
            raise VALIDATION
        iv = bytes(12) if self.has("fixed-iv") else os.urandom(8 if self.has("short-iv") else 12)
        sealed = AESGCM(key).encrypt(iv, plaintext, self.bound(aad, METADATA))
        metadata = METADATA * 5 if self.has("long-metadata") else METADATA
        ciphertext, tag = sealed[:-16], sealed[-16:]
        answer = {
            "ciphertext": coded(ciphertext),
            "initializationVector": coded(iv),
            "authenticationTag": coded(tag).rstrip("=" if self.has("unpadded") else ""),
            "ciphertextMetadata": coded(metadata),
        }
        if algorithm:
            over = (b"" if self.has("cdiv-without-aad") else aad) + metadata + iv + ciphertext + tag
            answer["ciphertextDataIntegrityValue"] = coded(hashlib.sha256(over).digest())
        if self.has("forgets-cdiv"):
            answer.pop("ciphertextDataIntegrityValue", None)
        return answer

    def decrypt(self, key: bytes, request: dict[str, Any]) -> Any:
        names = ("ciphertext", "initializationVector", "authenticationTag")
        ciphertext, iv, tag = (self.binary(request, name) for name in names)
        aad, metadata = (
            self.binary(request, name, needed=False)
            for name in ("additionalAuthenticatedData", "ciphertextMetadata")
        )
        if len(iv) not in {12, 16} or len(tag) != 16 or len(metadata) > 20:
            raise VALIDATION
        try:
            plaintext = AESGCM(key).decrypt(iv, ciphertext + tag, self.bound(aad, metadata))
        except InvalidTag:
            if self.has("forgery-is-500"):
                raise Refusal(500, "InternalException") from None
            raise FORGED from None
        return {"plaintext": coded(plaintext[::-1] if self.has("reverses") else plaintext)}

    def bound(self, aad: bytes, metadata: bytes) -> bytes:
        """What the tag binds."""
        if self.has("unframed"):
            return aad + metadata
        if self.has("metadata-unbound"):
            metadata = b""
        if self.has("aad-unbound"):
            aad = b""
        return struct.pack(">H", len(aad)) + aad + bytes([len(metadata)]) + metadata

    def binary(self, request: dict[str, Any], name: str, *, needed: bool = True) -> bytes:
        given = request.get(name)
        if given is None and not needed:
            return b""
        if not isinstance(given, str):
            raise VALIDATION
        try:
            found = base64.b64decode(given, validate=not self.has("loose-base64"))
        except (ValueError, binascii.Error):
            raise VALIDATION from None
        if coded(found) != given and not self.has("loose-base64"):
            raise VALIDATION
        return found


def coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Say nothing: callers that break off are what tests are about."""


class _Handler(http.server.BaseHTTPRequestHandler):
    owner: MockProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        # The handshake is made in the connection's own thread.
        if self.owner.context is not None:
            self.request = self.owner.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the caller is gone
            super().handle()

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        self.request.close()

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        if size > MAX_BODY:
            self.close_connection = True
            self.reply(413, {"errorName": "ValidationException"})
            return
        body = self.rfile.read(size)
        if self.owner.has("vanishes"):
            self.owner.defects.remove("vanishes")
            self.close_connection = True
            return
        self.owner.seen.append((self.command, self.path, body))
        try:
            self.reply(200, self.owner.answer(self.command, self.path, self.headers, body))
        except Refusal as refusal:
            said = "x" * 512 if self.owner.has("long-messages") else "refused"
            self.reply(refusal.status, {"errorName": refusal.name, "errorMessage": said})

    def reply(self, status: int, answer: Any) -> None:
        text = status != 200 and self.owner.has("errors-as-text")
        data = b"<h1>error</h1>" if text else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if text else "application/json")
        self.send_header("Content-Length", str(len(data)))
        if self.owner.has("closes"):
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass
