"""Grants: what may be granted of which key, and the refusals. What grants permit is in test_decisions.py."""

import pytest

from strongroomd.domain import grants
from strongroomd.domain.actions import Action
from strongroomd.domain.algorithms import SPECS, KeySpec, KeyUsage
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.grants import Constraints, ConstraintType, Grant, NewGrant
from strongroomd.domain.policy import subject_named
from strongroomd.domain.policy.circumstances import to_bring
from strongroomd.domain.policy.request import Request

ALICE = "arn:aws:iam::111122223333:user/alice"
BOB = "arn:aws:iam::111122223333:user/bob"
CAROL = "arn:aws:iam::444455556666:user/carol"
ROOT = "arn:aws:iam::111122223333:root"
DECRYPT = frozenset({Action.DECRYPT})
SYMMETRIC = (KeySpec.SYMMETRIC_DEFAULT, KeyUsage.ENCRYPT_DECRYPT)


def refused(
    wanted: NewGrant, spec: KeySpec = SYMMETRIC[0], usage: KeyUsage = SYMMETRIC[1]
) -> StrongroomError:
    with pytest.raises(StrongroomError) as caught:
        grants.check(wanted, spec, usage)
    return caught.value


_ALWAYS = {"DescribeKey", "CreateGrant", "RetireGrant"}
_CRYPT = {"Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo"}
_DATA = {
    *("GenerateDataKey", "GenerateDataKeyWithoutPlaintext"),
    *("GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"),
}


@pytest.mark.parametrize(
    ("spec", "usage", "more"),
    [
        (*SYMMETRIC, _CRYPT | _DATA),
        (KeySpec.RSA_2048, KeyUsage.ENCRYPT_DECRYPT, _CRYPT | {"GetPublicKey"}),
        (KeySpec.RSA_2048, KeyUsage.SIGN_VERIFY, {"Sign", "Verify", "GetPublicKey"}),
        (KeySpec.ECC_NIST_P256, KeyUsage.SIGN_VERIFY, {"Sign", "Verify", "GetPublicKey"}),
        (KeySpec.ECC_NIST_P256, KeyUsage.KEY_AGREEMENT, {"DeriveSharedSecret", "GetPublicKey"}),
        (KeySpec.HMAC_256, KeyUsage.GENERATE_VERIFY_MAC, {"GenerateMac", "VerifyMac"}),
    ],
)
def test_what_may_be_granted_follows_the_key(spec: KeySpec, usage: KeyUsage, more: set[str]) -> None:
    expected = {Action(f"kms:{name}") for name in _ALWAYS | more}

    assert grants.grantable(spec, usage) == expected


def test_every_spec_and_usage_has_its_operations() -> None:
    for spec, facts in SPECS.items():
        for usage in facts.usages:
            assert grants.grantable(spec, usage) <= set(grants.OPERATIONS.values())


def test_operations_are_named_as_in_aws_case_and_all() -> None:
    assert grants.parse_operations(("Decrypt", "DescribeKey")) == {Action.DECRYPT, Action.DESCRIBE_KEY}
    for name in ("decrypt", "kms:Decrypt", "PutKeyPolicy", "Encapsulate", "*", ""):
        with pytest.raises(StrongroomError) as caught:
            grants.parse_operations((name,))
        assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, "operations")


REFUSED: dict[str, tuple[NewGrant, str, Reason]] = {
    "no ARN as grantee": (NewGrant("alice", DECRYPT), "grantee_principal", Reason.INVALID_FIELD),
    "everyone as grantee": (NewGrant("*", DECRYPT), "grantee_principal", Reason.INVALID_FIELD),
    "no grantee": (NewGrant("", DECRYPT), "grantee_principal", Reason.INVALID_FIELD),
    "no ARN as retiring": (NewGrant(ALICE, DECRYPT, retiring="x"), "retiring_principal", Reason.INVALID_FIELD),
    "a long name": (NewGrant(ALICE, DECRYPT, name="x" * 257), "name", Reason.FIELD_TOO_LARGE),
    "no operation": (NewGrant(ALICE, frozenset()), "operations", Reason.INVALID_FIELD),
    "an operation of another usage": (NewGrant(ALICE, frozenset({Action.SIGN})), "operations", Reason.INVALID_FIELD),
    "an action that is none": (NewGrant(ALICE, frozenset({Action.PUT_KEY_POLICY})), "operations", Reason.INVALID_FIELD),
    "only to pass on": (NewGrant(ALICE, frozenset({Action.CREATE_GRANT})), "operations", Reason.INVALID_FIELD),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_grant_that_lends_nonsense_is_refused_with_its_field(name: str) -> None:
    wanted, field, reason = REFUSED[name]

    error = refused(wanted)

    assert (error.reason, error.field) == (reason, field)


def test_a_key_without_contexts_takes_no_constraint_on_them() -> None:
    wanted = NewGrant(ALICE, frozenset({Action.SIGN}), Constraints(subset=(("a", "b"),)))

    assert refused(wanted, KeySpec.RSA_2048, KeyUsage.SIGN_VERIFY).field == "constraints"


def test_a_sound_grant_is_given_back() -> None:
    wanted = NewGrant(ALICE, DECRYPT, Constraints(equals=(("a", "b"),)), BOB, "name")

    assert grants.check(wanted, *SYMMETRIC) is wanted


@pytest.mark.parametrize(
    ("equals", "subset", "field", "reason"),
    [
        ({"a": "b"}, {"a": "b"}, "constraints", Reason.INVALID_FIELD),
        (
            {str(n): "" for n in range(9)},
            None,
            "constraints.encryption_context_equals",
            Reason.FIELD_TOO_LARGE,
        ),
        (None, {"a": "b" * 385}, "constraints.encryption_context_subset", Reason.FIELD_TOO_LARGE),
        (None, {"a" * 385: "b"}, "constraints.encryption_context_subset", Reason.FIELD_TOO_LARGE),
        ({"": "b"}, None, "constraints.encryption_context_equals", Reason.INVALID_FIELD),
    ],
)
def test_constraints_have_bounds(
    equals: dict[str, str] | None, subset: dict[str, str] | None, field: str, reason: Reason
) -> None:
    with pytest.raises(StrongroomError) as caught:
        grants.parse_constraints(equals, subset)

    assert (caught.value.reason, caught.value.field) == (reason, field)


def test_constraints_at_their_bounds_are_taken() -> None:
    pairs = {f"{n}{'k' * 383}": "v" * 384 for n in range(8)}

    assert grants.parse_constraints(pairs).equals == tuple(sorted(pairs.items()))


def test_a_constraint_without_pairs_is_none() -> None:
    assert grants.parse_constraints({}, {}) == grants.UNCONSTRAINED


def test_the_type_of_a_constraint_is_its_name_in_conditions() -> None:
    assert grants.UNCONSTRAINED.type is None
    assert Constraints(equals=()).type is ConstraintType.EQUALS
    assert Constraints(subset=()).type is ConstraintType.SUBSET


def test_what_policies_ask_of_a_grant_is_all_that_creategrant_must_bring() -> None:
    wanted = NewGrant(
        BOB, frozenset({Action.ENCRYPT, Action.DECRYPT}), Constraints(subset=(("a", "b"),)), CAROL
    )

    facts = grants.condition_facts(wanted, for_service=True)

    assert facts == {
        "kms:grantoperations": ("Decrypt", "Encrypt"),
        "kms:granteeprincipal": BOB,
        "kms:retiringprincipal": CAROL,
        "kms:grantconstrainttype": "EncryptionContextSubset",
        "kms:grantisforawsresource": True,
    }
    assert facts.keys() == to_bring(Action.CREATE_GRANT)


def test_what_a_grant_lacks_is_told_as_nothing() -> None:
    facts = grants.condition_facts(NewGrant(BOB, DECRYPT), for_service=False)

    assert (facts["kms:retiringprincipal"], facts["kms:grantconstrainttype"]) == (None, None)
    assert facts["kms:grantisforawsresource"] is False


def made(operations: frozenset[Action] = DECRYPT, retiring: str = "", source: str = "") -> Grant:
    constraints = Constraints(source_arn=source)
    return Grant("g", "key", ALICE, NewGrant(BOB, operations, constraints, retiring=retiring))


RETIRE = frozenset({Action.DECRYPT, Action.RETIRE_GRANT})
BUCKET = "arn:aws:s3:::b"


@pytest.mark.parametrize(
    ("grant", "who", "may"),
    [
        (made(retiring=CAROL), CAROL, True),
        (made(), CAROL, False),
        (made(), ALICE, True),
        (made(), ROOT, True),
        (made(), "arn:aws:iam::444455556666:root", False),
        (made(), BOB, False),
        (made(RETIRE), BOB, True),
        (made(RETIRE), CAROL, False),
        (made(RETIRE, source=BUCKET), BOB, False),
        (made(RETIRE, CAROL, source=BUCKET), CAROL, True),
        (made(RETIRE, source=BUCKET), ALICE, True),
    ],
)
def test_who_may_retire_a_grant(grant: Grant, who: str, may: bool) -> None:
    assert grants.may_retire(grant, Request(Action.RETIRE_GRANT, subject_named(who))) is may


@pytest.mark.parametrize(("said", "may"), [(BUCKET, True), (BUCKET + "2", False), (None, False)])
def test_a_grantee_retires_a_grant_of_a_source_in_its_name_only(said: str | None, may: bool) -> None:
    context = {"aws:sourcearn": said}
    request = Request(Action.RETIRE_GRANT, subject_named(BOB), context=context)

    assert grants.may_retire(made(RETIRE, source=BUCKET), request) is may


def test_one_operation_that_is_none_spoils_the_rest() -> None:
    with pytest.raises(StrongroomError):
        grants.parse_operations(("Decrypt", "PutKeyPolicy"))


def test_the_order_of_pairs_makes_no_other_constraint() -> None:
    one, other = ({"a": "1", "b": "2"}, {"b": "2", "a": "1"})

    assert grants.parse_constraints(one) == grants.parse_constraints(other)
    assert grants.parse_constraints(None, one) == grants.parse_constraints(None, other)


def test_a_grant_at_its_bounds_is_taken() -> None:
    everything = grants.grantable(KeySpec.RSA_2048, KeyUsage.SIGN_VERIFY)
    wanted = NewGrant(ALICE, everything, name="x" * 256)

    assert grants.check(wanted, KeySpec.RSA_2048, KeyUsage.SIGN_VERIFY) is wanted
