"""Clients that work without retries until their whole daemon is killed."""

import random
import threading
import time
from collections.abc import Sequence

from tests.harness import Daemon, wait_until
from tests.soak.promises import WrongResult

from strongroom import Client
from strongroom.errors import StrongroomError
from strongroom.retry import RetryPolicy

_ONCE = RetryPolicy(max_attempts=1)
_GONE = ("UNAVAILABLE", "CANCELLED", "")  # what calls end with when the daemon dies


class Hasty(threading.Thread):
    """One client; what it does is said by `once`.

    Attributes:
        acknowledged: how many calls ended well.
        unexpected: what went wrong besides the daemon's death.
    """

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon=True)
        self._daemon = daemon
        self.unexpected: Exception | None = None
        self.acknowledged = 0

    def run(self) -> None:
        """Work until a call fails; a wrong answer is kept for the judge."""
        with self._daemon.client(retry=_ONCE, timeout=10.0) as client:
            try:
                while True:
                    self.once(client)
                    self.acknowledged += 1
            except StrongroomError as error:
                if error.code not in _GONE:
                    self.unexpected = error
            except WrongResult as error:
                self.unexpected = error

    def once(self, client: Client) -> None:
        """Make one call."""
        raise AssertionError("nobody said what to do")


def kill_amid(daemon: Daemon, clients: Sequence[Hasty], shortest: float, longest: float) -> None:
    """Let clients work for a random time (seconds) once each was served, kill the daemon, and wait for them.

    Raises:
        WrongResult: a client hangs, or got a wrong answer.
        StrongroomError: a call ended otherwise than by the daemon's death.
    """
    for client in clients:
        client.start()
    wait_until(lambda: all(client.acknowledged or not client.is_alive() for client in clients), 30)
    time.sleep(random.uniform(shortest, longest))
    daemon.kill()
    for client in clients:
        client.join(15)
        if client.is_alive():
            raise WrongResult("a client hangs although its daemon is dead")
        if client.unexpected is not None:
            raise client.unexpected
