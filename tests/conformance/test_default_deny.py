"""Acceptance 7: who may call what, for every RPC that the descriptors know."""

import time
from collections.abc import Iterator
from dataclasses import replace

import grpc
import pytest
from google.rpc import error_details_pb2
from tests.conformance.approving import Second, make_second, with_approvals
from tests.conformance.certificates import Forge
from tests.conformance.kit import (
    FOR_ANYONE,
    KEYLESS,
    MUTATIONS,
    OF_TWO_HOUSES,
    ROWS,
    USES,
    Kit,
    make_kit,
    valid,
    with_import,
    with_requests,
)
from tests.conformance.wire import FOLLOWING, METHODS, PATIENCE, Outcome, Wire, request
from tests.harness import Daemon
from tests.theirs import plant_in

from strongroom import Client
from strongroom.v1 import crypto_pb2
from strongroomd.domain.limits import REFUSALS_BURST, REFUSALS_PER_SECOND

RPCS = sorted(set(METHODS) - OF_TWO_HOUSES)
WITH_KEY = sorted(set(RPCS) - KEYLESS)
AT_THE_END = (
    *("DisableKey", "ScheduleKeyDeletion", "CancelKeyDeletion", "EnableKey", "DeleteAlias"),
    "DeleteImportedKeyMaterial",
    *("DeleteGuardRail", "DeleteIdentityPolicy", "RemoveIdentity", "DeleteAccessKey", "DeletePrincipal"),
    *("RemoveExternalKey", "DeleteKeyStoreCredential", "DeleteKeyStore"),
    *("RevokeApprover", "RemoveWrappingKey"),
)


def reason(outcome: Outcome) -> str:
    """Why a call, its one batch item or its one streamed request was refused; OK if it was not."""
    match outcome.reply:
        case crypto_pb2.OperateResponse():
            return outcome.reply.error.reason or "OK"
        case crypto_pb2.BatchDecryptResponse():
            return outcome.reply.results[0].error.reason or "OK"
    return "OK" if outcome.ok else outcome.reason or outcome.code.name


def seen(outcome: Outcome) -> tuple[object, ...]:
    """Everything that a caller sees of an outcome but the call's id."""
    details = [d for d in outcome.details if not isinstance(d, error_details_pb2.RequestInfo)]
    return outcome.code, outcome.message, [d.SerializeToString() for d in details], str(outcome.reply)


@pytest.fixture(scope="module")
def second(daemon: Daemon, admin: Client) -> Second:
    return make_second(daemon, admin)


@pytest.fixture(scope="module")
def kit(admin: Client, second: Second) -> Iterator[Kit]:
    made = with_approvals(with_import(make_kit(admin), admin), admin, second)
    request = admin.request_quota("KEY", made.mac, 100_000).id
    yield replace(made, asked=request, mine=request)
    admin.cancel_quota_request(request)


@pytest.fixture(scope="module")
def disabled(admin: Client) -> Kit:
    kit = make_kit(admin)
    for key in kit.key_ids():
        admin.disable_key(key)
    return kit


@pytest.fixture(scope="module")
def pending(admin: Client) -> Kit:
    kit = make_kit(admin)
    for key in kit.key_ids():
        admin.schedule_key_deletion(key)
    return kit


def test_every_rpc_of_every_service_has_a_row_and_no_row_is_of_none() -> None:
    assert set(METHODS) ^ ROWS == set()
    assert {method.containing_service.name for method in METHODS.values()} == {
        *("KeyService", "MaterialService", "CryptoService", "GrantService", "PolicyService", "QuotaService"),
        *("AccessService", "KeyStoreService", "KekService", "ApprovalService", "ExportService"),
        *("AttestationService", "AuditService", "EventService", "ReplicaService"),
    }


def test_every_rpc_succeeds_for_the_administrator_so_that_refusals_mean_something(
    daemon: Daemon, wire: Wire, admin: Client, stranger: Wire, second: Second
) -> None:
    spare = with_import(with_requests(make_kit(admin), admin, stranger), admin)
    spare = with_approvals(spare, admin, second)
    spare = replace(spare, theirs=plant_in(daemon.folder))
    ordered = [n for n in RPCS if n not in MUTATIONS and n not in FOLLOWING]
    ordered += [n for n in RPCS if n in MUTATIONS and n not in AT_THE_END and n != "DeleteLimit"]
    ordered += [*AT_THE_END, "DeleteLimit"]

    refused = {n: reason(outcome) for n in ordered if not (outcome := wire.call(n, valid(n, spare))).ok}

    # No key is destroyed within a test of minutes.
    assert refused == {"GetDestructionCertificate": "NOT_FOUND"}
    assert len(ordered) == len(RPCS) - len(FOLLOWING)


@pytest.fixture(scope="module")
def outsiders(daemon: Daemon) -> dict[str, Wire]:
    forge = Forge(daemon)
    return {name: forge.wire(name) for name in ("no certificate", "untrusted authority", "expired")}


@pytest.mark.parametrize("who", ["no certificate", "untrusted authority", "expired"])
def test_no_rpc_is_reached_without_a_valid_certificate(
    outsiders: dict[str, Wire], kit: Kit, who: str
) -> None:
    reached = {
        n: o.code for n in METHODS if (o := outsiders[who].call(n, valid(n, kit), 5.0)).code is not _LOST
    }

    assert reached == {}


_LOST = grpc.StatusCode.UNAVAILABLE


def test_every_rpc_refuses_a_principal_that_nobody_configured(daemon: Daemon, kit: Kit) -> None:
    with Forge(daemon).wire("unknown principal") as nobody:
        nobody.patience = PATIENCE
        answers = {n: nobody.call(n, valid(n, kit)) for n in METHODS}

    assert {n: o.reason for n, o in answers.items() if o.reason != "UNAUTHENTICATED_PEER"} == {}
    assert {o.code for o in answers.values()} == {grpc.StatusCode.UNAUTHENTICATED}


@pytest.fixture
def stranger(stranger: Wire) -> Wire:
    """The principal without rights, once it may be refused its whole burst of times again."""
    time.sleep(REFUSALS_BURST / REFUSALS_PER_SECOND)
    return stranger


def test_every_rpc_refuses_a_principal_without_rights(stranger: Wire, kit: Kit) -> None:
    answers = {n: reason(stranger.call(n, valid(n, kit))) for n in RPCS}

    assert {n: "OK" if n in FOR_ANYONE else "ACCESS_DENIED" for n in RPCS} == answers


def test_unknown_and_forbidden_keys_get_the_same_answer(stranger: Wire, kit: Kit) -> None:
    unknown = kit.unknown()

    differ = [
        n
        for n in WITH_KEY
        if seen(stranger.call(n, valid(n, kit))) != seen(stranger.call(n, valid(n, unknown)))
    ]

    assert differ == []


def test_a_destination_that_names_nothing_does_not_tell_of_the_source(stranger: Wire, kit: Kit) -> None:
    def answer(of: Kit, destination: str) -> tuple[object, ...]:
        fields = {"ciphertext": of.ciphertext, "destination_key": destination}
        return seen(stranger.call("ReEncrypt", request("ReEncrypt", **fields)))

    for destination in ("not a key name", "alias/" + "x" * 300, "alias/nothing-has-this-name"):
        assert answer(kit, destination) == answer(kit.unknown(), destination)


def test_refusals_quote_nothing_and_say_nothing_of_the_ground(stranger: Wire, kit: Kit) -> None:
    for name in WITH_KEY:
        text = str(seen(stranger.call(name, valid(name, kit))))

        assert not any(key in text for key in kit.key_ids())
        assert kit.alias not in text
        assert "default deny" not in text


def test_no_use_of_a_disabled_key(wire: Wire, disabled: Kit) -> None:
    assert {n: reason(wire.call(n, valid(n, disabled))) for n in USES} == dict.fromkeys(USES, "KEY_DISABLED")


def test_no_use_of_a_key_that_is_pending_deletion(wire: Wire, pending: Kit) -> None:
    expected = dict.fromkeys(USES, "KEY_PENDING_DELETION")

    assert {n: reason(wire.call(n, valid(n, pending))) for n in USES} == expected


def test_a_principal_without_rights_learns_no_state(stranger: Wire, disabled: Kit, pending: Kit) -> None:
    for kit in (disabled, pending):
        answers = {n: reason(stranger.call(n, valid(n, kit))) for n in WITH_KEY}

        assert answers == dict.fromkeys(WITH_KEY, "ACCESS_DENIED")


_EDITS_REFUSED_WHILE_PENDING = (
    "CreateAlias", "UpdateAlias", "TagKey", "UntagKey", "UpdateKeyDescription", "EnableKey", "DisableKey",
    "RotateKey", "ScheduleKeyDeletion", "CreateGrant", "EnableKeyRotation", "DisableKeyRotation",
)  # fmt: skip


def test_no_edit_of_a_key_that_is_pending_deletion(wire: Wire, pending: Kit) -> None:
    answers = {n: reason(wire.call(n, valid(n, pending))) for n in _EDITS_REFUSED_WHILE_PENDING}

    assert answers == dict.fromkeys(_EDITS_REFUSED_WHILE_PENDING, "KEY_PENDING_DELETION")


def test_a_disabled_key_is_not_rotated_and_has_no_deletion_to_cancel(wire: Wire, disabled: Kit) -> None:
    assert reason(wire.call("RotateKey", valid("RotateKey", disabled))) == "KEY_DISABLED"
    assert reason(wire.call("CancelKeyDeletion", valid("CancelKeyDeletion", disabled))) == "INVALID_KEY_STATE"


@pytest.mark.parametrize(
    "name",
    [
        *("DescribeKey", "GetKeyPolicy", "ListTags", "ListKeyVersions", "GetKeyUsage"),
        *("GetKeyRotationStatus", "ListKeyRotations", "GetKeyAttestation"),
    ],
)
def test_keys_that_cannot_be_used_can_be_looked_at(
    wire: Wire, disabled: Kit, pending: Kit, name: str
) -> None:
    assert wire.call(name, valid(name, disabled)).ok
    assert wire.call(name, valid(name, pending)).ok
