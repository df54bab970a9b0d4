"""The recovery public key: read from its PEM file, once, when the settings are made."""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from strongroomd.domain.errors import Reason, StrongroomError


def read_recovery_key(path: Path) -> bytes:
    """Give the DER SubjectPublicKeyInfo of an RSA public key in a PEM file.

    Raises:
        StrongroomError: CONFIGURATION for anything else.
    """
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, rsa.RSAPublicKey):
        field = "hsm.recovery_public_key"
        raise StrongroomError(Reason.CONFIGURATION, "must be the PEM of an RSA public key", field=field)
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
