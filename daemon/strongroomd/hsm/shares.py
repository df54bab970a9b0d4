"""Shares of a secret of the ceremony: a PIN, or a private key. Some of several people have it together.

A random 16-byte key is split by Shamir's scheme (pycryptodome, GF(2^128)), and the secret encrypted under
it: so it may have any length, and shares that do not belong together are told from those that do. Each
share is a text that can be printed and typed in again; a check finds typing mistakes.

    strongroom share 1
    purpose: main token, user PIN
    number: 2 of 5, any 3 suffice
    share: <32 hexadecimal digits>
    sealed: <hexadecimal: AES-256-GCM(SHA-256(key), IV = 0, secret, AAD = purpose and threshold)>
    check: <first 8 hexadecimal digits of SHA-256 over the lines above>
"""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from Crypto.Protocol.SecretSharing import Shamir
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroomd.domain.errors import StrongroomError, invalid
from strongroomd.hsm.pin import Pin

MAX_SHARES: Final = 16
_KEY_BYTES: Final = 16  # what pycryptodome splits
_IV: Final = bytes(12)  # the key encrypts one message
_TEXT: Final = re.compile(
    r"strongroom share 1\n"
    r"purpose: (?P<purpose>[ -~]{1,100})\n"
    r"number: (?P<number>[0-9]{1,2}) of (?P<total>[0-9]{1,2}), any (?P<threshold>[0-9]{1,2}) suffice\n"
    r"share: (?P<share>[0-9a-f]{32})\n"
    r"sealed: (?P<sealed>[0-9a-f]{34,1000})\n"
    r"check: (?P<check>[0-9a-f]{8})\n?"
)


@dataclass(frozen=True, slots=True, repr=False)
class Share:
    """One person's share."""

    purpose: str
    number: int
    total: int
    threshold: int
    share: bytes
    sealed: bytes

    def text(self) -> str:
        """Spell the share for paper or a file."""
        body = (
            f"strongroom share 1\npurpose: {self.purpose}\n"
            f"number: {self.number} of {self.total}, any {self.threshold} suffice\n"
            f"share: {self.share.hex()}\nsealed: {self.sealed.hex()}\n"
        )
        return f"{body}check: {_check(body)}\n"


def split(secret: Pin, purpose: str, threshold: int, total: int) -> list[Share]:
    """Split a secret, so that any `threshold` of `total` shares give it back, and fewer tell nothing.

    Raises:
        StrongroomError: INVALID_FIELD unless 2 <= threshold <= total <= 16.
    """
    if not 2 <= threshold <= total <= MAX_SHARES:
        raise invalid(
            "threshold", f"must be at least 2, and at most the number of shares, at most {MAX_SHARES}"
        )
    key = os.urandom(_KEY_BYTES)
    sealed = _cipher(key).encrypt(_IV, secret.reveal().encode(), _bound_to(purpose, threshold))
    parts = Shamir.split(threshold, total, key)
    return [Share(purpose, number, total, threshold, part, sealed) for number, part in parts]


def parse_share(text: str) -> Share:
    """Read a share's text; spaces at line ends and blank lines do not matter.

    Raises:
        StrongroomError: INVALID_FIELD for what is none, or was mistyped.
    """
    lines = "".join(f"{line.strip()}\n" for line in text.splitlines() if line.strip())
    found = _TEXT.fullmatch(lines)
    if found is None:
        raise invalid("share", "is not a share as the ceremony writes it")
    if _check(lines[: found.start("check") - len("check: ")]) != found["check"]:
        raise invalid("share", "was mistyped: its check does not fit")
    if len(found["sealed"]) % 2:
        raise invalid("share", "is not a share as the ceremony writes it")
    number, total, threshold = (int(found[name]) for name in ("number", "total", "threshold"))
    share, sealed = bytes.fromhex(found["share"]), bytes.fromhex(found["sealed"])
    return Share(found["purpose"], number, total, threshold, share, sealed)


def combine(shares: Sequence[Share]) -> Pin:
    """Give the secret back.

    Raises:
        StrongroomError: INVALID_FIELD for too few shares, one brought twice, or shares of different secrets.
    """
    if not shares or len({(s.purpose, s.total, s.threshold, s.sealed) for s in shares}) != 1:
        raise invalid("share", "must all be shares of one secret")
    if len({share.number for share in shares}) != len(shares):
        raise invalid("share", "was brought twice")
    first = shares[0]
    if len(shares) < first.threshold:
        raise invalid("share", f"{len(shares)} are here, and {first.threshold} are needed")
    try:
        key = Shamir.combine([(share.number, share.share) for share in shares[: first.threshold]])
        secret = _cipher(key).decrypt(_IV, first.sealed, _bound_to(first.purpose, first.threshold))
        return Pin(secret.decode())
    except (InvalidTag, ValueError):
        raise _strangers() from None


def _strangers() -> StrongroomError:
    return invalid("share", "must all be shares of one secret")


def _cipher(key: bytes) -> AESGCM:
    return AESGCM(hashlib.sha256(key).digest())


def _bound_to(purpose: str, threshold: int) -> bytes:
    return f"strongroom share 1/{threshold}/{purpose}".encode()


def _check(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:8]
