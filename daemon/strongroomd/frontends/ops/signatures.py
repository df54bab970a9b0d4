"""Checking checkpoint signatures outside the HSM, for the operator's commands."""

from collections.abc import Callable
from functools import partial

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from strongroomd.custody.history import signature_ok
from strongroomd.domain.errors import Reason, StrongroomError


def checkpoint_verifier(public_key: bytes) -> Callable[[bytes, bytes], bool]:
    """Make a check of ECDSA P-256 SHA-256 signatures: called with message and signature (DER).

    Args:
        public_key: SubjectPublicKeyInfo of the checkpoint house key, PEM or DER.

    Raises:
        StrongroomError: INVALID_FIELD if it is no P-256 public key.
    """
    loader = load_pem_public_key if public_key.startswith(b"-----BEGIN") else load_der_public_key
    try:
        key = loader(public_key)
    except ValueError as error:
        raise _refused() from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _refused()

    return partial(signature_ok, key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def successor_verifier(public_key: bytes) -> Callable[[bytes, bytes], bool]:
    """Make the same check for a key (DER) that a checkpoint names; what is no P-256 key verifies nothing."""
    try:
        return checkpoint_verifier(public_key)
    except StrongroomError:
        return lambda _message, _signature: False


def public_key_pem(der: bytes) -> bytes:
    """Spell a DER SubjectPublicKeyInfo as PEM."""
    return load_der_public_key(der).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _refused() -> StrongroomError:
    return StrongroomError(Reason.INVALID_FIELD, "must be a P-256 public key, PEM or DER", field="public-key")
