"""The language of policies: key policies alone decide, and what is not understood is refused with its place."""

import json
import time
from typing import Any

import pytest
from tests.policy_cases import decision_alone

from strongroomd.domain import policy
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.limits import MAX_POLICY, MAX_POLICY_DEPTH, MAX_POLICY_STATEMENTS
from strongroomd.domain.policy import PolicyKind
from strongroomd.domain.policy.document import load, only

ALICE = "arn:aws:iam::111122223333:user/alice"
BOB = "arn:aws:iam::111122223333:user/bob"
ROOT = "arn:aws:iam::111122223333:root"


def statement(**changes: object) -> dict[str, object]:
    base: dict[str, object] = {"Effect": "Allow", "Principal": {"AWS": ALICE}, "Action": "kms:Encrypt"}
    return {name: value for name, value in (base | changes).items() if value is not ...}


def document(*statements: object, **members: object) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **members})


def allowed(text: str, who: str = ALICE, action: Action = Action.ENCRYPT) -> bool:
    return decision_alone(policy.parse(text), who, action).allowed


def test_what_no_statement_speaks_of_is_denied() -> None:
    decision = decision_alone(policy.parse(document(statement())), BOB, Action.ENCRYPT)

    assert (decision.allowed, decision.ground) == (False, "default deny")


def test_an_explicit_deny_wins_wherever_it_stands() -> None:
    allow, deny = statement(), statement(Effect="Deny")

    assert not allowed(document(allow, deny))
    assert not allowed(document(deny, allow))
    assert allowed(document(allow))


def test_the_ground_of_a_decision_is_its_statement() -> None:
    text = document(statement(Sid="let alice"), statement(Effect="Deny", Action="kms:Decrypt"))
    compiled = policy.parse(text)

    assert decision_alone(compiled, ALICE, Action.ENCRYPT).ground == "let alice"
    assert decision_alone(compiled, ALICE, Action.DECRYPT).ground == "Statement[1]"


@pytest.mark.parametrize(
    ("pattern", "matches", "misses"),
    [
        ("*", Action.PUT_LIMIT, None),
        ("kms:*", Action.ENCRYPT, Action.PUT_LIMIT),
        ("strongroom:*", Action.PUT_LIMIT, Action.ENCRYPT),
        ("kms:GenerateDataKey*", Action.GENERATE_DATA_KEY_PAIR, Action.GENERATE_MAC),
        ("kms:GenerateDataKey", Action.GENERATE_DATA_KEY, Action.GENERATE_DATA_KEY_PAIR),
        ("kms:?ncrypt", Action.ENCRYPT, Action.DECRYPT),
        ("KMS:ENCRYPT", Action.ENCRYPT, Action.DECRYPT),
        ("kms:*crypt", Action.DECRYPT, Action.SIGN),
        ("kms:ReEncrypt*", Action.RE_ENCRYPT_TO, Action.ENCRYPT),
    ],
)
def test_wildcards_match_as_in_aws(pattern: str, matches: Action, misses: Action | None) -> None:
    text = document(statement(Action=pattern))

    assert allowed(text, action=matches)
    assert misses is None or not allowed(text, action=misses)


def test_an_action_of_aws_that_is_not_offered_here_allows_nothing() -> None:
    compiled = policy.parse(document(statement(Action="kms:CreateCustomKeyStore")))

    assert not any(decision_alone(compiled, ALICE, action).allowed for action in Action)


def test_not_action_and_not_principal_turn_the_list_around() -> None:
    all_but = document(statement(Action=..., NotAction="kms:Decrypt"))
    others = document(statement(Principal=..., NotPrincipal={"AWS": ALICE}))

    assert allowed(all_but)
    assert not allowed(all_but, action=Action.DECRYPT)
    assert allowed(others, BOB)
    assert not allowed(others, ALICE)


def test_an_account_means_its_root_and_nobody_else() -> None:
    text = document(statement(Principal={"AWS": "111122223333"}))

    assert allowed(text, ROOT)
    assert not allowed(text, ALICE)


def test_a_star_means_every_principal() -> None:
    assert allowed(document(statement(Principal="*")), BOB)
    assert allowed(document(statement(Principal={"AWS": "*"})), BOB)


def test_principals_are_compared_exactly() -> None:
    for near in (ALICE.upper(), ALICE + "x", ALICE[:-1], ALICE.replace("1111", "2222")):
        assert not allowed(document(statement()), near)


def test_the_default_policy_allows_its_principals_everything_of_kms_and_others_nothing() -> None:
    compiled = policy.parse(policy.default_policy(ROOT, ALICE))

    for action in Action:
        expected = action.startswith("kms:")
        assert decision_alone(compiled, ALICE, action).allowed is expected
        assert not decision_alone(compiled, BOB, action).allowed


MALFORMED: dict[str, tuple[str, str]] = {
    "no JSON": ("{", "policy"),
    "empty": ("", "policy"),
    "a list": ("[]", "policy"),
    "a number": ("1", "policy"),
    "NaN": ('{"Statement": NaN}', "policy"),
    "a name twice": ('{"Statement": [], "Statement": []}', "policy"),
    "too deep": (document(statement(Resource=json.loads("[" * 12 + "]" * 12))), "policy"),
    "far too deep": ("[" * 20_000, "policy"),
    "a huge number": ('{"Version": ' + "9" * 6_000 + "}", "policy"),
    "a lone surrogate in the text": ('{"Id": "\ud800"}', "policy"),
    "a lone surrogate in an escape": (document(statement(), Id="\ud800"), "policy.Id"),
    "an unknown member": (document(statement(), Extra=1), "policy"),
    "another version": (document(statement(), Version="2025-01-01"), "policy.Version"),
    "a version that is a list": (document(statement(), Version=["2012-10-17"]), "policy.Version"),
    "an id that is a number": (document(statement(), Id=1), "policy.Id"),
    "no statement": (document(), "policy.Statement"),
    "no Statement": ('{"Version": "2012-10-17"}', "policy.Statement"),
    "a statement that is null": (document(None), "policy.Statement[0]"),
    "a Statement that is null": ('{"Statement": null}', "policy.Statement[0]"),
    "a variable without a version": (
        json.dumps({"Statement": statement(Condition={"StringEquals": {"aws:username": "${aws:username}"}})}),
        "policy.Statement[0].Condition.StringEquals.aws:username",
    ),
    "too many statements": (document(*[statement()] * (MAX_POLICY_STATEMENTS + 1)), "policy.Statement"),
    "a statement that is a text": (document("x"), "policy.Statement[0]"),
    "an effect in capitals": (document(statement(Effect="ALLOW")), "policy.Statement[0].Effect"),
    "no effect": (document(statement(Effect=...)), "policy.Statement[0].Effect"),
    "an effect that is a list": (document(statement(Effect=["Allow"])), "policy.Statement[0].Effect"),
    "another resource": (document(statement(Resource="arn:aws:kms:::key/x")), "policy.Statement[0].Resource"),
    "resources, one foreign": (document(statement(Resource=["*", "x"])), "policy.Statement[0].Resource"),
    "no principal": (document(statement(Principal=...)), "policy.Statement[0]"),
    "principal and not": (document(statement(NotPrincipal="*")), "policy.Statement[0]"),
    "a bare principal": (document(statement(Principal=ALICE)), "policy.Statement[0].Principal"),
    "a federated principal": (
        document(statement(Principal={"Federated": "x"})),
        "policy.Statement[0].Principal",
    ),
    "an empty principal": (document(statement(Principal={"AWS": []})), "policy.Statement[0].Principal.AWS"),
    "a principal of nothing": (document(statement(Principal={})), "policy.Statement[0].Principal"),
    "a principal that is no ARN": (
        document(statement(Principal={"AWS": "alice"})),
        "policy.Statement[0].Principal.AWS",
    ),
    "a principal with a wildcard": (
        document(statement(Principal={"AWS": "arn:aws:iam::111122223333:user/*"})),
        "policy.Statement[0].Principal.AWS",
    ),
    "a number as principal": (document(statement(Principal={"AWS": 1})), "policy.Statement[0].Principal.AWS"),
    "a service of AWS": (
        document(statement(Principal={"Service": "s3.amazonaws.com"})),
        "policy.Statement[0].Principal.Service",
    ),
    "a user as service": (
        document(statement(Principal={"Service": ALICE})),
        "policy.Statement[0].Principal.Service",
    ),
    "a NotPrincipal that is no ARN": (
        document(statement(Principal=..., NotPrincipal={"AWS": "x"})),
        "policy.Statement[0].NotPrincipal.AWS",
    ),
    "no action": (document(statement(Action=...)), "policy.Statement[0]"),
    "action and not": (document(statement(NotAction="*")), "policy.Statement[0]"),
    "an empty action": (document(statement(Action=[])), "policy.Statement[0].Action"),
    "an action of another service": (document(statement(Action="s3:*")), "policy.Statement[0].Action"),
    "an action that does not exist": (
        document(statement(Action="strongroom:Fly")),
        "policy.Statement[0].Action",
    ),
    "an action without a name": (document(statement(Action="kms:")), "policy.Statement[0].Action"),
    "an action without a service": (document(statement(Action="kms")), "policy.Statement[0].Action"),
    "an action that is too long": (
        document(statement(Action="kms:" + "a" * 65)),
        "policy.Statement[0].Action",
    ),
    "an action and a number": (document(statement(Action=["kms:Sign", 1])), "policy.Statement[0].Action"),
    "an action with a NUL": (document(statement(Action="kms:\0")), "policy.Statement[0].Action"),
    "an action in Kelvin": (document(statement(Action="\u212ams:Encrypt")), "policy.Statement[0].Action"),
    "a NotAction of another service": (
        document(statement(Action=..., NotAction="s3:x")),
        "policy.Statement[0].NotAction",
    ),
    "a Sid that is a number": (document(statement(Sid=1)), "policy.Statement[0].Sid"),
    "a Sid with a line's end": (document(statement(Sid="a\u0085\0")), "policy.Statement[0].Sid"),
    "a Sid with a lone surrogate": (document(statement(Sid="\udc00")), "policy.Statement[0].Sid"),
}


@pytest.mark.parametrize("name", sorted(MALFORMED))
def test_a_malformed_policy_is_refused_with_its_place(name: str) -> None:
    text, place = MALFORMED[name]

    with pytest.raises(StrongroomError) as caught:
        policy.parse(text)

    assert (caught.value.reason, caught.value.field) == (Reason.MALFORMED_POLICY, place)


@pytest.mark.parametrize("name", sorted(MALFORMED))
def test_a_refusal_does_not_quote_the_policy(name: str) -> None:
    marker = "canary-7fe1"
    text = MALFORMED[name][0].replace("alice", marker)

    with pytest.raises(StrongroomError) as caught:
        policy.parse(text)

    assert marker not in str(caught.value)


def test_the_size_limit_is_exact() -> None:
    text = document(statement())
    padded = text + " " * (MAX_POLICY - len(text))

    assert allowed(padded)
    with pytest.raises(StrongroomError) as caught:
        policy.parse(padded + " ")
    assert (caught.value.reason, caught.value.field) == (Reason.FIELD_TOO_LARGE, "policy")


def test_a_statement_may_stand_without_a_list() -> None:
    single: dict[str, Any] = {"Version": "2012-10-17", "Statement": statement()}

    assert allowed(json.dumps(single))


@pytest.mark.parametrize(
    "pattern", ["kms:" + "*" * 40 + "q", "kms:" + "*a" * 30 + "Z", "*" * 1, "kms:?" + "*?" * 20]
)
def test_wildcards_cannot_be_made_expensive(pattern: str) -> None:
    text = document(statement(Action=pattern))
    start = time.perf_counter()

    policy.parse(text)

    assert time.perf_counter() - start < 0.5


KEY_PATTERN = "arn:aws:kms:eu-test-1:111122223333:key/*"
IDENTITY: dict[str, object] = {"Effect": "Allow", "Action": "kms:Encrypt", "Resource": KEY_PATTERN}
TRUST: dict[str, object] = {"Effect": "Allow", "Principal": {"AWS": ALICE}, "Action": "sts:AssumeRole"}
KINDS: dict[str, tuple[PolicyKind, dict[str, object]]] = {
    "identity": (PolicyKind.IDENTITY, IDENTITY),
    "guard rail": (PolicyKind.GUARD_RAIL, IDENTITY),
    "trust": (PolicyKind.TRUST, TRUST),
    "key": (PolicyKind.KEY, statement()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_policy_is_taken_in_its_own_form(kind: str) -> None:
    policy.parse(document(KINDS[kind][1]), kind=KINDS[kind][0])


OTHER_FORM: dict[str, tuple[str, dict[str, object], str]] = {
    "an identity policy with a principal": ("identity", IDENTITY | {"Principal": "*"}, ""),
    "a guard rail with a principal": ("guard rail", IDENTITY | {"NotPrincipal": {"AWS": ALICE}}, ""),
    "an identity policy without a resource": ("identity", {"Effect": "Allow", "Action": "kms:*"}, ""),
    "an identity policy with both": ("identity", IDENTITY | {"NotResource": KEY_PATTERN}, ""),
    "an identity policy of a bucket": ("identity", IDENTITY | {"Resource": "arn:aws:s3:::b"}, ".Resource"),
    "an identity policy of another partition": (
        "identity",
        IDENTITY | {"Resource": "arn:aws-cn:kms:*:*:key/*"},
        ".Resource",
    ),
    "an identity policy of no ARN": ("identity", IDENTITY | {"Resource": "key/*"}, ".Resource"),
    "an identity policy of no resource": ("identity", IDENTITY | {"Resource": []}, ".Resource"),
    "an identity policy of not everything": (
        "identity",
        {"Effect": "Allow", "Action": "kms:*", "NotResource": "*"},
        ".NotResource",
    ),
    "an identity policy with a half variable": (
        "identity",
        IDENTITY | {"Resource": "arn:aws:kms:*:*:key/${aws:PrincipalTag/x"},
        ".Resource",
    ),
    "an identity policy with a variable of lists": (
        "identity",
        IDENTITY | {"Resource": "arn:aws:kms:*:*:key/${aws:TagKeys}"},
        ".Resource",
    ),
    "a trust policy with a resource": ("trust", TRUST | {"Resource": "*"}, ""),
    "a trust policy of a key's action": ("trust", TRUST | {"Action": "kms:Encrypt"}, ".Action"),
    "a trust policy that inverts": (
        "trust",
        {"Effect": "Allow", "NotPrincipal": {"AWS": ALICE}, "Action": "sts:AssumeRole"},
        "",
    ),
    "a trust policy of an unknown action": ("trust", TRUST | {"Action": "sts:GetSessionToken"}, ".Action"),
    "a trust policy of nobody": ("trust", {"Effect": "Allow", "Action": "sts:AssumeRole"}, ""),
    "a key policy that lets assume": ("key", statement(Action="sts:AssumeRole"), ".Action"),
    "a key policy of an alias": (
        "key",
        statement(Resource="arn:aws:kms:eu-test-1:111122223333:alias/x"),
        ".Resource",
    ),
    "a key policy of not everything": ("key", statement(NotResource="*"), ".NotResource"),
    "a key policy of both": ("key", statement(Resource="*", NotResource="*"), ""),
}


@pytest.mark.parametrize("name", OTHER_FORM)
def test_a_policy_in_the_form_of_another_kind_is_refused(name: str) -> None:
    kind, item, place = OTHER_FORM[name]

    with pytest.raises(StrongroomError) as caught:
        policy.parse(document(item), kind=KINDS[kind][0])

    expected = (Reason.MALFORMED_POLICY, f"policy.Statement[0]{place}")
    assert (caught.value.reason, caught.value.field) == expected


def test_sessions_of_roles_are_principals() -> None:
    session = "arn:aws:sts::111122223333:assumed-role/path/ops/night"

    assert allowed(document(statement(Principal={"AWS": session})), session)
    assert allowed(document(statement(Principal={"AWS": "arn:aws:iam::111122223333:role/path/ops"})), session)


def test_our_services_may_be_named_as_such() -> None:
    pay = "arn:aws:iam::111122223333:service/pay"

    assert allowed(document(statement(Principal={"Service": pay})), pay)
    assert allowed(document(statement(Principal={"Service": [pay], "AWS": ALICE})), ALICE)


def test_limits_of_a_policy_are_exact() -> None:
    policy.parse(document(*[statement()] * MAX_POLICY_STATEMENTS))
    policy.parse(document(statement(Action="kms:" + "a" * 64)))
    load('{"a":' + "[" * (MAX_POLICY_DEPTH - 2) + "1" + "]" * (MAX_POLICY_DEPTH - 2) + "}", "policy")
    with pytest.raises(StrongroomError):
        load('{"a":' + "[" * (MAX_POLICY_DEPTH - 1) + "1" + "]" * (MAX_POLICY_DEPTH - 1) + "}", "policy")


@pytest.mark.parametrize("action", ["KMS:CreateCustomKeyStore", "kms:CreateCustomKeyStore"])
def test_an_action_of_kms_may_be_unknown_in_any_case(action: str) -> None:
    assert policy.parse(document(statement(Action=action))).statements[0].actions == frozenset()


@pytest.mark.parametrize(
    "action", ["strongroom:GetLimit", "Strongroom:getlimit", "sts:AssumeRole", "kms:Sign"]
)
def test_policies_of_principals_name_actions_of_every_service(action: str) -> None:
    (found,) = policy.parse(document(IDENTITY | {"Action": action}), kind=PolicyKind.IDENTITY).statements

    assert [name.lower() for name in found.actions] == [action.lower()]


def test_a_refused_member_is_told_which_there_are_in_order() -> None:
    with pytest.raises(StrongroomError, match="only a, b, c are"):
        only({"x": 1}, ["c", "a", "b"], "place")


def test_a_checked_policy_is_compiled_once() -> None:
    text = document(IDENTITY)

    compiled = policy.compiled(text, PolicyKind.IDENTITY, "mine")

    assert (compiled.kind, compiled.name) == (PolicyKind.IDENTITY, "mine")
    assert policy.compiled(text, PolicyKind.IDENTITY, "mine") is compiled


@pytest.mark.parametrize(
    "name",
    [
        "arn:aws:iam::111122223333:assumed-role/ops/night",
        "arn:aws:sts::111122223333:federated-user/ops",
        "arn:aws:sts::111122223333:assumed-role/",
    ],
)
def test_what_is_no_session_of_a_role_is_only_itself(name: str) -> None:
    subject = policy.subject_named(name)

    assert (subject.arn, subject.session, subject.name) == (name, "", name)
