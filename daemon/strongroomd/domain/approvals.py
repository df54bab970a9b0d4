"""Dual control: what waits for approvals, the bytes that approvers sign, and when there are enough of them.

A request is frozen when it is made: action, key, version, parameters, requester, quorum and expiry become one
text (`FrozenRequest.file`), and its SHA-256 is the request's digest. That text is what every approver reads
and signs, with a key of its own: Ed25519 over the text, or ECDSA P-256 over its digest. So `openssl` signs
the file as it is, and a signature for one request is worth nothing for another.

Who asked counts at most once, and only beside somebody else: one person alone never does what is guarded.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from strongroomd.domain.errors import Reason, StrongroomError, invalid, too_large
from strongroomd.domain.names import plain_text

FORMAT: Final = "strongroom approval request 1"
PROOF_FORMAT: Final = "strongroom approver enrolment 1"
MEANING: Final = "Whoever signs this file approves what it says, once, until it expires."

MAX_QUORUM: Final = 8
DEFAULT_QUORUM: Final = 2
"""What an account asks for that has not said otherwise: two people, of whom one may be who asks."""

MAX_LIFETIME_MS: Final = 24 * 3600 * 1000
MIN_LIFETIME_MS: Final = 1000
LEAST_OFFLINE: Final = 2
"""People who must sign where no daemon runs, whatever the quorum: nobody saw there who it was that asked."""

SKEW_MS: Final = 5 * 60 * 1000
"""How far the clock may have been set back since a request was made, before it is carried out no more."""

MAX_PURPOSE: Final = 512  # characters
MAX_FILE: Final = 131_072  # bytes of a request file: the longest key policy fits, escaped as JSON wants it
NONCE_BYTES: Final = 16
ID_BYTES: Final = 10
_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_TIME_DIGITS: Final = 12  # of milliseconds since the Unix epoch: enough for 8,900 years


class GuardedAction(StrEnum):
    """What dual control guards."""

    EXPORT_KEY = "EXPORT_KEY"
    PUT_KEY_POLICY = "PUT_KEY_POLICY"
    SCHEDULE_KEY_DELETION = "SCHEDULE_KEY_DELETION"
    DELETE_KEY_MATERIAL = "DELETE_KEY_MATERIAL"
    EXPIRE_KEY_MATERIAL = "EXPIRE_KEY_MATERIAL"
    REGISTER_WRAPPING_KEY = "REGISTER_WRAPPING_KEY"
    PUT_QUORUM = "PUT_QUORUM"
    REGISTER_PEER = "REGISTER_PEER"
    MOVE_LOST_PRIMARY = "MOVE_LOST_PRIMARY"
    ATTACH_RECOVERY_TOKEN = "ATTACH_RECOVERY_TOKEN"  # noqa: S105 - an action's name
    RESTORE_OLDER_STATE = "RESTORE_OLDER_STATE"
    REWRAP_KEYS = "REWRAP_KEYS"


OF_KEYS: Final = frozenset(
    {
        GuardedAction.EXPORT_KEY,
        GuardedAction.PUT_KEY_POLICY,
        GuardedAction.SCHEDULE_KEY_DELETION,
        GuardedAction.DELETE_KEY_MATERIAL,
        GuardedAction.EXPIRE_KEY_MATERIAL,
    }
)
"""Actions on one key: its policy names the approvers, and its own quorum counts."""

OFFLINE: Final = frozenset(
    {GuardedAction.ATTACH_RECOVERY_TOKEN, GuardedAction.RESTORE_OLDER_STATE, GuardedAction.REWRAP_KEYS}
)
"""Actions without a running daemon: request and signatures are files."""


class ApprovalState(StrEnum):
    """What became of a request; all but the first two are final."""

    WAITING = "WAITING"
    APPROVED = "APPROVED"
    EXECUTED = "EXECUTED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"


class Step(StrEnum):
    """What can happen to a request."""

    APPROVE = "APPROVE"
    COMPLETE = "COMPLETE"
    EXECUTE = "EXECUTE"
    REJECT = "REJECT"
    CANCEL = "CANCEL"
    EXPIRE = "EXPIRE"


_S = ApprovalState
TRANSITIONS: Final[dict[tuple[ApprovalState, Step], ApprovalState]] = {
    (_S.WAITING, Step.APPROVE): _S.WAITING,
    (_S.WAITING, Step.COMPLETE): _S.APPROVED,
    (_S.WAITING, Step.REJECT): _S.REJECTED,
    (_S.WAITING, Step.CANCEL): _S.CANCELLED,
    (_S.WAITING, Step.EXPIRE): _S.EXPIRED,
    (_S.APPROVED, Step.APPROVE): _S.APPROVED,
    (_S.APPROVED, Step.COMPLETE): _S.APPROVED,
    (_S.APPROVED, Step.EXECUTE): _S.EXECUTED,
    (_S.APPROVED, Step.REJECT): _S.REJECTED,
    (_S.APPROVED, Step.CANCEL): _S.CANCELLED,
    (_S.APPROVED, Step.EXPIRE): _S.EXPIRED,
}
"""From state by step to state; the rest is refused. More may approve than need: one may be revoked."""

OPEN: Final = frozenset({_S.WAITING, _S.APPROVED})


def next_state(state: ApprovalState, step: Step) -> ApprovalState:
    """Give the state after a step.

    Raises:
        StrongroomError: APPROVAL_REQUIRED where nothing but approvals is missing; APPROVAL_CLOSED for a
            request that is over.
    """
    found = TRANSITIONS.get((state, step))
    if found is not None:
        return found
    raise StrongroomError(Reason.APPROVAL_REQUIRED if state in OPEN else Reason.APPROVAL_CLOSED)


@dataclass(frozen=True, slots=True)
class FrozenRequest:
    """What was asked for, to the last byte.

    Attributes:
        id: 32 hex digits, of which the first 12 are the time, so that ids are in the order of asking.
        account: whose key or setting it is, 12 digits; its people approve.
        key: the key's ARN, or empty.
        version: of the key's material, 0 where it is not about one.
        parameters: (name, value) pairs, sorted by name; bytes are written as base64 or hexadecimal digits.
        requester: ARN of who asked.
        behind: ARNs of who is behind the requester (who assumed its role), sorted.
        purpose: why, for the approvers.
        quorum: how many must approve, 1 to 8.
        created_at, expires_at: milliseconds since the Unix epoch.
        nonce: 32 hex digits: no two requests are the same.
    """

    id: str
    action: GuardedAction
    account: str
    key: str
    version: int
    parameters: tuple[tuple[str, str], ...]
    requester: str
    behind: tuple[str, ...]
    purpose: str
    quorum: int
    created_at: int
    expires_at: int
    nonce: str

    @property
    def file(self) -> bytes:
        """The request's one text, JSON with sorted names in ASCII: what approvers sign."""
        body: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        body |= {"parameters": dict(self.parameters), "format": FORMAT, "meaning": MEANING}
        return _canonical(body)

    @property
    def digest(self) -> str:
        """SHA-256 of the file, in hexadecimal digits."""
        return hashlib.sha256(self.file).hexdigest()

    @property
    def people(self) -> frozenset[str]:
        """Who asked: the requester and who is behind it."""
        return frozenset({self.requester, *self.behind})

    def parameter(self, name: str) -> str:
        """Give a parameter, empty if the request has none of this name."""
        return dict(self.parameters).get(name, "")


def _canonical(body: Mapping[str, Any]) -> bytes:
    """Write JSON in the one way that these files have: sorted, indented by two, ASCII, a line feed last."""
    return (json.dumps(body, sort_keys=True, indent=2, ensure_ascii=True) + "\n").encode("ascii")


def read_request(file: bytes) -> FrozenRequest:
    """Read a request file; whatever is not exactly what `FrozenRequest.file` writes is refused.

    Raises:
        StrongroomError: INVALID_FIELD or FIELD_TOO_LARGE (`request_file`).
    """
    if len(file) > MAX_FILE:
        raise too_large("request_file", MAX_FILE)
    try:
        body = json.loads(file)
        request = _from_body(body)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise _no_request_file() from None
    if request.file != file:
        raise _no_request_file()
    return check_request(request)


def _from_body(body: dict[str, Any]) -> FrozenRequest:
    if body.pop("format") != FORMAT or body.pop("meaning") != MEANING:
        raise ValueError
    texts = [body[name] for name in ("id", "account", "key", "requester", "purpose", "nonce")]
    numbers = [body[name] for name in ("version", "quorum", "created_at", "expires_at")]
    pairs, behind = tuple(sorted(body.pop("parameters").items())), tuple(body.pop("behind"))
    texts += [*behind, *(text for pair in pairs for text in pair)]
    if not all(type(text) is str for text in texts) or not all(type(number) is int for number in numbers):
        raise TypeError
    action = GuardedAction(body.pop("action"))
    return FrozenRequest(**body, action=action, parameters=pairs, behind=behind)


def _no_request_file() -> StrongroomError:
    return invalid("request_file", "is not a request file as the daemon or `strongroom approvals` writes it")


def check_request(request: FrozenRequest) -> FrozenRequest:
    """Check what a request says of itself.

    Raises:
        StrongroomError: INVALID_FIELD or FIELD_TOO_LARGE, naming the field.
    """
    check_id(request.id)
    check_quorum(request.quorum)
    check_purpose(request.purpose)
    check_lifetime(request.expires_at - request.created_at)
    if (request.action in OF_KEYS) != bool(request.key):
        raise invalid("key", "must be set for actions on a key, and for no others")
    if len(request.file) > MAX_FILE:
        raise too_large("parameters", MAX_FILE)
    return request


def request_id_at(now: int, random: bytes) -> str:
    """Make the id of a request that is made now (ms since the Unix epoch), with 10 random bytes."""
    return f"{now:0{_TIME_DIGITS}x}{random.hex()}"


def check_id(text: str, field: str = "approval_id") -> str:
    """Check a request's id: 32 hexadecimal digits in lower case."""
    if not _ID.fullmatch(text):
        raise invalid(field, "must be 32 hexadecimal digits")
    return text


def check_optional_id(text: str) -> None:
    """Check the id of a request that a call may need; empty where it brings none."""
    if text:
        check_id(text)


def check_quorum(quorum: int, field: str = "quorum") -> int:
    """Check a quorum: 1 to 8."""
    if not 1 <= quorum <= MAX_QUORUM:
        raise invalid(field, f"must be from 1 to {MAX_QUORUM}")
    return quorum


def check_purpose(text: str, field: str = "purpose") -> str:
    """Check a purpose: printable text of 1 to 512 characters; approvers must be told something."""
    if not text.strip():
        raise invalid(field, "must say what it is for")
    if len(text) > MAX_PURPOSE:
        raise too_large(field, MAX_PURPOSE, "characters")
    return plain_text(text, field)


def check_lifetime(milliseconds: int, field: str = "expiry") -> int:
    """Check for how long a request may wait: a second to 24 hours."""
    if not MIN_LIFETIME_MS <= milliseconds <= MAX_LIFETIME_MS:
        raise invalid(field, "must be from one second to 24 hours")
    return milliseconds


def is_over(request: FrozenRequest, now: int) -> bool:
    """Say whether a request's time is over, or has not begun by a clock that was set back."""
    return now >= request.expires_at or now < request.created_at - SKEW_MS


@dataclass(frozen=True, slots=True)
class Enrolled:
    """An approver's key, as it was enrolled.

    Attributes:
        id: 32 hex digits, of the SHA-256 of the public key (`approver_id`).
        account, principal: whose it is; the ARN.
        public_key: DER SubjectPublicKeyInfo of an Ed25519 or P-256 key.
        revoked: it approves nothing any more, nor did it: what it approved does not count.
        admitted: whether its principal may call: one that is disabled or unknown approves nothing either.
    """

    id: str
    account: str
    principal: str
    public_key: bytes
    revoked: bool = False
    admitted: bool = True


@dataclass(frozen=True, slots=True)
class Approval:
    """One signature under a request.

    Attributes:
        digest: of the request that was signed.
        approver: id of the enrolled key.
        principal: ARN of who brought it, by the peer's certificate; the key's owner where it came as a file.
        signature: over the request file, raw for Ed25519, DER for ECDSA.
    """

    digest: str
    approver: str
    principal: str
    signature: bytes


def approver_id(public_key: bytes) -> str:
    """Name a public key (DER SubjectPublicKeyInfo): one key is enrolled once, for one person, for ever."""
    return hashlib.sha256(public_key).hexdigest()[:32]


def enrolment_file(account: str, principal: str, public_key: bytes) -> bytes:
    """Give the text that proves possession of a key, once the key has signed it."""
    fingerprint = hashlib.sha256(public_key).hexdigest()
    body = {
        "account": account,
        "format": PROOF_FORMAT,
        "principal": principal,
        "public_key_sha256": fingerprint,
    }
    return _canonical(body)


@dataclass(frozen=True, slots=True)
class Count:
    """Whose approvals count.

    Attributes:
        others: ARNs of those who approved and did not ask, sorted.
        own: whether who asked approved, too.
        quorum: how many are needed.
    """

    others: tuple[str, ...]
    own: bool
    quorum: int

    @property
    def approvals(self) -> int:
        """How many count: everybody once, who asked at most once."""
        return len(self.others) + (1 if self.own else 0)

    @property
    def missing(self) -> int:
        """How many are still needed; never 0 while only who asked has approved."""
        return max(self.quorum - self.approvals, 0 if self.others else 1)


def unfit(account: str, approval: Approval, approvers: Mapping[str, Enrolled]) -> str:
    """Say why whoever gave an approval does not count in an account; empty if they do."""
    key = approvers.get(approval.approver)
    if key is None:
        return "the approver's key is not enrolled"
    if key.revoked:
        return "the approver's key is revoked"
    if key.account != account:
        return "the approver is of another account"
    if key.principal != approval.principal:
        return "the approver's key is somebody else's"
    if not key.admitted:
        return "the approver is disabled or unknown"
    return "" if is_person(key.principal) else "the approver is a role"


def living(account: str, approvers: Iterable[Enrolled]) -> frozenset[str]:
    """Name the people (ARNs) whose approvals count in an account now, by whatever keys."""
    return frozenset(
        key.principal
        for key in approvers
        if key.account == account and key.admitted and not key.revoked and is_person(key.principal)
    )


def is_person(arn: str) -> bool:
    """Say whether a principal can approve: a role is whoever assumes it, one after the other."""
    return not arn.split(":", 5)[-1].startswith("role/")


def count(
    request: FrozenRequest,
    approvals: Iterable[Approval],
    approvers: Mapping[str, Enrolled],
    *,
    requester_counts: bool = True,
) -> Count:
    """Count the approvals of a request.

    Args:
        request: what was asked.
        approvals: whose signatures are verified.
        approvers: enrolled keys by their ids, as they are now.
        requester_counts: whether who asked may be one of those who approve.
    """
    digest = request.digest
    fit = (a for a in approvals if a.digest == digest and not unfit(request.account, a, approvers))
    return tally(request, (a.principal for a in fit), requester_counts=requester_counts)


def tally(request: FrozenRequest, people: Iterable[str], *, requester_counts: bool = True) -> Count:
    """Count the people (ARNs) whose approvals of a request are good; who asked counts at most once."""
    approved = set(people)
    own = requester_counts and not approved.isdisjoint(request.people)
    return Count(tuple(sorted(approved - request.people)), own, request.quorum)
