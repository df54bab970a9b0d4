"""Many items: cut into calls or piped through a stream, and none is lost on the way."""

import asyncio
import time
from typing import Any

import grpc
import pytest
from tests.unit.client.fake_daemon import QUICK, FakeDaemon, refusal, reply_of, slowly

from strongroom import AsyncClient, Client, RetryPolicy, bulk, errors
from strongroom.results import Encrypted
from strongroom.v1 import crypto_pb2


def refuse_larger_than(limit: int, reason: str, daemon: FakeDaemon) -> None:
    """Have batches of more items refused, as a burst does."""

    def answer(request: Any) -> Any:
        if len(request.items) > limit:
            raise AssertionError("the fault comes before the answer")
        return reply_of("BatchEncrypt", request)

    original = daemon.answer

    def guarded(method: str, request: Any, context: grpc.ServicerContext) -> Any:
        if method == "BatchEncrypt" and len(request.items) > limit:
            daemon.faults.append(refusal(reason))
        return original(method, request, context)

    daemon.answers["BatchEncrypt"] = answer
    daemon.answer = guarded  # type: ignore[method-assign]


def sizes(daemon: FakeDaemon) -> list[int]:
    return [len(request.items) for method, request in daemon.calls if method.startswith("Batch")]  # type: ignore[attr-defined]


def test_items_keep_their_places_over_several_calls(client: Client, daemon: FakeDaemon) -> None:
    plaintexts = [b"%d" % number for number in range(1_201)]

    found = client.encrypt_many("alias/k", plaintexts)

    assert [each.ciphertext for each in found if isinstance(each, Encrypted)] == [
        b"SR:" + each for each in plaintexts
    ]
    assert sizes(daemon) == [500, 500, 201]


def test_calls_stay_below_the_size_of_one_message(client: Client, daemon: FakeDaemon) -> None:
    context = {"tenant": "é" * 900}

    client.encrypt_many("alias/k", [b"x" * 4_096] * 60, context=context)

    assert all(request.ByteSize() < 262_144 for _, request in daemon.calls)
    assert sum(sizes(daemon)) == 60


def test_no_items_make_no_call(client: Client, daemon: FakeDaemon) -> None:
    assert client.encrypt_many("alias/k", []) == []
    assert client.sign_many("alias/k", []) == []
    assert daemon.calls == []


def test_items_may_have_contexts_of_their_own(client: Client, daemon: FakeDaemon) -> None:
    client.decrypt_many([b"a", (b"b", {"n": "own"})], context={"n": "shared"})

    contexts = [dict(item.encryption_context) for item in daemon.calls[0][1].items]  # type: ignore[attr-defined]
    assert contexts == [{"n": "shared"}, {"n": "own"}]


def test_a_failed_item_fails_alone(client: Client, daemon: FakeDaemon) -> None:
    def answer(request: Any) -> Any:
        reply: Any = reply_of("BatchDecrypt", request)
        reply.results[1].error.reason = "INVALID_CIPHERTEXT"
        reply.results[1].error.field = "ciphertext"
        return reply

    daemon.answers["BatchDecrypt"] = answer

    found = client.decrypt_many([b"a", b"b", b"c"])

    assert isinstance(found[1], errors.NotGenuine)
    assert found[1].field == "ciphertext"
    assert not isinstance(found[0], errors.StrongroomError)
    assert len(daemon.calls) == 1


@pytest.mark.parametrize("reason", ["LIMIT_EXCEEDED", "FIELD_TOO_LARGE"])
def test_a_batch_over_the_burst_is_halved_until_it_fits(
    client: Client, daemon: FakeDaemon, reason: str
) -> None:
    refuse_larger_than(40, reason, daemon)

    found = client.encrypt_many("alias/k", [b"%d" % number for number in range(300)])

    assert [each.ciphertext for each in found if isinstance(each, Encrypted)] == [
        b"SR:%d" % n for n in range(300)
    ]


def test_an_item_that_is_too_large_alone_is_an_error_in_its_place(client: Client, daemon: FakeDaemon) -> None:
    refuse_larger_than(0, "FIELD_TOO_LARGE", daemon)

    found = client.encrypt_many("alias/k", [b"a", b"b"])

    assert [getattr(each, "reason", "") for each in found] == ["FIELD_TOO_LARGE"] * 2


def test_a_refused_key_is_the_error_of_every_item(client: Client, daemon: FakeDaemon) -> None:
    daemon.faults.append(refusal("KEY_DISABLED"))

    found = client.sign_many("alias/k", [b"a", b"b"])

    assert [type(each) for each in found] == [errors.KeyNotUsable] * 2


def test_throttled_items_are_asked_for_again_and_no_other(client: Client, daemon: FakeDaemon) -> None:
    rounds = 0

    def answer(request: Any) -> Any:
        nonlocal rounds
        rounds += 1
        reply: Any = reply_of("BatchEncrypt", request)
        for number, result in enumerate(reply.results):
            if number % 2 and rounds < 3:
                result.error.reason = "QUOTA_EXCEEDED"
                result.error.retry_after.FromMilliseconds(20)
        return reply

    daemon.answers["BatchEncrypt"] = answer

    found = client.encrypt_many("alias/k", [b"%d" % number for number in range(8)])

    assert [each.ciphertext for each in found if isinstance(each, Encrypted)] == [
        b"SR:%d" % n for n in range(8)
    ]
    assert sizes(daemon) == [8, 4, 2]


def test_a_bulk_waits_out_a_quota_longer_than_the_deadline_of_a_call(daemon: FakeDaemon) -> None:
    until = time.monotonic() + 2.0
    original = daemon.answer

    def throttled(method: str, request: Any, context: grpc.ServicerContext) -> Any:
        if time.monotonic() < until:
            daemon.faults.append(refusal("QUOTA_EXCEEDED", retry_after=0.1))
        return original(method, request, context)

    daemon.answer = throttled  # type: ignore[method-assign]

    with Client(daemon.settings, retry=QUICK) as client:
        found = client.with_timeout(1.0).encrypt_many("alias/k", [b"a"] * 20)

    assert all(isinstance(each, Encrypted) for each in found)


def test_a_bulk_that_never_gets_through_ends_with_the_reason(daemon: FakeDaemon) -> None:
    daemon.faults.extend([refusal("HSM_UNAVAILABLE")] * 1_000)

    with Client(daemon.settings, retry=QUICK) as client:
        found = client.encrypt_many("alias/k", [b"a"] * 3)

    assert [getattr(each, "reason", "") for each in found] == ["HSM_UNAVAILABLE"] * 3


def test_one_attempt_means_no_rounds_either(daemon: FakeDaemon) -> None:
    def answer(request: Any) -> Any:
        reply: Any = reply_of("BatchEncrypt", request)
        reply.results[0].error.reason = "QUOTA_EXCEEDED"
        reply.results[0].error.retry_after.FromMilliseconds(1)
        return reply

    daemon.answers["BatchEncrypt"] = answer

    with Client(daemon.settings, retry=RetryPolicy(max_attempts=1)) as client:
        found = client.encrypt_many("alias/k", [b"a", b"b"])

    assert [type(each) for each in found] == [errors.Throttled, Encrypted]
    assert sizes(daemon) == [2]


def test_rounds_are_paid_for_from_the_budget_that_calls_share(daemon: FakeDaemon) -> None:
    def answer(request: Any) -> Any:
        reply: Any = reply_of("BatchEncrypt", request)
        reply.results[0].error.reason = "HSM_UNAVAILABLE"
        return reply

    daemon.answers["BatchEncrypt"] = answer

    with Client(daemon.settings, retry=RetryPolicy(base=0.001, budget=10, cost=5)) as client:
        found = client.encrypt_many("alias/k", [b"a"])

    assert [type(each) for each in found] == [errors.Unavailable]
    assert len(sizes(daemon)) == 3


@pytest.mark.parametrize("results", [0, 1, 3])
def test_an_answer_with_another_number_of_results_is_damaged(
    client: Client, daemon: FakeDaemon, results: int
) -> None:
    def answer(request: Any) -> Any:
        reply: Any = reply_of("BatchEncrypt", request)
        wrong = crypto_pb2.BatchEncryptResponse()
        wrong.results.extend([reply.results[0]] * results)
        return wrong

    daemon.answers["BatchEncrypt"] = answer

    found = client.encrypt_many("alias/k", [b"a", b"b"])

    assert [getattr(each, "reason", "") for each in found] == ["REPLY_DAMAGED"] * 2


def test_a_damaged_item_damages_the_answer(client: Client, daemon: FakeDaemon) -> None:
    def damage(reply: Any) -> None:
        reply.results[0].success.ciphertext = b"other"

    daemon.damage = damage

    found = client.encrypt_many("alias/k", [b"a"])

    assert isinstance(found[0], Encrypted)
    assert len(daemon.calls) == 2


async def test_bulk_works_the_same_from_asyncio(daemon: FakeDaemon) -> None:
    refuse_larger_than(40, "LIMIT_EXCEEDED", daemon)

    async with AsyncClient(daemon.settings, retry=QUICK) as client:
        found = await client.encrypt_many("alias/k", [b"%d" % number for number in range(100)])
        signed = await client.sign_many("alias/k", [b"a"])
        opened = await client.decrypt_many([b"SR:a"])

    assert [each.ciphertext for each in found if isinstance(each, Encrypted)] == [
        b"SR:%d" % n for n in range(100)
    ]
    assert not isinstance(signed[0], errors.StrongroomError)
    assert not isinstance(opened[0], errors.StrongroomError)


def test_weights_count_what_the_message_will_hold() -> None:
    assert bulk._weight((b"x" * 10, {"ab": "c"})) >= 10 + len("abc") + 16


def test_a_stream_answers_each_operation_its_own(client: Client, daemon: FakeDaemon) -> None:
    with client.stream() as stream:
        futures: list[Any] = [
            stream.encrypt("alias/k", b"a"),
            stream.sign("alias/k", b"b"),
            stream.decrypt(b"SR:c"),
            stream.generate_data_key("alias/k"),
            stream.generate_mac("alias/k", b"d"),
            stream.verify("alias/k", b"e", b"f"),
            stream.verify_mac("alias/k", b"g", b"h"),
            stream.re_encrypt(b"i", "alias/k"),
        ]
        answers = [future.result(5) for future in futures]

    assert answers[0].ciphertext == b"SR:a"
    assert answers[1].signature == b"signature of b"
    assert answers[2].plaintext == b"c"
    assert daemon.methods.count("Operate") == 1


def test_closing_a_stream_waits_for_its_answers(client: Client) -> None:
    with client.stream() as stream:
        futures = [stream.encrypt("alias/k", b"%d" % number) for number in range(300)]

    assert [future.result(0).ciphertext for future in futures] == [b"SR:%d" % n for n in range(300)]


def test_a_closed_stream_takes_nothing_more(client: Client) -> None:
    with client.stream() as stream:
        pass

    with pytest.raises(errors.StrongroomError) as raised:
        stream.encrypt("alias/k", b"x")

    assert raised.value.reason == "CLOSED"


@pytest.mark.parametrize("fault", ["QUOTA_EXCEEDED", "HSM_UNAVAILABLE"])
def test_a_stream_rides_out_passing_trouble_of_one_operation(
    client: Client, daemon: FakeDaemon, fault: str
) -> None:
    daemon.item_faults.extend([refusal(fault, retry_after=0.01), None, refusal(fault, retry_after=0.01)])

    with client.stream() as stream:
        futures = [stream.encrypt("alias/k", b"%d" % number) for number in range(10)]

    assert [future.result(0).ciphertext for future in futures] == [b"SR:%d" % n for n in range(10)]


def test_a_refused_operation_does_not_end_the_stream(client: Client, daemon: FakeDaemon) -> None:
    daemon.item_faults.append(refusal("ACCESS_DENIED"))

    with client.stream() as stream:
        first = stream.encrypt("alias/k", b"a")
        with pytest.raises(errors.AccessDenied):
            first.result(5)
        assert stream.encrypt("alias/k", b"b").result(5).ciphertext == b"SR:b"

    assert daemon.methods.count("Operate") == 1


def test_a_broken_stream_is_opened_again_and_nothing_is_lost(client: Client, daemon: FakeDaemon) -> None:
    daemon.item_faults.extend(
        [None] * 20 + [grpc.StatusCode.UNAVAILABLE] + [None] * 20 + [grpc.StatusCode.UNAVAILABLE]
    )

    with client.stream() as stream:
        futures = [stream.encrypt("alias/k", b"%d" % number) for number in range(200)]

    assert [future.result(0).ciphertext for future in futures] == [b"SR:%d" % n for n in range(200)]
    assert daemon.methods.count("Operate") == 3


def test_a_stream_operation_ends_with_its_deadline(client: Client, daemon: FakeDaemon) -> None:
    daemon.answers["Encrypt"] = slowly("Encrypt", 0.6)

    with client.with_timeout(0.2).stream() as stream:
        future = stream.encrypt("alias/k", b"x")

    with pytest.raises(errors.DeadlineExceeded):
        future.result(0)


async def test_an_asyncio_stream_rides_out_trouble_as_well(daemon: FakeDaemon) -> None:
    daemon.item_faults.extend(
        [None] * 20 + [grpc.StatusCode.UNAVAILABLE, refusal("QUOTA_EXCEEDED", retry_after=0.01)]
    )

    async with AsyncClient(daemon.settings, retry=QUICK) as client, client.stream() as stream:
        found = await asyncio.gather(*(stream.encrypt("alias/k", b"%d" % number) for number in range(200)))

    assert [each.ciphertext for each in found] == [b"SR:%d" % n for n in range(200)]
    assert daemon.methods.count("Operate") == 2


async def test_a_closed_asyncio_stream_takes_nothing_more(daemon: FakeDaemon) -> None:
    async with AsyncClient(daemon.settings) as client:
        async with client.stream() as stream:
            await stream.encrypt("alias/k", b"x")
        with pytest.raises(errors.StrongroomError) as raised:
            await stream.encrypt("alias/k", b"x")

    assert raised.value.reason == "CLOSED"


async def test_an_asyncio_stream_operation_ends_with_its_deadline(daemon: FakeDaemon) -> None:
    daemon.answers["Encrypt"] = slowly("Encrypt", 0.6)

    async with AsyncClient(daemon.settings) as client, client.with_timeout(0.2).stream() as stream:
        with pytest.raises(errors.DeadlineExceeded):
            await stream.encrypt("alias/k", b"x")
