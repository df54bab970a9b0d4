"""XAES-256-GCM's arithmetic outside the token (C2SP, XAES-256-GCM v1).

    L  = AES-256_K(0^128)                      asked of the token once per load
    K1 = L << 1, and XOR 0x87 into the last byte if L's first bit is set       `mask_of`
    M1 = 00 01 "X" 00 || N[:12],  M2 = 00 02 "X" 00 || N[:12]
    Kx = AES-256_K(M1 XOR K1) || AES-256_K(M2 XOR K1)      derived inside the token from `derivation_blocks`
    ciphertext = AES-256-GCM(Kx, nonce = N[12:24], plaintext, aad)

For single-block CMAC inputs K1 hides nothing that protects Kx: an attacker who learns it still needs AES_K.
"""

from typing import Final

PREFIX_BYTES: Final = 12
NONCE_BYTES: Final = 24
TAG_BYTES: Final = 16
_FIRST: Final = b"\x00\x01X\x00"
_SECOND: Final = b"\x00\x02X\x00"


def mask_of(block: bytes) -> bytes:
    """Double L in GF(2^128) (NIST SP 800-38B, 6.1): K1, 16 bytes."""
    doubled = int.from_bytes(block, "big") << 1
    if doubled >> 128:
        doubled ^= 1 << 128 | 0x87
    return doubled.to_bytes(16, "big")


def derivation_blocks(mask: bytes, prefix: bytes) -> bytes:
    """Give the two blocks whose encryption under the root is the sub-key, 32 bytes."""
    both = int.from_bytes(_FIRST + prefix + _SECOND + prefix, "big") ^ int.from_bytes(mask + mask, "big")
    return both.to_bytes(32, "big")
