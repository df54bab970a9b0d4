"""Dual control, pure: the frozen request, its one text, the states, and who counts."""

import dataclasses
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroomd.domain import approvals
from strongroomd.domain.approvals import (
    MAX_LIFETIME_MS,
    OPEN,
    TRANSITIONS,
    Approval,
    ApprovalState,
    Enrolled,
    FrozenRequest,
    GuardedAction,
    Step,
    count,
    next_state,
    read_request,
    unfit,
)
from strongroomd.domain.errors import Reason, StrongroomError

ACCOUNT = "111122223333"
KEY = f"arn:aws:kms:local-1:{ACCOUNT}:key/0f9d1c1c-0000-4000-8000-000000000000"
ALICE, BOB, CAROL, DAVE = (
    f"arn:aws:iam::{ACCOUNT}:user/{name}" for name in ("alice", "bob", "carol", "dave")
)
ROLE = f"arn:aws:iam::{ACCOUNT}:role/exporter"
REQUEST = FrozenRequest(
    id="0" * 32,
    action=GuardedAction.EXPORT_KEY,
    account=ACCOUNT,
    key=KEY,
    version=3,
    parameters=(("level", "token"), ("recipient_sha256", "ab" * 32)),
    requester=ALICE,
    behind=(),
    purpose="move to the new house",
    quorum=2,
    created_at=1_000_000,
    expires_at=1_000_000 + 3_600_000,
    nonce="1" * 32,
)


def enrolled(principal: str, number: int = 0, **changes: object) -> Enrolled:
    key = f"{principal}/{number}".encode()
    found = Enrolled(approvals.approver_id(key), ACCOUNT, principal, key)
    return dataclasses.replace(found, **changes)  # type: ignore[arg-type]


def by(key: Enrolled, request: FrozenRequest = REQUEST) -> Approval:
    return Approval(request.digest, key.id, key.principal, b"signature")


def known(*keys: Enrolled) -> dict[str, Enrolled]:
    return {key.id: key for key in keys}


# --- the request's text


def test_the_text_is_this_to_the_last_byte() -> None:
    assert REQUEST.file.decode() == (
        "{\n"
        '  "account": "111122223333",\n'
        '  "action": "EXPORT_KEY",\n'
        '  "behind": [],\n'
        '  "created_at": 1000000,\n'
        '  "expires_at": 4600000,\n'
        '  "format": "strongroom approval request 1",\n'
        '  "id": "00000000000000000000000000000000",\n'
        '  "key": "arn:aws:kms:local-1:111122223333:key/0f9d1c1c-0000-4000-8000-000000000000",\n'
        '  "meaning": "Whoever signs this file approves what it says, once, until it expires.",\n'
        '  "nonce": "11111111111111111111111111111111",\n'
        '  "parameters": {\n'
        '    "level": "token",\n'
        f'    "recipient_sha256": "{"ab" * 32}"\n'
        "  },\n"
        '  "purpose": "move to the new house",\n'
        '  "quorum": 2,\n'
        '  "requester": "arn:aws:iam::111122223333:user/alice",\n'
        '  "version": 3\n'
        "}\n"
    )


CHANGED = {
    "id": "2" * 32,
    "action": GuardedAction.PUT_KEY_POLICY,
    "account": "999988887777",
    "key": KEY[:-1] + "1",
    "version": 2,
    "parameters": (("level", "host"), ("recipient_sha256", "ab" * 32)),
    "requester": BOB,
    "behind": (BOB,),
    "purpose": "move to the new house ",
    "quorum": 1,
    "created_at": 1_000_001,
    "expires_at": 4_600_001,
    "nonce": "2" * 32,
}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(FrozenRequest)])
def test_every_field_changes_the_digest(field: str) -> None:
    changed = dataclasses.replace(REQUEST, **{field: CHANGED[field]})  # type: ignore[arg-type]
    assert changed.digest != REQUEST.digest


texts = st.text(max_size=12)


@given(
    purpose=st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20),
    parameters=st.dictionaries(texts, texts, max_size=4),
    behind=st.lists(texts, max_size=2),
    version=st.integers(0, 10**9),
)
def test_what_is_written_is_read_back(
    purpose: str, parameters: dict[str, str], behind: list[str], version: int
) -> None:
    request = dataclasses.replace(
        REQUEST,
        purpose=purpose,
        parameters=tuple(sorted(parameters.items())),
        behind=tuple(behind),
        version=version,
    )
    assert read_request(request.file) == request
    assert request.file.isascii()


def edited(**changes: object) -> bytes:
    body = json.loads(REQUEST.file) | changes
    kept = {name: value for name, value in body.items() if value is not ...}
    return (json.dumps(kept, sort_keys=True, indent=2) + "\n").encode()


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"null\n",
        b"[]\n",
        b"[" * 100_000,
        REQUEST.file[:-1],
        REQUEST.file + b"\n",
        REQUEST.file.replace(b"  ", b" "),
        b"\xff" + REQUEST.file,
        edited(format="strongroom approval request 2"),
        edited(meaning="This approves nothing."),
        edited(more="x"),
        edited(nonce=...),
        edited(version="3"),
        edited(version=True),
        edited(version=3.0),
        edited(quorum=None),
        edited(action="NOTHING"),
        edited(parameters=[]),
        edited(parameters={"level": 1}),
        edited(behind="x"),
        edited(behind=[1]),
        edited(purpose=7),
        REQUEST.file.replace(b'"quorum": 2,', b'"quorum": 1,\n  "quorum": 2,'),
        edited(quorum=0),
        edited(quorum=9),
        edited(id="x"),
        edited(purpose=" "),
        edited(purpose="x" * 513),
        edited(purpose="a\u0007"),
        edited(key=""),
        edited(expires_at=1_000_000),
        edited(expires_at=1_000_000 + MAX_LIFETIME_MS + 1),
    ],
)
def test_what_is_no_request_file_is_refused(file: bytes) -> None:
    with pytest.raises(StrongroomError) as caught:
        read_request(file)
    assert caught.value.reason in {Reason.INVALID_FIELD, Reason.FIELD_TOO_LARGE}


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(file: bytes) -> None:
    with pytest.raises(StrongroomError):
        read_request(file)


def test_a_request_that_is_too_long_is_refused() -> None:
    long = dataclasses.replace(REQUEST, parameters=(("policy", "x" * approvals.MAX_FILE),))
    with pytest.raises(StrongroomError) as checked:
        approvals.check_request(long)
    with pytest.raises(StrongroomError) as read:
        read_request(long.file)
    assert {checked.value.reason, read.value.reason} == {Reason.FIELD_TOO_LARGE}


@pytest.mark.parametrize("action", sorted(set(GuardedAction) - approvals.OF_KEYS))
def test_what_is_of_no_key_names_none(action: GuardedAction) -> None:
    with pytest.raises(StrongroomError) as caught:
        approvals.check_request(dataclasses.replace(REQUEST, action=action))
    assert caught.value.field == "key"
    approvals.check_request(dataclasses.replace(REQUEST, action=action, key=""))


def test_an_enrolment_is_of_one_account_one_person_and_one_key() -> None:
    files = [
        approvals.enrolment_file(account, principal, key)
        for account, principal, key in itertools.product([ACCOUNT, "9" * 12], [ALICE, BOB], [b"a", b"b"])
    ]
    assert len(set(files)) == len(files)
    assert all(approvals.FORMAT.encode() not in file for file in files)


def test_time_is_over_at_the_expiry_and_not_begun_by_a_clock_that_was_set_back() -> None:
    start, end, skew = REQUEST.created_at, REQUEST.expires_at, approvals.SKEW_MS
    moments = [start - skew - 1, start - skew, start, end - 1, end, end + 40 * 86_400_000]
    assert [approvals.is_over(REQUEST, now) for now in moments] == [True, False, False, False, True, True]


def test_ids_are_in_the_order_of_asking() -> None:
    ids = [approvals.request_id_at(now, b"\xff" * 10) for now in (1, 2, 10**13)]
    assert ids == sorted(ids)
    assert [approvals.check_id(each) for each in ids] == ids


# --- states


def test_the_table_of_states() -> None:
    table = {
        (state.value, step.value): TRANSITIONS[state, step].value
        for state, step in itertools.product(ApprovalState, Step)
        if (state, step) in TRANSITIONS
    }
    assert table == {
        ("WAITING", "APPROVE"): "WAITING",
        ("WAITING", "COMPLETE"): "APPROVED",
        ("WAITING", "REJECT"): "REJECTED",
        ("WAITING", "CANCEL"): "CANCELLED",
        ("WAITING", "EXPIRE"): "EXPIRED",
        ("APPROVED", "APPROVE"): "APPROVED",
        ("APPROVED", "COMPLETE"): "APPROVED",
        ("APPROVED", "EXECUTE"): "EXECUTED",
        ("APPROVED", "REJECT"): "REJECTED",
        ("APPROVED", "CANCEL"): "CANCELLED",
        ("APPROVED", "EXPIRE"): "EXPIRED",
    }


@given(st.lists(st.sampled_from(Step), max_size=8))
def test_nothing_is_executed_that_was_not_approved_and_nothing_twice(steps: list[Step]) -> None:
    state, done = ApprovalState.WAITING, []
    for step in steps:
        if (state, step) in TRANSITIONS:
            state = next_state(state, step)
            done.append(step)
            continue
        with pytest.raises(StrongroomError) as caught:
            next_state(state, step)
        wanted = Reason.APPROVAL_REQUIRED if state in OPEN else Reason.APPROVAL_CLOSED
        assert caught.value.reason is wanted
    assert done.count(Step.EXECUTE) <= 1
    if Step.EXECUTE in done:
        assert Step.COMPLETE in done[: done.index(Step.EXECUTE)]
        assert done[-1] is Step.EXECUTE


# --- who counts


def test_others_count_once_each() -> None:
    bob, again, carol = enrolled(BOB), enrolled(BOB, 1), enrolled(CAROL)
    found = count(REQUEST, [by(bob), by(bob), by(again), by(carol)], known(bob, again, carol))
    assert (found.others, found.own, found.missing) == ((BOB, CAROL), False, 0)


def test_the_same_person_with_two_keys_is_one() -> None:
    bob, again = enrolled(BOB), enrolled(BOB, 1)
    assert count(REQUEST, [by(bob), by(again)], known(bob, again)).missing == 1


def test_who_asked_counts_once_beside_somebody_else() -> None:
    alice, again, bob = enrolled(ALICE), enrolled(ALICE, 1), enrolled(BOB)
    everybody = known(alice, again, bob)
    assert count(REQUEST, [by(alice), by(again)], everybody).missing == 1
    assert count(REQUEST, [by(alice), by(again), by(bob)], everybody).missing == 0


def test_who_asked_counts_not_at_all_where_policy_says_so() -> None:
    alice, bob = enrolled(ALICE), enrolled(BOB)
    found = count(REQUEST, [by(alice), by(bob)], known(alice, bob), requester_counts=False)
    assert (found.approvals, found.missing) == (1, 1)


def test_nobody_alone_is_enough_not_even_for_a_quorum_of_one() -> None:
    alone = dataclasses.replace(REQUEST, quorum=1)
    alice, bob = enrolled(ALICE), enrolled(BOB)
    assert count(alone, [by(alice, alone)], known(alice)).missing == 1
    assert count(alone, [by(bob, alone)], known(bob)).missing == 0


def test_who_is_behind_a_role_is_who_asked() -> None:
    through = dataclasses.replace(REQUEST, requester=ROLE, behind=(ALICE,))
    alice, role = enrolled(ALICE), enrolled(ROLE)
    found = count(through, [by(alice, through), by(role, through)], known(alice, role))
    assert (found.others, found.approvals, found.missing) == ((), 1, 1)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"revoked": True}, "revoked"),
        ({"account": "999988887777"}, "another account"),
        ({"principal": CAROL}, "somebody else's"),
    ],
)
def test_what_does_not_count(changes: dict[str, object], why: str) -> None:
    bob = enrolled(BOB)
    key = dataclasses.replace(bob, **changes)  # type: ignore[arg-type]
    assert why in unfit(REQUEST.account, by(bob), known(key))
    assert count(REQUEST, [by(bob)], known(key)).approvals == 0


def test_an_unknown_key_and_an_approval_of_another_request_do_not_count() -> None:
    bob = enrolled(BOB)
    other = dataclasses.replace(REQUEST, nonce="2" * 32)
    assert "not enrolled" in unfit(REQUEST.account, by(bob), {})
    assert count(REQUEST, [by(bob, other)], known(bob)).approvals == 0
    assert unfit(REQUEST.account, by(bob), known(bob)) == ""
    assert count(REQUEST, [by(bob)], known(bob)).approvals == 1


people = st.sampled_from([ALICE, BOB, CAROL, DAVE])


@given(st.integers(1, 8), st.lists(st.tuples(people, st.integers(0, 2), st.booleans()), max_size=12))
def test_missing_is_what_the_rules_say(quorum: int, given_: list[tuple[str, int, bool]]) -> None:
    request = dataclasses.replace(REQUEST, quorum=quorum)
    revoked = {(person, number) for person, number, gone in given_ if gone}
    keys = {(p, n): enrolled(p, n, revoked=(p, n) in revoked) for p, n, _ in given_}
    signed = [by(key, request) for key in keys.values()]
    found = count(request, signed, known(*keys.values()))
    persons = {person for person, number in keys if (person, number) not in revoked}
    enough = len(persons) >= quorum and bool(persons - {ALICE})
    assert (found.missing == 0) is enough
