"""The doors of one worker: gRPC, operators', and the XKS door if the configuration opens it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from strongroomd.config import Settings, WorkerPlace
from strongroomd.custody.directory import Directory
from strongroomd.custody.xks.health import HealthBoard
from strongroomd.frontends.grpc.door import Door
from strongroomd.frontends.grpc.identity import Identities
from strongroomd.frontends.grpc.server import Certificates, Server
from strongroomd.frontends.ops.server import OpsServer
from strongroomd.frontends.xks.tls import Tls
from strongroomd.telemetry.metrics import Metrics
from strongroomd.wiring import rooms
from strongroomd.wiring.core import Core
from strongroomd.wiring.xksdoor import XksDoor, open_xks


@dataclass(frozen=True, slots=True)
class DoorFiles:
    """Who the doors say that they are, and whom they know, by one configuration."""

    certificates: Certificates
    tls: Tls | None
    identities: Identities


@dataclass(slots=True)
class Doors:
    """The doors, built and not yet open.

    Attributes:
        door: what every gRPC call passes.
        certificates: those in use.
    """

    door: Door
    server: Server
    ops: OpsServer
    xks: XksDoor | None
    certificates: Certificates

    async def open(self, board: HealthBoard) -> None:
        """Listen, for operators first; `board` has looked at the tokens before AWS KMS can ask."""
        self.ops.start()
        if self.xks is not None:
            await board.look()  # what was never looked at is told as UNAVAILABLE
        await self.server.start()
        if self.xks is not None:
            await self.xks.server.start()

    @property
    def in_flight(self) -> int:
        """Calls being served."""
        return self.door.in_flight + (0 if self.xks is None else self.xks.in_flight)

    def measure(self) -> None:
        """Hand over what was counted."""
        if self.xks is not None:
            self.xks.measure()

    def look(self) -> None:
        """Note when the XKS door's certificate expires."""
        if self.xks is not None:
            self.xks.look()

    def use(self, settings: Settings, files: DoorFiles) -> None:
        """Take over a new configuration, without dropping a call."""
        self.server.use(files.certificates)
        self.certificates = files.certificates
        if self.xks is not None:
            self.xks.use(settings, files.tls)
        self.door.identities = files.identities
        self.door.deadlines = rooms.deadlines(settings)

    async def drain(self, grace_seconds: float) -> None:
        """Take no new calls, and finish those in flight; operators still see how it goes."""
        draining = [self.server.drain(grace_seconds)]
        if self.xks is not None:
            draining.append(self.xks.server.drain(grace_seconds))
        await asyncio.gather(*draining)


async def read_files(settings: Settings, directory: Directory) -> DoorFiles:
    """Read the files that a configuration names.

    Raises:
        StrongroomError: CONFIGURATION naming the setting.
        ValueError: a file does not hold what it should.
    """
    certificates = await asyncio.to_thread(rooms.certificates, settings)
    tls = await asyncio.to_thread(rooms.xks_tls, settings)
    return DoorFiles(certificates, tls, rooms.identities(settings, certificates, directory))


def build_doors(
    settings: Settings,
    place: WorkerPlace,
    core: Core,
    metrics: Metrics,
    ops: OpsServer,
    ready: Callable[[], bool],
) -> Doors:
    """Build the doors.

    Raises:
        StrongroomError: CONFIGURATION naming the setting.
    """
    certificates = rooms.certificates(settings)
    door = _door(settings, core, metrics, certificates)
    server = Server(rooms.server_settings(settings, place), certificates, door, core.servicers)
    xks = open_xks(settings, place, core, metrics, ready)
    return Doors(door, server, ops, xks, certificates)


def _door(settings: Settings, core: Core, metrics: Metrics, certificates: Certificates) -> Door:
    door = Door(
        rooms.identities(settings, certificates, core.directory),
        rooms.deadlines(settings),
        metrics.rpc,
        core.threshold,
        metrics.connections_refused.labels("unknown principal").inc,
        core.sessions,
        most=rooms.most_calls(settings),
    )
    door.require_time = core.admission.require_time
    return door
