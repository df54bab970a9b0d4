"""What an examination found: one finding a check."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from strongroom.errors import StrongroomError
from strongroom.xks.selftest.probe import Probe

Run = Callable[[Probe], str]


class Verdict(StrEnum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105 - not a password
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


class Failure(Exception):  # noqa: N818 - a finding
    """The proxy does not keep to the API."""


class Doubt(Exception):  # noqa: N818
    """It may work, but somebody should look."""


class Moot(Exception):  # noqa: N818
    """The check does not apply here."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to find out; `run` gives a detail, or raises Failure, Doubt or Moot.

    Attributes:
        gate: whether nothing after it makes sense where it fails.
    """

    group: str
    title: str
    run: Run
    gate: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    group: str
    check: str
    verdict: Verdict
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, in order."""

    url: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return self.count(Verdict.FAIL) == 0

    def count(self, verdict: Verdict) -> int:
        """How many checks ended so."""
        return sum(each.verdict is verdict for each in self.findings)


def examine(checks: Iterable[Check], probe: Probe, seen: Callable[[Finding], None]) -> list[Finding]:
    """Run checks in order; once a gate has failed, the others are skipped."""
    found: list[Finding] = []
    closed = ""
    for check in checks:
        finding = _skipped(check, closed) if closed else _run(check, probe)
        if check.gate and finding.verdict is Verdict.FAIL:
            closed = check.title
        found.append(finding)
        seen(finding)
    return found


def _run(check: Check, probe: Probe) -> Finding:
    try:
        verdict, detail = Verdict.PASS, check.run(probe)
    except Doubt as doubt:
        verdict, detail = Verdict.WARN, str(doubt)
    except Moot as moot:
        verdict, detail = Verdict.SKIP, str(moot)
    except Failure as failure:
        verdict, detail = Verdict.FAIL, str(failure)
    except StrongroomError as error:
        verdict, detail = Verdict.FAIL, said(error)
    return Finding(check.group, check.title, verdict, detail)


def _skipped(check: Check, closed: str) -> Finding:
    return Finding(check.group, check.title, Verdict.SKIP, f"makes no sense without: {closed}")


def said(error: StrongroomError) -> str:
    """Spell an error for a table."""
    return f"{error.field or error.code or error.reason}: {error.message}"
