"""Proofs that the material in the token is the material that the record describes.

Secrets: eight bytes of a function of the key over a fixed label. Pairs: one operation in the token, undone
with the public half in software. Keys of scheme AES_GCM: the label, sealed once at birth under a random IV
like everything else, and opened at each load: a load must not encrypt, since a key may do so only so often.
"""

import hashlib
import hmac
import os
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11.mechanisms import Mechanism

from strongroomd.domain.algorithms import (
    DIGEST_BYTES,
    DIGESTS,
    SPECS,
    KeyFamily,
    KeySpec,
    KeyUsage,
    Scheme,
    SigningAlgorithm,
    signing_algorithms,
)
from strongroomd.hsm import handles
from strongroomd.hsm.handles import IV_BYTES, Session
from strongroomd.hsm.mechanisms import SIGNING
from strongroomd.hsm.publickeys import CURVES, PublicKey, load_public_key, verifies
from strongroomd.hsm.signatures import encode_signature
from strongroomd.hsm.templates import HMACS, MASK

LABEL: Final = b"strongroom-check"  # one AES block; XAES blocks begin with two counter bytes and "X"
CHECK_BYTES: Final = 8
_SEALED_LABEL_BYTES: Final = IV_BYTES + len(LABEL) + 16


def check_value(
    session: Session, handle: int, spec: KeySpec, public_key: bytes, scheme: Scheme = Scheme.DEFAULT
) -> bytes:
    """Compute the check value that goes into the record at birth and is compared at each load."""
    if scheme is Scheme.AES_GCM:
        iv = os.urandom(IV_BYTES)
        return iv + handles.encrypt_gcm(session, handle, iv, b"", LABEL)
    if spec in HMACS:
        return handles.sign(session, handle, HMACS[spec], None, LABEL)[:CHECK_BYTES]
    if SPECS[spec].family is KeyFamily.AES:
        return encrypt_block(session, handle, LABEL)[:CHECK_BYTES]
    return hashlib.sha256(public_key).digest()[:CHECK_BYTES]


def encrypt_block(session: Session, root: int, block: bytes) -> bytes:
    """AES of one block under a derive-only root, read out through a short-lived secret."""
    return handles.take_value(handles.derive_blocks(session, root, block, MASK))


def matches(
    session: Session,
    handle: int,
    spec: KeySpec,
    usage: KeyUsage,
    public_key: bytes,
    expected: bytes,
    scheme: Scheme = Scheme.DEFAULT,
) -> bool:
    """Tell whether a loaded key is the one that a record describes.

    Under AES_GCM another key does not make it False, but the token refuse the check value as forged data.
    """
    if scheme is Scheme.AES_GCM:
        return _opens(session, handle, expected)
    actual = check_value(session, handle, spec, public_key)
    if not hmac.compare_digest(actual, expected):
        return False
    if not public_key:
        return True
    try:
        public = load_public_key(public_key)
    except ValueError:
        return False
    return is_pair(session, handle, spec, usage, public)


def _opens(session: Session, handle: int, check: bytes) -> bool:
    if len(check) != _SEALED_LABEL_BYTES:  # python-pkcs11 fails on too few bytes with an error of its own
        return False
    return handles.decrypt_gcm(session, handle, check[:IV_BYTES], b"", check[IV_BYTES:]) == LABEL


def is_pair(session: Session, handle: int, spec: KeySpec, usage: KeyUsage, public: PublicKey) -> bool:
    """Tell whether a private key in the token belongs to a public one, by one use of it."""
    if usage is KeyUsage.SIGN_VERIFY:
        return signs(session, handle, signing_algorithms(spec, usage)[0], public)
    if usage is KeyUsage.KEY_AGREEMENT and isinstance(public, ec.EllipticCurvePublicKey):
        return _agrees(session, handle, spec, public)
    if usage is KeyUsage.ENCRYPT_DECRYPT and isinstance(public, rsa.RSAPublicKey):
        return _decrypts(session, handle, public)
    return False


def signs(session: Session, handle: int, algorithm: SigningAlgorithm, public: PublicKey) -> bool:
    """Tell whether what a private key in the token signs verifies under a public one."""
    how = SIGNING[algorithm]
    size = DIGEST_BYTES[DIGESTS[algorithm]] if algorithm in DIGESTS else len(LABEL)
    data = LABEL.ljust(size, b"\0")
    raw = handles.sign(session, handle, how.mechanism, how.parameter, how.prefix + data)
    return verifies(public, algorithm, data, encode_signature(algorithm, raw))


def _agrees(session: Session, handle: int, spec: KeySpec, public: ec.EllipticCurvePublicKey) -> bool:
    peer = ec.generate_private_key(CURVES[spec])
    point = peer.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    expected = peer.exchange(ec.ECDH(), public)
    actual = handles.take_value(handles.derive_ecdh(session, handle, point, len(expected), MASK))
    return hmac.compare_digest(actual, expected)


def _decrypts(session: Session, handle: int, public: rsa.RSAPublicKey) -> bool:
    sha1 = hashes.SHA1()  # noqa: S303 - the one OAEP hash that every token has
    secret = os.urandom(16)
    ciphertext = public.encrypt(secret, padding.OAEP(padding.MGF1(sha1), sha1, None))
    return hmac.compare_digest(
        handles.decrypt_rsa(session, handle, Mechanism.RSA_PKCS_OAEP, ciphertext), secret
    )
