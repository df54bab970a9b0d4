"""The canary of one thread keeps no other thread waiting for long."""

import threading
import time
from typing import Any, cast

import pytest

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.hsm.device import Health
from strongroomd.hsm.observer import Silent


class Pool:
    def open(self) -> Any:
        return self

    def close(self) -> None:
        raise AssertionError("the session is in use")


def test_a_canary_that_hangs_on_one_thread_is_no_verdict_and_no_wait_on_another() -> None:
    health, begun, over = Health(cast("Any", Pool()), Silent()), threading.Event(), threading.Event()

    def hang(_: object) -> bool:
        begun.set()
        return over.wait(10)

    health.canary = hang
    thread = threading.Thread(target=health.is_well)
    thread.start()
    begun.wait(10)
    started = time.monotonic()
    with pytest.raises(StrongroomError) as refusal:
        health.is_well()
    health.close()
    waited = time.monotonic() - started
    over.set()
    thread.join()

    assert refusal.value.reason is Reason.HSM_UNAVAILABLE
    assert waited < 5
    assert health.breaker.closed
    assert health.is_well()
