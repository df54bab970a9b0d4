"""A key store's policy: which of AWS's callers may do what with which external keys.

It is written in the language of policies, with these members of a statement: Sid, Effect, Action, Resource,
Condition. Actions are xks:Encrypt, xks:Decrypt and xks:GetKeyMetadata, resources are external key ids; both
with wildcards. Conditions ask for what KMS says of the call (`CONDITION_KEYS`). An explicit deny wins; where
a policy allows nothing, nothing is allowed; a store without a policy trusts every valid signature. Health is
nobody's to refuse (specification, "GetHealthStatus").
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from strongroomd.domain.limits import MAX_POLICY_STATEMENTS
from strongroomd.domain.policy import conditions, patterns
from strongroomd.domain.policy.conditions import Condition
from strongroomd.domain.policy.document import as_list, label, load, malformed, only, texts
from strongroomd.domain.policy.keys import ConditionKey, Kind, UnknownKeyError
from strongroomd.domain.policy.language import VERSIONS, Effect
from strongroomd.domain.policy.request import Value
from strongroomd.domain.xks.metadata import RequestMetadata

_DOCUMENT: Final = ("Version", "Id", "Statement")
_STATEMENT: Final = ("Sid", "Effect", "Action", "Resource", "Condition")
_LONGEST: Final = 128
DEFAULT_DENY: Final = "no statement allows it"
NO_POLICY: Final = "the signature is enough"


class Operation(StrEnum):
    """What a policy can allow."""

    ENCRYPT = "xks:Encrypt"
    DECRYPT = "xks:Decrypt"
    GET_KEY_METADATA = "xks:GetKeyMetadata"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as the policy sees it.

    Attributes:
        region: the region that the request was signed for.
    """

    operation: Operation
    store_id: str
    external_key_id: str
    region: str
    metadata: RequestMetadata

    def get(self, name: str, /) -> Value | None:
        """Give a condition key's value, None where the request has none."""
        read = _VALUES.get(name)
        return (read(self) or None) if read is not None else None


_VALUES: Final[dict[str, Callable[[Asked], str]]] = {
    "aws:principalarn": lambda asked: asked.metadata.principal_arn,
    "aws:principalaccount": lambda asked: asked.metadata.principal_account,
    "aws:requestedregion": lambda asked: asked.region,
    "aws:sourcevpc": lambda asked: asked.metadata.source_vpc,
    "aws:sourcevpce": lambda asked: asked.metadata.source_vpce,
    "kms:viaservice": lambda asked: asked.metadata.via_service,
    "xks:kmskeyarn": lambda asked: asked.metadata.kms_key_arn,
    "xks:kmskeyaccount": lambda asked: asked.metadata.key_account,
    "xks:kmskeyregion": lambda asked: asked.metadata.key_region,
    "xks:kmsoperation": lambda asked: asked.metadata.kms_operation,
    "xks:externalkeyid": lambda asked: asked.external_key_id,
    "xks:keystoreid": lambda asked: asked.store_id,
}

CONDITION_KEYS: Final[dict[str, ConditionKey]] = {
    key.name.lower(): key
    for key in (
        ConditionKey("aws:PrincipalArn", Kind.TEXT),  # may be a service's name, or `AWS Internal`
        ConditionKey("aws:PrincipalAccount"),
        ConditionKey("aws:RequestedRegion"),
        ConditionKey("aws:SourceVpc"),
        ConditionKey("aws:SourceVpce"),
        ConditionKey("kms:ViaService"),
        ConditionKey("xks:KmsKeyArn", Kind.TEXT),
        ConditionKey("xks:KmsKeyAccount"),
        ConditionKey("xks:KmsKeyRegion"),
        ConditionKey("xks:KmsOperation"),
        ConditionKey("xks:ExternalKeyId"),
        ConditionKey("xks:KeyStoreId"),
    )
}
"""What conditions may ask, under AWS's names where AWS has one."""


def _find(name: str) -> tuple[str, ConditionKey]:
    folded = name.lower()
    if folded not in CONDITION_KEYS:
        raise UnknownKeyError("names a condition key that a key store's policy does not have")
    return folded, CONDITION_KEYS[folded]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy says: whether the request may go on, and by which statement."""

    allowed: bool
    ground: str


@dataclass(frozen=True, slots=True)
class Statement:
    """One compiled statement.

    Attributes:
        label: its Sid, or `Statement[n]`.
        covers: says whether it speaks of an external key id.
    """

    label: str
    effect: Effect
    operations: frozenset[Operation]
    covers: Callable[[str], bool]
    conditions: tuple[Condition, ...]

    def speaks(self, asked: Asked) -> bool:
        """Say whether the statement is about a request."""
        return (
            asked.operation in self.operations
            and self.covers(asked.external_key_id)
            and all(condition.holds(asked) for condition in self.conditions)
        )


@dataclass(frozen=True, slots=True)
class StorePolicy:
    """A compiled policy; without statements the signature is enough."""

    statements: tuple[Statement, ...] = ()

    def decide(self, asked: Asked) -> Verdict:
        """Decide: an explicit deny wins, then an allow, else the default."""
        if not self.statements:
            return Verdict(allowed=True, ground=NO_POLICY)
        speaking = [statement for statement in self.statements if statement.speaks(asked)]
        chosen = _first(speaking, Effect.DENY) or _first(speaking, Effect.ALLOW)
        if chosen is None:
            return Verdict(allowed=False, ground=DEFAULT_DENY)
        return Verdict(chosen.effect is Effect.ALLOW, chosen.label)


UNREADABLE: Final = StorePolicy(
    (Statement("the policy cannot be read", Effect.DENY, frozenset(Operation), lambda _: True, ()),)
)
"""Denies everything: what stands in for a policy that this version of the daemon cannot read."""


def _first(statements: Iterable[Statement], effect: Effect) -> Statement | None:
    return next((statement for statement in statements if statement.effect is effect), None)


def parse(text: str, field: str = "policy") -> StorePolicy:
    """Parse and compile a policy; an empty text is no policy.

    Raises:
        StrongroomError: FIELD_TOO_LARGE, or MALFORMED_POLICY naming the place in the document.
    """
    if not text:
        return StorePolicy()
    document = load(text, field)
    only(document, _DOCUMENT, field)
    version = document.get("Version", VERSIONS[0])
    if version not in VERSIONS:
        raise malformed(f"{field}.Version", "must be 2012-10-17 or 2008-10-17")
    label(document.get("Id", ""), f"{field}.Id")
    items = as_list(document.get("Statement", []))
    if not items or len(items) > MAX_POLICY_STATEMENTS:
        raise malformed(f"{field}.Statement", f"must hold 1 to {MAX_POLICY_STATEMENTS} statements")
    places = [f"{field}.Statement[{number}]" for number in range(len(items))]
    return StorePolicy(tuple(_statement(*each, version) for each in zip(items, places, strict=True)))


@lru_cache(maxsize=1024)
def compiled(text: str) -> StorePolicy:
    """Compile a policy that was checked when it was put."""
    return parse(text)


def _statement(item: object, place: str, version: str) -> Statement:
    if not isinstance(item, dict):
        raise malformed(place, "must be an object")
    only(item, _STATEMENT, place)
    effect = item.get("Effect")
    if effect not in (Effect.ALLOW.value, Effect.DENY.value):
        raise malformed(f"{place}.Effect", "must be Allow or Deny")
    return Statement(
        label=label(item.get("Sid", ""), f"{place}.Sid") or place.rpartition(".")[2],
        effect=Effect(effect),
        operations=_operations(item, f"{place}.Action"),
        covers=_resources(item, f"{place}.Resource"),
        conditions=_conditions(item, f"{place}.Condition", version),
    )


def _operations(item: dict[str, Any], place: str) -> frozenset[Operation]:
    found: set[Operation] = set()
    for pattern in texts(item.get("Action"), place):
        covers = _matcher(pattern.lower(), place)
        named = {operation for operation in Operation if covers(operation.lower())}
        if not named:
            raise malformed(place, f"must name {', '.join(Operation)}, with * and ? as wildcards")
        found |= named
    return frozenset(found)


def _resources(item: dict[str, Any], place: str) -> Callable[[str], bool]:
    """Read external key ids; without any the statement speaks of all."""
    if "Resource" not in item:
        return lambda _: True
    matchers = [_matcher(pattern, place) for pattern in texts(item["Resource"], place)]
    return lambda name: any(covers(name) for covers in matchers)


def _matcher(pattern: str, place: str) -> patterns.Match:
    if not 0 < len(pattern) <= _LONGEST:
        raise malformed(place, f"must hold texts of 1 to {_LONGEST} characters")
    return patterns.matcher(patterns.tokens(pattern))


def _conditions(item: dict[str, Any], place: str, version: str) -> tuple[Condition, ...]:
    return conditions.parse(item["Condition"], place, version, _find) if "Condition" in item else ()
