"""Starts the workers as fresh processes, watches them, replaces them, drains them.

A worker that crashes is noticed at once (its pidfd), one that hangs within two seconds (its heartbeat pipe
falls silent); it is replaced while its siblings serve. The supervisor imports neither gRPC nor PKCS#11 and
runs no threads, so nothing that a caller sends and no module's fault can reach it. It owns three things that
must outlive a worker: the ports (as bound sockets that never listen), the PIN when it came by descriptor
(sealed in memory), and the last good configuration, so that a replacement starts even while a bad one is
being edited.
"""

from strongroomd.supervisor.fleet import Timing
from strongroomd.supervisor.loop import Supervisor

__all__ = ["Supervisor", "Timing"]
