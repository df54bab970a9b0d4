"""Cases of access decisions whose answers were written by hand from AWS's rules, grouped by rule.

A case is what `tests/policy_reference.py` describes; `answer` puts one to the daemon.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from strongroomd.domain import grants as granting
from strongroomd.domain import policy
from strongroomd.domain.actions import Action
from strongroomd.domain.grants import Grant, NewGrant
from strongroomd.domain.policy import Decision, PolicyKind, Request, Resource
from strongroomd.domain.policy.evaluation import NO_STANDING, Authority, Standing
from strongroomd.domain.policy.request import Value

Statement = dict[str, Any]
Document = dict[str, Any]

HOME, AWAY = "111122223333", "444455556666"
KEY = f"arn:aws:kms:eu-test-1:{HOME}:key/11111111-1111-4111-8111-111111111111"
OTHER_KEY = f"arn:aws:kms:eu-test-1:{HOME}:key/22222222-2222-4222-8222-222222222222"
ROOT, AWAY_ROOT = f"arn:aws:iam::{HOME}:root", f"arn:aws:iam::{AWAY}:root"
ALICE, BOB = f"arn:aws:iam::{HOME}:user/alice", f"arn:aws:iam::{HOME}:user/bob"
CAROL = f"arn:aws:iam::{AWAY}:user/carol"
OPS = f"arn:aws:iam::{HOME}:role/ops"
NIGHT, DAY = (f"arn:aws:sts::{HOME}:assumed-role/ops/{name}" for name in ("night", "day"))
PAY = f"arn:aws:iam::{HOME}:service/pay"


@dataclass(frozen=True)
class Row:
    """One hand-written case."""

    rule: str
    sentence: str
    allowed: bool
    case: dict[str, Any]


def document(*statements: Statement, version: str = "2012-10-17") -> Document:
    return {"Version": version, "Statement": list(statements)}


def allow(*principals: str, action: Any = "kms:*", **more: Any) -> Statement:
    """An Allow of a key policy for some principals, or of an identity policy for none."""
    return _statement("Allow", principals, action, more)


def deny(*principals: str, action: Any = "kms:*", **more: Any) -> Statement:
    return _statement("Deny", principals, action, more)


def _statement(effect: str, principals: tuple[str, ...], action: Any, more: dict[str, Any]) -> Statement:
    who: Statement = {"Principal": {"AWS": list(principals)}} if principals else {}
    what: Statement = {} if "NotAction" in more else {"Action": action}
    where: Statement = {} if "NotResource" in more else {"Resource": "*"}
    return {"Effect": effect, **who, **what, **where, **more}


def identity(*statements: Statement) -> list[Document]:
    return [document(*statements)]


def _json_value(value: Any) -> Value:
    """A context value as the daemon has it: dates are seconds, lists are tuples."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, str) and len(value) > 10 and value[4:5] == "-" and value.endswith("Z"):
        return datetime.fromisoformat(value).timestamp()
    return value


def context_of(case: dict[str, Any]) -> dict[str, Value]:
    """The request's context, by lower-case name."""
    subject = policy.subject_named(case["who"])
    found: dict[str, Any] = {
        "aws:principalarn": subject.arn,
        "aws:principalaccount": subject.account,
        "kms:calleraccount": subject.account,
    }
    if "key" in case:
        found["aws:resourceaccount"] = case["key"].split(":")[4]
    pairs = case.get("encryption_context")
    if pairs is not None:
        found["kms:encryptioncontextkeys"] = list(pairs)
        found |= {f"kms:encryptioncontext:{name.lower()}": value for name, value in pairs.items()}
    found |= {name.lower(): value for name, value in case.get("context", {}).items()}
    return {name: _json_value(value) for name, value in found.items() if value is not None}


def lent(grant: dict[str, Any]) -> NewGrant:
    constraints = granting.parse_constraints(
        grant.get("equals"),
        grant.get("subset"),
        source_arn=grant.get("source_arn", ""),
        source_account=grant.get("source_account", ""),
    )
    operations = granting.parse_operations(tuple(grant["operations"]))
    return NewGrant(grant["grantee"], operations, constraints)


@dataclass(frozen=True)
class Asked:
    """A case as the daemon takes it."""

    authority: Authority
    request: Request
    standing: Standing
    grants: list[Grant]

    def decide(self) -> Decision:
        return self.authority.decide(self.request, self.standing, self.grants)


def asked(case: dict[str, Any]) -> Asked:
    """Compile a case."""
    resource = Resource(case["key"], case["key"].split(":")[4]) if "key" in case else None
    own = policy.parse(json.dumps(case["key_policy"])) if "key_policy" in case else None
    standing = Standing(
        tuple(_parsed(text, PolicyKind.IDENTITY) for text in case.get("identity", [])),
        tuple(_parsed(text, PolicyKind.GUARD_RAIL) for text in case.get("guard_rails", [])),
    )
    request = Request(
        Action(case["action"]),
        policy.subject_named(case["who"]),
        resource,
        context_of(case),
        case.get("encryption_context", {}),
        lent(case["child_grant"]) if "child_grant" in case else None,
    )
    grants = [Grant(f"grant-{n}", "key", ROOT, lent(g)) for n, g in enumerate(case.get("grants", []))]
    return Asked(Authority(own, resource), request, standing, grants)


def _parsed(text: Document, kind: PolicyKind) -> policy.Policy:
    return policy.parse(json.dumps(text), kind=kind)


def answer(case: dict[str, Any]) -> bool:
    """Ask the daemon's evaluator."""
    return asked(case).decide().allowed


def decision_alone(compiled: policy.Policy, who: str, action: Action) -> Decision:
    """Ask a key policy for a caller of the key's own account to whom nothing is attached."""
    resource = Resource(KEY, who.split(":")[4])
    request = Request(action, policy.subject_named(who), resource)
    return Authority(compiled, resource).decide(request, NO_STANDING)


def _row(rule: str, sentence: str, allowed: bool, who: str = ALICE, **case: Any) -> Row:
    base = {"action": "kms:Decrypt", "who": who, "key": KEY, "key_policy": document(allow(ROOT))}
    return Row(rule, sentence, allowed, {n: v for n, v in (base | case).items() if v is not ...})


def _keyless(sentence: str, allowed: bool, who: str = ALICE, **case: Any) -> Row:
    return _row(
        "actions without a key",
        sentence,
        allowed,
        who,
        **({"action": "kms:ListKeys"} | case),
        key=...,
        key_policy=...,
    )


_ALL = identity(allow())
_DECRYPT = identity(allow(action="kms:Decrypt"))
_NOTHING = identity(allow(action="kms:Sign"))
_FOR_ALICE = document(allow(ALICE))
_FOR_ROLE = document(allow(OPS))


def _own(*statements: Statement) -> dict[str, Any]:
    return {"key_policy": document(*statements)}


COMBINATIONS: list[Row] = [
    # Default deny.
    _row("default deny", "nobody is named", False, key_policy=document(allow(BOB))),
    _row("default deny", "another action is named", False, **_own(allow(ALICE, action="kms:Sign"))),
    _row("default deny", "only a deny speaks of others", False, **_own(deny(BOB))),
    # The key's own account.
    _row("own account", "a key policy that names the user is enough", True, key_policy=_FOR_ALICE),
    _row("own account", "it is for nobody else", False, BOB, key_policy=_FOR_ALICE),
    _row("own account", "it does not need the identity policy", True, key_policy=_FOR_ALICE, identity=_NOTHING),
    _row("own account", "everyone is the user, too", True, **_own(allow("*"))),
    _row("own account", "everyone, in AWS's short form", True, **_own(allow("*") | {"Principal": "*"})),
    _row("own account", "a service is named as a user is", True, PAY, **_own(allow(PAY))),
    _row(
        "own account",
        "a service may be named as Service",
        True,
        PAY,
        **_own(allow(PAY) | {"Principal": {"Service": PAY}}),
    ),
    _row("own account", "actions are compared without case", True, **_own(allow(ALICE, action="KMS:decrypt"))),
    _row("own account", "a wildcard covers the action", True, **_own(allow(ALICE, action="kms:De*"))),
    _row("own account", "a wildcard of one character", True, **_own(allow(ALICE, action="kms:?ecrypt"))),
    _row("own account", "a list covers any of its actions", True, **_own(allow(ALICE, action=["kms:Sign", "kms:Decrypt"]))),
    _row("own account", "NotAction leaves its action out", False, **_own(allow(ALICE, NotAction="kms:Decrypt"))),
    _row("own account", "NotAction covers every other", True, **_own(allow(ALICE, NotAction="kms:Encrypt"))),
    _row("own account", "this key's ARN is the key", True, **_own(allow(ALICE, Resource=KEY))),
    _row("own account", "another key's ARN is not", False, **_own(allow(ALICE, Resource=OTHER_KEY))),
    _row("own account", "a pattern of keys covers it", True, **_own(allow(ALICE, Resource="arn:aws:kms:*:*:key/1*"))),
    _row("own account", "NotResource leaves this key out", False, **_own(allow(ALICE, NotResource=KEY))),
    _row("own account", "NotResource of another key does not", True, **_own(allow(ALICE, NotResource=OTHER_KEY))),
    # Delegation to identity policies.
    _row("delegation", "root alone lets nobody in", False),
    _row("delegation", "root and an identity policy let the user in", True, identity=_DECRYPT),
    _row("delegation", "twelve digits are the root", True, **_own(allow(HOME)), identity=_DECRYPT),
    _row("delegation", "another action in the identity policy does not", False, identity=_NOTHING),
    _row("delegation", "root's statement must cover the action", False, **_own(allow(ROOT, action="kms:Sign")), identity=_ALL),
    _row("delegation", "without root identity policies carry no force", False, **_own(allow(BOB)), identity=_ALL),
    _row("delegation", "another account's root delegates nothing here", False, **_own(allow(AWAY_ROOT)), identity=_ALL),
    _row("delegation", "any one of the identity policies is enough", True, identity=_NOTHING + _DECRYPT),
    _row("delegation", "the identity policy's resource must be the key", False, identity=identity(allow(Resource=OTHER_KEY))),
    _row("delegation", "the key's ARN in the identity policy is the key", True, identity=identity(allow(Resource=KEY))),
    _row("delegation", "a pattern of the region's keys covers it", True, identity=identity(allow(Resource=f"arn:aws:kms:eu-test-1:{HOME}:key/*"))),
    _row("delegation", "a pattern of another region does not", False, identity=identity(allow(Resource=f"arn:aws:kms:us-*:{HOME}:key/*"))),
    _row("delegation", "NotResource leaves the key out", False, identity=identity(allow(NotResource=KEY))),
    _row("delegation", "NotResource of another key does not", True, identity=identity(allow(NotResource=OTHER_KEY))),
    # The root principal.
    _row("root", "root has everything where the key policy names it", True, ROOT),
    _row("root", "root has nothing where the key policy does not", False, ROOT, key_policy=_FOR_ALICE),
    _row("root", "root is everyone, too", True, ROOT, **_own(allow("*"))),
    _row("root", "root's statement must cover the action", False, ROOT, **_own(allow(ROOT, action="kms:Sign"))),
    _row("root", "an explicit deny holds for root", False, ROOT, **_own(allow(ROOT), deny(ROOT))),
    _row("root", "a guard rail holds for root", False, ROOT, guard_rails=_NOTHING),
    _row("root", "a guard rail that allows lets root in", True, ROOT, guard_rails=_ALL),
    _row("root", "root of another account is in if its account is", True, AWAY_ROOT, **_own(allow(AWAY_ROOT))),
    _row("root", "root of another account is out if it is not", False, AWAY_ROOT),
    # Roles and their sessions.
    _row("roles", "a session is its role", True, NIGHT, key_policy=_FOR_ROLE),
    _row("roles", "the role itself", True, OPS, key_policy=_FOR_ROLE),
    _row("roles", "a session may be named alone", True, NIGHT, **_own(allow(NIGHT))),
    _row("roles", "another session is another principal", False, DAY, **_own(allow(NIGHT))),
    _row("roles", "naming a session does not name the role", False, OPS, **_own(allow(NIGHT))),
    _row("roles", "a deny of the role is one of its sessions", False, NIGHT, **_own(allow(NIGHT), deny(OPS))),
    _row("roles", "a deny of one session leaves the other", True, DAY, **_own(allow(OPS), deny(NIGHT))),
    _row("roles", "a session is delegated to by root", True, NIGHT, identity=_DECRYPT),
    _row("roles", "a user of the role's name is not the role", False, ALICE.replace("alice", "ops"), key_policy=_FOR_ROLE),
    _row("roles", "aws:PrincipalArn of a session is its role", True, NIGHT, **_own(allow("*", Condition={"ArnEquals": {"aws:PrincipalArn": OPS}}))),
    _row("roles", "aws:PrincipalArn of a session is not the session", False, NIGHT, **_own(allow("*", Condition={"ArnEquals": {"aws:PrincipalArn": NIGHT}}))),
    # Explicit denies.
    _row("explicit deny", "in the key policy, after the allow", False, **_own(allow(ALICE), deny(ALICE))),
    _row("explicit deny", "in the key policy, before the allow", False, **_own(deny(ALICE), allow(ALICE))),
    _row("explicit deny", "of everyone", False, **_own(allow(ALICE), deny("*"))),
    _row("explicit deny", "of the account is one of everybody in it", False, **_own(allow(ALICE), deny(ROOT))),
    _row("explicit deny", "of twelve digits likewise", False, **_own(allow(ALICE), deny(HOME))),
    _row("explicit deny", "of another account is not", True, **_own(allow(ALICE), deny(AWAY_ROOT))),
    _row("explicit deny", "of another action is not", True, **_own(allow(ALICE), deny(ALICE, action="kms:Sign"))),
    _row("explicit deny", "of another key is not", True, **_own(allow(ALICE), deny(ALICE, Resource=OTHER_KEY))),
    _row("explicit deny", "under a condition that does not hold is not", True, **_own(allow(ALICE), deny(ALICE, Condition={"Bool": {"aws:SecureTransport": "false"}})), context={"aws:SecureTransport": True}),
    _row("explicit deny", "under a condition that holds", False, **_own(allow(ALICE), deny(ALICE, Condition={"Bool": {"aws:SecureTransport": "false"}})), context={"aws:SecureTransport": False}),
    _row("explicit deny", "in an identity policy wins over the key policy", False, key_policy=_FOR_ALICE, identity=identity(deny())),
    _row("explicit deny", "in an identity policy of another action does not", True, key_policy=_FOR_ALICE, identity=identity(deny(action="kms:Sign"))),
    _row("explicit deny", "in an identity policy of another key does not", True, key_policy=_FOR_ALICE, identity=identity(deny(Resource=OTHER_KEY))),
    _row("explicit deny", "in an identity policy wins over its own allow", False, identity=identity(allow(), deny())),
    _row("explicit deny", "in one identity policy wins over another's allow", False, identity=_ALL + identity(deny())),
    _row("explicit deny", "in a guard rail wins over the key policy", False, key_policy=_FOR_ALICE, guard_rails=identity(allow(), deny(action="kms:Decrypt"))),
    _row("explicit deny", "by NotAction", False, **_own(allow(ALICE), deny(ALICE, NotAction="kms:Sign"))),
    # NotPrincipal.
    _row("NotPrincipal", "beside Allow it is everyone else", True, BOB, **_own(allow() | {"NotPrincipal": {"AWS": ALICE}})),
    _row("NotPrincipal", "beside Allow it leaves out whom it names", False, **_own(allow() | {"NotPrincipal": {"AWS": ALICE}})),
    _row("NotPrincipal", "beside Allow an account leaves out everybody in it", False, **_own(allow() | {"NotPrincipal": {"AWS": HOME}})),
    _row("NotPrincipal", "beside Allow a role leaves out its sessions", False, NIGHT, **_own(allow() | {"NotPrincipal": {"AWS": OPS}})),
    _row("NotPrincipal", "beside Deny it denies everyone else", False, BOB, **_own(allow("*"), deny() | {"NotPrincipal": {"AWS": ALICE}})),
    _row("NotPrincipal", "beside Deny it spares whom it names", True, **_own(allow("*"), deny() | {"NotPrincipal": {"AWS": ALICE}})),
    _row("NotPrincipal", "beside Deny a role spares its sessions", True, NIGHT, **_own(allow("*"), deny() | {"NotPrincipal": {"AWS": OPS}})),
    _row("NotPrincipal", "beside Deny an account spares its root", True, ROOT, **_own(allow("*"), deny() | {"NotPrincipal": {"AWS": HOME}})),
    _row("NotPrincipal", "beside Deny an account does not spare its users", False, **_own(allow("*"), deny() | {"NotPrincipal": {"AWS": HOME}})),
    _row("NotPrincipal", "of everyone leaves everyone out", False, **_own(allow() | {"NotPrincipal": "*"})),
    # From another account.
    _row("cross-account", "the key policy alone is not enough", False, CAROL, **_own(allow(CAROL))),
    _row("cross-account", "an identity policy alone is not enough", False, CAROL, identity=_ALL),
    _row("cross-account", "both are: the principal is named", True, CAROL, **_own(allow(CAROL)), identity=_DECRYPT),
    _row("cross-account", "both are: the account is named", True, CAROL, **_own(allow(AWAY_ROOT)), identity=_DECRYPT),
    _row("cross-account", "both are: everyone is named", True, CAROL, **_own(allow("*")), identity=_DECRYPT),
    _row("cross-account", "everyone alone is not enough", False, CAROL, **_own(allow("*"))),
    _row("cross-account", "both must cover the action", False, CAROL, **_own(allow(CAROL)), identity=_NOTHING),
    _row("cross-account", "the key policy must cover the action", False, CAROL, **_own(allow(CAROL, action="kms:Sign")), identity=_ALL),
    _row("cross-account", "the identity policy must cover the key", False, CAROL, **_own(allow(CAROL)), identity=identity(allow(Resource=OTHER_KEY))),
    _row("cross-account", "the key's own root names no foreigner", False, CAROL, identity=_ALL, **_own(allow(ROOT))),
    _row("cross-account", "an identity deny wins", False, CAROL, **_own(allow(CAROL)), identity=identity(allow(), deny())),
    _row("cross-account", "a key policy's deny wins", False, CAROL, **_own(allow(CAROL), deny(AWAY_ROOT)), identity=_ALL),
    _row("cross-account", "a guard rail of the caller's account holds", False, CAROL, **_own(allow(CAROL)), identity=_ALL, guard_rails=_NOTHING),
    # Guard rails.
    _row("guard rails", "one that is silent denies", False, key_policy=_FOR_ALICE, guard_rails=_NOTHING),
    _row("guard rails", "one that allows gives nothing by itself", False, guard_rails=_ALL),
    _row("guard rails", "one that allows takes nothing away", True, key_policy=_FOR_ALICE, guard_rails=_DECRYPT),
    _row("guard rails", "each must allow", False, key_policy=_FOR_ALICE, guard_rails=_ALL + _NOTHING),
    _row("guard rails", "the order does not matter", False, key_policy=_FOR_ALICE, guard_rails=_NOTHING + _ALL),
    _row("guard rails", "their conditions count", False, key_policy=_FOR_ALICE, guard_rails=identity(allow(Condition={"Bool": {"aws:SecureTransport": "true"}}))),
    _row("guard rails", "their resources count", False, key_policy=_FOR_ALICE, guard_rails=identity(allow(Resource=OTHER_KEY))),
    _row("guard rails", "they limit identity policies, too", False, identity=_ALL, guard_rails=_NOTHING),
    _row("guard rails", "they hold for grants", False, guard_rails=_NOTHING, grants=[{"grantee": ALICE, "operations": ["Decrypt"]}]),
    # Without a key.
    _keyless("nothing allows it", False),
    _keyless("an identity policy does", True, identity=identity(allow(action="kms:ListKeys"))),
    _keyless("another action does not", False, identity=_DECRYPT),
    _keyless("it has no ARN to be covered", False, identity=identity(allow(Resource="arn:aws:kms:*:*:key/*"))),
    _keyless("root may", True, ROOT),
    _keyless("root may not against a guard rail", False, ROOT, guard_rails=_DECRYPT),
    _keyless("a deny wins", False, identity=identity(allow(), deny(action="kms:List*"))),
    _keyless("a guard rail must allow", False, identity=_ALL, guard_rails=_DECRYPT),
    _keyless("a condition counts", False, identity=identity(allow(Condition={"StringEquals": {"kms:KeySpec": "RSA_2048"}})), action="kms:CreateKey", context={"kms:KeySpec": "SYMMETRIC_DEFAULT"}),
    _keyless("a condition that holds", True, identity=identity(allow(Condition={"StringEquals": {"kms:KeySpec": "RSA_2048"}})), action="kms:CreateKey", context={"kms:KeySpec": "RSA_2048"}),
]  # fmt: skip


def _grant(sentence: str, allowed: bool, grant: dict[str, Any], who: str = ALICE, **case: Any) -> Row:
    full = {"grantee": ALICE, "operations": ["Decrypt"], **grant}
    return _row("grants", sentence, allowed, who, grants=[full], **case)


_PAIRS = {"tenant": "7", "Stage": "live"}
_SOURCE = "arn:aws:s3:::bucket"
_MAKES = {"operations": ["CreateGrant", "Decrypt", "Encrypt"]}
_CHILD = {"grantee": BOB, "operations": ["Decrypt"]}


def _child(sentence: str, allowed: bool, parent: dict[str, Any], child: dict[str, Any]) -> Row:
    return _grant(sentence, allowed, _MAKES | parent, action="kms:CreateGrant", child_grant=_CHILD | child)


GRANTS: list[Row] = [
    _grant("a grant allows without any policy", True, {}),
    _grant("a grant is its grantee's alone", False, {}, BOB),
    _grant("a grant is for its operations", False, {}, action="kms:Encrypt"),
    _grant("a grant of a role is one of its sessions", True, {"grantee": OPS}, NIGHT),
    _grant("a grant reaches into another account by itself", True, {"grantee": CAROL}, CAROL),
    _grant("a grant to a root is not one to its users", False, {"grantee": ROOT}),
    _grant("a key policy's deny wins", False, {}, **_own(allow(ROOT), deny(ALICE))),
    _grant("an identity policy's deny wins", False, {}, identity=identity(deny())),
    _grant("a guard rail's deny wins", False, {}, guard_rails=identity(allow(), deny())),
    _grant("a grant beside a foreigner's half-open door", True, {"grantee": CAROL}, CAROL, **_own(allow(CAROL))),
    _grant("equals: the same pairs", True, {"equals": _PAIRS}, encryption_context=_PAIRS),
    _grant("equals: a pair more", False, {"equals": _PAIRS}, encryption_context=_PAIRS | {"x": "1"}),
    _grant("equals: a pair less", False, {"equals": _PAIRS}, encryption_context={"tenant": "7"}),
    *(
        _grant(f"{kind} binds {name}", holds, {"operations": [name], kind: _PAIRS}, action=f"kms:{name}", encryption_context=pairs)
        for name in ("Encrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext")
        for kind, pairs, holds in (("equals", _PAIRS, True), ("equals", {}, False), ("subset", _PAIRS, True), ("subset", {"tenant": "7"}, False))
    ),
    _grant("equals: another value", False, {"equals": _PAIRS}, encryption_context=_PAIRS | {"tenant": "8"}),
    _grant("equals: keys are compared with case", False, {"equals": {"tenant": "7"}}, encryption_context={"Tenant": "7"}),
    _grant("equals: no context at all", False, {"equals": _PAIRS}),
    _grant("equals does not bind what has no context", True, {"equals": _PAIRS, "operations": ["DescribeKey"]}, action="kms:DescribeKey"),
    _grant("subset: the same pairs", True, {"subset": _PAIRS}, encryption_context=_PAIRS),
    _grant("subset: a pair more", True, {"subset": _PAIRS}, encryption_context=_PAIRS | {"x": "1"}),
    _grant("subset: a pair less", False, {"subset": _PAIRS}, encryption_context={"tenant": "7"}),
    _grant("subset: another value", False, {"subset": _PAIRS}, encryption_context=_PAIRS | {"tenant": "8"}),
    _grant("subset: no context at all", False, {"subset": _PAIRS}),
    _grant("source: the same ARN", True, {"source_arn": _SOURCE}, context={"aws:SourceArn": _SOURCE}),
    _grant("source: another ARN", False, {"source_arn": _SOURCE}, context={"aws:SourceArn": _SOURCE + "2"}),
    _grant("source: none", False, {"source_arn": _SOURCE}),
    _grant("source account: the same", True, {"source_account": HOME}, context={"aws:SourceAccount": HOME}),
    _grant("source account: another", False, {"source_account": HOME}, context={"aws:SourceAccount": AWAY}),
    _grant("source account: none", False, {"source_account": HOME}),
    _grant("the second grant may allow what the first does not", True, {"grantee": BOB}, BOB),
    _grant("CreateGrant needs to know the child", False, _MAKES, action="kms:CreateGrant"),
    _child("a child may have fewer operations", True, {}, {}),
    _child("a child may have the same operations", True, {}, {"operations": ["CreateGrant", "Decrypt", "Encrypt"]}),
    _child("a child may not have more", False, {}, {"operations": ["Decrypt", "DescribeKey"]}),
    _child("a child may add a constraint", True, {}, {"equals": _PAIRS}),
    _child("equals stays equals", True, {"equals": _PAIRS}, {"equals": _PAIRS}),
    _child("equals does not become another", False, {"equals": _PAIRS}, {"equals": {"tenant": "7"}}),
    _child("equals does not become subset", False, {"equals": _PAIRS}, {"subset": _PAIRS}),
    _child("equals is not dropped", False, {"equals": _PAIRS}, {}),
    _child("subset may become a larger subset", True, {"subset": {"tenant": "7"}}, {"subset": _PAIRS}),
    _child("subset may become equals", True, {"subset": {"tenant": "7"}}, {"equals": _PAIRS}),
    _child("subset does not become a smaller one", False, {"subset": _PAIRS}, {"subset": {"tenant": "7"}}),
    _child("subset does not change a value", False, {"subset": {"tenant": "7"}}, {"equals": {"tenant": "8"}}),
    _child("subset is not dropped", False, {"subset": _PAIRS}, {}),
    _child("a source is not dropped", False, {"source_arn": _SOURCE}, {}),
    _child("a child may add a source", True, {}, {"source_arn": _SOURCE, "source_account": HOME}),
]  # fmt: skip
GRANTS += [
    _grant(
        f"a source {how}",
        allowed,
        _MAKES | {"source_arn": _SOURCE, "source_account": HOME},
        action="kms:CreateGrant",
        child_grant=_CHILD | child,
        context={"aws:SourceArn": _SOURCE, "aws:SourceAccount": HOME},
    )
    for how, allowed, child in [
        ("stays in the child", True, {"source_arn": _SOURCE, "source_account": HOME}),
        ("is not dropped", False, {"source_account": HOME}),
        ("is not changed", False, {"source_arn": _SOURCE + "2", "source_account": HOME}),
        ("account is not dropped", False, {"source_arn": _SOURCE}),
    ]
]

_VIA, _ALGORITHM, _DAYS = "kms:ViaService", "kms:EncryptionAlgorithm", "kms:RotationPeriodInDays"
_IP, _NOW, _EPOCH, _TLS = "aws:SourceIp", "aws:CurrentTime", "aws:EpochTime", "aws:SecureTransport"
_ARN, _OPS, _TEAM, _OWNER = (
    "aws:SourceArn",
    "kms:GrantOperations",
    "aws:PrincipalTag/team",
    "aws:ResourceTag/team",
)
_NOON = "2026-06-01T12:00:00Z"

TESTS: list[tuple[str, str, Any, dict[str, Any], bool]] = [
    # operator, key, the policy's values, the request's context, whether it holds
    ("StringEquals", _VIA, "s3", {_VIA: "s3"}, True),
    ("StringEquals", _VIA, "s3", {_VIA: "S3"}, False),
    ("StringEquals", _VIA, "s3", {}, False),
    ("StringEquals", _VIA, ["s3", "rds"], {_VIA: "rds"}, True),
    ("StringEquals", _VIA, ["s3", "rds"], {_VIA: "ebs"}, False),
    ("StringEquals", _VIA, "s*", {_VIA: "s3"}, False),
    ("StringEquals", _VIA, "s*", {_VIA: "s*"}, True),
    ("StringEquals", _VIA.lower(), "s3", {_VIA: "s3"}, True),
    ("StringEquals", _OWNER, True, {_OWNER: "true"}, True),
    ("StringEquals", _OWNER, 7, {_OWNER: "7"}, True),
    ("StringNotEquals", _VIA, "s3", {_VIA: "rds"}, True),
    ("StringNotEquals", _VIA, "s3", {_VIA: "s3"}, False),
    ("StringNotEquals", _VIA, "s3", {}, True),
    ("StringNotEquals", _VIA, ["s3", "rds"], {_VIA: "rds"}, False),
    ("StringNotEquals", _VIA, ["s3", "rds"], {_VIA: "ebs"}, True),
    ("StringEqualsIgnoreCase", _VIA, "s3", {_VIA: "S3"}, True),
    ("StringEqualsIgnoreCase", _VIA, "S3", {_VIA: "s3"}, True),
    ("StringEqualsIgnoreCase", _VIA, "s3", {_VIA: "S4"}, False),
    ("StringEqualsIgnoreCase", _VIA, "S*", {_VIA: "s3"}, False),
    ("StringNotEqualsIgnoreCase", _VIA, "s3", {_VIA: "S3"}, False),
    ("StringNotEqualsIgnoreCase", _VIA, "s3", {_VIA: "S4"}, True),
    ("StringNotEqualsIgnoreCase", _VIA, "s3", {}, True),
    ("StringLike", _VIA, "s*", {_VIA: "s3.eu"}, True),
    ("StringLike", _VIA, "s?", {_VIA: "s3"}, True),
    ("StringLike", _VIA, "s?", {_VIA: "s3.eu"}, False),
    ("StringLike", _VIA, "*.eu.*", {_VIA: "s3.eu.example"}, True),
    ("StringLike", _VIA, "*.eu.*", {_VIA: "s3.us.example"}, False),
    ("StringLike", _VIA, "*.eu", {_VIA: "s3.eu.eu"}, True),
    ("StringLike", _VIA, "S*", {_VIA: "s3"}, False),
    ("StringLike", _VIA, "*", {}, False),
    ("StringNotLike", _VIA, "s*", {_VIA: "rds"}, True),
    ("StringNotLike", _VIA, "s*", {_VIA: "s3"}, False),
    ("StringNotLike", _VIA, "s*", {}, True),
    ("NumericEquals", _DAYS, 90, {_DAYS: 90}, True),
    ("NumericEquals", _DAYS, "90.0", {_DAYS: 90}, True),
    ("NumericEquals", _DAYS, "90", {_DAYS: 91}, False),
    ("NumericEquals", _DAYS, "90", {}, False),
    ("NumericNotEquals", _DAYS, "90", {_DAYS: 91}, True),
    ("NumericNotEquals", _DAYS, "90", {_DAYS: 90}, False),
    ("NumericNotEquals", _DAYS, "90", {}, True),
    ("NumericNotEquals", _DAYS, ["90", "91"], {_DAYS: 91}, False),
    ("NumericLessThan", _DAYS, "90", {_DAYS: 89}, True),
    ("NumericLessThan", _DAYS, "90", {_DAYS: 90}, False),
    ("NumericLessThanEquals", _DAYS, "90", {_DAYS: 90}, True),
    ("NumericLessThanEquals", _DAYS, "90", {_DAYS: 91}, False),
    ("NumericGreaterThan", _DAYS, "90", {_DAYS: 91}, True),
    ("NumericGreaterThan", _DAYS, "90", {_DAYS: 90}, False),
    ("NumericGreaterThanEquals", _DAYS, "90", {_DAYS: 90}, True),
    ("NumericGreaterThanEquals", _DAYS, "90", {_DAYS: 89}, False),
    ("NumericGreaterThan", _DAYS, "9", {_DAYS: 10}, True),
    ("NumericGreaterThan", _EPOCH, "1000", {_EPOCH: 1001}, True),
    ("DateEquals", _NOW, _NOON, {_NOW: _NOON}, True),
    ("DateEquals", _NOW, "2026-06-01T14:00:00+02:00", {_NOW: _NOON}, True),
    ("DateEquals", _NOW, "2026-06-01", {_NOW: "2026-06-01T00:00:00Z"}, True),
    ("DateEquals", _NOW, _NOON, {_NOW: "2026-06-01T12:00:01Z"}, False),
    ("DateNotEquals", _NOW, _NOON, {_NOW: "2026-06-01T12:00:01Z"}, True),
    ("DateNotEquals", _NOW, _NOON, {_NOW: _NOON}, False),
    ("DateNotEquals", _NOW, _NOON, {}, True),
    ("DateLessThan", _NOW, _NOON, {_NOW: "2026-06-01T11:59:59Z"}, True),
    ("DateLessThan", _NOW, _NOON, {_NOW: _NOON}, False),
    ("DateLessThanEquals", _NOW, _NOON, {_NOW: _NOON}, True),
    ("DateLessThanEquals", _NOW, _NOON, {_NOW: "2026-06-01T12:00:01Z"}, False),
    ("DateGreaterThan", _NOW, _NOON, {_NOW: "2026-06-01T12:00:01Z"}, True),
    ("DateGreaterThan", _NOW, _NOON, {_NOW: _NOON}, False),
    ("DateGreaterThanEquals", _NOW, _NOON, {_NOW: _NOON}, True),
    ("DateGreaterThanEquals", _NOW, _NOON, {_NOW: "2026-06-01T11:59:59Z"}, False),
    ("DateLessThan", _EPOCH, "2000", {_EPOCH: 1999}, True),
    ("DateLessThan", _EPOCH, "1970-01-01T00:30:00Z", {_EPOCH: 1801}, False),
    ("Bool", _TLS, "true", {_TLS: True}, True),
    ("Bool", _TLS, "true", {_TLS: False}, False),
    ("Bool", _TLS, "false", {_TLS: False}, True),
    ("Bool", _TLS, True, {_TLS: True}, True),
    ("Bool", _TLS, "True", {_TLS: True}, True),
    ("Bool", _TLS, "false", {}, False),
    ("BoolIfExists", _TLS, "false", {}, True),
    ("BinaryEquals", _TEAM, "Ymx1ZQ==", {_TEAM: "blue"}, True),
    ("BinaryEquals", _TEAM, "Ymx1ZQ==", {_TEAM: "red"}, False),
    ("BinaryEquals", _TEAM, "Ymx1ZQ==", {}, False),
    ("IpAddress", _IP, "203.0.113.0/24", {_IP: "203.0.113.7"}, True),
    ("IpAddress", _IP, "203.0.113.0/24", {_IP: "203.0.114.7"}, False),
    ("IpAddress", _IP, "203.0.113.7", {_IP: "203.0.113.7"}, True),
    ("IpAddress", _IP, "203.0.113.7", {_IP: "203.0.113.8"}, False),
    ("IpAddress", _IP, ["10.0.0.0/8", "2001:db8::/32"], {_IP: "2001:db8::1"}, True),
    ("IpAddress", _IP, "203.0.113.0/24", {_IP: "2001:db8::1"}, False),
    ("IpAddress", _IP, "203.0.113.0/24", {_IP: "::ffff:203.0.113.7"}, True),
    ("IpAddress", _IP, "203.0.113.0/24", {}, False),
    ("NotIpAddress", _IP, "203.0.113.0/24", {_IP: "203.0.114.7"}, True),
    ("NotIpAddress", _IP, "203.0.113.0/24", {_IP: "203.0.113.7"}, False),
    ("NotIpAddress", _IP, "203.0.113.0/24", {}, True),
    ("ArnEquals", _ARN, "arn:aws:s3:::b", {_ARN: "arn:aws:s3:::b"}, True),
    ("ArnEquals", _ARN, "arn:aws:s3:::*", {_ARN: "arn:aws:s3:::b"}, True),
    ("ArnEquals", _ARN, "arn:aws:s3:::b", {_ARN: "arn:aws:s3:::c"}, False),
    ("ArnLike", _ARN, "arn:aws:sns:*:1:t", {_ARN: "arn:aws:sns:eu:1:t"}, True),
    ("ArnLike", _ARN, "arn:aws:*:*:*:t", {_ARN: "arn:aws:sns:eu:1:t"}, True),
    ("ArnLike", _ARN, "arn:aws:sns:*:*:t", {_ARN: "arn:aws:sns:eu:1:x:t"}, False),
    ("ArnLike", _ARN, "arn:aws:sns:e?:1:*", {_ARN: "arn:aws:sns:eu:1:x:t"}, True),
    ("ArnLike", _ARN, "arn:aws:sns:*:1:t", {_ARN: "no arn"}, False),
    ("ArnLike", _ARN, "arn:aws:sns:*:1:t", {}, False),
    ("ArnNotEquals", _ARN, "arn:aws:s3:::b", {_ARN: "arn:aws:s3:::c"}, True),
    ("ArnNotEquals", _ARN, "arn:aws:s3:::b", {_ARN: "arn:aws:s3:::b"}, False),
    ("ArnNotEquals", _ARN, "arn:aws:s3:::b", {}, True),
    ("ArnNotLike", _ARN, "arn:aws:s3:::*", {_ARN: "arn:aws:s3:::b"}, False),
    ("ArnNotLike", _ARN, "arn:aws:s3:::*", {_ARN: "arn:aws:sns:::b"}, True),
    ("StringLike", "aws:PrincipalArn", "arn:aws:iam::*:user/*", {}, True),
    ("Null", _VIA, "true", {}, True),
    ("Null", _VIA, "true", {_VIA: "s3"}, False),
    ("Null", _VIA, "false", {_VIA: "s3"}, True),
    ("Null", _VIA, False, {}, False),
    ("Null", _OPS, "true", {_OPS: []}, True),
    ("Null", _VIA, ["true", "false"], {}, True),
    ("NumericLessThan", _DAYS, 1.5, {_DAYS: 1}, True),
    ("NumericLessThan", _DAYS, 1.5, {_DAYS: 2}, False),
    # IfExists.
    ("StringEqualsIfExists", _VIA, "s3", {}, True),
    ("StringEqualsIfExists", _VIA, "s3", {_VIA: "rds"}, False),
    ("StringEqualsIfExists", _VIA, "s3", {_VIA: "s3"}, True),
    ("StringNotEqualsIfExists", _VIA, "s3", {}, True),
    ("StringNotEqualsIfExists", _VIA, "s3", {_VIA: "s3"}, False),
    ("NumericLessThanIfExists", _DAYS, "90", {}, True),
    ("IpAddressIfExists", _IP, "10.0.0.0/8", {_IP: "192.0.2.1"}, False),
    ("ArnLikeIfExists", _ARN, "arn:aws:s3:::*", {}, True),
    # Keys of several values.
    ("ForAllValues:StringEquals", _OPS, ["Decrypt", "Encrypt"], {_OPS: ["Decrypt"]}, True),
    ("ForAllValues:StringEquals", _OPS, ["Decrypt", "Encrypt"], {_OPS: ["Decrypt", "Sign"]}, False),
    ("ForAllValues:StringEquals", _OPS, "Decrypt", {_OPS: []}, True),
    ("ForAllValues:StringEquals", _OPS, "Decrypt", {}, True),
    ("ForAllValues:StringLike", _OPS, "De*", {_OPS: ["Decrypt", "DescribeKey"]}, True),
    ("ForAllValues:StringNotEquals", _OPS, ["Decrypt"], {_OPS: ["Encrypt", "Sign"]}, True),
    ("ForAllValues:StringNotEquals", _OPS, ["Decrypt"], {_OPS: ["Encrypt", "Decrypt"]}, False),
    ("ForAllValues:StringNotEquals", _OPS, ["Decrypt"], {}, True),
    ("ForAnyValue:StringEquals", _OPS, "Decrypt", {_OPS: ["Encrypt", "Decrypt"]}, True),
    ("ForAnyValue:StringEquals", _OPS, "Decrypt", {_OPS: ["Encrypt", "Sign"]}, False),
    ("ForAnyValue:StringEquals", _OPS, "Decrypt", {_OPS: []}, False),
    ("ForAnyValue:StringEquals", _OPS, "Decrypt", {}, False),
    ("ForAnyValue:StringNotEquals", _OPS, "Decrypt", {_OPS: ["Decrypt", "Sign"]}, True),
    ("ForAnyValue:StringNotEquals", _OPS, "Decrypt", {_OPS: ["Decrypt"]}, False),
    ("ForAnyValue:StringNotEquals", _OPS, "Decrypt", {}, False),
    ("ForAnyValue:StringEqualsIfExists", _OPS, "Decrypt", {}, True),
    ("ForAnyValue:StringEqualsIfExists", _OPS, "Decrypt", {_OPS: ["Sign"]}, False),
    ("ForAnyValue:StringEqualsIfExists", _OPS, "Decrypt", {_OPS: []}, True),
    ("ForAllValues:StringEqualsIfExists", _OPS, "Decrypt", {}, True),
    ("ForAllValues:StringEquals", _VIA, "s3", {_VIA: "s3"}, True),
    ("ForAnyValue:StringEquals", _VIA, "s3", {_VIA: "rds"}, False),
    ("ForAnyValue:StringEquals", _VIA, "s3", {_VIA: "s3"}, True),
    ("ForAllValues:StringEquals", _VIA, "s3", {_VIA: "rds"}, False),
    # Policy variables.
    ("StringEquals", _OWNER, "${aws:PrincipalTag/team}", {_TEAM: "blue", _OWNER: "blue"}, True),
    ("StringEquals", _OWNER, "${aws:PrincipalTag/team}", {_TEAM: "red", _OWNER: "blue"}, False),
    ("StringEquals", _OWNER, "${aws:PrincipalTag/team}", {_OWNER: "blue"}, False),
    ("StringEquals", _OWNER, "${aws:PrincipalTag/team}", {_OWNER: ""}, False),
    ("StringNotEquals", _OWNER, "${aws:PrincipalTag/team}", {_OWNER: "blue"}, True),
    ("StringNotEquals", _OWNER, "${aws:PrincipalTag/team}", {_TEAM: "blue", _OWNER: "blue"}, False),
    ("StringEquals", _OWNER, "${aws:PrincipalTag/team, 'blue'}", {_OWNER: "blue"}, True),
    ("StringEquals", _OWNER, "${aws:PrincipalTag/team, 'blue'}", {_TEAM: "red", _OWNER: "blue"}, False),
    ("StringEquals", _OWNER, ["x", "${aws:PrincipalTag/team}"], {_OWNER: "x"}, True),
    ("StringEquals", _OWNER, ["x", "${aws:PrincipalTag/team}"], {_TEAM: "blue", _OWNER: "blue"}, True),
    ("StringEquals", _OWNER, "${aws:PrincipalTag/team}*", {_TEAM: "bl", _OWNER: "blue"}, False),
    ("StringEquals", _OWNER, "${aws:PrincipalTag/team}*", {_TEAM: "bl", _OWNER: "bl*"}, True),
    ("StringEquals", _OWNER, "${ aws:PrincipalTag/team }", {_TEAM: "blue", _OWNER: "blue"}, True),
    ("StringEquals", _OWNER, "${kms:ViaService}", {_VIA: "s3", _OWNER: "s3"}, True),
    ("StringEquals", _OWNER, "a${aws:PrincipalTag/team}z", {_TEAM: "-", _OWNER: "a-z"}, True),
    ("StringEqualsIgnoreCase", _OWNER, "Blue*", {_OWNER: "bLUE*"}, True),
    ("StringEqualsIgnoreCase", _OWNER, "Blue*", {_OWNER: "blueish"}, False),
    ("StringEqualsIgnoreCase", _OWNER, "${aws:PrincipalTag/team}", {_TEAM: "BLUE", _OWNER: "blue"}, True),
    ("StringLike", _OWNER, "${aws:PrincipalTag/team}", {_TEAM: "*", _OWNER: "blue"}, False),
    ("StringLike", _OWNER, "${aws:PrincipalTag/team}*", {_TEAM: "bl", _OWNER: "blue"}, True),
    ("StringLike", _OWNER, "${*}", {_OWNER: "blue"}, False),
    ("StringLike", _OWNER, "${*}", {_OWNER: "*"}, True),
    ("StringLike", _OWNER, "b${?}", {_OWNER: "b?"}, True),
    ("StringLike", _OWNER, "b${?}", {_OWNER: "bx"}, False),
    ("StringEquals", _OWNER, "${$}{x}", {_OWNER: "${x}"}, True),
    ("ArnLike", _ARN, "arn:aws:s3:::${aws:PrincipalTag/team}", {_TEAM: "b", _ARN: "arn:aws:s3:::b"}, True),
    ("ArnLike", _ARN, "arn:aws:s3:::${aws:PrincipalTag/team}", {_TEAM: "*", _ARN: "arn:aws:s3:::b"}, False),
    ("ArnEquals", "aws:PrincipalArn", "${aws:PrincipalArn}", {}, True),
    ("ArnNotEquals", _ARN, "${aws:PrincipalTag/team}", {_ARN: "arn:aws:s3:::b"}, True),
]


def _tested(operator: str, key: str, values: Any, context: dict[str, Any], holds: bool) -> Row:
    statement = allow(ALICE, Condition={operator: {key: values}})
    sentence = f"{operator} {key} {json.dumps(values)} {json.dumps(context)}"
    return _row("conditions", sentence, holds, **_own(statement), context=context)


def _paired(sentence: str, holds: bool, condition: dict[str, Any], pairs: dict[str, str]) -> Row:
    statement = allow(ALICE, Condition=condition)
    return _row("encryption context", sentence, holds, **_own(statement), encryption_context=pairs)


_APP = "kms:EncryptionContext:AppName"
_KEYS = "kms:EncryptionContextKeys"
CONTEXTS: list[Row] = [
    _paired("a pair", True, {"StringEquals": {_APP: "Excel"}}, {"AppName": "Excel"}),
    _paired("another value", False, {"StringEquals": {_APP: "Excel"}}, {"AppName": "Word"}),
    _paired("no pair", False, {"StringEquals": {_APP: "Excel"}}, {}),
    _paired("the key in another case", True, {"StringEquals": {_APP: "Excel"}}, {"appname": "Excel"}),
    _paired("one of several", True, {"StringEquals": {_APP: "Excel"}}, {"AppName": "Excel", "x": "y"}),
    _paired("an ARN in a pair", True, {"ArnLike": {"kms:EncryptionContext:aws:s3:arn": "arn:aws:s3:::b/*"}}, {"aws:s3:arn": "arn:aws:s3:::b/k"}),
    _paired("keys tell cases apart", False, {"ForAnyValue:StringEquals": {_KEYS: "AppName"}}, {"appname": "Excel"}),
    _paired("one key is there", True, {"ForAnyValue:StringEquals": {_KEYS: "AppName"}}, {"AppName": "Excel", "x": "y"}),
    _paired("only these keys", False, {"ForAllValues:StringEquals": {_KEYS: "AppName"}}, {"AppName": "Excel", "x": "y"}),
    _paired("only these keys, none given", True, {"ForAllValues:StringEquals": {_KEYS: "AppName"}}, {}),
    _paired("a context is there", True, {"Null": {_KEYS: "false"}}, {"x": "y"}),
    _paired("no context is there", False, {"Null": {_KEYS: "false"}}, {}),
    _paired("two operators: both hold", True, {"StringEquals": {_APP: "Excel"}, "Null": {_KEYS: "false"}}, {"AppName": "Excel"}),
    _paired("two operators: one does not", False, {"StringEquals": {_APP: "Excel"}, "Null": {_KEYS: "true"}}, {"AppName": "Excel"}),
    _paired("two keys: both hold", True, {"StringEquals": {_APP: "Excel", "kms:CallerAccount": HOME}}, {"AppName": "Excel"}),
    _paired("two keys: one does not", False, {"StringEquals": {_APP: "Excel", "kms:CallerAccount": AWAY}}, {"AppName": "Excel"}),
]  # fmt: skip

_MINE = "arn:aws:kms:*:*:key/${aws:PrincipalTag/team}*"
RESOURCES: list[Row] = [
    _row("variables in resources", "filled", True, identity=identity(allow(Resource=_MINE)), context={_TEAM: "1111"}),
    _row("variables in resources", "another value", False, identity=identity(allow(Resource=_MINE)), context={_TEAM: "2222"}),
    _row("variables in resources", "no value covers nothing", False, identity=identity(allow(Resource=_MINE))),
    _row("variables in resources", "the value is no pattern", False, identity=identity(allow(Resource=_MINE)), context={_TEAM: "?"}),
    _row("variables in resources", "beside a constant", True, identity=identity(allow(Resource=[OTHER_KEY, _MINE])), context={_TEAM: "1111"}),
    _row("variables in resources", "a deny that is filled", False, key_policy=_FOR_ALICE, identity=identity(deny(Resource=_MINE)), context={_TEAM: "1111"}),
    _row("variables in resources", "a deny without its value", True, key_policy=_FOR_ALICE, identity=identity(deny(Resource=_MINE))),
    _row("the language of 2008", "has wildcards", True, key_policy=document(allow(ALICE, Condition={"StringLike": {_VIA: "s3.*"}}), version="2008-10-17"), context={_VIA: "s3.eu"}),
    _row("the language of 2008", "has wildcards that miss", False, key_policy=document(allow(ALICE, Condition={"StringLike": {_VIA: "s3.*"}}), version="2008-10-17"), context={_VIA: "rds.eu"}),
]  # fmt: skip

ROWS: list[Row] = [*COMBINATIONS, *GRANTS, *(_tested(*row) for row in TESTS), *CONTEXTS, *RESOURCES]
