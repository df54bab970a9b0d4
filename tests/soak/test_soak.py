"""The short forms of `scripts/soak`: each takes at most 20 seconds, and the long ones do nothing else."""

from pathlib import Path

import pytest
from tests.soak import counters, events, grantkills, kills, load, logins, policykills, rewrap, xks

pytestmark = [pytest.mark.daemon, pytest.mark.slow]


def test_no_call_fails_and_no_result_is_wrong_while_workers_are_killed(tmp_path: Path) -> None:
    figures = load.run(tmp_path, 6.0, threads=4, workers=2, kill_every=3.0)

    assert figures.failed == []
    assert figures.kills >= 1
    assert figures.calls["use"] > 10


def test_kills_of_the_whole_daemon_lose_and_double_nothing(tmp_path: Path) -> None:
    figures = kills.run(tmp_path, rounds=1)

    assert figures.rounds == 1
    assert figures.keys >= 2 * sum(kills.POOL.values())


def test_kills_while_grants_change_lose_and_double_none(tmp_path: Path) -> None:
    figures = grantkills.run(tmp_path, rounds=1)

    assert figures.rounds == 1
    assert figures.acknowledged["create"] >= 1


def test_kills_while_policies_change_leave_the_last_that_was_put(tmp_path: Path) -> None:
    figures = policykills.run(tmp_path, rounds=1)

    assert figures.rounds == 1
    assert sum(figures.let_in.values()) == policykills.CLIENTS
    assert figures.acknowledged["key policy"] >= 1


def test_kills_of_counting_workers_hand_out_no_invocation_twice(tmp_path: Path) -> None:
    figures = counters.run(tmp_path, kills=100, seconds=18.0)

    assert figures.kills > 50
    assert figures.blocks > figures.kills / 10, (
        "a slow machine's workers die younger, but not all before they count"
    )
    assert figures.taken > 5 * figures.blocks


def test_kills_at_login_lose_no_token(tmp_path: Path) -> None:
    figures = logins.run(tmp_path, kills=2)

    assert figures.kills == 2
    assert figures.left_over["keys"] == 4


@pytest.mark.parametrize("blows", [("receiver", "unwell", "nats"), ("worker", "daemon")], ids="-".join)
def test_no_event_is_lost_or_overtaken_whatever_is_taken_away(tmp_path: Path, blows: tuple[str, ...]) -> None:
    figures = events.run(tmp_path, 1.0, blows, away=1.0)

    assert set(figures.blows) == set(blows)
    assert figures.acknowledged > 10
    assert figures.events >= figures.acknowledged


def test_no_healthy_call_fails_while_the_xks_door_is_attacked_and_changed(tmp_path: Path) -> None:
    figures = xks.run(
        tmp_path,
        0.3,
        rounds=1,
        rate=50.0,
        share=0.1,
        attacks=("slow bodies", "noise for HTTP", "forgeries"),
        changes=("credential replaced", "worker replaced", "daemon drained"),
    )

    assert figures.failed == []
    assert figures.calls > 100
    assert figures.turns["noise for HTTP"].dropped["malformed"] >= 1


def test_exportable_keys_move_to_another_kek_under_load_though_a_worker_is_killed(tmp_path: Path) -> None:
    figures = rewrap.run(tmp_path, 60, threads=2, per_second=30, quiet=0.5, kills=1)

    assert figures.failed == []
    assert (figures.rewrapped, figures.total, figures.kills) == (60, 60, 1)
    assert len(figures.moving) > 50
    assert len(set(figures.progress)) > 1
