"""A webhook's receiver: keeps what it got, and answers, refuses, redirects or hangs as it is told."""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = b"a secret of more than sixteen bytes"
Judge = Callable[[dict[str, Any]], tuple[int, dict[str, str]]]


def accept(_event: dict[str, Any]) -> tuple[int, dict[str, str]]:
    return 204, {}


@dataclass
class Receiver:
    """What came, in order; `judge` gives status and headers of each answer."""

    port: int = 0
    judge: Judge = accept
    requests: list[tuple[int, dict[str, Any], dict[str, str]]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?x=1"

    def accepted(self) -> list[dict[str, Any]]:
        """The events whose receipt it gave, duplicates included."""
        with self.lock:
            return [event for status, event, _ in self.requests if 200 <= status < 300]

    def firsts(self) -> list[dict[str, Any]]:
        """The same, each once, in the order in which they first came."""
        return list({event["id"]: event for event in reversed(self.accepted())}.values())[::-1]

    def of_type(self, type_: str) -> list[dict[str, Any]]:
        return [event for event in self.firsts() if event["type"] == type_]

    def start(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                event = json.loads(body)
                assert signed(self.headers["Strongroom-Signature"], body), "the signature is wrong"
                status, headers = receiver.judge(event)
                with receiver.lock:
                    receiver.requests.append((status, event, dict(self.headers)))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None


def signed(header: str, body: bytes, secret: bytes = SECRET) -> bool:
    """What a receiver does, written from the manual."""
    parts = dict(part.split("=", 1) for part in header.split(","))
    made = hmac.new(secret, parts["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(made, parts["v1"]) and abs(time.time() - int(parts["t"])) < 300


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


def in_order(events: list[dict[str, Any]]) -> bool:
    """Whether each subject's events came by their sequence numbers, without a gap, from its first on."""
    by_subject: dict[str, list[int]] = {}
    for event in events:
        by_subject.setdefault(event["subject"], []).append(int(event["sequence"]))
    return all(
        numbers == list(range(numbers[0], numbers[0] + len(numbers))) for numbers in by_subject.values()
    )
