"""What approvers prove with: their keys, and signatures over request files; online and offline alike.

Ed25519 signs the file, ECDSA P-256 the SHA-256 of the file, DER: what `openssl` makes of `pkeyutl -sign
-rawin` and of `dgst -sha256 -sign`. Pure but for the arithmetic of signatures: no clock, no store.
"""

from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from strongroomd.domain import approvals
from strongroomd.domain.approvals import Approval, Count, Enrolled, FrozenRequest, GuardedAction
from strongroomd.domain.errors import Reason, StrongroomError, invalid, too_large

ApproverKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey
MAX_SIGNATURE = 128  # bytes: 64 of Ed25519, at most 72 of P-256


def read_key(public_key: bytes, field: str = "public_key") -> ApproverKey:
    """Read an approver's public key, DER SubjectPublicKeyInfo in its one encoding.

    Raises:
        StrongroomError: INVALID_FIELD for anything but an Ed25519 or P-256 key.
    """
    try:
        key = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm):
        raise _no_key(field) from None
    if not isinstance(key, ApproverKey):
        raise _no_key(field)
    if isinstance(key, ec.EllipticCurvePublicKey) and not isinstance(key.curve, ec.SECP256R1):
        raise _no_key(field)
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != public_key:
        raise _no_key(field)
    return key


def _no_key(field: str) -> StrongroomError:
    return invalid(field, "must be the DER SubjectPublicKeyInfo of an Ed25519 or P-256 key")


def verifies(public_key: bytes, file: bytes, signature: bytes) -> bool:
    """Say whether a signature over a file is this key's."""
    key = read_key(public_key)
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, file)
        else:
            key.verify(signature, file, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def require(public_key: bytes, file: bytes, signature: bytes, field: str = "signature") -> None:
    """Refuse a signature over a file that is not this key's.

    Raises:
        StrongroomError: INVALID_SIGNATURE, FIELD_TOO_LARGE.
    """
    if len(signature) > MAX_SIGNATURE:
        raise too_large(field, MAX_SIGNATURE)
    if not verifies(public_key, file, signature):
        raise StrongroomError(Reason.INVALID_SIGNATURE, field=field)


def require_approved(
    request: FrozenRequest,
    given: Iterable[Approval],
    approvers: dict[str, Enrolled],
    *,
    requester_counts: bool = True,
) -> Count:
    """Refuse what too few people approved, each with a signature that verifies.

    Args:
        request: what was asked.
        given: approvals; of those whose signature does not verify none counts.
        approvers: enrolled keys by their ids, as they are now.
        requester_counts: whether who asked may be one of those who approve.

    Raises:
        StrongroomError: APPROVAL_REQUIRED.
    """
    file = request.file
    signed = [
        approval
        for approval in given
        if approval.approver in approvers
        and verifies(approvers[approval.approver].public_key, file, approval.signature)
    ]
    found = approvals.count(request, signed, approvers, requester_counts=requester_counts)
    if found.missing:
        raise StrongroomError(Reason.APPROVAL_REQUIRED)
    return found


def require_offline(  # noqa: PLR0913 - all that a request is held against
    file: bytes,
    signatures: Iterable[bytes],
    enrolled: Iterable[Enrolled],
    action: GuardedAction,
    parameters: dict[str, str],
    quorum: int,
    now: int,
    *,
    requester_counts: bool = True,
) -> Count:
    """Verify a request file with its signature files, where no daemon runs.

    A signature file does not say whose it is: it counts for the enrolled key that it verifies under. Who
    asked is what the file says, by nobody's certificate: so it must be somebody who could approve, and at
    least two people must have signed.

    Args:
        file: the request, as `FrozenRequest.file` writes it.
        signatures: the bytes of the signature files.
        enrolled: approvers' keys of the account, from records that were verified.
        action: what is about to be done.
        parameters: what it is about to be done with; all of the request's.
        quorum: how many must have approved, whatever the request says of itself; two at least.
        now: milliseconds since the Unix epoch.
        requester_counts: whether who asked may be one of them.

    Raises:
        StrongroomError: INVALID_FIELD or FIELD_TOO_LARGE for what is no request file; APPROVAL_MISMATCH,
            APPROVAL_CLOSED, APPROVAL_REQUIRED; INVALID_SIGNATURE for a file that no enrolled key signed.
    """
    request, least = approvals.read_request(file), max(quorum, approvals.LEAST_OFFLINE)
    if request.action is not action or dict(request.parameters) != parameters or request.quorum < least:
        raise StrongroomError(Reason.APPROVAL_MISMATCH)
    enrolled = tuple(enrolled)
    if request.behind or request.requester not in approvals.living(request.account, enrolled):
        raise invalid("request_file", "was asked for by nobody who is an enrolled approver now")
    if approvals.is_over(request, now):
        raise StrongroomError(Reason.APPROVAL_CLOSED)
    keys = {key.id: key for key in enrolled}
    given = [_given(request, signature, keys) for signature in signatures]
    return require_approved(request, given, keys, requester_counts=requester_counts)


def _given(request: FrozenRequest, signature: bytes, keys: dict[str, Enrolled]) -> Approval:
    for key in keys.values():
        if verifies(key.public_key, request.file, signature):
            return Approval(request.digest, key.id, key.principal, signature)
    raise StrongroomError(Reason.INVALID_SIGNATURE, "a signature is not an enrolled approver's")
