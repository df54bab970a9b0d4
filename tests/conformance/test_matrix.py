"""Every RPC x every kind of caller: default deny over accounts, roles, grants and conditions.

The RPCs are those of the descriptors, the kinds are those of kinds.py. What an RPC is asked is the same for
everybody, and who has the right succeeds with it.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import pytest
from google.protobuf.message import Message
from tests.conformance.cast import CURES, ENDS, IN_FORCE, Cast, Member
from tests.conformance.kinds import ABROAD, HOME, KINDS, KNOWN_ONLY, NAMES_ANOTHER_ACCOUNT
from tests.conformance.kit import FOR_ANYONE, KEYLESS, MUTATIONS, OF_A_STORE, OF_TWO_HOUSES, USES, Kit
from tests.conformance.test_default_deny import AT_THE_END, reason, seen
from tests.conformance.wire import FOLLOWING, METHODS, SECONDS, Outcome, Wire, request
from tests.harness import Daemon

from strongroom import Client

RPCS = sorted(set(METHODS) - OF_TWO_HOUSES)
USUAL = "ACCESS_DENIED"
Row = dict[str, Outcome]


@dataclass(frozen=True)
class Matrix:
    """What each member was answered, and by how it succeeded before."""

    cast: Cast
    cured: dict[str, str]
    rows: dict[str, Row]
    references: dict[str, Row]


BUSY = {"AUDIT_UNAVAILABLE", "OVERLOADED"}
"""What a machine with too much to do answers to anybody; it says nothing of rights, and is asked again."""


def answer(member: Member, name: str, body: Message, seconds: float) -> Outcome:
    """Ask one RPC, again while the machine is busy."""
    for _ in range(5):
        outcome = member.wire.call(name, body, seconds)
        if outcome.reason not in BUSY:
            break
        time.sleep(0.3)
    return outcome


def answers(cast: Cast, member: Member, kit: Kit) -> Row:
    """Ask every RPC as one member; who may follow something follows it for a moment."""
    kind = member.kind
    followed = {name for name in FOLLOWING if kind.expected.get(name) == "OK"}
    return {
        name: answer(member, name, cast.ask(name, kit, kind.under), 0.3 if name in followed else SECONDS)
        for name in RPCS
    }


@pytest.fixture(scope="module")
def matrix(daemon: Daemon, admin: Client) -> Matrix:
    cast = Cast(daemon, admin)
    members = cast.members
    cured = {n: reason(cast.cure(member)) for n, member in members.items() if member.kind.cure}
    for member in members.values():
        cast.end(member)
    time.sleep(IN_FORCE)
    # Those whom the daemon does not know pay for their refusals from one bucket, and so have to wait: they begin.
    patient = sorted(members, key=lambda name: KINDS[name].expected is not KNOWN_ONLY)
    with ThreadPoolExecutor(6) as pool:
        rows = {name: pool.submit(answers, cast, members[name], cast.kit) for name in patient}
        references = {a: pool.submit(answers, cast, m, cast.ghost) for a, m in cast.references.items()}
    return Matrix(
        cast,
        cured,
        {name: row.result() for name, row in rows.items()},
        {account: row.result() for account, row in references.items()},
    )


def let_in(outcome: Outcome) -> str:
    """Say why a call was refused; OK for one that follows and hears nothing."""
    return "OK" if outcome.code is grpc.StatusCode.DEADLINE_EXCEEDED else reason(outcome)


def test_every_kind_has_all_but_what_it_is_refused_for(matrix: Matrix) -> None:
    assert matrix.cured == dict.fromkeys(matrix.cured, "OK")
    assert {kind.cure for kind in KINDS.values()} == {"", *CURES}
    assert {kind.ends for kind in KINDS.values()} == {"", "steal", *ENDS}


@pytest.mark.parametrize("kind", KINDS)
def test_every_rpc_refuses(matrix: Matrix, kind: str) -> None:
    expected = dict.fromkeys(RPCS, USUAL) | dict(KINDS[kind].expected)

    assert {name: let_in(outcome) for name, outcome in matrix.rows[kind].items()} == expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_refusal_says_what_it_says_of_what_does_not_exist(matrix: Matrix, kind: str) -> None:
    row, expected, words = matrix.rows[kind], KINDS[kind].expected, KINDS[kind].words
    reference = matrix.references[HOME if matrix.cast.members[kind].account == HOME else ABROAD]
    usual = [n for n in RPCS if n not in expected and n not in words]

    assert {n: seen(row[n]) for n in usual} == {n: seen(reference[n]) for n in usual}
    assert {n: row[n].message for n in words if n not in expected} == {
        n: text for n, text in words.items() if n not in expected
    }


def test_no_exception_of_the_table_is_of_an_rpc_that_there_is_not() -> None:
    assert set().union(*(kind.expected.keys() | kind.words.keys() for kind in KINDS.values())) <= set(RPCS)


ADMINISTRATORS = [name for name, kind in KINDS.items() if kind.words.items() >= NAMES_ANOTHER_ACCOUNT.items()]
_NAMED_BY_THE_CALLER = {"ListAuditRecords", "TailAuditRecords"}
"""An account's records say what its callers asked for, in their own words."""


@pytest.mark.parametrize("kind", ADMINISTRATORS)
def test_what_an_administrator_of_another_account_is_told_is_its_own(matrix: Matrix, kind: str) -> None:
    told = {n: str(o.reply) for n, o in matrix.rows[kind].items() if o.ok and n not in _NAMED_BY_THE_CALLER}

    assert len(told) > len(FOR_ANYONE)
    assert [name for name, text in told.items() if HOME in text] == []


@pytest.mark.parametrize("kind", ADMINISTRATORS)
def test_a_key_store_of_another_account_is_one_that_there_is_not(matrix: Matrix, kind: str) -> None:
    cast = matrix.cast
    ghost = {n: answer(cast.members[kind], n, cast.ask(n, cast.ghost), SECONDS) for n in OF_A_STORE}

    assert {n: seen(matrix.rows[kind][n]) for n in OF_A_STORE} == {n: seen(o) for n, o in ghost.items()}


@pytest.mark.parametrize("name", ["AddIdentity", "CreateAccessKey", "AssumeRole"])
def test_nobody_calls_as_the_root_of_an_account(matrix: Matrix, wire: Wire, name: str) -> None:
    root = f"arn:aws:iam::{matrix.cast.members['no rights, of another account'].account}:root"
    asked = request(name, principal=root, role=root, uri="spiffe://strongroom.dev/root", session_name="root")

    assert wire.call(name, asked).reason == "INVALID_FIELD"


def test_with_the_same_requests_who_has_the_right_succeeds(matrix: Matrix, wire: Wire) -> None:
    cast = matrix.cast
    last = [*AT_THE_END, "DeleteLimit"]
    ordered = [n for n in RPCS if n not in MUTATIONS and n not in FOLLOWING]
    ordered += [n for n in RPCS if n in MUTATIONS and n not in last]

    abroad = {n: reason(cast.entitled_abroad.wire.call(n, cast.ask(n, cast.kit))) for n in sorted(USES)}
    home = {
        n: reason((wire if n in KEYLESS else cast.entitled.wire).call(n, cast.ask(n, cast.kit)))
        for n in [*ordered, *last]
    }

    assert abroad == dict.fromkeys(USES, "OK")
    # No key is destroyed within a test of minutes: who has the right is told that this one was not.
    assert home == dict.fromkeys(set(RPCS) - FOLLOWING, "OK") | {"GetDestructionCertificate": "NOT_FOUND"}
