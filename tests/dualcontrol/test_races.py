"""What ends between the claim of a key and the moment that a request is spent: nothing leaves."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.harness import refused
from tests.people import Cast

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]

ENDS: dict[str, Callable[[Cast, str], Any]] = {
    "KEY_DISABLED": lambda house, key: house.admin.disable_key(key),
    "KEY_PENDING_DELETION": lambda house, key: house.admin.schedule_key_deletion(
        key,
        pending_window_days=7,
        approval_id=house.agreed(house.admin.ask_key_deletion(key, 7, purpose="x")),
    ),
}


@pytest.mark.parametrize("reason", list(ENDS))
def test_at_every_worker_at_once(house: Cast, spki: bytes, reason: str) -> None:
    """Both workers have the key in memory as it was."""
    key = house.key()
    for _ in range(6):
        with house.daemon.client("alice", timeout=30.0) as client:
            client.encrypt(key, b"x")
    requests = [house.approved(key, spki) for _ in range(4)]
    ENDS[reason](house, key)
    for request in requests:
        with house.daemon.client("alice", timeout=30.0) as client, refused(reason):
            client.execute_export(request.approval_id)
        assert house.admin.describe_approval(request.approval_id).state == "APPROVED"
