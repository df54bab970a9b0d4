"""What the door refuses before the gate is in the audit log all the same."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.conformance.certificates import BAD, Forge
from tests.conformance.wire import Wire
from tests.harness import ADMIN, SERVICE, Daemon

from strongroom import Client
from strongroom.v1 import access_pb2, crypto_pb2
from strongroomd.domain.limits import REFUSALS_BURST, REFUSALS_PER_SECOND

REFUSED: dict[str, tuple[str, Any, str, str | None]] = {
    "damaged checksum": (
        "Encrypt",
        crypto_pb2.EncryptRequest(key="alias/any", plaintext=b"data", plaintext_crc32c=1),
        "CHECKSUM_MISMATCH",
        "plaintext",
    ),
    "unknown enum": ("CreateKey", b"\x08\xe7\x07", "UNKNOWN_ENUM", "key_spec"),
    "no message": ("Decrypt", b"\xff\xff\xff", "INVALID_FIELD", "request"),
    "too long": ("Sign", bytes(300_000), "FIELD_TOO_LARGE", "request"),
    "operation of a stream": ("Operate", crypto_pb2.OperateRequest(id=7), "INVALID_FIELD", "operation"),
}


def records(admin: Client, principal: str, since: datetime) -> list[dict[str, Any]]:
    """The door's records of a principal since a moment."""
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        page = admin.list_audit_records(since=since, page_token=token)
        found += [json.loads(record.canonical_json) for record in page.items]
        if not (token := page.next_page_token):
            break
    return [r for r in found if r.get("action") == "strongroom:Door" and r.get("principal") == principal]


@pytest.mark.parametrize("case", REFUSED)
def test_refusal_of_the_door_is_in_the_audit_log(wire: Wire, admin: Client, case: str) -> None:
    method, request, reason, field = REFUSED[case]
    since = datetime.now(UTC)

    outcome = wire.call(method, request)

    if method != "Operate":
        assert (outcome.reason, outcome.field) == (reason, field)
    written = [r for r in records(admin, ADMIN, since) if r["method"] == method]
    assert [(r["outcome"], r.get("field")) for r in written] == [(reason, field)]
    assert written[0]["request_id"]
    assert written[0]["source"].startswith("ipv4:127.0.0.1:")


def test_unknown_certificate_is_in_the_audit_log_without_a_name(daemon: Daemon, admin: Client) -> None:
    since = datetime.now(UTC)
    with Forge(daemon).connect(BAD["unknown principal"]) as wire:
        refused = wire.call("GetCallerIdentity", access_pb2.GetCallerIdentityRequest())

    written = records(admin, "unknown", since)
    assert refused.reason == "UNAUTHENTICATED_PEER"
    assert [(r["method"], r["outcome"]) for r in written] == [("GetCallerIdentity", "UNAUTHENTICATED_PEER")]


def test_flood_of_refusals_is_counted_and_not_written_one_by_one(stranger: Wire, admin: Client) -> None:
    since = datetime.now(UTC)
    method, request, reason, _ = REFUSED["damaged checksum"]

    reasons = [stranger.once(method, request).reason for _ in range(600)]
    time.sleep(REFUSALS_BURST / REFUSALS_PER_SECOND)  # the bucket is full again for whoever comes next

    assert set(reasons) == {reason, "QUOTA_EXCEEDED"}
    assert len(records(admin, SERVICE, since)) == reasons.count(reason)
    assert untold(admin, since) == reasons.count("QUOTA_EXCEEDED")


def untold(admin: Client, since: datetime) -> int:
    """How many refusals have one record together."""
    pages = admin.pages(admin.list_audit_records, principal=SERVICE, since=since, page_size=1_000)
    written = [json.loads(record.canonical_json) for record in pages]
    return sum(r["refusals"] for r in written if r.get("action") == "strongroom:Refusals")
