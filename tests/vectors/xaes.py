"""XAES-256-GCM in software, written from the C2SP text alone: what the HSM sealed must open here."""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def _encrypt_block(key: bytes, block: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - one block, as the text says
    return encryptor.update(block) + encryptor.finalize()


def derive_key(key: bytes, nonce: bytes) -> bytes:
    """The AES-256-GCM key of a 24-byte nonce."""
    bits = f"{int.from_bytes(_encrypt_block(key, bytes(16)), 'big'):0128b}"
    shifted = int(bits[1:] + "0", 2) ^ (0b10000111 if bits[0] == "1" else 0)
    k1 = shifted.to_bytes(16, "big")
    halves = []
    for counter in (1, 2):
        m = bytes([0, counter, 0x58, 0]) + nonce[:12]
        halves.append(_encrypt_block(key, bytes(a ^ b for a, b in zip(m, k1, strict=True))))
    return b"".join(halves)


def seal_xaes(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """nonce || ciphertext || tag."""
    return nonce + AESGCM(derive_key(key, nonce)).encrypt(nonce[12:], plaintext, aad)


def open_xaes(key: bytes, sealed: bytes, aad: bytes) -> bytes:
    """Undo `seal_xaes`."""
    nonce = sealed[:24]
    return AESGCM(derive_key(key, nonce)).decrypt(nonce[12:], sealed[24:], aad)
