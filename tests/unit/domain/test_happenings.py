"""No change of any record is silent but those that are listed; grants and callers, and what is not told of them."""

import dataclasses
import json
from enum import Enum
from itertools import product
from typing import Any

import pytest
from tests.records import sample

from strongroomd.domain.accounts import (
    AccessKeyRecord,
    AccountRecord,
    IdentityKind,
    IdentityRecord,
    PrincipalKind,
    PrincipalRecord,
    PrincipalState,
)
from strongroomd.domain.actions import Action
from strongroomd.domain.addresses import AddressesRecord
from strongroomd.domain.approvalrecords import (
    ApprovalRecord,
    ApprovalRequestRecord,
    ApproverRecord,
    QuorumRecord,
)
from strongroomd.domain.callerevents import PRINCIPAL_STATES
from strongroomd.domain.destruction import DeletionRecord
from strongroomd.domain.events import Draft
from strongroomd.domain.exporting import WrappingKeyRecord
from strongroomd.domain.happenings import happenings, key_of
from strongroomd.domain.materials import MaterialRecord, WrappingPairRecord
from strongroomd.domain.quotarequests import QuotaRequestRecord
from strongroomd.domain.records import (
    RECORD_KINDS,
    AliasRecord,
    GrantRecord,
    HouseRecord,
    InvocationsRecord,
    KeyRecord,
    KeyState,
    LimitRecord,
    Record,
    RewrapRecord,
    VersionRecord,
    VersionState,
)
from strongroomd.domain.replication import CopyRecord, PeerRecord, ReplicaRecord
from strongroomd.domain.rotations import ScheduleRecord
from strongroomd.domain.xks.records import CredentialRecord, ExternalKeyRecord, StoreRecord

ACCOUNT = "111122223333"
ALICE = f"arn:aws:iam::{ACCOUNT}:user/alice"
NEXT: dict[Any, Any] = {
    KeyState.ENABLED: KeyState.DISABLED,
    VersionState.ACTIVE: VersionState.MISSING,
}


WHOLE = frozenset({"*"})


def all_but(kind: type[Record], *told: str) -> frozenset[str]:
    return frozenset(field.name for field in dataclasses.fields(kind)) - set(told)


SILENT: dict[type[Record], frozenset[str]] = {
    KeyRecord: frozenset(
        {"key_id", "account", "spec", "usage", "mode", "custody_note", "origin", "exportable"}
        | {"manager", "created_at", "deletion_at", "token", "quorum", "row_version"}
        | {"multi_region", "term"}
    ),
    VersionRecord: frozenset(
        {"key_id", "version", "created_at", "kek_id", "hsm_id", "blob", "length", "public_key"}
        | {"check_value", "recovery_blob", "scheme", "token", "row_version"}
        | {"object_class", "object_id", "object_label", "uses", "traits", "rotation"}
    ),
    AliasRecord: frozenset({"account", "name", "created_at", "updated_at", "row_version"}),
    LimitRecord: frozenset(),
    QuotaRequestRecord: frozenset(field.name for field in dataclasses.fields(QuotaRequestRecord)) - {"state"},
    GrantRecord: WHOLE,
    HouseRecord: frozenset(field.name for field in dataclasses.fields(HouseRecord)) - {"state"},
    RewrapRecord: frozenset(field.name for field in dataclasses.fields(RewrapRecord)) - {"state", "target"},
    InvocationsRecord: WHOLE,
    ScheduleRecord: frozenset({"key_id", "next_at", "row_version"}),
    DeletionRecord: WHOLE,
    AccountRecord: frozenset({"account", "created_at", "row_version"}),
    PrincipalRecord: frozenset({"arn", "account", "kind", "unique_id", "created_at", "row_version"}),
    IdentityRecord: WHOLE,
    AccessKeyRecord: frozenset(
        {"access_key_id", "arn", "account", "sealed_secret", "created_at", "row_version"}
    ),
    AddressesRecord: frozenset({"access_key_id", "arn", "account", "row_version"}),
    StoreRecord: frozenset({"store_id", "account", "uri_prefix", "created_at", "row_version"}),
    ExternalKeyRecord: frozenset({"store_id", "external_key_id", "account", "created_at", "row_version"}),
    CredentialRecord: WHOLE,
    ApproverRecord: all_but(ApproverRecord, "revoked_at"),
    ApprovalRequestRecord: all_but(ApprovalRequestRecord, "state"),
    ApprovalRecord: frozenset(),
    QuorumRecord: frozenset(),
    WrappingKeyRecord: WHOLE,
    WrappingPairRecord: WHOLE,
    MaterialRecord: frozenset(
        {"key_id", "version", "account", "expires_at", "algorithm", "level", "fingerprint"}
        | {"recovery_trait", "row_version"}
    ),
    PeerRecord: frozenset(),
    CopyRecord: WHOLE,
    ReplicaRecord: WHOLE,
}
"""Fields of each kind whose change alone is no event: they never change, or tell nothing that another does
not. `*` where no record of the kind is ever changed, or where a change means nothing to anybody."""


def another(value: Any) -> Any:
    """A value of the same type that is not the same."""
    if isinstance(value, Enum):
        return NEXT.get(value) or next((each for each in type(value) if each is not value), None)
    if isinstance(value, tuple):
        return (("b", "2"),)
    return (
        not value if isinstance(value, bool) else value + type(value)(1 if isinstance(value, int) else value)
    )


def of(before: Record | None, after: Record | None, action: str = "") -> list[Draft]:
    return happenings(before, after, lambda key_id: f"arn:{key_id}", action)


def kinds(before: Record | None, after: Record | None, action: str = "") -> list[str]:
    return [draft.type.value.removeprefix("strongroom.") for draft in of(before, after, action)]


def fields() -> list[tuple[type[Record], str]]:
    return [(kind, field.name) for kind in RECORD_KINDS.values() for field in dataclasses.fields(kind)]


def test_every_kind_of_record_says_which_of_its_fields_are_silent() -> None:
    assert set(SILENT) == set(RECORD_KINDS.values())
    for kind, names in SILENT.items():
        assert names <= {"*", *(field.name for field in dataclasses.fields(kind))}


@pytest.mark.parametrize(("kind", "field"), fields(), ids=[f"{k.KIND}.{f}" for k, f in fields()])
def test_a_change_of_a_field_is_an_event_or_is_listed_as_silent(kind: type[Record], field: str) -> None:
    before = sample(kind)
    value = another(getattr(before, field))
    silent = "*" in SILENT[kind] or field in SILENT[kind]
    if value is None:  # an enum of one member cannot change; it may only be silent
        assert silent
        return

    assert (kinds(before, dataclasses.replace(before, **{field: value})) == []) is silent


@pytest.mark.parametrize("kind", RECORD_KINDS.values(), ids=RECORD_KINDS)
def test_what_comes_and_goes_is_an_event(kind: type[Record]) -> None:
    """Versions and counters come with their key; house keys and counters are nobody's business."""
    quiet_births = {"version", "house", "invocations", "wrapping_pair", "replica_copy"}
    told_of_by_their_key = {
        *("key", "version", "house", "rewrap", "invocations", "access_key_addresses"),
        *("approver", "quorum", "schedule", "deletion", "wrapping_pair", "material", "replica_copy"),
    }
    told_of_when_closed = {"quota_request", "approval_request", "approval"}

    assert (kinds(None, sample(kind)) == []) is (kind.KIND in quiet_births)
    if kind.KIND not in told_of_by_their_key | told_of_when_closed:
        assert len(kinds(sample(kind), None, Action.REVOKE_GRANT)) == 1


def test_a_schedule_tells_of_its_period_and_not_of_its_next_date() -> None:
    began, moved = ScheduleRecord("k", 90, 5), ScheduleRecord("k", 90, 9, 2)
    over = ScheduleRecord("k", 0, 0, 3)

    assert kinds(None, began) == ["key.rotation_enabled"]
    assert kinds(began, moved) == []
    assert kinds(moved, over) == ["key.rotation_disabled"]
    assert of(None, began)[0].data == {"period_days": 90, "next_rotation_at": 5}


def test_a_certificate_is_told_of_once_and_a_deletion_called_off_by_its_key_alone() -> None:
    scheduled = DeletionRecord("k", ACCOUNT, ALICE, "r", 1, 2)
    signed = dataclasses.replace(scheduled, certificate=b"c", signature=b"s", signer="id", row_version=2)

    assert kinds(None, scheduled) == kinds(scheduled, None) == []
    assert kinds(scheduled, signed) == ["key.destruction_certified"]
    assert set(of(scheduled, signed)[0].data) == {"account", "signer"}


def test_every_change_of_a_principals_state_is_an_event() -> None:
    changes = {(b, a) for b, a in product(PrincipalState, PrincipalState) if b is not a}

    assert set(PRINCIPAL_STATES) == changes


MATERIAL = sample(MaterialRecord)


@pytest.mark.parametrize(
    ("changes", "action", "expected"),
    [
        ({"imported_at": 2, "removed_at": 0}, Action.IMPORT_KEY_MATERIAL, ["key.material_imported"]),
        ({"removed_at": 2}, Action.DELETE_KEY_MATERIAL, ["key.material_deleted"]),
        ({"removed_at": 2}, "", ["key.material_expired"]),
        ({"expires_at": 0, "fingerprint": b""}, "", []),
    ],
)
def test_how_material_went_is_known_by_what_took_it(
    changes: dict[str, Any], action: str, expected: list[str]
) -> None:
    assert kinds(MATERIAL, dataclasses.replace(MATERIAL, **changes), action) == expected


GRANT = GrantRecord(
    "k1", ACCOUNT, "9" * 64, ALICE, "", ALICE, "Decrypt,Encrypt", "EncryptionContextSubset",
    (("tenant", "a secret"),), "arn:aws:s3:::a-secret", ACCOUNT, "a secret name", "", 1,
)  # fmt: skip


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (Action.RETIRE_GRANT, ["grant.retired"]),
        (Action.REVOKE_GRANT, ["grant.revoked"]),
        ("", []),
        (Action.DISABLE_KEY, []),
    ],
)
def test_how_a_grant_ended_is_known_by_what_ended_it(action: str, expected: list[str]) -> None:
    assert kinds(GRANT, None, action) == expected


def test_a_grants_event_is_about_its_key_and_tells_what_it_lends_to_whom() -> None:
    [made] = of(None, GRANT, Action.CREATE_GRANT)

    assert (made.subject, key_of(GRANT)) == ("arn:k1", "k1")
    assert made.data == {
        "account": ACCOUNT,
        "grant_id": "9" * 64,
        "grantee": ALICE,
        "retiring": "",
        "issuer": ALICE,
        "operations": ["Decrypt", "Encrypt"],
        "constraint": "EncryptionContextSubset",
        "context_keys": ["tenant"],
        "source_constrained": True,
        "parent": "",
    }


PRINCIPAL = PrincipalRecord(
    ALICE, ACCOUNT, PrincipalKind.USER, "ab", PrincipalState.ENABLED, False, "a secret", 1,
    (("team", "a secret"),), (("reads", "a secret policy"),), "a secret trust", 3_600, 1,
)  # fmt: skip
KEY = AccessKeyRecord("AKIA1", ALICE, ACCOUNT, True, b"a secret", 1)
IDENTITY = IdentityRecord(IdentityKind.URI, "spiffe://x/alice", "", ALICE, ACCOUNT, 1)
TENANT = AccountRecord(ACCOUNT, "a secret", 1, (("rail", "a secret rail"),))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"state": PrincipalState.DISABLED}, ["principal.disabled"]),
        ({"tags": ()}, ["principal.tags_changed"]),
        ({"policies": ()}, ["principal.policies_changed"]),
        ({"trust_policy": "", "max_session_seconds": 900}, ["principal.trust_policy_changed"]),
        ({"session_epoch": 2}, ["principal.sessions_revoked"]),
        ({"trusted": True}, ["principal.trusted_changed"]),
        ({"state": PrincipalState.DISABLED, "tags": ()}, ["principal.disabled", "principal.tags_changed"]),
        ({"row_version": 2}, []),
    ],
)
def test_changes_of_a_principal(changes: dict[str, Any], expected: list[str]) -> None:
    assert kinds(PRINCIPAL, dataclasses.replace(PRINCIPAL, **changes)) == expected


def test_events_of_callers_are_about_the_principal_and_name_its_account() -> None:
    used = AddressesRecord("AKIA1", ALICE, ACCOUNT, (("192.0.2.1", "5"),))
    off = dataclasses.replace(KEY, active=False)
    drafts = [
        draft
        for before, after in [
            (None, PRINCIPAL), (None, IDENTITY), (IDENTITY, None), (None, KEY), (KEY, off), (off, KEY), (off, None),
            (None, used), (used, None), (PRINCIPAL, None),
        ]
        for draft in of(before, after)
    ]  # fmt: skip

    assert [draft.type.value.removeprefix("strongroom.") for draft in drafts] == [
        "principal.created", "identity.added", "identity.removed", "access_key.created", "access_key.disabled",
        "access_key.enabled", "access_key.deleted", "access_key.used_from_new_address", "principal.deleted",
    ]  # fmt: skip
    assert {(draft.subject, draft.data["account"]) for draft in drafts} == {(ALICE, ACCOUNT)}
    assert {draft.data["access_key"] for draft in drafts if "access_key" in draft.type} == {"AKIA1"}
    [born] = of(None, TENANT)
    assert (born.subject, born.data["account"]) == (f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT)


def test_each_new_address_is_an_event_and_the_first_of_all_says_so() -> None:
    first = AddressesRecord("AKIA1", ALICE, ACCOUNT, (("192.0.2.1", "5"), ("192.0.2.2", "5")))
    more = dataclasses.replace(first, addresses=(("192.0.2.2", "5"), ("192.0.2.3", "6")))

    told = [(draft.data["address"], draft.data["first"]) for draft in [*of(None, first), *of(first, more)]]

    assert told == [("192.0.2.1", True), ("192.0.2.2", False), ("192.0.2.3", False)]


def test_no_event_of_grants_and_callers_tells_a_secret_a_policy_or_a_value() -> None:
    changed = PrincipalRecord(
        ALICE, ACCOUNT, PrincipalKind.USER, "ab", PrincipalState.DISABLED, True, "another secret", 1,
        (("team", "another secret"),), (("reads", "another secret policy"),), "another secret", 900, 2,
    )  # fmt: skip
    railed = dataclasses.replace(TENANT, guard_rails=(("rail", "another secret"),), description="secret")
    drafts = [*of(PRINCIPAL, changed), *of(TENANT, railed)]
    for record in (GRANT, PRINCIPAL, KEY, IDENTITY, TENANT):
        drafts += [*of(None, record), *of(record, None, Action.RETIRE_GRANT)]

    assert len(drafts) == 7 + 2 + 10
    assert "secret" not in json.dumps([dict(draft.data) for draft in drafts])
