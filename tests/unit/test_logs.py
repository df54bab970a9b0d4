"""Log lines are JSON, carry the request id, and hold no secret."""

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import structlog

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.telemetry import logs

CANARY = "canary-7f3a9c"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    out = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure("debug", worker=3, stream=out)
    yield out
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def line(stream: io.StringIO) -> dict[str, Any]:
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    return json.loads(lines[0])


def test_a_line_is_json_with_time_level_room_worker_and_request_id(stream: io.StringIO) -> None:
    logs.get("grpc").info("served", request_id="req-1", method="Encrypt", seconds=0.01)

    got = line(stream)
    assert got.pop("time").endswith("Z")
    assert got == {
        "event": "served",
        "level": "info",
        "room": "grpc",
        "worker": 3,
        "request_id": "req-1",
        "method": "Encrypt",
        "seconds": 0.01,
    }


@dataclass
class Holder:
    plaintext: str = CANARY


@pytest.mark.parametrize(
    "fields",
    [
        {"value": CANARY.encode()},
        {"value": bytearray(CANARY.encode())},
        {"value": memoryview(CANARY.encode())},
        {"value": [CANARY.encode()]},
        {"value": {"inner": {"deep": CANARY.encode()}}},
        {"pin": CANARY},
        {"user_pin": CANARY},
        {"PIN": CANARY},
        {"plaintext": CANARY},
        {"private_key": CANARY},
        {"data_key": CANARY},
        {"shared_secret": CANARY},
        {"value": {"password": CANARY}},
        {"value": Holder()},
        {"value": ValueError(CANARY)},
        {"value": {"a": {"b": {"c": {"d": {"e": CANARY}}}}}},
        {"exc_info": ValueError(CANARY)},
    ],
)
def test_secrets_do_not_reach_the_log(stream: io.StringIO, fields: dict[str, Any]) -> None:
    logs.get("hsm").error("failed", **fields)

    assert line(stream)["event"] == "failed"
    assert CANARY not in stream.getvalue()


def test_an_exception_is_told_by_type_and_place_without_its_text(stream: io.StringIO) -> None:
    try:
        int(CANARY)
    except ValueError:
        logs.get("hsm").exception("failed")

    error = line(stream)["error"]
    assert error["type"] == "ValueError"
    assert "test_logs.py" in error["at"][0]
    assert CANARY not in stream.getvalue()


def test_our_own_errors_keep_reason_field_and_detail(stream: io.StringIO) -> None:
    error = StrongroomError(Reason.HSM_UNAVAILABLE, field="key", detail="CKR_DEVICE_ERROR")

    logs.get("hsm").warning("failed", exc_info=error)

    got = line(stream)["error"]
    assert (got["reason"], got["field"], got["detail"]) == ("HSM_UNAVAILABLE", "key", "CKR_DEVICE_ERROR")


def test_third_parties_log_their_format_but_not_their_arguments(stream: io.StringIO) -> None:
    logging.getLogger("grpc._cython").error("peer sent %s", CANARY)

    got = line(stream)
    assert (got["source"], got["event"]) == ("grpc._cython", "peer sent %s")
    assert CANARY not in stream.getvalue()


def test_third_parties_are_silent_below_warning(stream: io.StringIO) -> None:
    logging.getLogger("sqlalchemy").info("SELECT")

    assert stream.getvalue() == ""


def test_lone_surrogates_and_line_ends_stay_inside_one_ascii_line(stream: io.StringIO) -> None:
    logs.get("grpc").info("odd", value="\ud800\n\r\x00 é")

    assert line(stream)["value"] == "\ud800\n\r\x00 é"
    assert stream.getvalue().isascii()


def test_long_values_are_cut(stream: io.StringIO) -> None:
    logs.get("grpc").info("long", value="x" * 100_000)

    assert len(stream.getvalue()) < 3_000


def test_a_broken_log_pipe_fails_no_call(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> None:
    def broken(_text: str) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(stream, "write", broken)

    logs.get("grpc").info("lost")
