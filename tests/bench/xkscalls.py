"""Requests of KMS to an XKS proxy, made and signed one by one: distinct, of KMS's sizes, and cheap."""

import base64
import itertools
import json
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from strongroom.xks import address, sigv4

KEPT = 2_000  # ciphertexts to decrypt again
SOME = 16  # one answer of so many is kept once there are enough
PRINCIPALS = 50
SIZES = (48, 60, 76, 96, 160, 300)  # plaintexts: what KMS makes of data keys and of small data


@dataclass(frozen=True)
class Target:
    """A key store at its proxy, and what a caller of it needs."""

    url: str
    access_key_id: str
    secret: str = field(repr=False)
    keys: tuple[str, ...]
    ca: str = ""
    region: str = "us-east-1"

    @property
    def address(self) -> address.Address:
        return address.parse(self.url, insecure_http=True)

    @classmethod
    def from_console(cls, url: str, file: Path, keys: tuple[str, ...], ca: str) -> "Target":
        """Take the credential of the file that the AWS console takes."""
        pair = json.loads(file.read_bytes())["XksProxyAuthenticationCredential"]
        return cls(url, pair["AccessKeyId"], pair["RawSecretAccessKey"], keys, ca)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A ciphertext to decrypt: the key, the fields of the request as they stand in it, the plaintext."""

    key: str
    fields: str
    plaintext: bytes


@dataclass(frozen=True, slots=True)
class Sent:
    """What is under way on a connection."""

    key: str
    plaintext: bytes
    aad: str
    decrypts: bool


class Calls:
    """Makes requests to one store. Answers are taken in, so that they can be decrypted.

    Args:
        target: the store.
        decrypting: share of Decrypt; the rest is Encrypt with CDIV.
        change: what is done to each body before it is signed.
    """

    def __init__(
        self, target: Target, decrypting: float, *, change: Callable[[bytes], bytes] = bytes
    ) -> None:
        self.decrypting = decrypting
        self._change = change
        self._target = target
        self._where = target.address
        self._kept: deque[Sealed] = deque(maxlen=KEPT)
        self._random = random.Random()
        self._numbers = itertools.count(self._random.getrandbits(32) << 32)
        self._answers = itertools.count()
        self._key: tuple[int, str, sigv4.Scope, bytes] = (0, "", sigv4.Scope("", ""), b"")
        arns = [f"arn:aws:sts::111122223333:assumed-role/app-{n}/i-{n:017x}" for n in range(PRINCIPALS)]
        kms_key = f"arn:aws:kms:{target.region}:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
        self._metadata = [f'"awsPrincipalArn":"{arn}","kmsKeyArn":"{kms_key}"' for arn in arns]
        self._plaintexts = [self._random.randbytes(self._random.choice(SIZES)) for _ in range(64)]
        self._aads = [base64.b64encode(self._random.randbytes(32)).decode() for _ in range(64)]

    def next(self) -> tuple[bytes, Sent]:
        """Make the next request."""
        if self._kept and self._random.random() < self.decrypting:
            return self._decrypt(self._random.choice(self._kept))
        pick = self._random.choice
        return self._encrypt(pick(self._target.keys), pick(self._plaintexts), pick(self._aads))

    def take(self, sent: Sent, body: bytes) -> bool:
        """Take in a good answer; says whether it is right."""
        if sent.decrypts:
            return b'"' + base64.b64encode(sent.plaintext) + b'"' in body
        if len(self._kept) < KEPT // 4 or next(self._answers) % SOME == 0:
            answer: dict[str, Any] = json.loads(body)
            answer.pop("ciphertextDataIntegrityValue", None)
            answer["additionalAuthenticatedData"] = sent.aad
            self._kept.append(Sealed(sent.key, json.dumps(answer)[1:-1], sent.plaintext))
        return b"ciphertextDataIntegrityValue" in body

    def _encrypt(self, key: str, plaintext: bytes, aad: str) -> tuple[bytes, Sent]:
        body = (
            f'{{"requestMetadata":{self._said("GenerateDataKey")},"encryptionAlgorithm":"AES_GCM",'
            f'"plaintext":"{base64.b64encode(plaintext).decode()}","additionalAuthenticatedData":"{aad}",'
            '"ciphertextDataIntegrityValueAlgorithm":"SHA_256"}'
        )
        return self._signed(f"/keys/{key}/encrypt", body.encode()), Sent(key, plaintext, aad, False)

    def _decrypt(self, sealed: Sealed) -> tuple[bytes, Sent]:
        said = self._said("Decrypt")
        body = f'{{"requestMetadata":{said},"encryptionAlgorithm":"AES_GCM",{sealed.fields}}}'
        sent = Sent(sealed.key, sealed.plaintext, "", True)
        return self._signed(f"/keys/{sealed.key}/decrypt", body.encode()), sent

    def _said(self, operation: str) -> str:
        number = f"{next(self._numbers):032x}"
        shaped = f"{number[:8]}-{number[8:12]}-{number[12:16]}-{number[16:20]}-{number[20:]}"
        metadata = self._random.choice(self._metadata)
        return f'{{"kmsRequestId":"{shaped}","kmsOperation":"{operation}",{metadata}}}'

    def _signed(self, path: str, body: bytes) -> bytes:
        stamp, scope, key = self._today()
        path, body = self._where.path + path, self._change(body)
        signature = sigv4.signature(
            sigv4.Request("POST", self._where.authority, path, body), key, stamp, scope
        )
        return (
            f"POST {path} HTTP/1.1\r\nHost: {self._where.authority}\r\nX-Amz-Date: {stamp}\r\n"
            f"Authorization: {sigv4.ALGORITHM} Credential={self._target.access_key_id}/{scope}, "
            f"SignedHeaders=host;x-amz-date, Signature={signature}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    def _today(self) -> tuple[str, sigv4.Scope, bytes]:
        """Give stamp, scope and derived key of this second."""
        second = int(time.time())
        known, stamp, scope, key = self._key
        if second != known:
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
            if scope.day != stamp[:8]:
                scope = sigv4.Scope(stamp[:8], self._target.region)
                key = sigv4.signing_key(self._target.secret, scope)
            self._key = (second, stamp, scope, key)
        return stamp, scope, key
