"""Approvals as files: what approvers sign is exactly what is done, or it is not done."""

import dataclasses
from collections.abc import Callable, Mapping

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from strongroomd.custody.clock import Clock
from strongroomd.custody.offlineapprovals import Approvals, Wanted
from strongroomd.domain.approvals import Enrolled, GuardedAction, approver_id
from strongroomd.domain.errors import Reason, StrongroomError

ACCOUNT = "111122223333"
WANTED = Wanted(GuardedAction.RESTORE_OLDER_STATE, ACCOUNT, {"set": "a", "journal_sequence": "7"})
Signer = Callable[[bytes], bytes]


def arn(name: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:user/{name}"


class Person:
    """Somebody with an enrolled key of their own, on whatever machine."""

    def __init__(self, name: str, *, edwards: bool = True, account: str = ACCOUNT) -> None:
        self.arn = arn(name)
        private = ed25519.Ed25519PrivateKey.generate() if edwards else ec.generate_private_key(ec.SECP256R1())
        public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.enrolled = Enrolled(approver_id(public), account, self.arn, public)
        self._private = private

    def sign(self, file: bytes) -> bytes:
        if isinstance(self._private, ed25519.Ed25519PrivateKey):
            return self._private.sign(file)
        return self._private.sign(file, ec.ECDSA(hashes.SHA256()))


ADA, GRACE, JOAN = Person("ada"), Person("grace", edwards=False), Person("joan")
APPROVERS = {person.enrolled.id: person.enrolled for person in (ADA, GRACE, JOAN)}


def request(wanted: Wanted = WANTED, quorum: int = 2) -> bytes:
    """Have Ada ask, and give the file that was written."""
    written: list[bytes] = []
    asking = Approvals(ask=written.append, requester=ADA.arn, purpose="the machine is lost")
    of_account = {name: dataclasses.replace(key, account=wanted.account) for name, key in APPROVERS.items()}
    with pytest.raises(StrongroomError) as refusal:
        asking.demand(wanted, of_account, quorum)
    assert refusal.value.reason is Reason.APPROVAL_REQUIRED
    return written[0]


def brought(file: bytes, *people: Person) -> Approvals:
    return Approvals(request=file, signatures=tuple(person.sign(file) for person in people))


def refused(
    approvals: Approvals,
    wanted: Wanted = WANTED,
    quorum: int = 2,
    approvers: Mapping[str, Enrolled] = APPROVERS,
) -> Reason:
    with pytest.raises(StrongroomError) as refusal:
        approvals.demand(wanted, approvers, quorum)
    return refusal.value.reason


def test_enough_signatures_by_keys_of_both_kinds_approve() -> None:
    assert brought(request(), GRACE, JOAN).demand(WANTED, APPROVERS, 2) == sorted([GRACE.arn, JOAN.arn])


def test_who_asked_counts_once_beside_somebody_else() -> None:
    assert brought(request(), ADA, GRACE).demand(WANTED, APPROVERS, 2) == sorted([ADA.arn, GRACE.arn])


def test_nothing_is_done_without_a_request() -> None:
    assert refused(Approvals()) is Reason.APPROVAL_REQUIRED


@pytest.mark.parametrize("people", [(), (GRACE,), (GRACE, GRACE), (ADA,), (ADA, ADA)], ids=len)
def test_too_few_people_do_not_approve(people: tuple[Person, ...]) -> None:
    assert refused(brought(request(), *people)) is Reason.APPROVAL_REQUIRED


@pytest.mark.parametrize(
    "who", [ADA, GRACE], ids=["who asked", "somebody else, who may have written the request"]
)
def test_nobody_approves_alone_even_where_one_is_enough(who: Person) -> None:
    assert refused(brought(request(quorum=1), who), quorum=1) is Reason.APPROVAL_REQUIRED
    brought(request(quorum=1), GRACE, JOAN).demand(WANTED, APPROVERS, 1)


def test_a_request_that_says_that_one_is_enough_is_refused_whatever_the_quorum() -> None:
    file = request(quorum=2).replace(b'"quorum": 2', b'"quorum": 1')

    assert refused(brought(file, GRACE, JOAN), quorum=1) is Reason.APPROVAL_MISMATCH


def test_where_it_is_said_so_who_asked_does_not_count_at_all() -> None:
    strict = dataclasses.replace(brought(request(), ADA, GRACE), requester_counts=False)

    assert refused(strict) is Reason.APPROVAL_REQUIRED
    others = dataclasses.replace(brought(request(), ADA, GRACE, JOAN), requester_counts=False)
    assert others.demand(WANTED, APPROVERS, 2) == sorted([GRACE.arn, JOAN.arn])


def changed(person: Person, **changes: object) -> dict[str, Enrolled]:
    """The approvers, one of whom is another than before."""
    return APPROVERS | {person.enrolled.id: dataclasses.replace(person.enrolled, **changes)}  # type: ignore[arg-type]


def test_a_disabled_or_unknown_approver_does_not_count() -> None:
    file, approvers = request(), changed(JOAN, admitted=False)

    assert refused(brought(file, GRACE, JOAN), approvers=approvers) is Reason.APPROVAL_REQUIRED
    assert brought(file, GRACE, ADA, JOAN).demand(WANTED, approvers, 2) == sorted([ADA.arn, GRACE.arn])


def test_a_role_does_not_count() -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/approvers"

    assert refused(brought(request(), GRACE, JOAN), approvers=changed(JOAN, principal=role)) is (
        Reason.APPROVAL_REQUIRED
    )


NOBODY = {
    "free text": ("whoever", APPROVERS),
    "nobody": ("", APPROVERS),
    "not enrolled": (arn("mallory"), APPROVERS),
    "revoked": (ADA.arn, changed(ADA, revoked=True)),
    "disabled": (ADA.arn, changed(ADA, admitted=False)),
    "of another account": (ADA.arn, changed(ADA, account="999988887777")),
}


@pytest.mark.parametrize("who", list(NOBODY))
def test_who_asks_is_an_enrolled_approver(who: str) -> None:
    requester, approvers = NOBODY[who]
    written: list[bytes] = []
    asking = Approvals(ask=written.append, requester=requester, purpose="the machine is lost")
    with pytest.raises(StrongroomError) as refusal:
        asking.demand(WANTED, approvers, 2)
    assert (refusal.value.reason, refusal.value.field) == (Reason.INVALID_FIELD, "requester")
    assert written == []

    file = request().replace(ADA.arn.encode(), requester.encode())  # written by somebody else's hand
    with pytest.raises(StrongroomError) as refusal:
        brought(file, GRACE, JOAN).demand(WANTED, approvers, 2)
    assert (refusal.value.reason, refusal.value.field) == (Reason.INVALID_FIELD, "request_file")


@pytest.mark.parametrize(("counts", "enough"), [(True, True), (False, False)])
def test_nothing_is_asked_that_too_few_people_could_approve(counts: bool, enough: bool) -> None:
    """Two are left: with who asks there are enough, without there are not."""
    approvers = changed(JOAN, admitted=False)
    written: list[bytes] = []
    asking = Approvals(ask=written.append, requester=ADA.arn, purpose="x", requester_counts=counts)

    assert refused(asking, approvers=approvers) is Reason.APPROVAL_REQUIRED
    assert bool(written) is enough
    assert refused(dataclasses.replace(asking, ask=written.append), quorum=4) is Reason.APPROVAL_REQUIRED
    assert len(written) == enough


def test_nobody_stands_behind_who_asks_offline() -> None:
    file = request().replace(b'"behind": []', b'"behind": [\n    "' + JOAN.arn.encode() + b'"\n  ]')

    assert refused(brought(file, GRACE, JOAN)) is Reason.INVALID_FIELD


def test_a_key_that_is_not_enrolled_approves_nothing() -> None:
    assert refused(brought(request(), GRACE, Person("mallory"))) is Reason.INVALID_SIGNATURE


def test_a_revoked_approver_does_not_count() -> None:
    revoked = {GRACE.enrolled.id: dataclasses.replace(GRACE.enrolled, revoked=True)}

    with pytest.raises(StrongroomError) as refusal:
        brought(request(), GRACE, JOAN).demand(WANTED, APPROVERS | revoked, 2)

    assert refusal.value.reason is Reason.APPROVAL_REQUIRED


def test_an_approver_of_another_account_does_not_count() -> None:
    stranger = Person("stranger", account="999988887777")

    with pytest.raises(StrongroomError) as refusal:
        brought(request(), GRACE, stranger).demand(
            WANTED, APPROVERS | {stranger.enrolled.id: stranger.enrolled}, 2
        )

    assert refusal.value.reason is Reason.APPROVAL_REQUIRED


@pytest.mark.parametrize(
    "other",
    [
        Wanted(GuardedAction.ATTACH_RECOVERY_TOKEN, ACCOUNT, WANTED.parameters),
        Wanted(WANTED.action, "999988887777", WANTED.parameters),
        Wanted(WANTED.action, ACCOUNT, {"set": "b", "journal_sequence": "7"}),
        Wanted(WANTED.action, ACCOUNT, {"set": "a"}),
        Wanted(WANTED.action, ACCOUNT, {**WANTED.parameters, "more": ""}),
    ],
    ids=["action", "account", "set", "less", "more"],
)
def test_approvals_of_one_thing_are_worth_nothing_for_another(other: Wanted) -> None:
    assert refused(brought(request(other), GRACE, JOAN)) is Reason.APPROVAL_MISMATCH


def test_a_request_for_fewer_people_than_must_approve_is_refused() -> None:
    assert refused(brought(request(quorum=2), GRACE, JOAN), quorum=3) is Reason.APPROVAL_MISMATCH


def test_an_edited_request_is_nobodys() -> None:
    file = request()
    signed = brought(file, GRACE, JOAN)
    edited = file.replace(b'"set": "a"', b'"set": "b"')

    assert refused(dataclasses.replace(signed, request=edited)) is Reason.APPROVAL_MISMATCH
    with pytest.raises(StrongroomError):
        dataclasses.replace(signed, request=edited).demand(
            Wanted(WANTED.action, ACCOUNT, {**WANTED.parameters, "set": "b"}), APPROVERS, 2
        )


@pytest.mark.parametrize("hours", [-1, 25])
def test_a_request_of_another_day_is_over(hours: int) -> None:
    class Turned(Clock):
        def wall_ms(self) -> int:
            return super().wall_ms() + hours * 3_600_000

    late = dataclasses.replace(brought(request(), GRACE, JOAN), clock=Turned())

    assert refused(late) is Reason.APPROVAL_CLOSED


@pytest.mark.parametrize("file", [b"", b"{}", b"\xff", b"[]" * 100])
def test_what_is_no_request_is_refused(file: bytes) -> None:
    assert refused(Approvals(request=file)) is Reason.INVALID_FIELD
