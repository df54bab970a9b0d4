"""What is changed, and which tests must notice."""

from pathlib import Path
from typing import Final

from tests.mutation.trials import CASES, ROOT, Target

_PACKAGE: Final = ROOT / "daemon" / "strongroomd"
_POLICY: Final = "tests/unit/domain/policy"
_RULES: Final = (
    CASES,
    f"{_POLICY}/test_evaluation.py",
    f"{_POLICY}/test_conditions.py",
    f"{_POLICY}/test_language.py",
    f"{_POLICY}/test_explain.py",
    f"{_POLICY}/test_keys.py",
    f"{_POLICY}/test_lint.py",
    f"{_POLICY}/test_circumstances.py",
    f"{_POLICY}/test_supposing.py",
    f"{_POLICY}/test_aws_samples.py",
    "tests/unit/domain/test_grants.py",
    f"{_POLICY}/test_patterns.py",
)
"""Tests of the rules; the hunts in tests/properties are left out, as chance must not decide."""
_CUSTODY: Final = (
    "tests/unit/custody/test_judging.py",
    "tests/unit/custody/test_gate.py",
    "tests/unit/custody/test_sessions.py",
    "tests/unit/custody/test_asking.py",
)


_ASIDE: Final = {"lint": "lint", "explain": "explain", "supposing": "supposing", "defaults": "aws_samples"}
"""Modules that take no part in a decision, and their tests, which are tried before the cases."""


def _target(file: str, stages: tuple[str, ...]) -> Target:
    stem = Path(file).stem
    own = f"/test_{_ASIDE.get(stem, stem)}.py"
    module = "strongroomd." + file.removesuffix(".py").replace("/", ".")
    first = (own, CASES) if stem in _ASIDE else (CASES, own)
    ordered = sorted(stages, key=lambda stage: [not stage.endswith(name) for name in first])
    return Target(file, _PACKAGE / file, module, tuple(ordered))


def targets() -> list[Target]:
    """List the modules of the evaluator; a new one in domain/policy is among them by itself."""
    policy = sorted(
        path for path in (_PACKAGE / "domain" / "policy").glob("*.py") if path.name != "__init__.py"
    )
    rules = [f"domain/policy/{path.name}" for path in policy] + ["domain/grants.py"]
    return [_target(file, _RULES) for file in rules] + [_target("custody/judging.py", _CUSTODY)]
