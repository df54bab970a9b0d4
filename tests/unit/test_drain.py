"""The order in which a worker opens and lets go of things: nothing is closed that unfinished work still needs."""

from collections import defaultdict
from dataclasses import fields
from typing import Any

from strongroomd.wiring.assembly import WorkerAssembly, _Open
from strongroomd.wiring.doors import Doors
from strongroomd.wiring.opening import OpenRim
from strongroomd.wiring.rounds import Election, Rounds


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


def recorded(calls: list[str]) -> Any:
    """What a worker opened: its own order, over parts that only remember that they were called."""

    def parts(of: type) -> list[Any]:
        return [Recorder(calls, field.name) for field in fields(of)]

    core: Any = Recorder(calls, "core")
    silent: Any = Recorder([])
    election = Election(silent, silent)
    election.leading = True
    return _Open(OpenRim(*parts(OpenRim)), core, Doors(*parts(Doors)), silent, election, silent)


async def test_mutations_are_waited_for_after_the_last_call_and_before_anything_is_closed() -> None:
    calls: list[str] = []
    assembly: Any = object.__new__(WorkerAssembly)
    assembly._open, assembly._rounds = recorded(calls), Rounds()

    await assembly.drain(1.0)

    assert calls[:3] == ["server.drain", "xks.server.drain", "core.gate.settle"]
    closed = [calls.index(f"{what}.close") for what in ("audit", "vault", "store")]
    assert min(closed) > calls.index("core.duties.upkeep.checkpoint") > calls.index("core.gate.settle")


async def test_the_tokens_are_looked_at_before_anybody_can_ask_how_they_are() -> None:
    calls: list[str] = []
    assembly: Any = object.__new__(WorkerAssembly)
    assembly._hsm_metrics, assembly._metrics = defaultdict(lambda: Recorder([])), Recorder([])

    await assembly._open_doors(recorded(calls))

    assert calls.index("core.key_stores.board.look") < calls.index("xks.server.start")
    assert assembly._not_ready is None
