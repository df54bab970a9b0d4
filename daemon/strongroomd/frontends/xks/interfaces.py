"""What the door tells."""

from typing import Protocol


class Meter(Protocol):
    """Hears how calls and connections end."""

    def finished(self, operation: str, kms_operation: str, error: str, seconds: float) -> None:
        """Count a call.

        Args:
            operation: the API's name for it, e.g. `GetHealthStatus`; `Unknown` for a path that is none.
            kms_operation: as the request says, any text; empty where it was not read.
            error: the errorName; empty for success.
            seconds: from its first byte to its answer.
        """
        ...

    def dropped(self, cause: str) -> None:
        """Count a connection that was ended for a cause of a closed list (`server.CAUSES`)."""
        ...
