"""What a worker is started with: the environment that reaches it."""

import json
import sys
from pathlib import Path

import pytest

from strongroomd.supervisor.launch import Launcher

TELLS = "import json,os,sys; json.dump(dict(os.environ), open(sys.argv[1], 'w'))"


def environment(folder: Path) -> dict[str, str]:
    """Start a worker that tells, and give what it told."""
    told = folder / "environment.json"
    launcher = Launcher((sys.executable, "-c", TELLS, str(told)), folder / "config", folder, b"")
    worker = launcher.start(0)
    assert worker.process.wait(30) == 0
    launcher.close()
    found: dict[str, str] = json.loads(told.read_bytes())
    return found


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (None, "glibc.malloc.hugetlb=1"),
        ("", "glibc.malloc.hugetlb=1"),
        ("glibc.malloc.arena_max=1", "glibc.malloc.arena_max=1:glibc.malloc.hugetlb=1"),
        ("glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=0"),
        (
            "glibc.malloc.hugetlb=2:glibc.malloc.arena_max=1",
            "glibc.malloc.hugetlb=2:glibc.malloc.arena_max=1",
        ),
    ],
)
def test_heap_of_a_worker_is_in_huge_pages_unless_the_operator_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, wanted: str
) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if given is not None:
        monkeypatch.setenv("GLIBC_TUNABLES", given)

    assert environment(tmp_path)["GLIBC_TUNABLES"] == wanted


def test_worker_hears_nothing_that_systemd_told_the_supervisor_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS"):
        monkeypatch.setenv(name, "1")

    found = environment(tmp_path)

    assert not found.keys() & {"NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS"}
    assert found["PROMETHEUS_MULTIPROC_DIR"] == str(tmp_path)
