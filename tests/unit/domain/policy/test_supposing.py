"""Circumstances that somebody supposes: read from text, each by its kind."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.policy_cases import ALICE

from strongroomd.domain import policy
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.policy.circumstances import Call
from strongroomd.domain.policy.supposing import Supposed, supposed_value

DAYS = "kms:ScheduleKeyDeletionPendingWindowInDays"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("kms:ViaService", "s3.local-1.amazonaws.com", "s3.local-1.amazonaws.com"),
        ("AWS:sourceip", "192.0.2.1", "192.0.2.1"),
        ("kms:BypassPolicyLockoutSafetyCheck", "True", True),
        ("kms:BypassPolicyLockoutSafetyCheck", "False", False),
        ("aws:CurrentTime", "1970-01-01T00:01:00+00:00", 60.0),
        ("aws:EpochTime", "1970-01-01T00:01:00Z", 60.0),
        ("aws:CurrentTime", "1970-01-01T00:01:00", 60.0),
        (DAYS, "7", 7.0),
        ("kms:GrantOperations", "Encrypt, Decrypt", ("Encrypt", "Decrypt")),
        ("kms:GrantOperations", "", ()),
        ("kms:GrantOperations", " , Encrypt,", ("Encrypt",)),
    ],
)
def test_a_value_is_read_by_its_kind(name: str, text: str, value: object) -> None:
    assert supposed_value(name, text) == (name.lower(), value)


@pytest.mark.parametrize(
    ("name", "text", "field"),
    [
        ("aws:Nothing", "x", "circumstances"),
        ("", "x", "circumstances"),
        ("kms:BypassPolicyLockoutSafetyCheck", "1", "circumstances.kms:BypassPolicyLockoutSafetyCheck"),
        ("aws:CurrentTime", "soon", "circumstances.aws:CurrentTime"),
        ("aws:CurrentTime", "9999-99-99", "circumstances.aws:CurrentTime"),
        (DAYS, "x", "circumstances.kms:Schedule"),
        (DAYS, "nan", "circumstances.kms:Schedule"),
    ],
)
def test_what_is_no_value_of_its_key_is_refused_by_name(name: str, text: str, field: str) -> None:
    with pytest.raises(StrongroomError) as caught:
        supposed_value(name, text)

    assert caught.value.reason is Reason.INVALID_FIELD
    assert str(caught.value.field).startswith(field)


@given(
    st.sampled_from(["kms:ViaService", "aws:CurrentTime", "aws:EpochTime", "aws:SourceIp", DAYS]), st.text()
)
def test_any_text_is_a_value_or_a_refusal(name: str, text: str) -> None:
    with suppress(StrongroomError):
        assert supposed_value(name, text)[0] == name.lower()


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Lima"])
@pytest.mark.parametrize(
    ("text", "seconds"), [("1970-01-01T00:01:00", 60.0), ("1970-01-01T00:01:00+00:01", 0.0)]
)
def test_a_time_means_the_same_wherever_the_daemon_runs(
    monkeypatch: pytest.MonkeyPatch, zone: str, text: str, seconds: float
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert supposed_value("aws:CurrentTime", text)[1] == seconds
    finally:
        monkeypatch.undo()
        time.tzset()


def test_what_is_supposed_comes_before_what_is_known_and_the_rest_is_not_there() -> None:
    call = Call(now=1.0, source_ip="192.0.2.1")
    given = {"aws:currenttime": 60.0}
    where = Supposed(Action.ENCRYPT, policy.subject_named(ALICE), call, given=given)

    assert where.get("aws:currenttime") == 60.0
    assert where.get("aws:sourceip") == "192.0.2.1"
    assert where.get("kms:encryptionalgorithm") is None
    assert where.get("kms:encryptioncontext:tenant") is None
