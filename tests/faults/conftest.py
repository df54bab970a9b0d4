"""Fixtures of fault tests: a core in this process, and daemons of a test's own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.faults.core import Core, make_core
from tests.hsmkeys import OpenedVault

from strongroomd.storage import audit_log, database


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit log's 200 ms and the store's 2 s are tested where they are the subject; a busy disk proves nothing."""
    monkeypatch.setattr(audit_log, "DURABLE_WITHIN", 30.0)
    monkeypatch.setattr(database, "READ_SECONDS", 30.0)


@pytest.fixture
async def core(tmp_path: Path, opened: OpenedVault) -> AsyncIterator[Core]:
    """A core on the shared token; what it makes there is its own, but the token's listing is everybody's."""
    made = await make_core(tmp_path, opened)
    yield made
    await made.close()


@pytest.fixture
async def own_core(tmp_path: Path, own: OpenedVault) -> AsyncIterator[Core]:
    """A core on a token of its own."""
    made = await make_core(tmp_path, own)
    made.own_token = True
    yield made
    await made.close()
