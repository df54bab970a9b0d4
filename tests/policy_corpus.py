"""Generated cases of access decisions: each line of `vectors/policy-cases.txt` picks from these pools.

A line is `key policy|identity|guard rails|grants|who|action|context=answer`, numbers into the pools, several
joined by dots. The answers are the reference's, kept so that a change of either evaluator shows. Pools only grow
at their ends. `python -m tests.policy_corpus` writes the file anew.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests import policy_reference
from tests.policy_cases import (
    ALICE,
    AWAY,
    AWAY_ROOT,
    BOB,
    CAROL,
    HOME,
    KEY,
    NIGHT,
    OPS,
    OTHER_KEY,
    PAY,
    ROOT,
    Statement,
    allow,
    deny,
    document,
)

FILE: Final = Path(__file__).parent / "vectors" / "policy-cases.txt"
COUNT: Final = 600
_TAG = "aws:PrincipalTag/team"

CONDITIONS: Final[list[dict[str, Any]]] = [
    {},
    {"StringEquals": {"kms:ViaService": "s3.eu"}},
    {"StringNotEquals": {"kms:ViaService": ["s3.eu", "rds.eu"]}},
    {"StringNotEqualsIfExists": {"kms:ViaService": "s3.eu"}},
    {"StringLike": {"kms:ViaService": "s3.*"}, "Bool": {"kms:GrantIsForAWSResource": "true"}},
    {"Null": {"kms:ViaService": "true"}},
    {"StringEquals": {"kms:EncryptionContext:tenant": "7"}},
    {"StringLike": {"kms:EncryptionContext:Tenant": "${aws:PrincipalTag/team}*"}},
    {"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["tenant", "stage"]}},
    {"ForAnyValue:StringLike": {"kms:EncryptionContextKeys": "t*"}},
    {"ForAnyValue:StringNotEquals": {"kms:GrantOperations": "Decrypt"}},
    {"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "2001:db8::/32"]}},
    {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}},
    {"DateLessThan": {"aws:CurrentTime": "2026-06-01T00:00:00Z"}},
    {"DateGreaterThanEquals": {"aws:EpochTime": 1780272000}},
    {"NumericLessThanEquals": {"kms:RotationPeriodInDays": "365"}},
    {"ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{HOME}:user/*"}},
    {"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/*"}},
    {"StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team, 'none'}"}},
    {"StringEqualsIgnoreCase": {_TAG: ["BLUE", "none"]}},
    {"StringEquals": {"kms:CallerAccount": HOME}},
    {"BoolIfExists": {"aws:SecureTransport": "true"}},
    {"BinaryEquals": {_TAG: "Ymx1ZQ=="}},
]

CONTEXTS: Final[list[dict[str, Any]]] = [
    {},
    {"context": {"kms:ViaService": "s3.eu", "aws:SourceIp": "10.1.2.3", "aws:SecureTransport": True}},
    {"context": {"kms:ViaService": "rds.eu", "aws:SourceIp": "192.0.2.1", "aws:SecureTransport": False}},
    {"encryption_context": {"tenant": "7"}, "context": {_TAG: "7", "aws:CurrentTime": 1780271999}},
    {"encryption_context": {"tenant": "7", "stage": "live"}, "context": {"aws:EpochTime": 1780272000}},
    {"encryption_context": {"Tenant": "77"}, "context": {_TAG: "7", "aws:ResourceTag/team": "none"}},
    {"encryption_context": {"owner": "7"}, "context": {"aws:CurrentTime": 1780272000, _TAG: "blue"}},
    {"context": {"aws:ResourceTag/team": "blue", _TAG: "blue", "aws:SourceIp": "2001:db8::9"}},
    {"context": {"kms:GrantOperations": ["Decrypt", "Sign"], "kms:GrantIsForAWSResource": True}},
    {"context": {"kms:GrantOperations": ["Decrypt"], "kms:RotationPeriodInDays": 366}},
    {"context": {"kms:RotationPeriodInDays": 365, "kms:ViaService": "s3.us", _TAG: "Blue"}},
    {"context": {"kms:ViaService": "s3.us", "kms:GrantIsForAWSResource": True, "aws:EpochTime": 1}},
    {"context": {"aws:SourceArn": "arn:aws:s3:::b", "aws:SourceAccount": HOME}, "encryption_context": {}},
    {"child_grant": {"grantee": BOB, "operations": ["Decrypt"], "subset": {"tenant": "7"}}},
    {"child_grant": {"grantee": BOB, "operations": ["Decrypt", "Encrypt"]}},
]

WHO: Final = [ALICE, BOB, CAROL, ROOT, AWAY_ROOT, OPS, NIGHT, PAY]
ACTIONS: Final = ["kms:Decrypt", "kms:Encrypt", "kms:DescribeKey", "kms:CreateGrant", "kms:PutKeyPolicy"]
_SETS: Final[list[Statement]] = [
    {"Action": "kms:*"},
    {"Action": ["kms:Decrypt", "kms:CreateGrant"]},
    {"Action": "kms:*crypt"},
    {"NotAction": "kms:Put*"},
    {"NotAction": ["kms:Decrypt", "kms:E*"]},
]
_TARGETS: Final[list[Statement]] = [
    {},
    {"Resource": KEY},
    {"Resource": OTHER_KEY},
    {"NotResource": OTHER_KEY},
    {"Resource": f"arn:aws:kms:eu-test-?:{HOME}:key/1*"},
]
_NAMED: Final[list[Statement]] = [
    {"Principal": {"AWS": names}}
    for names in ([ALICE], [ROOT], HOME, [CAROL, BOB], AWAY, [OPS], [NIGHT], "*", [PAY, ALICE])
] + [
    {"Principal": "*"},
    {"NotPrincipal": {"AWS": [ALICE]}},
    {"NotPrincipal": {"AWS": [HOME, OPS]}},
]


def _pool(seed: int, count: int, *, named: bool) -> list[Statement]:
    """Statements, three allows to one deny, most without a condition."""
    draw = random.Random(seed)
    made: list[Statement] = []
    for _ in range(count):
        effect = allow() if draw.random() < 0.75 else deny()
        statement = {"Effect": effect["Effect"], "Resource": "*", **draw.choice(_SETS)}
        target = draw.choice(_TARGETS) if draw.random() < 0.4 else {}
        if target:
            del statement["Resource"]
        condition = draw.choice(CONDITIONS) if draw.random() < 0.6 else {}
        who = draw.choice(_NAMED) if named else {}
        made.append(statement | target | who | ({"Condition": condition} if condition else {}))
    return made


KEY_STATEMENTS: Final = _pool(1, 160, named=True)
IDENTITY_STATEMENTS: Final = _pool(2, 80, named=False)
GRANTS: Final[list[dict[str, Any]]] = [
    {"grantee": who, "operations": operations, **constraint}
    for who in (ALICE, CAROL, OPS)
    for operations in (["Decrypt", "DescribeKey"], ["CreateGrant", "Decrypt"])
    for constraint in (
        {},
        {"equals": {"tenant": "7"}},
        {"subset": {"tenant": "7"}},
        {"source_arn": "arn:aws:s3:::b"},
    )
]


def build(line: str) -> dict[str, Any]:
    """Make the case of a line, without its answer."""
    own, identity, rails, grants, who, action, context = (
        [int(number) for number in part.split(".") if number] for part in line.split("|")
    )
    keyless = not own
    case: dict[str, Any] = {
        "who": WHO[who[0]],
        "action": "kms:CreateKey" if keyless else ACTIONS[action[0]],
        "identity": [document(IDENTITY_STATEMENTS[number]) for number in identity],
        "guard_rails": [document(IDENTITY_STATEMENTS[number]) for number in rails],
        "grants": [GRANTS[number] for number in grants],
        **CONTEXTS[context[0]],
    }
    if not keyless:
        case |= {"key": KEY, "key_policy": document(*(KEY_STATEMENTS[number] for number in own))}
    return case


def stored() -> Iterator[tuple[str, bool]]:
    """Read the lines and their answers."""
    for line in FILE.read_text().splitlines():
        if not line.startswith("#"):
            picked, _, allowed = line.partition("=")
            yield picked, allowed == "1"


def _draw(draw: random.Random) -> str:
    def some(pool: list[Any], most: int) -> str:
        return ".".join(str(draw.randrange(len(pool))) for _ in range(draw.randint(0, most)))

    own = "" if draw.random() < 0.08 else some(KEY_STATEMENTS, 5) or "0"
    rails = some(IDENTITY_STATEMENTS, 2) if draw.random() < 0.3 else ""
    grants = some(GRANTS, 3) if draw.random() < 0.3 else ""
    one = [str(draw.randrange(len(pool))) for pool in (WHO, ACTIONS, CONTEXTS)]
    return "|".join((own, some(IDENTITY_STATEMENTS, 4), rails, grants, *one))


def write() -> None:
    """Write the file anew: half the cases allowed, half denied."""
    draw = random.Random(2012)
    kept: dict[str, bool] = {}
    while len(kept) < COUNT:
        line = _draw(draw)
        allowed = policy_reference.decide(build(line))
        if sum(1 for value in kept.values() if value is allowed) < COUNT // 2:
            kept[line] = allowed
    head = "# Made by tests/policy_corpus.py, which says what the numbers are. Answers: the reference's.\n"
    FILE.write_text(head + "".join(f"{line}={int(allowed)}\n" for line, allowed in sorted(kept.items())))


if __name__ == "__main__":
    write()
