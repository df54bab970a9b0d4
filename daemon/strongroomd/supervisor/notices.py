"""What the supervisor tells others: systemd by sd_notify, everybody else by a file that is replaced whole."""

import os
import socket
from contextlib import suppress
from pathlib import Path

from strongroomd.telemetry import logs

_log = logs.get("supervisor")


class Notifier:
    """Speaks sd_notify(3) to systemd, if it listens."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        usec = os.environ.get("WATCHDOG_USEC", "")
        self._interval = int(usec) / 2_000_000 if usec.isascii() and usec.isdigit() else 0.0
        self._last = 0.0

    def send(self, message: str) -> None:
        """Send one message; systemd's absence is no error."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with (
            suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.sendto(message.encode(), socket.MSG_DONTWAIT, address)

    def alive(self, now: float) -> None:
        """Feed the watchdog twice in its period."""
        if self._interval and now - self._last >= self._interval:
            self._last = now
            self.send("WATCHDOG=1")


def replace(path: Path, content: bytes) -> None:
    """Replace a file in one step: a reader sees the old one or the new one."""
    fresh = path.with_suffix(".new")
    try:
        fresh.write_bytes(content)
        fresh.replace(path)
    except OSError as error:
        _log.warning("cannot publish the daemon's state", errno=error.errno)
