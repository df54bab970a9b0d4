"""What an approver does with its own key: prove it for enrolment, sign request files. Nothing is sent.

`openssl pkeyutl -sign -rawin` (Ed25519) and `openssl dgst -sha256 -sign` (P-256) make the same signatures.
"""

import hashlib
import json
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

from strongroom.errors import invalid

ENROLMENT: Final = "strongroom approver enrolment 1"


def enrolment_file(account: str, principal: str, public_key: bytes) -> bytes:
    """Give the text that a key signs to be enrolled.

    Args:
        account: the principal's, 12 digits.
        principal: its ARN.
        public_key: DER SubjectPublicKeyInfo.
    """
    fingerprint = hashlib.sha256(public_key).hexdigest()
    body = {"account": account, "format": ENROLMENT, "principal": principal, "public_key_sha256": fingerprint}
    return (json.dumps(body, sort_keys=True, indent=2, ensure_ascii=True) + "\n").encode("ascii")


def sign(private_key: bytes, file: bytes, *, passphrase: bytes | None = None) -> bytes:
    """Sign a request file or an enrolment text: raw for Ed25519, DER for ECDSA P-256 with SHA-256.

    Args:
        private_key: PEM.
        file: the whole text, to the last byte.
        passphrase: of the PEM, if it has one.

    Raises:
        InvalidRequest: `key` is no PEM of such a key, or the passphrase is wrong.
    """
    try:
        key = load_pem_private_key(private_key, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _no_key() from None
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(file)
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key.sign(file, ec.ECDSA(hashes.SHA256()))
    raise _no_key()


def spki(public_key: bytes) -> bytes:
    """Give the DER SubjectPublicKeyInfo of a public key in PEM or DER.

    Raises:
        InvalidRequest: `public_key` is neither.
    """
    for load in (load_pem_public_key, load_der_public_key):
        try:
            key = load(public_key)
        except (ValueError, UnsupportedAlgorithm):
            continue
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    raise invalid("public_key", "must be a public key in PEM or DER")


def _no_key() -> Exception:
    return invalid(
        "key", "must be the PEM of an Ed25519 or P-256 private key, with its passphrase if it has one"
    )
