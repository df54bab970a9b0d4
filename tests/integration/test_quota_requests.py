"""A throttled caller asks for more by the command line, an administrator answers, and every worker heeds it."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.harness import ADMIN, BUSY, SERVICE, Daemon, Shell, allow, refused, wait_until

from strongroom import Client
from strongroom.errors import StrongroomError, Throttled
from strongroom.retry import RetryPolicy

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]

Quota = Callable[..., Any]


@pytest.fixture
def quota(shell: Shell) -> Quota:
    """Run a verb of `strongroom quota` as somebody, and read what it prints."""

    def run(who: str, *arguments: str) -> Any:
        done = shell("quota", *arguments, "--json", who=who)
        return json.loads(done.stdout) if done.returncode == 0 else done.returncode

    return run


@pytest.fixture
def narrow(admin: Client) -> str:
    """A key that the service may use, once a second."""
    key = admin.create_key(policy=allow(SERVICE, "kms:Encrypt", "kms:DescribeKey")).key_id
    admin.put_limit("KEY", key, 1, burst=1)
    return key


def test_a_throttled_caller_asks_and_what_is_granted_is_in_force_everywhere(
    daemon: Daemon, admin: Client, quota: Quota, narrow: str
) -> None:
    once = RetryPolicy(max_attempts=1)

    def throttled() -> bool:
        try:
            caller.encrypt(narrow, b"x")
        except Throttled:
            return True
        except StrongroomError as error:
            if error.reason not in BUSY:
                raise
        return False

    with daemon.client("service", retry=once) as caller:
        wait_until(throttled, 20.0)

    asked = quota("service", "request", "KEY", narrow, "900", "--why", "payday")
    assert (asked["state"], asked["in_force_per_second"], asked["principal"]) == ("PENDING", 1, SERVICE)
    assert quota("service", "answer", asked["id"], "approve") == 3
    waiting = quota("admin", "requests", "--state", "pending")
    assert [each["justification"] for each in waiting if each["id"] == asked["id"]] == ["payday"]
    done = quota("admin", "answer", asked["id"], "approve", "--per-second", "700", "--note", "enough")
    granted_at = time.monotonic()
    assert (done["state"], done["granted_per_second"]) == ("APPROVED", 700)

    time.sleep(max(0.0, granted_at + 1.0 - time.monotonic()))
    for _ in range(8):  # each on a connection of its own: at either worker
        with daemon.client("service", retry=once) as caller:
            for _ in range(5):
                caller.encrypt(narrow, b"x")
    mine = quota("service", "show", asked["id"])
    assert (mine["note"], mine["answered_by"]) == ("enough", ADMIN)
    limit = admin.get_limit("KEY", narrow)
    assert (limit.per_second, limit.burst) == (700, 700)


def test_a_request_that_was_taken_back_is_answered_no_more(admin: Client, quota: Quota, narrow: str) -> None:
    asked = quota("service", "request", "KEY", narrow, "900")
    assert quota("admin", "cancel", asked["id"]) == 3

    assert quota("service", "cancel", asked["id"])["state"] == "CANCELLED"

    with refused("REQUEST_ANSWERED"):
        admin.answer_quota_request(asked["id"], "APPROVE")
    assert admin.get_limit("KEY", narrow).per_second == 1
