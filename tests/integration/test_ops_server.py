"""The operators' HTTP server answers three paths, bounds everything, and outlives bad peers."""

import socket
import time
from collections.abc import Iterator

import pytest
from tests.harness import within

from strongroomd.frontends.ops import server as module
from strongroomd.frontends.ops.server import MAX_CONNECTIONS, OpsServer


class Ops:
    def __init__(self) -> None:
        self.reason: str | None = None
        self.body = b"strongroom_up 1\n"
        self.broken = False
        self.tokens: dict[str, str] = {}
        self.server = OpsServer(("127.0.0.1", 0), self.metrics, lambda: self.reason, lambda: self.tokens)
        self.server.start()

    def metrics(self) -> bytes:
        if self.broken:
            raise ValueError("canary")
        return self.body

    def send(self, raw: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.server.port), 10) as peer:
            peer.sendall(raw)
            got = b""
            while chunk := peer.recv(65_536):
                got += chunk
            return got

    def get(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        head, _, body = self.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).partition(
            b"\r\n\r\n"
        )
        return int(head.split(b" ")[1]), body


@pytest.fixture
def ops() -> Iterator[Ops]:
    made = Ops()
    yield made
    made.server.close()


def test_metrics_are_served(ops: Ops) -> None:
    assert ops.get("/metrics") == (200, b"strongroom_up 1\n")
    assert ops.get("/metrics?name=x") == (200, b"strongroom_up 1\n")


def test_head_is_answered_without_a_body(ops: Ops) -> None:
    answer = ops.send(b"HEAD /metrics HTTP/1.1\r\n\r\n")

    assert b"Content-Length: 16\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_readiness_names_each_of_several_tokens_and_does_not_depend_on_them(ops: Ops) -> None:
    ops.tokens = {"main": "", "second": "a detail that is for the log"}

    assert ops.get("/readyz") == (200, b"ready\ntoken main: well\ntoken second: away or ill\n")


def test_readiness_says_why_not_while_health_stays(ops: Ops) -> None:
    assert ops.get("/readyz") == (200, b"ready\n")
    ops.reason = "the HSM cannot be used"
    assert ops.get("/readyz") == (503, b"not ready: the HSM cannot be used\n")
    assert ops.get("/healthz") == (200, b"alive\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get", "TRACE", "CONNECT"])
def test_only_get_and_head_are_served(ops: Ops, method: str) -> None:
    assert ops.get("/metrics", method)[0] == 405


@pytest.mark.parametrize(
    "path", ["/", "/metrics/", "/../metrics", "//metrics", "/METRICS", "/%6detrics", "metrics", "*"]
)
def test_other_paths_are_not_found(ops: Ops, path: str) -> None:
    assert ops.get(path)[0] == 404


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /metrics\r\n\r\n",
        b"\xff\xfe\x00\r\n\r\n",
        b"GET  /metrics HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_request_gets_400(ops: Ops, raw: bytes) -> None:
    assert ops.send(raw).startswith(b"HTTP/1.1 400 ")


def test_an_endless_head_is_cut_off(ops: Ops) -> None:
    with socket.create_connection(("127.0.0.1", ops.server.port), 10) as peer:
        peer.sendall(b"GET /metrics HTTP/1.1\r\nX: " + b"a" * (module.MAX_REQUEST + 1 - 26))

        assert peer.recv(100).startswith(b"HTTP/1.1 431 ")


def test_a_failing_scrape_is_500_without_details_and_the_next_one_works(ops: Ops) -> None:
    ops.broken = True
    status, body = ops.get("/metrics")
    assert (status, b"canary" in body) == (500, False)

    ops.broken = False
    assert ops.get("/metrics")[0] == 200


def test_slow_peers_are_dropped_and_do_not_stop_others(ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUEST_SECONDS", 0.5)
    slow = [socket.create_connection(("127.0.0.1", ops.server.port), 10) for _ in range(MAX_CONNECTIONS - 1)]
    for peer in slow:
        peer.sendall(b"G")

    assert ops.get("/healthz")[0] == 200
    start = time.monotonic()
    assert [peer.recv(1) for peer in slow] == [b""] * len(slow)
    assert time.monotonic() - start < within(5)
    for peer in slow:
        peer.close()


def test_more_connections_than_places_are_closed_at_once(ops: Ops) -> None:
    held = [socket.create_connection(("127.0.0.1", ops.server.port), 10) for _ in range(MAX_CONNECTIONS)]
    time.sleep(0.2)
    with socket.create_connection(("127.0.0.1", ops.server.port), 10) as extra:
        extra.settimeout(2)
        assert extra.recv(1) == b""
    for peer in held:
        peer.close()
    time.sleep(0.2)
    assert ops.get("/healthz")[0] == 200


def test_workers_share_a_port(ops: Ops) -> None:
    sibling = OpsServer(("127.0.0.1", ops.server.port), lambda: b"", lambda: None)
    sibling.start()

    assert sibling.port == ops.server.port
    sibling.close()


def test_a_closed_server_gives_its_port_back(ops: Ops) -> None:
    port = ops.server.port
    ops.server.close()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 2)
