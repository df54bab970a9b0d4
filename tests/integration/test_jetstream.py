"""The NATS sink against a real nats-server: acknowledged, once for each id, and nothing taken for delivered."""

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.natsd import NatsServer, free_port, serving

from strongroomd.domain.delivery import Blame, Undelivered
from strongroomd.domain.events import Event
from strongroomd.events.jetstream import JetStream, NatsSettings

EVENT = Event(1, "id-1", "strongroom.key.disabled", "arn:k1", 1, 1_700_000_000_123, "p", "", "{}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with serving(tmp_path_factory.mktemp("nats") / "data") as made:
        yield made


def sink(server: NatsServer, subject: str = "strongroom", token: str = "") -> JetStream:
    return JetStream(NatsSettings((server.url,), subject, token, 2.0, None, "/s"))


async def test_an_event_is_in_the_stream_once_however_often_it_is_sent(server: NatsServer) -> None:
    for _ in range(2):
        publisher = sink(server)
        await publisher.send(EVENT)
        await publisher.send(dataclasses.replace(EVENT, id="id-2"))
        await publisher.close()

    messages = await asyncio.to_thread(server.messages)
    assert [(subject, message_id) for subject, message_id, _ in messages] == [
        ("strongroom.key.disabled", "id-1"),
        ("strongroom.key.disabled", "id-2"),
    ]
    assert messages[0][2]["specversion"] == "1.0"


async def test_a_subject_that_no_stream_takes_is_no_delivery(server: NatsServer) -> None:
    publisher = sink(server, "elsewhere")
    with pytest.raises(Undelivered) as caught:
        await publisher.send(EVENT)
    await publisher.close()

    assert (caught.value.blame, caught.value.error) == (Blame.SINK, "no stream takes this subject")


async def test_a_server_that_goes_away_is_connected_to_again(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    opened = serving(folder)
    server = await asyncio.to_thread(opened.__enter__)
    publisher = sink(server)
    try:
        await publisher.send(EVENT)
        server.kill()
        with pytest.raises(Undelivered):
            await publisher.send(dataclasses.replace(EVENT, id="id-2"))
        await asyncio.to_thread(server.start)
        await publisher.send(dataclasses.replace(EVENT, id="id-2"))
        found = [message_id for _, message_id, _ in await asyncio.to_thread(server.messages)]
    finally:
        await publisher.close()
        await asyncio.to_thread(opened.__exit__, None, None, None)

    assert found == ["id-1", "id-2"]


async def test_a_wrong_token_is_the_sinks_failure(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    server = NatsServer(folder, free_port(), options=("--auth", "right"))
    server.start()
    publisher = sink(server, token="wrong")
    try:
        with pytest.raises(Undelivered) as caught:
            await publisher.send(EVENT)
    finally:
        await publisher.close()
        server.kill()

    assert caught.value.blame is Blame.SINK
    assert "wrong" not in caught.value.error
