"""The door's tests do not wait as long as its callers do."""

import pytest

from strongroomd.frontends.xks import server as server_module


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look twice as often as the shortest time in these tests."""
    monkeypatch.setattr(server_module, "_SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(server_module, "_LAST_REQUESTS_SECONDS", 0.3)
