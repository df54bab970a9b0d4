"""Copies of SoftHSM's token directory: whole, as at one moment, without what is half written."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.softhsm import module_path, write_conf

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.hsm.login import login_lock
from strongroomd.hsm.settings import HsmSettings
from strongroomd.hsm.tokencopy import copy_tokens

WHOLE = bytes(8) + b"".join(number.to_bytes(8, "big") + (1).to_bytes(8, "big") + b"\1" for number in range(5))
"""A token.object as the guard believes it: a generation, and five attributes."""


@pytest.fixture
def settings(tmp_path: Path) -> HsmSettings:
    conf = write_conf(tmp_path / "hsm")
    token = tmp_path / "hsm" / "tokens" / "uuid"
    token.mkdir()
    (token / "token.object").write_bytes(WHOLE)
    (token / "key.object").write_bytes(b"key")
    (token / ".token.object.new").write_bytes(b"half")
    return HsmSettings(
        module_path(), tmp_path / "state", token_label="x", softhsm_conf=conf, lock_seconds=0.1
    )


def test_a_token_is_copied_whole_without_what_is_half_written(settings: HsmSettings, tmp_path: Path) -> None:
    assert copy_tokens(settings, tmp_path / "copy")

    assert sorted(path.name for path in (tmp_path / "copy" / "uuid").iterdir()) == [
        "key.object",
        "token.object",
    ]


def test_another_module_has_no_directory_to_copy(settings: HsmSettings, tmp_path: Path) -> None:
    plain = HsmSettings(settings.module, settings.state, token_label="x")

    assert not copy_tokens(plain, tmp_path / "copy")


def test_a_damaged_token_is_not_saved(settings: HsmSettings, tmp_path: Path) -> None:
    (tmp_path / "hsm" / "tokens" / "uuid" / "token.object").write_bytes(b"")

    with pytest.raises(StrongroomError) as refusal:
        copy_tokens(settings, tmp_path / "copy")

    assert refusal.value.reason is Reason.HSM_UNAVAILABLE


def test_nothing_is_copied_while_somebody_logs_in(settings: HsmSettings, tmp_path: Path) -> None:
    with login_lock(settings), pytest.raises(StrongroomError) as refusal:
        copy_tokens(settings, tmp_path / "copy")

    assert refusal.value.reason is Reason.HSM_UNAVAILABLE
    assert not (tmp_path / "copy").exists()


def changing(times: int, tokens: Path) -> Callable[..., Any]:
    """A copytree beside which somebody changes the directory, so many times."""
    left = [times]
    copytree = shutil.copytree

    def copy(source: Path, target: Path, **more: Any) -> Any:
        done = copytree(source, target, **more)
        if left[0]:
            left[0] -= 1
            (tokens / "uuid" / f"new{left[0]}.object").write_bytes(os.urandom(8))
        return done

    return copy


@pytest.mark.parametrize(("times", "copied"), [(2, True), (3, False)])
def test_a_directory_that_changes_is_copied_anew_and_given_up_in_the_end(
    settings: HsmSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, copied: bool
) -> None:
    tokens = tmp_path / "hsm" / "tokens"
    beside = SimpleNamespace(copytree=changing(times, tokens), rmtree=shutil.rmtree, Error=shutil.Error)
    monkeypatch.setattr("strongroomd.hsm.tokencopy.shutil", beside)

    if copied:
        assert copy_tokens(settings, tmp_path / "copy")
        assert len(list((tmp_path / "copy" / "uuid").iterdir())) == 2 + times
    else:
        with pytest.raises(StrongroomError):
            copy_tokens(settings, tmp_path / "copy")
        assert not (tmp_path / "copy").exists()
