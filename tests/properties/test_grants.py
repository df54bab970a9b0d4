"""Grants in memory answer as a naive reading of all grants does; tokens have one spelling; children lend no more."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroomd.custody.lending import Lending, Lent, grant_of
from strongroomd.domain import grants as granting
from strongroomd.domain import granttokens
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.grants import Constraints, Grant, NewGrant, is_equal_or_stricter
from strongroomd.domain.granttokens import GrantToken
from strongroomd.domain.policy.request import Request, Resource, Subject
from strongroomd.domain.records import GrantRecord
from strongroomd.ports import JournalEntry

_ACCOUNT = "111122223333"
_PEOPLE = [f"arn:aws:iam::{_ACCOUNT}:{name}" for name in ("user/a", "user/a/b", "role/c", "root")]
_KEYS = ["0" * 8, "1" * 8]
_ACTIONS = [Action.ENCRYPT, Action.DECRYPT, Action.DESCRIBE_KEY, Action.CREATE_GRANT, Action.SIGN]
_contexts = st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["", "1", "2"]), max_size=2)
_some = st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["", "1", "2"]))
_pairs = st.lists(_some, min_size=1, max_size=2).map(dict).map(lambda pairs: tuple(sorted(pairs.items())))
_constraints = st.one_of(
    st.just(Constraints()),
    _pairs.map(lambda pairs: Constraints(equals=pairs)),
    _pairs.map(lambda pairs: Constraints(subset=pairs)),
    st.just(Constraints(source_account=_ACCOUNT)),
)
_wanted = st.builds(
    NewGrant,
    grantee=st.sampled_from(_PEOPLE),
    operations=st.frozensets(st.sampled_from(_ACTIONS), min_size=1),
    constraints=_constraints,
)
_requests = st.builds(
    lambda action, arn, context, child: Request(
        action,
        Subject(arn, _ACCOUNT),
        Resource("key", _ACCOUNT),
        {},
        context,
        child if action is Action.CREATE_GRANT else None,
    ),
    st.sampled_from(_ACTIONS),
    st.sampled_from(_PEOPLE),
    _contexts,
    _wanted,
)


@given(st.lists(_wanted, max_size=12), st.sets(st.integers(0, 11)), _requests)
def test_what_could_permit_a_request_is_found(
    wanted: list[NewGrant], ended: set[int], request: Request
) -> None:
    lent, living = Lent(), []
    for number, each in enumerate(wanted):
        grant = Grant(str(number), "key", _PEOPLE[0], each)
        lent.add(grant)
        living.append(grant)
    for number in ended:
        lent.remove(str(number))
    living = [grant for grant in living if int(grant.grant_id) not in ended]

    found = {g.grant_id for g in lent.could_permit(request) if granting.permits(g, request)}

    assert found == {g.grant_id for g in living if granting.permits(g, request)}
    assert len(lent) == len(living)


@given(
    st.lists(
        st.tuples(
            st.booleans(), st.sampled_from(_KEYS), st.integers(0, 5).map(str), st.sampled_from(_PEOPLE)
        ),
        max_size=40,
    )
)
def test_the_journal_alone_tells_who_has_grants(changes: list[tuple[bool, str, str, str]]) -> None:
    watchers: list[Any] = []
    ledger = SimpleNamespace(known=lambda _: [], watch=watchers.append)
    lending = Lending(cast("Any", ledger))
    naive: dict[str, tuple[str, str]] = {}
    for made, key, grant_id, grantee in changes:
        unique = f"{grant_id}{_KEYS.index(key)}{_PEOPLE.index(grantee)}"
        entry = JournalEntry(1, "grant", f"{key}/{unique}/{grantee}", int(made), b"", b"", b"")
        watchers[0](entry)
        naive.pop(unique, None)
        if made:
            naive[unique] = (key, grantee)

    for key in _KEYS:
        assert lending.count(key) == sum(k == key for k, _ in naive.values())
        for grantee in _PEOPLE:
            assert lending.concern(key, [grantee]) is ((key, grantee) in naive.values())
    assert all(lending.record_id(i) == f"{k}/{i}/{g}" for i, (k, g) in naive.items())


@given(_wanted, _wanted, _requests)
def test_a_child_grant_permits_nothing_that_its_parent_does_not(
    parent: NewGrant, child: NewGrant, request: Request
) -> None:
    if not is_equal_or_stricter(child, parent):
        return
    lent = Grant("child", "key", parent.grantee, child)
    of_parent = Grant("parent", "key", "", NewGrant(child.grantee, parent.operations, parent.constraints))

    if granting.permits(lent, request):
        assert granting.permits(of_parent, request)


@given(_wanted, st.text(max_size=5))
def test_a_record_keeps_all_of_a_grant(wanted: NewGrant, name: str) -> None:
    constraints = wanted.constraints
    record = GrantRecord(
        key_id="key",
        account=_ACCOUNT,
        grant_id="id",
        grantee=wanted.grantee,
        retiring="",
        issuer=_PEOPLE[0],
        operations=",".join(sorted(a.removeprefix("kms:") for a in wanted.operations)),
        constraint_type=constraints.type.value if constraints.type else "",
        context=constraints.equals or constraints.subset or (),
        source_arn=constraints.source_arn,
        source_account=constraints.source_account,
        name=name,
        parent="",
        created_at=0,
    )

    lent = grant_of(record).lent

    assert (lent.grantee, lent.operations, lent.constraints) == (
        wanted.grantee,
        wanted.operations,
        constraints,
    )
    assert lent.name == name


_tokens = st.builds(
    GrantToken,
    st.binary(min_size=32, max_size=32).map(bytes.hex),
    st.integers(0, 2**64 - 1),
    st.binary(min_size=8, max_size=8),
)


def read(text: str) -> tuple[GrantToken, bytes] | tuple[Reason, str | None]:
    try:
        return granttokens.parse(text)
    except StrongroomError as error:
        return error.reason, error.field


@given(_tokens, st.binary(min_size=32, max_size=32), st.integers(0, 107), st.characters())
def test_a_token_has_one_spelling(token: GrantToken, mac: bytes, place: int, other: str) -> None:
    text = token.spell(mac)
    changed = text[:place] + other + text[place + 1 :]

    assert read(text) == (token, mac)
    assert (read(changed) == (token, mac)) is (changed == text)


@given(st.text() | st.text("ABCDabcd0123-_=", min_size=100, max_size=116))
def test_what_is_no_token_is_refused_or_spells_itself(text: str) -> None:
    match read(text):
        case GrantToken() as token, bytes() as mac:
            assert token.spell(mac) == text
        case refusal:
            assert refusal == (Reason.INVALID_GRANT_TOKEN, "grant_tokens")


def test_the_message_under_the_mac_begins_with_its_own_name() -> None:
    message = GrantToken("00" * 32, 1, bytes(8)).message()

    assert message.startswith(b"strongroom.grant-token.v1\x01")
    with pytest.raises(StrongroomError):
        granttokens.parse("")
