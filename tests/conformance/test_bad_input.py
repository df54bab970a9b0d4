"""Acceptance 6: whatever is wrong with a request, the answer is a typed error and the daemon lives on."""

import random
import time
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conformance.kit import MUTATIONS, Kit, make_kit, valid, with_import
from tests.conformance.wire import FOLLOWING, METHODS, SECONDS, Outcome, Wire, request
from tests.garbage import Garbage, faults, misencodings
from tests.harness import Daemon

from strongroom import Client
from strongroom.v1 import crypto_pb2
from strongroomd.domain.errors import Reason

RPCS = sorted(METHODS)
_CODE = grpc.StatusCode
_OF_FIELDS = {"INVALID_FIELD", "FIELD_TOO_LARGE", "UNKNOWN_ENUM", "CHECKSUM_MISMATCH", "INVALID_PAGE_TOKEN"}
_STALL_SECONDS = 5.0  # AUDIT_UNAVAILABLE for longer is a failure
_SHORT = 0.15  # seconds to wait for the first record of a tail, which may never come


@pytest.fixture(scope="module")
def kit(admin: Client) -> Kit:
    return make_kit(admin)


class Patient(Wire):
    """A wire that waits when it was refused too often, which is not what these tests are about.

    It also waits a while for a disk that stands still: what else runs on the machine may keep it so.
    """

    def call(self, name: str, request: Message | bytes, seconds: float = SECONDS) -> Outcome:
        """Call, as often as it takes."""
        patience = 0.0
        while True:
            outcome = super().call(name, request, seconds)
            patience = patience or time.monotonic() + _STALL_SECONDS
            reasons = {outcome.reason, *(error.reason for error in item_errors(outcome))}
            stands_still = "AUDIT_UNAVAILABLE" in reasons and time.monotonic() < patience
            if "QUOTA_EXCEEDED" not in reasons and not stands_still:  # the other quotas are roomy
                return outcome
            time.sleep(0.1)


@pytest.fixture(scope="module")
def wire(daemon: Daemon) -> Iterator[Wire]:
    with Patient.connect(daemon, "admin") as wire:
        yield wire


@pytest.fixture(scope="module", autouse=True)
def no_worker_dies(daemon: Daemon) -> Iterator[None]:
    before = daemon.workers()
    yield
    assert daemon.workers() == before


def item_errors(outcome: Outcome) -> list[crypto_pb2.ItemError]:
    """The errors of a batch's items or of a streamed request."""
    match outcome.reply:
        case crypto_pb2.OperateResponse():
            return [outcome.reply.error] if outcome.reply.HasField("error") else []
        case (
            crypto_pb2.BatchDecryptResponse()
            | crypto_pb2.BatchEncryptResponse()
            | crypto_pb2.BatchSignResponse()
        ):
            return [r.error for r in outcome.reply.results if r.HasField("error")]
    return []


def problems(outcome: Outcome, fault: str = "") -> list[str]:
    """Say what is wrong with the answer to a wrong request; nothing if it is a typed error, or none was needed."""
    found = [(e.reason, e.field) for e in item_errors(outcome)]
    if not outcome.ok:
        found.append((outcome.reason, outcome.field))
    wrong = []
    for reason, field in found:
        if reason not in set(Reason) or reason in {"INTERNAL", "CONFIGURATION"}:
            wrong.append(f"{fault}: {outcome.code.name} {reason!r} {outcome.message}")
        elif reason in _OF_FIELDS and not field:
            wrong.append(f"{fault}: {reason} names no field")
    return wrong


def seconds(name: str) -> float:
    return _SHORT if name in FOLLOWING else 20.0


def is_patience(outcome: Outcome, name: str) -> bool:
    """A tail that was accepted and had nothing to say."""
    return name in FOLLOWING and outcome.code is _CODE.DEADLINE_EXCEEDED


SIGNED_ELSEWHERE = {"RegisterPeer", "ImportReplica", "AcknowledgeReplica"}
"""RPCs whose request is good only with what another house has signed: its faults are tried in tests/replicas."""


@pytest.mark.parametrize("name", [name for name in RPCS if name not in SIGNED_ELSEWHERE])
def test_every_fault_of_every_field_is_a_typed_error_that_names_it(
    wire: Wire, admin: Client, kit: Kit, name: str
) -> None:
    mine = make_kit(admin) if name in MUTATIONS else kit
    if METHODS[name].containing_service.name == "MaterialService":
        mine = with_import(mine, admin)
    good = valid(name, mine)
    wrong: list[str] = []
    for what, field, change in faults(good):
        bad = type(good).FromString(good.SerializeToString())
        change(bad)
        outcome = wire.call(name, bad, seconds(name))
        if is_patience(outcome, name):
            continue
        wrong += problems(outcome, f"{what} {field}")
        errors = [(e.reason, e.field) for e in item_errors(outcome)] or [(outcome.reason, outcome.field)]
        reason, place = errors[0]
        leaf = field.rpartition(".")[2].removesuffix("_crc32c")
        if what in _MUST_FAIL and reason in {"", "OK"}:
            wrong.append(f"{what} {field}: accepted")
        named = leaf in place or field.startswith(place) or place in ("items", "operation")
        if reason in _OF_FIELDS and not named:
            wrong.append(f"{what} {field}: {reason} blames {place}")
        if what in _UNKNOWN and reason != "UNKNOWN_ENUM":
            wrong.append(f"{what} {field}: {reason or 'accepted'}")

    assert wrong == []


_UNKNOWN = {"an unknown number in", "a negative number in"}
_MUST_FAIL = _UNKNOWN | {
    "an oversize text in",
    "oversize bytes in",
    "an oversize value in",
    "65 pairs in",
    "an empty name in",
    "too many items in",
    "a wrong checksum",
    "a NUL in",
}


@pytest.mark.parametrize("name", RPCS)
def test_bytes_that_are_no_message_are_a_typed_error(wire: Wire, kit: Kit, name: str) -> None:
    good = request(name).SerializeToString()
    wrong: list[str] = []
    for what, body in misencodings(METHODS[name].input_type, good):
        outcome = wire.call(name, body, seconds(name))
        if not is_patience(outcome, name):
            wrong += problems(outcome, what)
        if what.startswith(("invalid UTF-8", "a lone surrogate", "noise")):
            reasons = [e.reason for e in item_errors(outcome)] or [outcome.reason]
            if reasons != ["INVALID_FIELD"]:
                wrong.append(f"{what}: {reasons}")

    assert wrong == []


@pytest.mark.parametrize("name", RPCS)
def test_a_request_over_256_kib_is_refused_with_its_limit(wire: Wire, name: str) -> None:
    over = b"\xfa\x7f" + b"\x80\x80\x10" + b"x" * 262_144  # an unknown field of 256 KiB

    outcome = wire.call(name, over)

    errors = [(e.reason, e.field, e.message) for e in item_errors(outcome)]
    errors = errors or [(outcome.reason, outcome.field, outcome.message)]
    assert errors == [("FIELD_TOO_LARGE", "request", "at most 262144 bytes are allowed")]


def test_a_request_far_over_the_limit_is_refused_by_the_transport(wire: Wire) -> None:
    outcome = wire.call("Encrypt", b"x" * 600_000)

    assert (outcome.code, outcome.reason) == (_CODE.RESOURCE_EXHAUSTED, "")


def test_a_request_of_exactly_256_kib_is_read(wire: Wire, kit: Kit) -> None:
    good = valid("Encrypt", kit).SerializeToString()
    room = 262_144 - len(good) - 5
    body = good + b"\xfa\x7f" + bytes([room & 0x7F | 0x80, room >> 7 & 0x7F | 0x80, room >> 14]) + b"x" * room

    assert len(body) == 262_144
    assert wire.call("Encrypt", body).ok
    assert wire.call("Encrypt", body + b"\x08\x01").reason == "FIELD_TOO_LARGE"


def test_an_unknown_method_is_unimplemented(wire: Wire) -> None:
    call = wire.channel.unary_unary("/strongroom.v1.KeyService/StealKey", bytes, bytes)

    with pytest.raises(grpc.RpcError) as caught:
        call(b"", timeout=5.0)

    assert caught.value.code() is _CODE.UNIMPLEMENTED


@settings(
    max_examples=500, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
)
@given(
    source=st.randoms(note_method_calls=False),
    name=st.sampled_from([n for n in RPCS if n not in FOLLOWING]),
)
def test_random_messages_get_typed_answers(wire: Wire, kit: Kit, source: random.Random, name: str) -> None:
    garbage = Garbage(source, (*kit.key_ids(), kit.alias), (kit.ciphertext, kit.signature, kit.tag))

    outcome = wire.call(name, garbage.body(METHODS[name].input_type))

    assert problems(outcome, name) == []
