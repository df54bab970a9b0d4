"""RSAES-OAEP with SHA-256 where the token has only raw RSA: the private key inside, the padding in libcrypto.

The padding check must not tell by its time what was wrong with it (Manger, CRYPTO 2001), so it is OpenSSL's
own constant-time one, never Python's. The ciphertext is blinded, so that neither the token's time nor ours
depends on what a caller chose.
"""

import ctypes
import math
import secrets
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from pkcs11.mechanisms import Mechanism

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.hsm import handles
from strongroomd.hsm.handles import Session

_NAMES: Final = ("libcrypto.so.3", "libcrypto.so.1.1")


class Padding:
    """OpenSSL's OAEP check, by ctypes."""

    def __init__(self) -> None:
        library = _libcrypto()
        self._check = library.RSA_padding_check_PKCS1_OAEP_mgf1
        self._check.restype = ctypes.c_int
        self._check.argtypes = (
            ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_int,
            ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p,
        )  # fmt: skip
        library.EVP_sha256.restype = ctypes.c_void_p
        self._sha256 = library.EVP_sha256()
        self._clear_errors = library.ERR_clear_error

    def remove(self, block: bytes) -> bytes | None:
        """Take OAEP-SHA-256 with MGF1-SHA-256 and no label off a full-length block.

        None when it is not right.
        """
        size = len(block)
        out = ctypes.create_string_buffer(size)
        length = self._check(out, size, block, size, size, None, 0, self._sha256, self._sha256)
        self._clear_errors()
        message = out.raw[:length] if length >= 0 else None
        ctypes.memset(out, 0, size)
        return message


def raw_decrypt(session: Session, handle: int, key: rsa.RSAPublicKey, ciphertext: bytes) -> bytes:
    """RSADP with blinding: the padded block, as long as the modulus."""
    numbers = key.public_numbers()
    size = (numbers.n.bit_length() + 7) // 8
    factor = _factor(numbers.n)
    blinded = int.from_bytes(ciphertext, "big") * pow(factor, numbers.e, numbers.n) % numbers.n
    answer = handles.decrypt_rsa(session, handle, Mechanism.RSA_X_509, blinded.to_bytes(size, "big"))
    block = int.from_bytes(answer, "big") * pow(factor, -1, numbers.n) % numbers.n
    return block.to_bytes(size, "big")


def in_range(key: rsa.RSAPublicKey, ciphertext: bytes) -> bool:
    """Whether the ciphertext is as long as the modulus and smaller (RFC 8017, 7.1.2 step 1 and 5.1.2)."""
    modulus = key.public_numbers().n
    return len(ciphertext) == (modulus.bit_length() + 7) // 8 and int.from_bytes(ciphertext, "big") < modulus


def _factor(modulus: int) -> int:
    while True:
        factor = secrets.randbelow(modulus - 2) + 2
        if math.gcd(factor, modulus) == 1:
            return factor


def _libcrypto() -> ctypes.CDLL:
    for name in _NAMES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise StrongroomError(
        Reason.CONFIGURATION, "OpenSSL's libcrypto is needed for OAEP with SHA-256", field="hsm"
    )
