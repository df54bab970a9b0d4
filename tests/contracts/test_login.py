"""Logging in: one at a time, once per PIN, with token.object safe from kills."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.hsmkeys import OpenedVault
from tests.softhsm import TestToken, TokenFactory

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.hsm.ceremony import initialise
from strongroomd.hsm.module import load
from strongroomd.hsm.tokenfile import is_whole, serial_of

pytestmark = pytest.mark.softhsm

SCRIPT = Path(__file__).with_name("hsm_process.py")
ROOT = Path(__file__).parents[2]


def start(folder: Path, pin: str, action: str, **environment: str) -> subprocess.Popen:
    path = os.pathsep.join((str(ROOT), str(ROOT / "daemon")))
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), pin, action],
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, pin: str, action: str, **environment: str) -> dict:
    process = start(folder, pin, action, **environment)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return json.loads(out)


@pytest.fixture
def home(token_folder: TokenFactory) -> tuple[Path, str]:
    """A token with house keys: its folder and its PIN."""
    token: TestToken = token_folder()
    folder = token.settings.state.parent
    assert run(folder, token.pin.reveal(), "init") == {"made": 7}
    return folder, token.pin.reveal()


def token_object(folder: Path) -> Path:
    (path,) = (folder / "tokens").glob("*/token.object")
    return path


def lasting(folder: Path) -> bytes:
    """token.object without its generation number, which each login raises."""
    return token_object(folder).read_bytes()[8:]


def test_locking_is_forced_and_proved(opened: OpenedVault) -> None:
    assert load(opened.token.settings).hook.calls == 1


def test_worker_serves_with_an_unwritable_token_file(home: tuple[Path, str]) -> None:
    folder, pin = home
    before = lasting(folder)

    first, second = run(folder, pin, "serve"), run(folder, pin, "serve")

    assert first["mac"] == second["mac"]
    assert first["hook"] == 1
    assert lasting(folder) == before
    assert token_object(folder).stat().st_mode & 0o777 == 0o400


@pytest.mark.parametrize("damage", ["empty", "half", "garbage"])
def test_damaged_token_file_is_repaired_with_an_alert(home: tuple[Path, str], damage: str) -> None:
    folder, pin = home
    path = token_object(folder)
    good = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes({"empty": b"", "half": good[: len(good) // 2], "garbage": os.urandom(len(good))}[damage])

    answer = run(folder, pin, "serve")

    assert answer["alerts"] == ["token_object_repaired"]
    assert path.read_bytes()[8:] == good[8:]
    assert path.stat().st_mode & 0o777 == 0o400
    assert run(folder, pin, "serve")["alerts"] == []


def test_wrong_pin_is_tried_once_and_never_again(home: tuple[Path, str]) -> None:
    folder, pin = home
    marker = folder / "state" / "refused-pin"

    first = run(folder, "wrong pin", "serve")
    assert first["reason"] == Reason.CONFIGURATION
    assert "refused the PIN" in first["detail"]
    written = marker.read_bytes()
    assert b"wrong pin" not in written

    assert "refused the PIN" in run(folder, "wrong pin", "serve")["detail"]
    assert marker.read_bytes() == written, "a second try would have written a new salt"

    assert "mac" in run(folder, pin, "serve")
    assert not marker.exists()


def test_another_wrong_pin_is_another_cause(home: tuple[Path, str]) -> None:
    folder, _ = home
    run(folder, "wrong pin", "serve")
    before = (folder / "state" / "refused-pin").read_bytes()

    run(folder, "wrong too", "serve")

    assert (folder / "state" / "refused-pin").read_bytes() != before


def test_logins_wait_for_one_another(home: tuple[Path, str]) -> None:
    folder, pin = home
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: run(folder, pin, "serve"), range(4)))

    assert len({answer["mac"] for answer in answers}) == 1


def test_login_gives_up_when_the_lock_stays_taken(home: tuple[Path, str]) -> None:
    folder, pin = home
    holder = start(folder, pin, "hold")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"

    answer = run(folder, pin, "serve", LOCK_SECONDS="0.2")

    holder.kill()
    holder.communicate(timeout=10)
    assert answer["reason"] == Reason.HSM_UNAVAILABLE
    assert "login lock" in answer["detail"]
    assert "mac" in run(folder, pin, "serve"), "the kernel frees a dead holder's lock"


def test_kill_during_login_loses_no_token(home: tuple[Path, str]) -> None:
    """A few rounds of what `scripts/soak` does at length."""
    folder, pin = home
    good = lasting(folder)
    for round_ in range(4):
        worker = start(folder, pin, "serve")
        time.sleep(0.25 + 0.05 * round_)
        worker.kill()
        worker.communicate(timeout=10)

    assert lasting(folder) == good
    assert "mac" in run(folder, pin, "serve")


def test_processes_see_one_anothers_token_objects(home: tuple[Path, str]) -> None:
    """Beside a token.object that none of them can write (SoftHSM would then freeze each one's view)."""
    folder, pin = home
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda i: run(folder, pin, "change", INDEX=str(i)), range(3)))

    assert max(answer["seen"] for answer in answers) == 12
    assert run(folder, pin, "list") == {"resident": 12, "sequence": 32}


def test_anchor_that_is_being_replaced_is_never_missing(home: tuple[Path, str]) -> None:
    """A worker that starts beside others must not take the moment between two anchors for a lost one."""
    folder, pin = home
    run(folder, pin, "replace", SECONDS="0.1")
    with ThreadPoolExecutor(3) as pool:
        answers = list(
            pool.map(lambda what: run(folder, pin, what, SECONDS="3"), ("replace", "watch", "watch"))
        )

    for seen in answers[1:]:
        assert seen["reads"] > 0
        assert (seen["missing"], seen["refused"]) == (0, 0)


def test_token_of_another_label_or_serial_is_refused(fresh_token: TokenFactory) -> None:
    token = fresh_token()
    wrong: list[dict[str, Any]] = [{"token_label": "none such"}, {"token_serial": "0" * 16}]
    for changes in wrong:
        with pytest.raises(StrongroomError) as refusal:
            initialise(dataclasses.replace(token.settings, **changes), token.pin)
        assert refusal.value.reason is Reason.HSM_UNAVAILABLE

    right = dataclasses.replace(token.settings, token_serial=token.serial)
    assert initialise(right, token.pin)


def test_missing_module_is_refused(tmp_path: Path, fresh_token: TokenFactory) -> None:
    token = fresh_token()
    settings = dataclasses.replace(token.settings, module=tmp_path / "none.so")
    with pytest.raises(StrongroomError) as refusal:
        initialise(settings, token.pin)
    assert refusal.value.reason is Reason.HSM_UNAVAILABLE


def test_serial_is_the_end_of_the_uuid(opened: OpenedVault, softhsm: Path) -> None:
    names = [p.name for p in (softhsm.parent / "tokens").iterdir()]

    assert opened.token.serial in {serial_of(name) for name in names}


def test_whole_token_files_are_told_from_damaged_ones(home: tuple[Path, str]) -> None:
    good = token_object(home[0]).read_bytes()

    assert is_whole(good)
    assert not any(is_whole(good[:length]) for length in range(len(good)))
    assert not is_whole(good + b"\0")
