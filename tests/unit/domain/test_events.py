"""Which changes are which events, what patterns pick, and when deliveries are given up."""

import dataclasses
import json
from itertools import product
from typing import Any

import pytest

from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.compliance import Check, judge, open_to_everyone
from strongroomd.domain.delivery import CAP_SECONDS, MOST_RETRY_AFTER, Patience, backoff, is_due
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.events import (
    Event,
    EventType,
    Pattern,
    check_pattern,
    check_type_pattern,
    cloud_event,
)
from strongroomd.domain.happenings import STATE_CHANGES, happenings, key_of
from strongroomd.domain.lifecycle import ALLOWED, Act
from strongroomd.domain.records import (
    AliasRecord,
    CustodyMode,
    HouseRecord,
    KeyRecord,
    KeyState,
    LimitRecord,
    LimitScope,
    Origin,
    VersionRecord,
    VersionState,
)

ACCOUNT = "111122223333"
DAY = 86_400_000


def name(key_id: str) -> str:
    return f"arn:{key_id}"


def key(**changes: Any) -> KeyRecord:
    made = KeyRecord(
        key_id="k1",
        account=ACCOUNT,
        spec=KeySpec.SYMMETRIC_DEFAULT,
        usage=KeyUsage.ENCRYPT_DECRYPT,
        mode=CustodyMode.WRAPPED,
        custody_note="",
        origin=Origin.HSM,
        exportable=False,
        state=KeyState.ENABLED,
        description="a secret description",
        created_at=0,
        deletion_at=0,
        current_version=1,
        policy='{"a": "secret policy"}',
        tags=(("team", "a secret value"),),
    )
    return dataclasses.replace(made, **changes)


def version(state: VersionState) -> VersionRecord:
    return VersionRecord("k1", 1, state, 0, "", "", b"blob", 32, b"", b"", b"")


def kinds(before: Any, after: Any) -> list[str]:
    return [draft.type.value.removeprefix("strongroom.") for draft in happenings(before, after, name)]


def event(**changes: Any) -> Event:
    made = Event(
        1, "id", "strongroom.key.disabled", "arn:k1", 1, 0, "p", "", '{"a":{"b":"c"},"n":7,"t":true}'
    )
    return dataclasses.replace(made, **changes)


def test_every_change_of_state_that_a_caller_can_make_is_an_event() -> None:
    targets = {
        Act.SWITCH: {KeyState.ENABLED, KeyState.DISABLED},
        Act.SCHEDULE_DELETION: {KeyState.PENDING_DELETION},
        Act.CANCEL_DELETION: {KeyState.DISABLED},
    }
    made = {(before, after) for act, to in targets.items() for before, after in product(ALLOWED[act], to)}

    assert {(b, a) for b, a in made if b is not a} <= set(STATE_CHANGES)
    for before, after in made:
        assert len(kinds(key(state=before), key(state=after))) == (before is not after)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, {}, ["key.created"]),
        (None, {"state": KeyState.CREATING}, []),
        ({"state": KeyState.CREATING}, {}, ["key.created"]),
        ({"state": KeyState.CREATING}, {"state": KeyState.DESTROYED}, []),
        ({"state": KeyState.PENDING_DELETION}, {"state": KeyState.DESTROYED}, ["key.destroyed"]),
        ({}, {"row_version": 2}, []),
        ({}, {"policy": "{}"}, ["key.policy_changed"]),
        ({}, {"current_version": 2}, ["key.rotated"]),
        ({}, {"tags": ()}, ["key.tags_changed"]),
        ({}, {"description": ""}, ["key.description_changed"]),
        (
            {},
            {"state": KeyState.DISABLED, "policy": "{}"},
            ["key.disabled", "key.policy_changed"],
        ),
    ],
)
def test_changes_of_a_key(before: dict[str, Any] | None, after: dict[str, Any], expected: list[str]) -> None:
    assert kinds(None if before is None else key(**before), key(**after)) == expected


def test_no_event_tells_policy_description_or_values_of_tags() -> None:
    changed = key(policy="{'a secret'}", description="a secret", tags=(("x", "a secret"),), current_version=2)
    drafts = [*happenings(None, key(), name), *happenings(key(), changed, name)]
    drafts += happenings(changed, dataclasses.replace(changed, state=KeyState.PENDING_DELETION), name)

    assert len(drafts) == 6
    assert "secret" not in json.dumps([dict(draft.data) for draft in drafts])


def test_aliases_and_limits_speak_of_their_key() -> None:
    alias = AliasRecord(ACCOUNT, "alias/a", "k1", 0, 0)
    moved = dataclasses.replace(alias, key_id="k2")
    limit = LimitRecord(LimitScope.KEY, "k1", 5, 5)

    assert kinds(None, alias) == ["alias.created"]
    assert kinds(alias, moved) == ["alias.updated"]
    assert kinds(alias, alias) == []
    assert kinds(moved, None) == ["alias.deleted"]
    assert [d.subject for d in happenings(alias, moved, name)] == ["arn:k2"]
    assert [d.subject for d in happenings(None, limit, name)] == ["arn:k1"]
    assert [key_of(r) for r in (alias, limit, key())] == ["k1", "k1", "k1"]
    other = LimitRecord(LimitScope.CLASS, f"{ACCOUNT}/RSA", 5, 5)
    assert [d.subject for d in happenings(other, None, name)] == [f"limit/CLASS/{ACCOUNT}/RSA"]
    assert key_of(other) == ""


def test_only_a_version_that_is_lost_or_found_is_an_event() -> None:
    changes = product(VersionState, VersionState)
    found = {(b, a) for b, a in changes if kinds(version(b), version(a))}

    assert found == {
        (VersionState.ACTIVE, VersionState.MISSING),
        (VersionState.MISSING, VersionState.ACTIVE),
    }
    assert kinds(None, version(VersionState.ACTIVE)) == []
    assert kinds(None, HouseRecord("mac", "x", b"", b"")) == []


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (Pattern(), True),
        (Pattern(types=("strongroom.key.disabled",)), True),
        (Pattern(types=("strongroom.key.disable",)), False),
        (Pattern(types=("strongroom.key.*",)), True),
        (Pattern(types=("strongroom.alias.*", "strongroom.key.*")), True),
        (Pattern(types=("Strongroom.key.disabled",)), False),
        (Pattern(subjects=("arn:k1",)), True),
        (Pattern(subjects=("arn:k",)), False),
        (Pattern(data=(("a.b", "c"),)), True),
        (Pattern(data=(("a.b", "d"),)), False),
        (Pattern(data=(("a", "c"),)), False),
        (Pattern(data=(("a.b.c", "*"),)), False),
        (Pattern(data=(("n", "7"),)), True),
        (Pattern(data=(("t", "true"),)), True),
        (Pattern(data=(("missing", "*"),)), False),
        (Pattern(("strongroom.*",), ("arn:*",), (("n", "8"),)), False),
    ],
)
def test_patterns(pattern: Pattern, expected: bool) -> None:
    assert pattern.picks(event()) is expected


@pytest.mark.parametrize("data", ["", "nonsense", "[]", '"text"', "null"])
def test_data_that_is_no_object_matches_no_member(data: str) -> None:
    assert not Pattern(data=(("a", "*"),)).picks(event(data=data))
    assert Pattern().picks(event(data=data))


@pytest.mark.parametrize("pattern", ["", "a*b", "**", "x" * 513])
def test_a_pattern_that_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(StrongroomError) as caught:
        check_pattern(pattern, "types[0]")
    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, "types[0]")


@pytest.mark.parametrize("pattern", ["strongroom.key.disable", "key.*", "strongroom.nothing.*"])
def test_a_pattern_of_types_that_can_match_none_is_refused(pattern: str) -> None:
    with pytest.raises(StrongroomError):
        check_type_pattern(pattern, "types[0]")


def test_types_are_distinct_and_begin_with_the_prefix() -> None:
    assert all(kind.value.startswith("strongroom.") for kind in EventType)


def test_the_cloud_event_has_its_attributes() -> None:
    made = cloud_event(event(sequence=12, request_id="r"), "/s", "2027-01-31T12:00:00.000Z")

    assert made["specversion"] == "1.0"
    assert made["sequence"] == "00000000000000000012"
    assert (made["requestid"], made["data"]["n"]) == ("r", 7)
    assert "requestid" not in cloud_event(event(), "/s", "t")
    assert all(name == name.lower() and name.isalnum() for name in made), "CloudEvents: lower-case names"


def test_the_signed_form_covers_every_field() -> None:
    whole = event().signed_form()

    for field in dataclasses.fields(Event):
        value = getattr(event(), field.name)
        other = value + 1 if isinstance(value, int) else value + "x"
        assert event(**{field.name: other}).signed_form() != whole, field.name


def test_pauses_double_to_a_ceiling_with_full_jitter_and_honour_what_is_asked() -> None:
    assert [backoff(tries, 1.0) for tries in (1, 2, 3)] == [1.0, 2.0, 4.0]
    assert backoff(1_000_000, 1.0) == CAP_SECONDS
    assert backoff(5, 0.0) == 0.0
    assert backoff(1, 0.5, 30.0) == 30.5
    assert backoff(1, 0.0, 1e9) == MOST_RETRY_AFTER
    assert backoff(1, 0.0, -5.0) == 0.0


def test_a_try_is_due_when_its_time_has_come_or_the_clock_was_put_back() -> None:
    assert is_due(0, 5)
    assert not is_due(6, 5)
    assert is_due(10 * DAY, 5)


def test_patience_ends_by_tries_or_by_age() -> None:
    patience = Patience(3, 1_000)

    assert not patience.is_over(2, 0, 999)
    assert patience.is_over(3, 0, 0)
    assert patience.is_over(0, 0, 1_000)


OPEN = {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (OPEN, True),
        (OPEN | {"Principal": {"AWS": "*"}}, True),
        (OPEN | {"Principal": {"AWS": ["arn:aws:iam::111122223333:root", "*"]}}, True),
        ({"Effect": "Allow", "NotPrincipal": {"AWS": "x"}, "Action": "kms:*", "Resource": "*"}, True),
        (OPEN | {"Effect": "Deny"}, False),
        (OPEN | {"Condition": {"StringEquals": {"kms:CallerAccount": "1"}}}, False),
        (OPEN | {"Principal": {"AWS": "arn:aws:iam::111122223333:root"}}, False),
        (OPEN | {"Principal": {"AWS": "arn:aws:iam::111122223333:*"}}, False),
    ],
)
def test_a_policy_that_is_open_to_everyone(statement: dict[str, Any], expected: bool) -> None:
    assert open_to_everyone(json.dumps({"Statement": [statement]})) is expected
    assert open_to_everyone(json.dumps({"Statement": statement})) is expected


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"Statement": "x"}', '{"Statement": [1]}'])
def test_what_is_no_policy_is_not_open(text: str) -> None:
    assert not open_to_everyone(text)


@pytest.mark.parametrize(
    ("changes", "last_used", "expected"),
    [
        ({}, 0, [Check.UNUSED]),
        ({}, 50 * DAY, []),
        ({"created_at": 50 * DAY}, 0, []),
        ({"state": KeyState.DISABLED}, 0, []),
        ({"state": KeyState.PENDING_DELETION}, 0, [Check.DELETION_PENDING]),
        ({"state": KeyState.DESTROYED, "exportable": True}, 0, []),
        ({"exportable": True}, 99 * DAY, [Check.EXPORTABLE]),
        ({"policy": json.dumps({"Statement": OPEN})}, 99 * DAY, [Check.POLICY_OPEN_TO_EVERYONE]),
    ],
)
def test_what_is_said_of_a_key(changes: dict[str, Any], last_used: int, expected: list[Check]) -> None:
    assert list(judge(key(**changes), last_used, 100 * DAY, 90)) == expected


def test_zero_days_switches_the_check_of_use_off() -> None:
    assert list(judge(key(), 0, 1_000 * DAY, 0)) == []
