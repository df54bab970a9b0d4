"""Which failures of a whole run may be looked at once more, for `scripts/test` (ADR 0042); loaded by `-p`.

Only where every test came to its end: names go to the file that `STRONGROOM_TEST_FAILURES` names. A process that
crashed, tests that did not run, and lost or wrong data (`WrongResult`) are final, and written as that.
"""

import os
import re
from pathlib import Path
from typing import Any

import pytest

_WRONG = re.compile(r"^E\s+\S*WrongResult", re.MULTILINE)


class SecondLook:
    """What the process that began the run hears of it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._expected: set[str] = set()
        self._ended: set[str] = set()
        self._failed: dict[str, None] = {}
        self._is_final = False

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Hear what is to run, where one process runs it."""
        self._expected |= {item.nodeid for item in session.items}

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        """Hear what is to run from each of several processes."""
        self._is_final |= bool(self._expected) and self._expected != set(ids)
        self._expected |= set(ids)

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self) -> None:
        """Hear that a test's process is gone."""
        self._is_final = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Hear how a part of a test ended."""
        if report.when == "teardown":
            self._ended.add(report.nodeid)
        if report.failed:
            self._failed[report.nodeid] = None
            self._is_final |= _WRONG.search(report.longreprtext) is not None

    def pytest_sessionfinish(self) -> None:
        """Write down what failed, or that this is final."""
        final = ["final"] if self._is_final or self._ended != self._expected else []
        with self._file.open("a") as file:
            file.writelines(f"{name}\n" for name in [*self._failed, *final])


def pytest_configure(config: pytest.Config) -> None:
    """Listen, in the process that began the run."""
    file = os.environ.get("STRONGROOM_TEST_FAILURES")
    if file and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SecondLook(Path(file)))
