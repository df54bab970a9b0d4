"""The form of signatures: the token gives r || s for ECDSA, callers get DER as from AWS KMS."""

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from strongroomd.domain.algorithms import SigningAlgorithm


def encode_signature(algorithm: SigningAlgorithm, raw: bytes) -> bytes:
    """Turn the token's signature into the public form."""
    if not algorithm.startswith("ECDSA"):
        return raw
    half = len(raw) // 2
    return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))
