"""The order in which a call is looked at, what is written down of it, and that it is answered in time."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from tests.xksdoor import (
    ACCESS_KEY_ID,
    DECRYPT,
    DESCRIBE,
    ENCRYPT,
    HEALTH,
    METADATA,
    STORE,
    FakeProxy,
    Notes,
    make_door,
    signed,
    uri,
)

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.frontends.sigv4 import HttpParts
from strongroomd.frontends.xks import routes
from strongroomd.frontends.xks.door import Door, Reply, Request

DOCUMENTS = {"health": HEALTH, "metadata": DESCRIBE, "encrypt": ENCRYPT, "decrypt": DECRYPT}
UNSIGNED: dict[str, str] = {"Host": "h"}


def request(
    path: str, body: bytes, headers: dict[str, str] | None = None, method: str = "POST", **fields: Any
) -> Request:
    told = signed(path, body) if headers is None else headers
    parts = HttpParts(method, path, "", tuple((name.lower(), value) for name, value in told.items()), body)
    return Request(parts, "192.0.2.7", 4711, time.monotonic(), **fields)


def of(act: str, document: Any = None, **fields: Any) -> Request:
    body = json.dumps(DOCUMENTS[act] if document is None else document).encode()
    return request(uri(act), body, **fields)


async def ask(door: Door, asked: Request) -> tuple[int, Any]:
    reply = door.shed(routes.find(asked.parts.path), asked.arrived) or await door.open(asked).run()
    return reply.status, json.loads(reply.body)


def error_of(answer: tuple[int, Any]) -> tuple[int, str]:
    return answer[0], answer[1]["errorName"]


@pytest.fixture
def proxy() -> FakeProxy:
    return FakeProxy()


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def door(proxy: FakeProxy, notes: Notes) -> Door:
    return make_door(proxy, notes)


@pytest.mark.parametrize(
    ("act", "members"),
    [
        ("health", {"xksProxyFleetSize", "xksProxyVendor", "xksProxyModel", "ekmVendor", "ekmFleetDetails"}),
        ("metadata", {"keySpec", "keyUsage", "keyStatus"}),
        ("encrypt", {"ciphertext", "initializationVector", "authenticationTag", "ciphertextMetadata"}),
        ("decrypt", {"plaintext"}),
    ],
)
async def test_call_is_served(door: Door, notes: Notes, act: str, members: set[str]) -> None:
    status, body = await ask(door, of(act))

    assert (status, set(body)) == (200, members)
    assert notes.refused == []


async def test_core_is_told_who_calls_and_for_whom(door: Door, proxy: FakeProxy) -> None:
    asked = of("encrypt")
    await ask(door, asked)

    _, caller, call = proxy.calls[0]
    assert caller.principal == STORE.principal
    assert (caller.door, caller.identity) == ("xks", f"xks-credential:{ACCESS_KEY_ID}")
    assert caller.source == "ipv4:192.0.2.7:4711"
    assert caller.deadline == pytest.approx(asked.arrived + 5.0)
    assert (call.external_key_id, call.region) == ("key-1", "us-east-1")
    assert call.metadata.kms_operation == "Encrypt"
    assert proxy.uses == [(STORE.store_id, ACCESS_KEY_ID)]


BODY = json.dumps(HEALTH).encode()


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (lambda: request("/nowhere", BODY, UNSIGNED, "GET"), (404, "InvalidUriPathException")),
        (lambda: request(uri("health", prefix="/p2"), BODY), (404, "InvalidUriPathException")),
        (lambda: request(uri("health", prefix="/p2"), BODY, UNSIGNED), (404, "InvalidUriPathException")),
        (
            lambda: request(uri("health", prefix="/p2"), b"", UNSIGNED, "GET"),
            (404, "InvalidUriPathException"),
        ),
        (lambda: request(uri("health"), BODY, UNSIGNED), (401, "AuthenticationFailedException")),
        (lambda: request(uri("health"), b"no JSON", UNSIGNED), (401, "AuthenticationFailedException")),
        (lambda: request(uri("encrypt"), b"no JSON"), (400, "ValidationException")),
        (lambda: request(uri("encrypt"), b"", too_large=True), (501, "UnsupportedOperationException")),
        (lambda: of("health", {}), (400, "ValidationException")),
        (lambda: of("health", {"requestMetadata": {}}), (400, "ValidationException")),
        (
            lambda: of("encrypt", {"requestMetadata": ENCRYPT["requestMetadata"]}),
            (400, "ValidationException"),
        ),
    ],
)
async def test_path_comes_before_signature_and_signature_before_body(
    door: Door, notes: Notes, asked: Callable[[], Request], error: tuple[int, str]
) -> None:
    assert error_of(await ask(door, asked())) == error
    assert len(notes.refused) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("act", ["health", "metadata", "encrypt", "decrypt"])
async def test_only_post_is_allowed(door: Door, method: str, act: str) -> None:
    reply = await door.open(request(uri(act), b"", UNSIGNED, method)).run()

    assert (reply.status, reply.allow) == (405, "POST")


@pytest.mark.parametrize(
    "options",
    [
        {"access_key_id": "b" * 35},
        {"access_key_id": "A" * 24},
        {"secret": b"x" * 45},
        {"service": "kms"},
        {"at": 0.0},
    ],
    ids=lambda options: next(iter(options)),
)
async def test_bad_credentials_are_401(door: Door, proxy: FakeProxy, options: dict) -> None:
    answer = await ask(door, request(uri("health"), BODY, signed(uri("health"), BODY, **options)))

    assert error_of(answer) == (401, "AuthenticationFailedException")
    assert proxy.uses == []


async def test_no_secret_is_looked_up_for_an_id_that_cannot_be(door: Door, proxy: FakeProxy) -> None:
    proxy.signers = SimpleNamespace(get=pytest.fail)  # type: ignore[assignment]

    answer = await ask(
        door, request(uri("health"), BODY, signed(uri("health"), BODY, access_key_id="b" * 35))
    )

    assert answer[0] == 401


async def test_query_leads_nowhere(door: Door) -> None:
    asked = of("health")
    parts = HttpParts("POST", asked.parts.path, "a=b", asked.parts.headers, asked.parts.body)

    answer = await ask(door, Request(parts, "192.0.2.7", 1, time.monotonic()))

    assert error_of(answer) == (404, "InvalidUriPathException")


async def test_strangers_refusal_is_written_down_as_nobodys(door: Door, notes: Notes) -> None:
    await ask(door, request(uri("encrypt"), BODY, UNSIGNED))

    attempt, error = notes.refused[0]
    assert (attempt.door, attempt.method, attempt.principal) == ("xks", "Encrypt", "unknown")
    assert attempt.told == {"key_store": STORE.store_id, "external_key": "key-1"}
    assert error.reason is Reason.UNAUTHENTICATED_PEER


async def test_known_callers_refusal_is_written_down_as_its_own(door: Door, notes: Notes) -> None:
    await ask(door, of("encrypt", {**ENCRYPT, "encryptionAlgorithm": "ROT13"}))

    attempt, error = notes.refused[0]
    assert attempt.principal == STORE.principal.arn
    assert attempt.told["kms_request_id"] == METADATA["kmsRequestId"]
    assert attempt.told["identity"] == f"xks-credential:{ACCESS_KEY_ID}"
    assert (error.reason, error.field) == (Reason.UNKNOWN_ENUM, "encryptionAlgorithm")


async def test_what_the_core_refuses_is_not_written_down_twice(
    door: Door, proxy: FakeProxy, notes: Notes
) -> None:
    proxy.fails = StrongroomError(Reason.KEY_NOT_FOUND)

    assert error_of(await ask(door, of("encrypt"))) == (404, "KeyNotFoundException")
    assert notes.refused == []


@pytest.mark.parametrize("reason", list(Reason))
async def test_every_refusal_of_the_core_has_an_answer(
    door: Door, proxy: FakeProxy, notes: Notes, reason: Reason
) -> None:
    proxy.fails = StrongroomError(reason)

    status, body = await ask(door, of("decrypt"))

    assert status in {400, 401, 403, 404, 429, 500, 501, 503}
    assert notes.finished_calls == [("Decrypt", "Decrypt", body["errorName"])]


async def test_a_bug_is_an_internal_exception(door: Door, proxy: FakeProxy) -> None:
    proxy.fails = RuntimeError("a secret")

    status, body = await ask(door, of("decrypt"))

    assert (status, body["errorName"]) == (500, "InternalException")
    assert "secret" not in body["errorMessage"]


async def test_who_is_refused_too_often_for_the_audit_log_still_hears_why(
    door: Door, notes: Notes, proxy: FakeProxy
) -> None:
    """KMS counts ThrottlingException as a failure of the proxy, and tries again; a kill switch is none."""
    too_often = StrongroomError(Reason.QUOTA_EXCEEDED, retry_after=1.0)

    async def uncounted(*_: Any) -> StrongroomError:
        return too_often

    notes.refuse = uncounted  # type: ignore[method-assign, assignment]
    stranger = request(uri("encrypt"), json.dumps(ENCRYPT).encode(), UNSIGNED)
    assert error_of(await ask(door, stranger)) == (401, "AuthenticationFailedException")

    too_often.__cause__ = StrongroomError(Reason.BLOCKED)
    proxy.fails = too_often
    assert error_of(await ask(door, of("encrypt"))) == (400, "InvalidStateException")

    proxy.fails = StrongroomError(Reason.QUOTA_EXCEEDED)
    assert error_of(await ask(door, of("encrypt"))) == (429, "ThrottlingException")


async def test_refusal_that_cannot_be_written_is_told_so(door: Door, notes: Notes) -> None:
    async def unwritten(_attempt: Any, _error: Any) -> StrongroomError:
        raise StrongroomError(Reason.AUDIT_UNAVAILABLE)

    notes.refuse = unwritten  # type: ignore[method-assign, assignment]

    answer = await ask(door, request(uri("health"), BODY, UNSIGNED))

    assert error_of(answer) == (503, "DependencyTimeoutException")


async def test_too_many_calls_are_throttled_and_not_written_down(proxy: FakeProxy, notes: Notes) -> None:
    door = make_door(proxy, notes, most=1)
    proxy.hangs = asyncio.Event()
    waiting = [asyncio.create_task(door.open(of("encrypt")).run())]
    await asyncio.sleep(0)

    refused = error_of(await ask(door, of("encrypt")))
    proxy.hangs.set()
    replies: list[Reply] = await asyncio.gather(*waiting)

    assert refused == (429, "ThrottlingException")
    assert [reply.status for reply in replies] == [200]
    assert (notes.refused, door.in_flight) == ([], 0)


async def test_one_store_takes_no_more_than_half_of_the_places(
    proxy: FakeProxy, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = make_door(proxy, notes, most=8)
    other = SimpleNamespace(**{**vars(STORE), "store_id": "xks-other"})
    proxy.hangs = asyncio.Event()
    waiting = [asyncio.create_task(door.open(of("encrypt")).run()) for _ in range(4)]
    await asyncio.sleep(0)

    refused = error_of(await ask(door, of("encrypt")))
    monkeypatch.setattr(proxy, "store", lambda _: other)
    waiting.append(asyncio.create_task(door.open(of("encrypt")).run()))
    await asyncio.sleep(0)
    proxy.hangs.set()
    replies: list[Reply] = await asyncio.gather(*waiting)

    assert refused == (429, "ThrottlingException")
    assert [reply.status for reply in replies] == [200] * 5
    monkeypatch.undo()
    assert (await ask(door, of("encrypt")))[0] == 200


async def test_call_that_comes_too_late_for_the_loop_is_throttled_before_any_work(
    door: Door, proxy: FakeProxy, notes: Notes
) -> None:
    asked, seen = of("encrypt"), []

    def late(deadline: float) -> None:
        seen.append(deadline)
        raise StrongroomError(Reason.OVERLOADED)

    door.require_time = late

    assert error_of(await ask(door, asked)) == (429, "ThrottlingException")
    assert seen == [pytest.approx(asked.arrived + 5.0)]
    assert (proxy.uses, proxy.calls, notes.refused) == ([], [], [])


@pytest.mark.parametrize("act", ["encrypt", "decrypt"])
async def test_work_that_would_wait_too_long_is_throttled_before_its_signature_is_looked_at(
    door: Door, proxy: FakeProxy, notes: Notes, act: str
) -> None:
    proxy.sheds = True
    asked = request(uri(act), b"{", {})

    assert error_of(await ask(door, asked)) == (429, "ThrottlingException")
    assert proxy.shed == [pytest.approx(asked.arrived + 5.0)]
    assert (proxy.uses, proxy.calls, notes.refused) == ([], [], [])


@pytest.mark.parametrize("act", ["health", "metadata"])
async def test_what_no_token_is_asked_for_is_not_shed_with_its_work(
    door: Door, proxy: FakeProxy, act: str
) -> None:
    proxy.sheds = True

    assert (await ask(door, of(act)))[0] == 200
    assert proxy.shed == []


async def test_request_that_took_its_whole_time_to_arrive_is_a_time_out(door: Door, proxy: FakeProxy) -> None:
    asked = replace(of("encrypt"), arrived=time.monotonic() - 5.0)

    assert error_of(await ask(door, asked)) == (503, "DependencyTimeoutException")
    assert proxy.calls == []


async def test_answer_is_due_before_kms_gives_up(proxy: FakeProxy, notes: Notes) -> None:
    for deadline, due in ((0.05, 0.07), (0.2, 0.22), (0.24, 0.245)):
        asked = of("encrypt")
        exchange = make_door(proxy, notes, deadline=deadline).open(asked)

        assert exchange.answer_by - asked.arrived == pytest.approx(due)


async def test_late_answer_is_a_timeout_and_counted_once(door: Door, proxy: FakeProxy, notes: Notes) -> None:
    proxy.hangs = asyncio.Event()
    exchange = door.open(of("encrypt"))
    running = asyncio.create_task(exchange.run())
    await proxy.called.wait()

    reply = exchange.late()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await door.settle()

    assert (reply.status, json.loads(reply.body)["errorName"]) == (503, "DependencyTimeoutException")
    assert notes.finished_calls == [("Encrypt", "Encrypt", "DependencyTimeoutException")]
    assert (notes.refused, door.in_flight) == ([], 0)


async def test_late_call_that_never_reached_the_gate_is_written_down(
    door: Door, proxy: FakeProxy, notes: Notes
) -> None:
    never = asyncio.Event()

    async def secrets(_store: Any, _access_key_id: str) -> Any:
        await never.wait()

    proxy.secrets = secrets  # type: ignore[method-assign, assignment]
    exchange = door.open(of("encrypt"))
    running = asyncio.create_task(exchange.run())
    await asyncio.sleep(0)

    exchange.late()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await door.settle()

    assert [error.reason for _, error in notes.refused] == [Reason.DEADLINE_EXCEEDED]


async def test_operations_are_counted_by_what_they_are_and_what_kms_does(door: Door, notes: Notes) -> None:
    await ask(door, of("health"))
    await ask(door, of("metadata"))
    await ask(door, request("/nowhere", b"", UNSIGNED))

    assert notes.finished_calls == [
        ("GetHealthStatus", "KmsHealthCheck", ""),
        ("GetKeyMetadata", "CreateKey", ""),
        ("Unknown", "", "InvalidUriPathException"),
    ]


async def test_bodies_show_in_no_repr() -> None:
    assert "SGVsbG8" not in repr(of("encrypt"))
