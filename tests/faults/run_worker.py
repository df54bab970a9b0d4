"""Runs the real `worker.run` with an assembly that behaves as `behaviour.json` says."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from strongroomd.config import Settings, WorkerPlace
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.worker import WorkerArguments, run


class FakeAssembly:
    def __init__(self, settings: Settings, place: WorkerPlace) -> None:
        self.folder = settings.source.parent
        self.behaviour: dict[str, Any] = json.loads((self.folder / "behaviour.json").read_text())
        self.started = 0.0
        self.tell(
            "assemble", index=place.index, grpc=str(place.grpc), status=Path("/proc/self/status").read_text(),
            limits=Path("/proc/self/limits").read_text(),
        )  # fmt: skip

    def tell(self, event: str, **values: object) -> None:
        with (self.folder / "events.jsonl").open("a") as file:
            file.write(json.dumps({"event": event, **values}) + "\n")

    async def start(self) -> None:
        await asyncio.sleep(self.behaviour.get("start", 0.0))
        if reason := self.behaviour.get("refuse"):
            raise StrongroomError(Reason(reason), detail="canary-free detail")
        if self.behaviour.get("bug"):
            raise ZeroDivisionError("canary-8841")
        self.started = time.monotonic()
        self.tell("started")
        if self.behaviour.get("block"):
            asyncio.get_running_loop().call_later(0.6, time.sleep, 60)

    def due(self, name: str) -> bool:
        return bool(self.behaviour.get(name)) and self.started > 0 and time.monotonic() > self.started + 0.6

    async def drain(self, grace_seconds: float) -> None:
        self.tell("drain", grace=grace_seconds)
        await asyncio.sleep(0.6)

    async def reload(self, settings: Settings) -> None:
        self.tell("reload", max_plaintext=settings.limits.max_plaintext)
        if self.behaviour.get("reload_fails"):
            raise StrongroomError(Reason.CONFIGURATION, field="grpc.key_file")

    def hung(self) -> str | None:
        return "C_Sign" if self.due("hang") else None

    def wants_successor(self) -> bool:
        return self.due("tired")

    def fatal(self) -> str | None:
        return "the token is gone" if self.due("fatal") else None


values = json.loads(sys.argv[1])
sys.exit(run(WorkerArguments(**{**values, "config": Path(values["config"])}), FakeAssembly))
