"""Policies, principals and grants by the thousand, and the decisions that a benchmark asks of them."""

import dataclasses
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from tests.bench.keys import ACCOUNT, records

from strongroomd.custody.ledger import Ledger
from strongroomd.domain.accounts import PrincipalKind, PrincipalRecord, PrincipalState
from strongroomd.domain.actions import Action
from strongroomd.domain.algorithms import KeySpec, KeyUsage
from strongroomd.domain.context import Context, parse_context
from strongroomd.domain.principals import Caller, Principal
from strongroomd.domain.records import GrantRecord, KeyRecord, Record, VersionRecord
from strongroomd.ports import Vault

FEW_POLICIES, FEW_GRANTS = 20, 100
AT_ONCE = 500
_ROOT = f"arn:aws:iam::{ACCOUNT}:root"
_CROWDED = "crowded"
_KEY_SPACE = uuid.UUID("5a3c7e2e-30b5-4b4e-9d15-0f5f5f1f2a11")


@dataclass(frozen=True)
class Case:
    """One kind of decision.

    Attributes:
        who: the user's name; `{n}` is the number of the key.
        pairs: of the encryption context, likewise.
        crowd: whether it is always about the one key that has most grants.
    """

    title: str
    action: Action
    who: str
    pairs: tuple[tuple[str, str], ...] = ()
    allowed: bool = True
    crowd: bool = False

    def caller(self, number: int) -> Caller:
        """Who asks."""
        return Caller(_principal(self.who.format(n=number)), "", 0.0)

    def context(self, number: int) -> Context:
        """What for."""
        return parse_context({name: value.format(n=number) for name, value in self.pairs})


CASES = (
    Case("key policy", Action.ENCRYPT, "user-{n}"),
    Case("key policy with a condition", Action.DECRYPT, "user-{n}", (("purpose", "p{n}"),)),
    Case("identity policy", Action.GENERATE_DATA_KEY, "holder-{n}"),
    Case("grant", Action.ENCRYPT, "grantee-{n}"),
    Case("grant with a context", Action.DECRYPT, "grantee-{n}", (("volume", "{n}"), ("more", "x"))),
    Case("grantee of a fifth of all", Action.DECRYPT, _CROWDED, (("volume", "{n}"),), crowd=True),
    Case("stranger, refused", Action.ENCRYPT, "stranger-{n}", allowed=False),
)


@lru_cache(maxsize=100_000)
def _principal(name: str) -> Principal:
    return Principal(_arn(name), ACCOUNT)


def _arn(name: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:user/{name}"


@lru_cache(maxsize=100_000)
def _key(number: int) -> str:
    return str(uuid.uuid5(_KEY_SPACE, str(number)))


def key_id(case: Case, number: int) -> str:
    """The key that a decision is about."""
    return _key(0 if case.crowd else number)


async def fill(ledger: Ledger, vault: Vault, policies: int, grants: int) -> None:
    """Write keys, principals and grants, many to a transaction, by the daemon's own rooms."""
    keys = policies // 2
    material = await records(vault, KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT)
    for some in (_keys(material, keys), _holders(keys), _grants(keys, grants)):
        await _write(ledger, some)


async def _write(ledger: Ledger, some: Iterator[Record]) -> None:
    record = next(some, None)
    while record is not None:
        async with ledger.change() as change:
            for _ in range(AT_ONCE):
                if record is None:
                    break
                await change.put(record)
                record = next(some, None)


def _keys(material: list[Record], number: int) -> Iterator[Record]:
    """Keys that share one material, which no decision looks at, each with a policy of its own."""
    for n in range(number):
        for record in material:
            if isinstance(record, KeyRecord):
                yield dataclasses.replace(record, key_id=_key(n), policy=_key_policy(n))
            elif isinstance(record, VersionRecord):
                yield dataclasses.replace(record, key_id=_key(n))


def _key_policy(n: int) -> str:
    user = {"AWS": _arn(f"user-{n}")}
    purpose = {"StringEquals": {"kms:EncryptionContext:purpose": f"p{n}"}}
    statements = [
        {"Effect": "Allow", "Principal": {"AWS": _ROOT}, "Action": "kms:*", "Resource": "*"},
        {"Effect": "Allow", "Principal": user, "Action": "kms:Encrypt", "Resource": "*"},
        {
            "Effect": "Allow",
            "Principal": user,
            "Action": "kms:Decrypt",
            "Resource": "*",
            "Condition": purpose,
        },
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def _holders(number: int) -> Iterator[Record]:
    for n in range(number):
        statement = {
            "Effect": "Allow",
            "Action": "kms:GenerateDataKey",
            "Resource": f"arn:aws:kms:*:{ACCOUNT}:key/{_key(n)}",
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        yield PrincipalRecord(
            _arn(f"holder-{n}"), ACCOUNT, PrincipalKind.USER, f"{n:032x}", PrincipalState.ENABLED, False, "", 0,
            (), (("bench", policy),), "", 0, 1,
        )  # fmt: skip


def _grants(keys: int, number: int) -> Iterator[Record]:
    """Grants of two kinds for each key in turns, and every fifth for the one grantee of the first key."""
    for n in range(number):
        round_, place = divmod(n, 5)
        if place == 0:
            yield _grant(n, 0, _CROWDED, "Decrypt", (("volume", str(round_)),))
            continue
        turn, key = divmod(round_ * 4 + place - 1, keys)
        grantee = f"grantee-{key}" + (f"-{turn}" if turn > 1 else "")
        if turn % 2:
            yield _grant(n, key, grantee, "Decrypt", (("volume", str(key)),))
        else:
            yield _grant(n, key, grantee, "Encrypt", ())


def _grant(n: int, key: int, grantee: str, operation: str, context: tuple[tuple[str, str], ...]) -> Record:
    kind = "EncryptionContextSubset" if context else ""
    return GrantRecord(
        _key(key), ACCOUNT, f"{n:064x}", _arn(grantee), "", _ROOT, operation, kind, context, "", "", "", "", 0
    )
