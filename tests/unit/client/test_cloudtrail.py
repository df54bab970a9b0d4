"""Audit records in CloudTrail's shape: what it has a place for stands there, and nothing is lost."""

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strongroom.cloudtrail import event
from strongroom.results import AuditRecord

KEY = "arn:aws:kms:eu-central-1:444455556666:key/1234abcd-12ab-34cd-56ef-1234567890ab"
ROLE = "arn:aws:iam::111122223333:role/duty/writer"
SESSION = "arn:aws:sts::111122223333:assumed-role/duty/writer/night"
TIME = dt.datetime(2027, 1, 31, 12, 0, 0, 250_000, dt.UTC)


def record(**fields: Any) -> AuditRecord:
    body = json.dumps({"seq": 7, "time": "2027-01-31T12:00:00.250Z", **fields}).encode()
    text = {name: fields.get(name, "") for name in ("kind", "action", "principal", "outcome", "request_id")}
    return AuditRecord(
        "node-0-1-aaaa", 7, TIME, **text, key_arn=fields.get("key", ""), hash=b"\1" * 32, canonical_json=body
    )


def test_a_use_in_a_role_session_for_a_service() -> None:
    shaped = event(
        record(
            kind="outcome",
            action="kms:Decrypt",
            principal=ROLE,
            session=SESSION,
            session_source="arn:aws:iam::111122223333:user/ada",
            identity="certificate:ab",
            via_service="s3.eu-central-1.amazonaws.com",
            source="ipv4:192.0.2.7:50312",
            door="grpc",
            outcome="OK",
            request_id="r-1",
            key=KEY,
            version=3,
            context_hmac={"tenant": "00ff"},
            decision={"basis": "identity-policy-allow", "ground": "Read", "policy": "duty"},
        )
    )

    assert shaped == {
        "eventVersion": "1.0",
        "eventTime": "2027-01-31T12:00:00.250Z",
        "eventSource": "strongroom",
        "eventName": "Decrypt",
        "eventID": "node-0-1-aaaa/7",
        "eventType": "StrongroomApiCall",
        "requestID": "r-1",
        "sourceIPAddress": "192.0.2.7",
        "userIdentity": {
            "type": "AssumedRole",
            "arn": SESSION,
            "accountId": "111122223333",
            "sessionContext": {
                "sessionIssuer": {
                    "type": "Role",
                    "arn": ROLE,
                    "accountId": "111122223333",
                    "userName": "duty/writer",
                },
                "sourceIdentity": "arn:aws:iam::111122223333:user/ada",
            },
            "invokedBy": "s3.eu-central-1.amazonaws.com",
        },
        "resources": [{"ARN": KEY, "accountId": "444455556666", "type": "AWS::KMS::Key"}],
        "requestParameters": {"encryptionContextHmac": {"tenant": "00ff"}},
        "additionalEventData": {
            "kind": "outcome",
            "identity": "certificate:ab",
            "door": "grpc",
            "version": 3,
            "decision": {"basis": "identity-policy-allow", "ground": "Read", "policy": "duty"},
            "action": "kms:Decrypt",
            "outcome": "OK",
            "chain": "node-0-1-aaaa",
            "sequence": 7,
            "hash": "01" * 32,
        },
    }


@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        ("arn:aws:iam::111122223333:user/ada", ("IAMUser", "ada")),
        ("arn:aws:iam::111122223333:service/pay", ("Service", "pay")),
        ("arn:aws:iam::111122223333:root", ("Root", None)),
        ("upkeep", ("Strongroom", None)),
        ("unknown", ("Unknown", None)),
    ],
)
def test_every_kind_of_principal_has_its_type(principal: str, expected: tuple[str, str | None]) -> None:
    identity = event(record(principal=principal))["userIdentity"]

    assert (identity["type"], identity.get("userName")) == expected


def test_a_refusal_has_code_and_message_and_a_success_neither() -> None:
    refused = event(record(action="kms:Sign", outcome="ACCESS_DENIED", named="alias/x"))

    assert refused["errorCode"] == "ACCESS_DENIED"
    assert "neither" in refused["errorMessage"]
    assert refused["requestParameters"] == {"keyId": "alias/x"}
    for outcome in ("OK", "PENDING", "UNCHANGED"):
        assert "errorCode" not in event(record(outcome=outcome))
    assert event(record(outcome="NEW_REASON"))["errorCode"] == "NEW_REASON"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("ipv4:192.0.2.7:1", "192.0.2.7"),
        ("ipv6:%5B2001:db8::1%5D:1", "2001:db8::1"),
        ("ipv6:[::1]:1", "::1"),
        ("unix:", "unix:"),
        ("rule/heal", "rule/heal"),
        ("ipv4:", None),
        ("", None),
    ],
)
def test_the_address_is_taken_out_of_the_peer(source: str, expected: str | None) -> None:
    assert event(record(source=source)).get("sourceIPAddress") == expected


def test_a_record_of_the_log_itself_has_its_events_name() -> None:
    shaped = event(record(event="chain.opened", origin="node-0-1-aaaa", previous=None))

    assert (shaped["eventName"], shaped["eventType"]) == ("chain.opened", "StrongroomServiceEvent")
    assert shaped["additionalEventData"]["previous"] is None


_PLAIN = st.none() | st.integers() | st.text(max_size=5) | st.just(KEY)
_VALUE = _PLAIN | st.lists(_PLAIN, max_size=2) | st.dictionaries(st.text(max_size=3), _PLAIN, max_size=2)
_NAMES = ("action", "principal", "session", "key", "other_keys", "resource", "source", "outcome", "new")


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(_NAMES), _VALUE))
def test_no_record_is_too_strange_and_unknown_fields_stay(fields: dict[str, Any]) -> None:
    body = json.dumps(fields).encode()
    shaped = event(AuditRecord("o", 0, None, "", "", "", "", "", "", b"", body))

    json.dumps(shaped)
    assert ("new" in fields) == ("new" in shaped["additionalEventData"])


@pytest.mark.parametrize("body", [b"", b"[]", b"7"])
def test_what_is_no_record_still_has_its_place(body: bytes) -> None:
    shaped = event(AuditRecord("o", 3, None, "", "", "", "", "", "", b"", body))

    assert shaped["eventID"] == "o/3"
