"""The door as the worker holds it: what a reload of `[xks]` reaches."""

import asyncio
import json
import time
from typing import Any, cast

import pytest
from tests.unit.test_xks_config import loaded
from tests.xksdoor import ENCRYPT, FakeProxy, Notes, make_door, signed, uri

from strongroomd.frontends.sigv4 import HttpParts
from strongroomd.frontends.xks.crowd import Crowd
from strongroomd.frontends.xks.door import Door, Reply, Request
from strongroomd.frontends.xks.server import Server, ServerSettings
from strongroomd.telemetry.lag import STEP, Lag
from strongroomd.wiring.xksdoor import XksDoor


@pytest.fixture
def proxy() -> FakeProxy:
    return FakeProxy()


@pytest.fixture
def door(proxy: FakeProxy) -> Door:
    return make_door(proxy, Notes(), most=8)


def reload(door: Door, most: int) -> None:
    """Have a worker take over a configuration with `max_in_flight`."""
    server = Server(ServerSettings("127.0.0.1", 0, max_connections=10), None, door, lambda: True)
    unused = cast("Any", None)
    xks = XksDoor(server, unused, unused, None)
    xks.use(loaded(f'address = "127.0.0.1:8080"\nplain_http = true\nmax_in_flight = {most}'), None)


async def encrypted(door: Door) -> Reply:
    """Have the door serve a call, whatever the crowd says."""
    path, body = uri("encrypt"), json.dumps(ENCRYPT).encode()
    headers = tuple((name.lower(), value) for name, value in signed(path, body).items())
    return await door.open(Request(HttpParts("POST", path, "", headers, body), "", 0, time.monotonic())).run()


@pytest.mark.parametrize(("most", "status"), [(1, 429), (9, 200)])
async def test_reload_changes_how_many_calls_the_door_serves(
    door: Door, proxy: FakeProxy, most: int, status: int
) -> None:
    reload(door, most)
    proxy.hangs = asyncio.Event()
    first = asyncio.create_task(encrypted(door))
    await proxy.called.wait()

    second = asyncio.create_task(encrypted(door))
    await asyncio.sleep(0)
    proxy.hangs.set()

    assert [(await first).status, (await second).status] == [200, status]


def test_reload_of_a_smaller_number_counts_for_the_crowd_at_once(door: Door) -> None:
    door.crowd.enter("/a")
    before = door.crowd.is_full("/b")

    reload(door, 1)

    assert not before
    assert door.crowd.is_full("/b")


@pytest.mark.parametrize(("cut", "grows"), [(False, [42, 42, 42, 42]), (True, [20, 21, 22, 23])])
def test_reload_of_a_larger_number_counts_at_once_and_one_by_one_after_a_cut(
    door: Door, cut: bool, grows: list[int]
) -> None:
    lag = Lag()
    door.crowd, lag.due = Crowd(lag, 40), 0.0
    if cut:
        for _ in range(21):
            door.crowd.enter("/a")
        lag.last, lag.due = 0.09, STEP
        door.crowd.is_full("/a")
        lag.last = 0.0

    reload(door, 42)
    limits = []
    for _ in range(4):
        limits.append(door.crowd.limit)
        lag.due += STEP
        door.crowd.is_full("/a")

    assert limits == grows
