"""The clocks of the core, brought in so that tests can turn them."""

import time


class Clock:
    """The host's clocks."""

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch: for expiry dates and audit."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds that never jump: for deadlines, waits and quotas."""
        return time.monotonic()
