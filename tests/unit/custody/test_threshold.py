"""Refusals of the doors: written, charged, and failing closed."""

from typing import Any

import pytest

from strongroomd.custody.threshold import NOBODY, Attempt, Threshold
from strongroomd.domain.errors import Reason, StrongroomError, invalid

ATTEMPT = Attempt("grpc", "Encrypt", "id", "ipv4:127.0.0.1:5", "arn:aws:iam::111122223333:user/alice")


class Log:
    """An audit log that may be away."""

    def __init__(self, failure: StrongroomError | None = None) -> None:
        self.records: list[dict[str, Any]] = []
        self._failure = failure

    async def write(self, record: dict[str, Any]) -> None:
        if self._failure:
            raise self._failure
        self.records.append(record)


class Charges:
    """Refusals that cost until the bucket is empty."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.charged: list[str] = []

    def charge(self, arn: str) -> StrongroomError | None:
        self.charged.append(arn)
        if len(self.charged) > self.room:
            return StrongroomError(Reason.QUOTA_EXCEEDED, retry_after=1.0)
        return None


class Meter:
    def __init__(self) -> None:
        self.reasons: list[Reason] = []

    def refused(self, error: StrongroomError) -> None:
        self.reasons.append(error.reason)

    def wanted_while_pending(self, key_id: str, principal: str) -> None:
        return


def threshold(log: Log, charges: Charges, meter: Meter) -> Threshold:
    return Threshold(log, charges, meter)  # type: ignore[arg-type] # only what is used is here


async def test_refusal_is_written_with_its_field_and_without_its_value() -> None:
    log, error = Log(), invalid("plaintext", "must not be empty")

    answer = await threshold(log, Charges(1), Meter()).refuse(ATTEMPT, error)

    assert answer is error
    assert log.records == [
        {
            "kind": "outcome",
            "action": "strongroom:Door",
            "method": "Encrypt",
            "principal": ATTEMPT.principal,
            "request_id": "id",
            "source": "ipv4:127.0.0.1:5",
            "door": "grpc",
            "outcome": "INVALID_FIELD",
            "field": "plaintext",
        }
    ]


async def test_stranger_is_charged_as_nobody() -> None:
    log, charges = Log(), Charges(1)
    stranger = Attempt("grpc", "Encrypt", "id", "source")

    await threshold(log, charges, Meter()).refuse(stranger, StrongroomError(Reason.UNAUTHENTICATED_PEER))

    assert charges.charged == [NOBODY]
    assert "field" not in log.records[0]


async def test_whoever_is_refused_too_often_is_told_to_slow_down_and_not_written() -> None:
    log, meter = Log(), Meter()
    refusing = threshold(log, Charges(1), meter)

    answers = [await refusing.refuse(ATTEMPT, invalid("key", "no")) for _ in range(3)]

    assert [a.reason for a in answers] == [Reason.INVALID_FIELD, *[Reason.QUOTA_EXCEEDED] * 2]
    assert len(log.records) == 1
    assert meter.reasons == [a.reason for a in answers]


async def test_refusal_that_cannot_be_written_fails_closed() -> None:
    log = Log(StrongroomError(Reason.AUDIT_UNAVAILABLE))

    with pytest.raises(StrongroomError) as refused:
        await threshold(log, Charges(1), Meter()).refuse(ATTEMPT, invalid("key", "no"))

    assert refused.value.reason is Reason.AUDIT_UNAVAILABLE
