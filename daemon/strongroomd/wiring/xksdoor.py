"""The XKS door of one worker, if the configuration opens it."""

import time
from collections.abc import Callable

from strongroomd.config import Settings, WorkerPlace
from strongroomd.frontends.sigv4 import Verifier
from strongroomd.frontends.xks.crowd import Crowd
from strongroomd.frontends.xks.door import SERVICE, Door
from strongroomd.frontends.xks.server import Server
from strongroomd.frontends.xks.tls import Tls
from strongroomd.telemetry.metrics import Metrics
from strongroomd.wiring import rooms
from strongroomd.wiring.core import Core
from strongroomd.wiring.meters import XksMetrics


class XksDoor:
    """The server with what the worker does about it.

    Args:
        server: the server.
        meter: what counts its calls.
        metrics: where the gauges are.
        tls: what it serves with.
    """

    def __init__(self, server: Server, meter: XksMetrics, metrics: Metrics, tls: Tls | None) -> None:
        self.server = server
        self._meter = meter
        self._metrics = metrics
        self._tls = tls

    @property
    def in_flight(self) -> int:
        """Calls being served."""
        return self.server.door.in_flight

    def measure(self) -> None:
        """Hand over what was counted."""
        self._meter.flush()
        self._metrics.xks_connections.set(self.server.connections)

    def look(self) -> None:
        """Note when the certificate in use expires."""
        if self._tls is not None:
            self._metrics.cert_expiry_seconds.labels("xks").set(self._tls.expires_at - time.time())

    def use(self, settings: Settings, tls: Tls | None) -> None:
        """Take over a new configuration."""
        self._tls = tls
        self.server.use(tls)
        self.server.door.deadline = settings.xks.deadline_ms / 1000
        self.server.door.most = settings.xks.max_in_flight
        self.server.door.crowd.resize(settings.xks.max_in_flight)


def open_xks(
    settings: Settings, place: WorkerPlace, core: Core, metrics: Metrics, ready: Callable[[], bool]
) -> XksDoor | None:
    """Build the door; None where it is closed. It listens once its server is started.

    Raises:
        StrongroomError: CONFIGURATION naming the file's setting.
    """
    if place.xks is None:
        return None
    xks, meter = settings.xks, XksMetrics(metrics)
    door = Door(
        core.key_stores.proxy,
        Verifier(time.time, SERVICE),
        core.threshold,
        meter,
        deadline=xks.deadline_ms / 1000,
        most=xks.max_in_flight,
    )
    door.require_time = core.admission.require_time
    door.crowd = Crowd(core.admission.lag, xks.max_in_flight)
    tls = rooms.xks_tls(settings)
    opened = XksDoor(Server(rooms.xks_server(settings, place.xks), tls, door, ready), meter, metrics, tls)
    opened.look()
    return opened
