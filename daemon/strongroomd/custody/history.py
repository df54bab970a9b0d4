"""Before the doors open: the audit log's checkpoints are the ones that the token remembers, or newer ones."""

from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import Anchor
from strongroomd.ports import AuditTrail


def signature_ok(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Check a checkpoint's signature: ECDSA P-256 SHA-256, DER, under a SubjectPublicKeyInfo."""
    key = load_der_public_key(public_key)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    try:
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def signer_of(public_keys: Iterable[bytes], message: bytes, signature: bytes) -> bytes | None:
    """Find the checkpoint key (DER SubjectPublicKeyInfo) that made a signature; None if none of these did."""
    return next((key for key in public_keys if signature_ok(key, message, signature)), None)


async def verify_history(anchor: Anchor | None, trail: AuditTrail, public_keys: Iterable[bytes]) -> None:
    """Hold the audit log against the token's anchor.

    Args:
        anchor: what the token remembers.
        trail: the log.
        public_keys: all keys that the house signed checkpoints with (DER SubjectPublicKeyInfo).

    Raises:
        StrongroomError: INTEGRITY_FAILURE when the log is older than the token remembers, is another one, or
            its newest checkpoint was not signed by this token.
    """
    newest = await trail.newest()
    if newest is not None and signer_of(public_keys, newest[0].message(), newest[1]) is None:
        raise _failure("the newest checkpoint was not signed by this token")
    if anchor is None or anchor.checkpoint == 0:
        return
    remembered = await trail.nth(anchor.checkpoint)
    if remembered is None or remembered[0].digest() != anchor.checkpoint_hash:
        raise _failure("the audit log is older than the token's anchor, or is another one")


def _failure(detail: str) -> StrongroomError:
    return StrongroomError(Reason.INTEGRITY_FAILURE, detail=detail)
