"""PINs: where they may come from, and that they show themselves nowhere."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.hsm.pin import Pin, PinSource


def write(path: Path, content: bytes, mode: int = 0o400) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("content", [b"secret", b"secret\n", b"secret\r\n"])
@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_protected_file_is_read_without_its_line_end(tmp_path: Path, content: bytes, mode: int) -> None:
    assert PinSource(file=write(tmp_path / "pin", content, mode)).read().reveal() == "secret"


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o644, 0o620, 0o700, 0o666])
def test_file_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "pin", b"secret", mode)

    with pytest.raises(StrongroomError) as refusal:
        PinSource(file=path).read()

    assert refusal.value.reason is Reason.CONFIGURATION
    assert refusal.value.field == "hsm.pin"
    assert "secret" not in str(refusal.value)


def test_symbolic_link_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "pin", b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "pin")

    with pytest.raises(StrongroomError):
        PinSource(file=tmp_path / "link").read()


@pytest.mark.parametrize("content", [b"", b"abc", b"x" * 256, b"\xff\xfe\xff\xfe", b"x" * 100_000])
def test_what_is_no_pin_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(StrongroomError) as refusal:
        PinSource(file=write(tmp_path / "pin", content)).read()

    assert refusal.value.reason is Reason.CONFIGURATION


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(StrongroomError):
            PinSource(file=path).read()


def test_descriptor_is_read_and_closed() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"secret\n")
    os.close(writing)

    assert PinSource(descriptor=reading).read().reveal() == "secret"
    with pytest.raises(OSError):
        os.fstat(reading)


def test_closed_descriptor_is_refused() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)

    with pytest.raises(StrongroomError):
        PinSource(descriptor=reading).read()


def test_systemd_credential_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "hsm-pin", b"secret")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    assert PinSource(credential="hsm-pin").read().reveal() == "secret"
    with pytest.raises(StrongroomError):
        PinSource(credential="../hsm-pin").read()


def test_credential_without_systemd_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)

    with pytest.raises(StrongroomError):
        PinSource(credential="hsm-pin").read()


def test_exactly_one_source_is_needed(tmp_path: Path) -> None:
    several: list[dict[str, Any]] = [
        {},
        {"file": tmp_path, "descriptor": 3},
        {"descriptor": 3, "credential": "x"},
    ]
    for sources in several:
        with pytest.raises(StrongroomError):
            PinSource(**sources)


def test_pin_shows_itself_nowhere() -> None:
    pin = Pin("canary-pin-7391")

    assert "7391" not in repr(pin) + str(pin) + f"{pin}" + repr([pin]) + repr(vars(type(pin)))
    with pytest.raises(TypeError):
        pickle.dumps(pin)


@pytest.mark.parametrize("value", ["\ud800\ud800\ud800\ud800", "abc", "x" * 256])
def test_text_that_is_no_pin_is_refused(value: str) -> None:
    with pytest.raises(StrongroomError):
        Pin(value)
