"""The sealed form of a secret, against an HMAC made here: it must open in every later release."""

import hashlib
import hmac
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroomd.custody.secrets import SecretBox

KEY = bytes(range(32))
SALT = bytes(range(100, 132))
SEALED = bytes.fromhex("01") + SALT


class Vaultlike:
    """The two duties that a box needs."""

    async def random(self, length: int) -> bytes:
        return SALT[:length]

    async def row_mac(self, data: bytes) -> bytes:
        return hmac.digest(KEY, data, hashlib.sha256)


async def test_the_sealed_form_is_the_documented_one() -> None:
    vault: Any = Vaultlike()
    box = SecretBox(vault)
    key = hmac.digest(KEY, b"strongroom.secret-key.v1" + SALT, hashlib.sha256)
    expected = SEALED + AESGCM(key).encrypt(bytes(12), b"secret", b"AKIA")

    assert await box.seal(b"secret", "AKIA") == expected
    assert await box.open(expected, "AKIA") == b"secret"
    assert expected.hex().endswith(KNOWN)


KNOWN = "7ef0110cff9a94fcb70be943f020c05a28e57a51d6ed"
