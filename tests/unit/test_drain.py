"""The order in which a worker opens and lets go of things: nothing is closed that unfinished work still needs."""

from collections import defaultdict
from typing import Any

from strongroomd.wiring.assembly import WorkerAssembly


class Recorder:
    """Anything that `drain` calls; remembers the order."""

    def __init__(self, calls: list[str], path: str = "") -> None:
        self._calls = calls
        self._path = path

    def __getattr__(self, name: str) -> Any:
        return Recorder(self._calls, f"{self._path}.{name}".lstrip("."))

    def __call__(self, *_: object, **__: object) -> Any:
        self._calls.append(self._path)
        return self

    def __await__(self) -> Any:
        return iter(())


async def test_mutations_are_waited_for_after_the_last_call_and_before_anything_is_closed() -> None:
    calls: list[str] = []
    assembly: Any = object.__new__(WorkerAssembly)
    assembly._open, assembly._tasks, assembly._leading = Recorder(calls), [], True

    await assembly.drain(1.0)

    assert calls[:3] == ["server.drain", "xks.server.drain", "core.gate.settle"]
    closed = [calls.index(f"{what}.close") for what in ("audit", "vault", "store")]
    assert min(closed) > calls.index("core.upkeep.checkpoint") > calls.index("core.gate.settle")


async def test_the_tokens_are_looked_at_before_anybody_can_ask_how_they_are() -> None:
    calls: list[str] = []
    assembly: Any = object.__new__(WorkerAssembly)
    assembly._hsm_metrics, assembly._metrics = defaultdict(lambda: Recorder([])), Recorder([])

    await assembly._open_doors(Recorder(calls))

    assert calls.index("core.key_stores.board.look") < calls.index("xks.server.start")
    assert assembly._not_ready is None
