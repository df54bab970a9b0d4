"""The command line: every RPC has its verb, and every mistake a clean end."""

import base64
import functools
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import typer.main
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.protobuf.timestamp_pb2 import Timestamp
from tests.policy_cases import decision_alone
from tests.unit.client.fake_daemon import ARN, FILES, FakeDaemon, refusal

from strongroom import errors
from strongroom.cli import main as cli
from strongroom.cli import policies
from strongroom.cli.verbs import VERBS
from strongroom.reasons import EXPLANATIONS
from strongroom.v1 import access_pb2, approvals_pb2, key_stores_pb2, keys_pb2, policies_pb2, types_pb2
from strongroomd.domain.actions import KEYLESS, MUTATIONS, ON_KEYS_OF_OURS, REPLICA_CHANGES, Action
from strongroomd.domain.errors import Fault, Reason, fault_of
from strongroomd.domain.policy import parse

Run = Callable[..., tuple[int, bytes, str]]
COMMAND = functools.cache(typer.main.get_command)
"""The tree of verbs is built once for all tests, not for each command: that takes longer than most commands do."""
LINES = {
    "BatchEncrypt",
    "BatchDecrypt",
    "BatchSign",
    "ListAuditRecords",
    "TailAuditRecords",
    "WatchEvents",
}
"""RPCs whose verb prints a line of JSON for each answer."""
ADMIN = "arn:aws:iam::111122223333:user/admin"
STORE = "xks-0123456789abcdef"
PUBLIC = (
    ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
)
USER = "arn:aws:iam::111122223333:service/pay"


@pytest.fixture
def run(
    daemon: FakeDaemon,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
    tmp_path: Path,
) -> Run:
    """Run one command in this process; answers exit code, standard output and standard error."""
    settings = daemon.settings
    monkeypatch.setenv("STRONGROOM_ENDPOINT", settings.endpoint)
    monkeypatch.setenv("STRONGROOM_CA", str(settings.ca))
    monkeypatch.setenv("STRONGROOM_CERT", str(settings.cert))
    monkeypatch.setenv("STRONGROOM_KEY", str(settings.key))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("STRONGROOM_PROFILE", raising=False)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(typer.main, "get_command", COMMAND)

    def invoke(*arguments: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), out, err.decode()

    return invoke


def leaves(command: Any, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every verb of a command tree that does something."""
    children = getattr(command, "commands", None)
    if children is None:
        return {" ".join(path): command}
    return {
        name: leaf for key, child in children.items() for name, leaf in leaves(child, (*path, key)).items()
    }


def test_every_unary_rpc_has_a_verb() -> None:
    rpcs = {
        f"{service.name}.{method.name}"
        for file in FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if not method.client_streaming
    }

    assert set(VERBS) == rpcs


OF_APPROVALS = {
    *("approvals ask policy-change", "approvals ask wrapping-key", "approvals ask quorum"),
    *("approvals ask material-deletion", "approvals ask material-expiry"),
    *("approvals ask peer", "approvals ask lost-primary", "replica sync"),
    *("approvals approve", "approvals request-file", "approvals sign", "approvals approver proof-file"),
}
"""Verbs that share an RPC with another, call two, or none."""


def test_every_verb_of_the_table_is_in_the_tree_and_the_rest_needs_no_rpc() -> None:
    tree = leaves(typer.main.get_command(cli.app))

    assert len(set(VERBS.values())) == len(VERBS)
    assert set(tree) - set(VERBS.values()) == {
        "file encrypt",
        "file decrypt",
        "explain",
        "completion",
        "xks selftest",
        "attest verify",
        "renew files",
        "renew lines",
        *OF_APPROVALS,
    }
    assert set(VERBS.values()) <= set(tree)
    assert all(command.help for command in tree.values())


@pytest.mark.parametrize(
    ("rpc", "arguments"),
    [
        ("CreateKey", ["key", "create", "--spec", "RSA_2048", "--usage", "SIGN_VERIFY", "--tag", "a=b"]),
        ("AdoptKey", ["key", "adopt", "--cka-id", "c0de", "--token", "second"]),
        ("DescribeKey", ["key", "describe", "alias/k"]),
        ("ListKeys", ["key", "list", "--state", "ENABLED"]),
        ("UpdateKeyDescription", ["key", "set-description", "alias/k", "text"]),
        ("EnableKey", ["key", "enable", "alias/k"]),
        ("DisableKey", ["key", "disable", "alias/k"]),
        ("ScheduleKeyDeletion", ["key", "schedule-deletion", "alias/k", "--days", "7"]),
        ("CancelKeyDeletion", ["key", "cancel-deletion", "alias/k"]),
        ("RotateKey", ["key", "rotate", "alias/k", "--etag", "e"]),
        ("ListKeyVersions", ["key", "versions", "alias/k"]),
        ("EnableKeyRotation", ["key", "rotation", "enable", "alias/k", "--days", "90"]),
        ("DisableKeyRotation", ["key", "rotation", "disable", "alias/k"]),
        ("GetKeyRotationStatus", ["key", "rotation", "status", "alias/k"]),
        ("ListKeyRotations", ["key", "rotation", "history", "alias/k"]),
        ("GetKeyAttestation", ["attest", "key", "alias/k", "--nonce", "n"]),
        ("ListStatementKeys", ["attest", "keys"]),
        ("GetDestructionCertificate", ["attest", "destruction", ARN]),
        ("GetPublicKey", ["key", "public-key", "alias/k"]),
        (
            "GetParametersForImport",
            ["material", "parameters", "alias/k", "--wrapping-key", "OUT.der", "--import-token", "OUT.bin"],
        ),
        (
            "ImportKeyMaterial",
            ["material", "import", "alias/k", "--in", "FILE", "--import-token", "FILE", "--does-not-expire"],
        ),
        (
            "DeleteImportedKeyMaterial",
            ["material", "delete", "alias/k", "--key-version", "2", "--approval", "id"],
        ),
        ("GetKeyPolicy", ["key", "policy", "get", "alias/k"]),
        ("PutKeyPolicy", ["key", "policy", "put", "alias/k", "--in", "-"]),
        ("GetKeyUsage", ["key", "usage", "alias/k"]),
        ("CreateAlias", ["alias", "create", "pay", ARN]),
        ("UpdateAlias", ["alias", "update", "alias/pay", ARN]),
        ("DeleteAlias", ["alias", "delete", "alias/pay"]),
        ("ListAliases", ["alias", "list"]),
        ("TagKey", ["tag", "set", "alias/k", "a=b", "c=d"]),
        ("UntagKey", ["tag", "remove", "alias/k", "a", "c"]),
        ("ListTags", ["tag", "list", "alias/k"]),
        ("Encrypt", ["encrypt", "alias/k", "--context", "tenant=blue"]),
        ("Decrypt", ["decrypt", "--key", "alias/k"]),
        ("ReEncrypt", ["re-encrypt", "alias/k"]),
        ("GenerateDataKey", ["datakey", "generate", "alias/k"]),
        ("GenerateDataKeyWithoutPlaintext", ["datakey", "generate-sealed", "alias/k", "--bytes", "16"]),
        ("GenerateDataKeyPair", ["datakey", "generate-pair", "alias/k", "--spec", "RSA_2048"]),
        (
            "GenerateDataKeyPairWithoutPlaintext",
            ["datakey", "generate-sealed-pair", "alias/k", "--spec", "RSA_2048"],
        ),
        ("Sign", ["sign", "alias/k", "--algorithm", "ECDSA_SHA_256"]),
        ("Verify", ["verify", "alias/k", "--signature", "FILE"]),
        ("GenerateMac", ["mac", "generate", "alias/k"]),
        ("VerifyMac", ["mac", "verify", "alias/k", "--mac", "FILE"]),
        ("DeriveSharedSecret", ["derive", "alias/k", "--public-key", "FILE"]),
        ("GenerateRandom", ["random", "32"]),
        ("BatchEncrypt", ["batch", "encrypt", "alias/k", "--in", "LINES"]),
        ("BatchDecrypt", ["batch", "decrypt", "--in", "LINES"]),
        ("BatchSign", ["batch", "sign", "alias/k", "--in", "LINES"]),
        ("CreateGrant", ["grant", "create", "alias/k", "--grantee", USER, "--operation", "Decrypt"]),
        ("ListGrants", ["grant", "list", "alias/k"]),
        ("ListRetirableGrants", ["grant", "list-retirable", USER]),
        ("RetireGrant", ["grant", "retire", "--token", "t"]),
        ("RevokeGrant", ["grant", "revoke", "alias/k", "id"]),
        ("CheckPolicy", ["policy", "check"]),
        ("SimulatePolicy", ["policy", "simulate", "kms:Encrypt", "--principal", USER, "--key", "alias/k"]),
        ("GetLimit", ["quota", "get", "CLASS", "RSA"]),
        ("PutLimit", ["quota", "put", "CLASS", "RSA", "500", "--burst", "900"]),
        ("DeleteLimit", ["quota", "delete", "PRINCIPAL", USER]),
        ("ListLimits", ["quota", "list"]),
        ("GetQuotaUsage", ["quota", "usage", "KEY", ARN]),
        ("RequestQuota", ["quota", "request", "KEY", "alias/k", "500", "--burst", "900", "--why", "payday"]),
        ("GetQuotaRequest", ["quota", "show", "0" * 32]),
        ("ListQuotaRequests", ["quota", "requests", "--state", "pending", "--own"]),
        ("AnswerQuotaRequest", ["quota", "answer", "0" * 32, "approve", "--per-second", "9", "--note", "n"]),
        ("CancelQuotaRequest", ["quota", "cancel", "0" * 32]),
        ("ListAuditRecords", ["audit", "query", "--since", "2027-01-31", "--outcome", "OK"]),
        ("TailAuditRecords", ["audit", "tail"]),
        ("GetAuditCheckpoint", ["audit", "checkpoint"]),
        ("GetCallerIdentity", ["whoami"]),
        ("CreateAccount", ["account", "create", "444455556666", "--description", "blue"]),
        ("DescribeAccount", ["account", "describe", "444455556666"]),
        ("ListAccounts", ["account", "list"]),
        ("PutGuardRail", ["account", "guard-rail", "put", "444455556666", "rail"]),
        ("GetGuardRail", ["account", "guard-rail", "get", "444455556666", "rail"]),
        ("ListGuardRails", ["account", "guard-rail", "list", "444455556666"]),
        ("DeleteGuardRail", ["account", "guard-rail", "delete", "444455556666", "rail"]),
        ("CreatePrincipal", ["principal", "create", USER, "--tag", "a=b", "--trusted"]),
        ("DescribePrincipal", ["principal", "describe", USER]),
        ("ListPrincipals", ["principal", "list", "--kind", "user"]),
        ("DeletePrincipal", ["principal", "delete", USER]),
        ("EnablePrincipal", ["principal", "enable", USER]),
        ("DisablePrincipal", ["principal", "disable", USER, "--etag", "2"]),
        ("TagPrincipal", ["principal", "tag", USER, "a=b"]),
        ("UntagPrincipal", ["principal", "untag", USER, "a"]),
        ("PutIdentityPolicy", ["principal", "policy", "put", USER, "use"]),
        ("GetIdentityPolicy", ["principal", "policy", "get", USER, "use"]),
        ("ListIdentityPolicies", ["principal", "policy", "list", USER]),
        ("DeleteIdentityPolicy", ["principal", "policy", "delete", USER, "use"]),
        ("AddIdentity", ["identity", "add", USER, "--uri", "spiffe://example.org/pay"]),
        ("RemoveIdentity", ["identity", "remove", USER, "--dns", "pay.example.org"]),
        ("ListIdentities", ["identity", "list", USER]),
        ("CreateAccessKey", ["access-key", "create", USER]),
        ("ListAccessKeys", ["access-key", "list", USER]),
        ("ActivateAccessKey", ["access-key", "activate", USER, "AKIA"]),
        ("DeactivateAccessKey", ["access-key", "deactivate", USER, "AKIA"]),
        ("DeleteAccessKey", ["access-key", "delete", USER, "AKIA"]),
        ("PutTrustPolicy", ["role", "trust", USER, "--max-session", "900"]),
        ("RevokeRoleSessions", ["role", "revoke-sessions", USER]),
        ("AssumeRole", ["role", "assume", USER, "session"]),
        (
            "CreateKeyStore",
            ["xks", "store", "create", "--prefix", "/blue", "--policy", "-", "--limit", "1800/3600"],
        ),
        ("DescribeKeyStore", ["xks", "store", "describe", STORE]),
        ("ListKeyStores", ["xks", "store", "list"]),
        ("UpdateKeyStore", ["xks", "store", "update", STORE, "--key-limit", "0", "--etag", "2"]),
        ("ListHouseKeys", ["kek", "list"]),
        ("RotateHouseKey", ["kek", "rotate", "kek-sealed", "--token", "second"]),
        ("StartRewrap", ["kek", "rewrap", "start", "--per-second", "100"]),
        ("GetRewrap", ["kek", "rewrap", "status"]),
        ("CancelRewrap", ["kek", "rewrap", "cancel"]),
        ("BlockKeyStore", ["xks", "store", "block", STORE]),
        ("UnblockKeyStore", ["xks", "store", "unblock", STORE]),
        ("DeleteKeyStore", ["xks", "store", "delete", STORE]),
        ("CreateKeyStoreCredential", ["xks", "credential", "create", STORE]),
        ("ListKeyStoreCredentials", ["xks", "credential", "list", STORE]),
        ("DeleteKeyStoreCredential", ["xks", "credential", "delete", STORE, "A" * 24]),
        (
            "AddExternalKey",
            ["xks", "key", "add", STORE, "blue", "alias/k", "--pin", "first_use", "--no-decrypt"],
        ),
        ("DescribeExternalKey", ["xks", "key", "describe", STORE, "blue"]),
        ("ListExternalKeys", ["xks", "key", "list", STORE]),
        ("UpdateExternalKey", ["xks", "key", "update", STORE, "blue", "--no-encrypt", "--compatible"]),
        ("BlockExternalKey", ["xks", "key", "block", STORE, "blue"]),
        ("UnblockExternalKey", ["xks", "key", "unblock", STORE, "blue"]),
        ("RemoveExternalKey", ["xks", "key", "remove", STORE, "blue"]),
        (
            "EnrolApprover",
            ["approvals", "approver", "enrol", USER, "--public-key", "PUBLIC", "--proof", "FILE"],
        ),
        ("RevokeApprover", ["approvals", "approver", "revoke", "id"]),
        ("ListApprovers", ["approvals", "approver", "list"]),
        ("GetQuorum", ["approvals", "quorum", "get"]),
        ("PutQuorum", ["approvals", "quorum", "put", "3", "--approval", "id"]),
        ("AskApproval", ["approvals", "ask", "key-deletion", "alias/k", "--why", "x"]),
        ("DescribeApproval", ["approvals", "show", "id"]),
        ("ListApprovals", ["approvals", "list", "--state", "waiting", "--own"]),
        ("ApproveRequest", ["approvals", "submit", "id", "FILE"]),
        ("RejectRequest", ["approvals", "reject", "id", "--note", "no"]),
        ("CancelRequest", ["approvals", "cancel", "id"]),
        ("RequestExport", ["export", "request", "alias/k", "--public-key", "PUBLIC", "--why", "x"]),
        ("ExecuteExport", ["export", "execute", "id", "--out", "OUT", "--receipt", "RECEIPT"]),
        (
            "RegisterWrappingKey",
            ["export", "register-wrapping-key", "n", "--public-key", "PUBLIC", "--approval", "id"],
        ),
        ("ListWrappingKeys", ["export", "wrapping-keys"]),
        ("GetPeerStatement", ["peer", "statement", "--out", "OUT"]),
        ("ListPeers", ["peer", "list"]),
        ("RemovePeer", ["peer", "remove", "local-2"]),
        ("ReplicateKey", ["replica", "create", "alias/k", "local-2", "--out", "OUT"]),
        ("GetReplicaBundle", ["replica", "export", "alias/k", "local-2", "--after", "3", "--out", "OUT"]),
        ("RemoveReplica", ["replica", "remove", "alias/k", "local-2"]),
        ("MoveLostPrimary", ["replica", "move-lost-primary", "alias/k", "local-2", "--approval", "id"]),
        ("RemoveWrappingKey", ["export", "remove-wrapping-key", "wk-0123456789abcdef"]),
        ("WatchEvents", ["events", "watch", "--type", "strongroom.key.*"]),
        ("ListSinks", ["events", "sinks"]),
        ("ListDeadLetters", ["events", "dead-letters", "--sink", "s"]),
        ("RedriveDeadLetter", ["events", "redrive"]),
        ("GetComplianceReport", ["compliance", "report"]),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_every_verb_calls_its_rpc(
    run: Run, daemon: FakeDaemon, tmp_path: Path, rpc: str, arguments: list[str], as_json: bool
) -> None:
    (tmp_path / "FILE").write_bytes(b"x")
    (tmp_path / "LINES").write_text('{"data": "eA=="}\n\n{"data": "eQ==", "context": {"a": "b"}}\n')
    (tmp_path / "PUBLIC").write_bytes(PUBLIC)
    files = {"FILE", "LINES", "OUT.der", "OUT.bin", "PUBLIC", "OUT", "RECEIPT"}
    given = [str(tmp_path / word) if word in files else word for word in arguments]

    daemon.answers["SimulatePolicy"] = lambda _: policies_pb2.SimulatePolicyResponse(allowed=True)
    code, out, err = run(*given, *(["--json"] if as_json else []), stdin=b"input")

    assert (code, daemon.methods) == (0, [rpc]), err
    assert VERBS[next(name for name in VERBS if name.endswith("." + rpc))] == " ".join(
        word for word in arguments[: len(VERBS[next(n for n in VERBS if n.endswith("." + rpc))].split())]
    )
    if as_json and out and rpc not in LINES:
        json.loads(out)


MATERIAL: dict[str, tuple[list[str], dict[str, Any]]] = {
    "material-deletion": (
        ["--key-version", "2"],
        {"material_deletion": approvals_pb2.MaterialDeletion(key="alias/k", key_version=2)},
    ),
    "material-expiry": (
        ["--valid-to", "2027-01-31"],
        {
            "material_expiry": approvals_pb2.MaterialExpiry(
                key="alias/k", valid_to=Timestamp(seconds=1_801_353_600)
            )
        },
    ),
}


@pytest.mark.parametrize("verb", list(MATERIAL))
def test_approval_of_what_ends_material_is_asked_for(run: Run, daemon: FakeDaemon, verb: str) -> None:
    options, subject = MATERIAL[verb]
    asked: list[Any] = []

    def answer(request: Any) -> approvals_pb2.AskApprovalResponse:
        asked.append(request)
        return approvals_pb2.AskApprovalResponse()

    daemon.answers["AskApproval"] = answer
    code, _, err = run("approvals", "ask", verb, "alias/k", "--why", "x", "--for", "60", *options)

    assert code == 0, err
    (request,) = asked
    wanted = approvals_pb2.AskApprovalRequest(
        purpose="x", lifetime_seconds=60, request_id=request.request_id, **subject
    )
    assert request == wanted


def test_encrypted_text_comes_back_through_pipes(run: Run) -> None:
    code, sealed, _ = run("encrypt", "alias/k", "--base64", stdin=b"hello")
    assert code == 0
    assert base64.b64decode(sealed) == b"SR:hello"

    assert run("decrypt", "--base64", stdin=sealed) == (0, b"hello", "")
    assert run("decrypt", stdin=b"SR:hello")[1] == b"hello"


def test_files_in_and_out_are_private(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"hello")

    run("encrypt", "alias/k", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"))

    assert (tmp_path / "out").read_bytes() == b"SR:hello"
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600


def test_a_data_key_is_not_shown_unless_asked_for(run: Run, tmp_path: Path) -> None:
    shown = run("datakey", "generate", "alias/k", "--plaintext-out", str(tmp_path / "key"))
    as_json = run("--json", "datakey", "generate", "alias/k")

    assert re.search(rb"plaintext +\(hidden", shown[1])
    assert (tmp_path / "key").read_bytes() == b"\x07" * 32
    assert json.loads(as_json[1])["plaintext"] == base64.b64encode(b"\x07" * 32).decode()


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("ACCESS_DENIED", 3),
        ("UNAUTHENTICATED_PEER", 3),
        ("INVALID_FIELD", 4),
        ("KEY_DISABLED", 4),
        ("NOT_FOUND", 4),
        ("ETAG_MISMATCH", 4),
        ("QUOTA_EXCEEDED", 5),
        ("HSM_UNAVAILABLE", 6),
        ("DEADLINE_EXCEEDED", 6),
        ("INVALID_CIPHERTEXT", 7),
        ("INVALID_SIGNATURE", 7),
        ("INTEGRITY_FAILURE", 7),
        ("INTERNAL", 1),
        ("DRY_RUN_SUCCEEDED", 0),
    ],
)
def test_errors_name_reason_field_wait_and_where_to_read_on(
    run: Run, daemon: FakeDaemon, reason: str, code: int
) -> None:
    daemon.faults.extend([refusal(reason, field="plaintext", retry_after=60.0)] * 10)

    ended, out, err = run("encrypt", "alias/k", stdin=b"x")

    assert (ended, out) == (code, b"")
    if reason != "DRY_RUN_SUCCEEDED":
        assert f"error: {reason}: " in err
        assert "field: plaintext" in err
        assert "try again in 60 s" in err
        assert "request id: req-1" in err
        assert f"strongroom explain {reason}" in err


def test_errors_can_be_read_by_programs(run: Run, daemon: FakeDaemon) -> None:
    daemon.faults.append(refusal("KEY_DISABLED"))

    code, out, err = run("encrypt", "alias/k", "--json", stdin=b"x")

    assert (code, out) == (4, b"")
    assert json.loads(err)["error"]["reason"] == "KEY_DISABLED"


@pytest.mark.parametrize(
    ("arguments", "stdin", "code"),
    [
        (["encrypt", "alias/\udcff"], b"x", 4),
        (["encrypt", "alias/k", "--context", "\udcff=x"], b"x", 4),
        (["encrypt", "alias/k", "--context", "no-equals"], b"x", 4),
        (["encrypt", "alias/k", "--context", "a=1", "--context", "a=2"], b"x", 4),
        (["encrypt", "alias/k", "--in", "/nowhere/\udcff"], b"", 4),
        (["encrypt", "alias/k", "--in", "a\0b"], b"", 4),
        (["encrypt", "alias/k", "--out", "/nowhere/x"], b"x", 4),
        (["encrypt", "alias/k"], b"x" * ((1 << 20) + 1), 4),
        (["decrypt", "--base64"], b"!!!", 4),
        (["decrypt", "--base64"], b"\xff\xfe", 4),
        (["key", "policy", "put", "alias/k"], b"\xff", 4),
        (["key", "create", "--user", "nobody"], b"", 4),
        (["key", "create", "--user", "\udcff"], b"", 4),
        (["key", "create", "--policy", "-", "--user", "user/a"], b"{}", 4),
        (["key", "create", "--description", "\udcff"], b"", 4),
        (["audit", "query", "--since", "yesterday"], b"", 4),
        (["audit", "query", "--since", "\udcff"], b"", 4),
        (["audit", "query", "--since", "0001-01-01T00:00:00+14:00"], b"", 4),
        (["batch", "encrypt", "alias/k"], b"not json", 4),
        (["batch", "encrypt", "alias/k"], b"[" * 100_000, 4),
        (["batch", "encrypt", "alias/k"], b'{"data": 5}', 4),
        (["batch", "encrypt", "alias/k"], b'{"data": "eA==", "context": {"a": 5}}', 4),
        (["batch", "encrypt", "alias/k"], b'{"data": "eA==", "more": 1}', 4),
        (["batch", "encrypt", "alias/k"], b'{"data": "\\ud800"}', 4),
        (["explain", "\udcff"], b"", 4),
        (["random", "0"], b"", 2),
        (["random", "\udcff"], b"", 2),
        (["key", "create", "--spec", "DES"], b"", 2),
        (["key", "create", "--spec", "\udcff"], b"", 2),
        (["nonsense"], b"", 2),
        (["\udcff"], b"", 2),
        (["encrypt"], b"", 2),
        (["--profile"], b"", 2),
        (["whoami", "--profile", "--json"], b"", 2),
        (["key", "list", "--profile", "nobody"], b"", 8),
        (["key", "list", "--profile", "\udcff"], b"", 8),
        (["--endpoint", "nonsense", "whoami"], b"", 8),
        (["--endpoint", "a\udcff:1", "whoami"], b"", 8),
        (["--timeout", "never", "whoami"], b"", 8),
        (["--timeout", "nan", "whoami"], b"", 8),
        (["--ca", "/nowhere", "whoami"], b"", 8),
        (["--ca", "a\0b", "whoami"], b"", 8),
        (["--server-name", "\udcff", "whoami"], b"", 8),
        (["file", "decrypt", "-", "-"], b"nothing", 7),
        (["file", "encrypt", "alias/k", "/nowhere", "-"], b"", 4),
    ],
)
def test_mistakes_end_cleanly_and_quote_nothing(
    run: Run, arguments: list[str], stdin: bytes, code: int
) -> None:
    ended, _, err = run(*arguments, stdin=stdin)

    assert ended == code, err
    assert "Traceback" not in err
    assert err.strip()


def test_a_daemon_that_is_down_is_reported_soon(run: Run, daemon: FakeDaemon) -> None:
    daemon.stop()

    code, _, err = run("whoami")

    assert code == 6
    assert "CONNECTION_FAILED" in err


def test_an_alias_is_made_with_the_key(run: Run, daemon: FakeDaemon) -> None:
    daemon.faults.append(refusal("ACCESS_DENIED"))

    code, _, err = run("key", "create", "--alias", "payroll")

    assert (code, daemon.methods) == (0, ["DescribeKey", "ListAliases", "CreateKey", "CreateAlias"])
    sent: Any = daemon.calls[3][1]
    assert (sent.alias, sent.key) == ("alias/payroll", ARN)
    assert "alias/payroll" in err


def test_no_key_is_made_for_an_alias_that_is_taken(run: Run, daemon: FakeDaemon) -> None:
    code, _, err = run("key", "create", "--alias", "payroll")

    assert (code, daemon.methods) == (4, ["DescribeKey"])
    assert "ALREADY_EXISTS" in err
    assert ARN in err


def test_no_key_is_made_for_an_alias_that_points_where_the_caller_may_not_look(
    run: Run, daemon: FakeDaemon
) -> None:
    daemon.faults.append(refusal("ACCESS_DENIED"))
    daemon.answers["ListAliases"] = lambda _: keys_pb2.ListAliasesResponse(
        aliases=[types_pb2.Alias(name="alias/payroll")]
    )

    code, _, err = run("key", "create", "--alias", "payroll")

    assert (code, daemon.methods) == (4, ["DescribeKey", "ListAliases"])
    assert "ALREADY_EXISTS" in err


@pytest.mark.parametrize("alias", ["", "pay roll", "alias/", "é", "aws/x", "alias/aws/x", "x" * 251, "arn:a"])
def test_no_key_is_made_for_an_alias_that_cannot_be(run: Run, daemon: FakeDaemon, alias: str) -> None:
    code, _, err = run("key", "create", "--alias", alias)

    assert (code, daemon.methods) == (4, [])
    assert "field: alias" in err


def test_a_key_whose_alias_is_taken_meanwhile_is_not_lost(run: Run, daemon: FakeDaemon) -> None:
    daemon.faults.extend([refusal("ACCESS_DENIED"), None, None, refusal("ALREADY_EXISTS")])

    code, _, err = run("key", "create", "--alias", "payroll")

    assert code == 4
    assert ARN in err


def test_a_repeated_key_create_repeats_its_alias_as_well(run: Run, daemon: FakeDaemon) -> None:
    for _ in range(2):
        assert run("key", "create", "--alias", "payroll", "--request-id", "mine")[0] == 0

    assert daemon.methods == ["CreateKey", "CreateAlias"] * 2
    ids = [request.request_id for _, request in daemon.calls]  # type: ignore[attr-defined]
    assert ids[:2] == ids[2:]
    assert ids[0] == "mine" != ids[1]


@pytest.mark.parametrize(
    ("arguments", "content", "left_out"),
    [
        (["decrypt"], b"hello", "plaintext"),
        (["random", "32"], None, "data"),
        (["derive", "alias/k", "--public-key", "FILE"], None, "secret"),
        (["re-encrypt", "alias/k"], None, "ciphertext"),
        (["encrypt", "alias/k"], b"SR:SR:hello", "ciphertext"),
        (["sign", "alias/k"], None, "signature"),
        (["mac", "generate", "alias/k"], None, "mac"),
        (["key", "public-key", "alias/k"], None, "public_key_pem"),
        (["key", "policy", "get", "alias/k"], None, "policy"),
    ],
)
def test_with_json_the_bytes_go_to_the_file_alone(
    run: Run, tmp_path: Path, arguments: list[str], content: bytes | None, left_out: str
) -> None:
    (tmp_path / "FILE").write_bytes(b"x")
    given = [str(tmp_path / word) if word == "FILE" else word for word in arguments]
    out = tmp_path / "out"

    whole = run(*given, "--json", stdin=b"SR:hello")
    code, shown, err = run(*given, "--json", "--out", str(out), stdin=b"SR:hello")

    assert code == 0, err
    assert left_out in json.loads(whole[1])
    assert left_out not in json.loads(shown)
    assert out.stat().st_mode & 0o777 == 0o600
    assert content is None or out.read_bytes() == content


def test_with_json_a_data_key_that_went_to_a_file_is_not_shown(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "key"

    _, shown, _ = run("--json", "datakey", "generate", "alias/k", "--plaintext-out", str(out))

    assert out.read_bytes() == b"\x07" * 32
    assert set(json.loads(shown)) >= {"ciphertext", "key_arn"}
    assert "plaintext" not in json.loads(shown)


def test_a_secret_never_takes_over_the_mode_of_an_older_file(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_bytes(b"old")
    out.chmod(0o644)
    with out.open("rb") as reader:  # who has the old file open does not see the new one
        assert run("decrypt", "--out", str(out), stdin=b"SR:hello")[0] == 0
        assert reader.read() == b"old"

    assert out.read_bytes() == b"hello"
    assert out.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("verb", [["random", "16", "--out"], ["file", "encrypt", "alias/k", "--force", "-"]])
def test_a_link_that_leads_to_itself_is_a_clean_error(run: Run, tmp_path: Path, verb: list[str]) -> None:
    (tmp_path / "loop").symlink_to("loop")

    code, _, err = run(*verb, str(tmp_path / "loop"))

    assert code == 4
    assert "FILE_PROBLEM" in err


@pytest.mark.parametrize(
    "arguments",
    [["mac", "verify", "alias/k", "--mac", "-"], ["verify", "alias/k", "--signature", "-", "--in", "-"]],
)
def test_two_inputs_are_not_both_read_from_standard_input(
    run: Run, daemon: FakeDaemon, arguments: list[str]
) -> None:
    code, _, err = run(*arguments, stdin=b"x")

    assert (code, daemon.calls) == (4, [])
    assert "both" in err


def test_a_batch_may_be_larger_than_one_call(run: Run) -> None:
    line = json.dumps({"data": base64.b64encode(b"x" * 3_000).decode()}).encode()

    code, out, err = run("batch", "encrypt", "alias/k", stdin=b"\n".join([line] * 400))

    assert code == 0, err
    assert len(out.splitlines()) == 400


@pytest.mark.parametrize(
    ("shell", "says"),
    [
        ("random 16 >/dev/full", "No space left"),
        ("--json random 16 >/dev/full", "No space left"),
        ("explain >/dev/full", "No space left"),
        ("whoami >/dev/full", "No space left"),
        ("random 16 >&-", "standard output is closed"),
        ("whoami >&-", "standard output is closed"),
        ("encrypt alias/k <&-", "standard input is closed"),
        ("file encrypt alias/k - - <&-", "standard input is closed"),
    ],
)
def test_streams_that_do_not_work_are_clean_errors(daemon: FakeDaemon, shell: str, says: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"exec {sys.executable} -P -m strongroom.cli {shell}"],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        env=_environment(daemon),
    )

    assert (done.returncode, done.stdout) == (4, "")
    assert "FILE_PROBLEM" in done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_nonblocking_standard_input_is_waited_for_to_its_end(daemon: FakeDaemon) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "strongroom.cli", "encrypt", "alias/k"],
        stdin=reading,
        stdout=subprocess.PIPE,
        env=_environment(daemon),
    ) as process:
        os.close(reading)
        for part in (b"one ", b"two"):
            time.sleep(0.7)
            os.write(writing, part)
        os.close(writing)
        out, _ = process.communicate(timeout=30)

    assert out == b"SR:one two"


def _environment(daemon: FakeDaemon) -> dict[str, str]:
    settings = daemon.settings
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STRONGROOM_")}
    return clean | {
        "STRONGROOM_ENDPOINT": settings.endpoint,
        "STRONGROOM_CA": str(settings.ca),
        "STRONGROOM_CERT": str(settings.cert),
        "STRONGROOM_KEY": str(settings.key),
    }


@pytest.mark.parametrize(
    "arguments", [["alias", "create", "alias/b", "alias/a"], ["quota", "put", "KEY", "alias/a", "5"]]
)
def test_an_alias_names_the_key_everywhere(run: Run, daemon: FakeDaemon, arguments: list[str]) -> None:
    run(*arguments)

    assert daemon.methods[0] == "DescribeKey"
    sent: Any = daemon.calls[1][1]
    assert ARN in {getattr(sent, "key", ""), getattr(sent, "subject", "")}


def test_who_manages_cannot_use_and_who_uses_cannot_manage() -> None:
    policy = parse(policies.compose([ADMIN], [USER]))

    def allowed(principal: str) -> set[Action]:
        return {action for action in Action if decision_alone(policy, principal, action).allowed}

    manages, uses = allowed(ADMIN), allowed(USER)
    using = {
        Action.ENCRYPT,
        Action.DECRYPT,
        Action.SIGN,
        Action.GENERATE_MAC,
        Action.GENERATE_DATA_KEY,
        Action.RE_ENCRYPT_TO,
    }
    assert manages.isdisjoint(using)
    assert using <= uses
    assert uses.isdisjoint(MUTATIONS)
    # RetireGrant no policy allows; exports and approvals are for people whom a policy names for them.
    assert set(MUTATIONS) - manages <= KEYLESS | ON_KEYS_OF_OURS | REPLICA_CHANGES | {Action.RETIRE_GRANT}
    assert Action.PUT_KEY_POLICY in manages


def adopted(**more: Any) -> keys_pb2.DescribeKeyResponse:
    found = types_pb2.AdoptedObject(
        label="theirs", key_spec="AES_256", uses=["ENCRYPT"], extractable=True, **more
    )
    return keys_pb2.DescribeKeyResponse(metadata=types_pb2.KeyMetadata(arn=ARN, adopted_object=found))


def test_an_adopted_key_is_shown_with_its_object_and_warned_of(run: Run, daemon: FakeDaemon) -> None:
    daemon.answers["DescribeKey"] = lambda _: adopted(warnings=["somebody may take it"])

    code, out, err = run("key", "describe", "alias/k")
    as_json = json.loads(run("--json", "key", "describe", "alias/k")[1])

    assert code == 0
    rows = {line.split()[0]: line.split()[-1] for line in out.decode().splitlines() if line.strip()}
    assert (rows["label"], rows["spec"], rows["extractable"], rows["proved"]) == (
        "theirs",
        "AES_256",
        "yes",
        "no",
    )
    assert "warning: somebody may take it" in err
    assert as_json["adopted_object"]["warnings"] == ["somebody may take it"]


def test_an_object_that_becomes_a_next_version_is_sent_as_such_and_gets_no_alias(
    run: Run, daemon: FakeDaemon
) -> None:
    wanted = ["key", "adopt", "--label", "theirs", "--key", "alias/k", "--etag", "7"]

    assert run(*wanted)[0] == 0
    assert run(*wanted, "--alias", "other")[0] != 0

    [(_, request)] = daemon.calls
    assert isinstance(request, keys_pb2.AdoptKeyRequest)
    assert (request.label, request.key, request.etag, request.cka_id) == ("theirs", "alias/k", "7", "")


def test_principals_may_be_short(run: Run, daemon: FakeDaemon) -> None:
    identity = access_pb2.GetCallerIdentityResponse(principal_arn=ADMIN, account="111122223333")
    daemon.answers["GetCallerIdentity"] = lambda _: identity

    run("key", "create", "--user", "service/pay")

    request = daemon.calls[1][1]
    assert isinstance(request, keys_pb2.CreateKeyRequest)
    statements = json.loads(request.policy)["Statement"]
    assert [statement["Principal"]["AWS"] for statement in statements] == [[ADMIN], [USER]]


def test_every_reason_is_explained(run: Run) -> None:
    assert set(EXPLANATIONS) == {*map(str, Reason), *errors.CLIENT_REASONS}
    for reason in (*Reason, *errors.CLIENT_REASONS):
        code, out, _ = run("explain", reason.lower())
        assert code == 0
        assert reason in out.decode()
    listed = run("explain")[1].decode()
    assert all(name in listed for name in EXPLANATIONS)


def test_explanations_blame_whom_the_daemon_blames() -> None:
    who = {Fault.CALLER: "you", Fault.OPERATOR: "the operator", Fault.DAEMON: "the authors"}
    # A passed deadline is the caller's choice to the daemon; to the caller it is the load's.
    different = {r for r in Reason if EXPLANATIONS[r].who != who[fault_of(r)]}

    assert different <= {Reason.DEADLINE_EXCEEDED}


def test_explanations_name_only_verbs_that_exist() -> None:
    tree = set(leaves(typer.main.get_command(cli.app)))
    for explanation in EXPLANATIONS.values():
        for text in re.findall(r"strongroom ((?:[a-z-]+ ?){1,3})", explanation.action):
            words = text.split()
            assert any(" ".join(words[:count]) in tree for count in (1, 2, 3)), text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["key", "list", "--json"], ["--json", "key", "list"]),
        (["key", "--profile", "p", "list"], ["--profile", "p", "key", "list"]),
        (["whoami", "--profile=p", "--json"], ["--json", "--profile=p", "whoami"]),
        (["tag", "set", "k", "--", "--json"], ["tag", "set", "k", "--", "--json"]),
        ([], []),
    ],
)
def test_global_options_may_stand_behind_the_verb(given: list[str], expected: list[str]) -> None:
    assert cli.hoist(given) == expected


def test_a_profile_names_the_daemon(
    run: Run, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("ENDPOINT", "CA", "CERT", "KEY"):
        monkeypatch.delenv(f"STRONGROOM_{name}")
    folder = tmp_path / "config" / "strongroom"
    folder.mkdir(parents=True)
    (folder / "ca.pem").write_bytes(daemon.pems.ca.read_bytes())
    (folder / "config.toml").write_text(
        f'default_profile = "other"\n[profiles.home]\nendpoint = "{daemon.endpoint}"\nca = "ca.pem"\n'
        f'cert = "{daemon.pems.cert}"\nkey = "{daemon.pems.key}"\ntimeout = 3\n'
    )

    assert run("--profile", "home", "whoami")[0] == 0
    assert run("whoami")[0] == 8


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(shell: str) -> None:
    command = [sys.executable, "-m", "strongroom.cli", "completion", shell]

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)

    assert done.returncode == 0, done.stderr
    assert "_STRONGROOM_COMPLETE" in done.stdout


def test_file_verbs_keep_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    a, b, c = (str(tmp_path / name) for name in "abc")

    assert run("file", "encrypt", "alias/k", a, b, "--context", "a=b")[0] == 0
    assert run("file", "decrypt", b, c, "--context", "a=b")[0] == 0
    assert run("file", "decrypt", b, c, "--context", "a=b")[0] == 4
    assert run("file", "decrypt", b, "-", "--context", "a=b")[1] == b"x" * 100_000

    assert (tmp_path / "c").read_bytes() == b"x" * 100_000


def test_the_version_is_told(run: Run) -> None:
    code, out, _ = run("--version")

    assert (code, out.split()[0]) == (0, b"strongroom")


def test_verbs_and_specs_are_completed_by_the_shell() -> None:
    def completed(words: str, position: int) -> str:
        environment = {
            "_STRONGROOM_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(position),
        }
        done = subprocess.run(
            [sys.executable, "-m", "strongroom.cli"],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env={**os.environ, **environment},
        )
        return done.stdout

    assert "cancel-deletion" in completed("strongroom key ca", 2)
    assert "ECC_NIST_P256" in completed("strongroom key create --spec ECC", 4)


def test_help_says_what_the_exit_codes_mean(run: Run) -> None:
    _, out, _ = run("--help")

    assert b"Exit codes" in out


def test_the_command_line_starts_without_grpc_and_rich() -> None:
    script = (
        "import sys, strongroom.cli.main as m\n"
        "slow = {'grpc', 'cryptography', 'google.protobuf', 'rich.console'} & set(sys.modules)\n"
        "print(sorted(slow))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )

    assert done.stdout.strip() == "[]"


def test_the_secret_of_a_new_access_key_is_shown_once_and_said_to_be(run: Run, daemon: FakeDaemon) -> None:
    made = access_pb2.CreateAccessKeyResponse(secret_access_key="s" * 40)
    made.access_key.access_key_id = "AKIA" + "A" * 16
    daemon.answers["CreateAccessKey"] = lambda _: made

    code, shown, said = run("access-key", "create", USER)
    _, as_json, _ = run("access-key", "create", USER, "--json")

    assert code == 0
    assert b"s" * 40 in shown
    assert "not shown again" in said
    assert json.loads(as_json)["secret_access_key"] == "s" * 40


def test_a_role_of_the_command_line_is_assumed_before_the_call(run: Run, daemon: FakeDaemon) -> None:
    role = "arn:aws:iam::111122223333:role/ops"
    session = access_pb2.AssumeRoleResponse(session_token="token-1")
    session.expire_time.FromSeconds(int(time.time()) + 3_600)
    daemon.answers["AssumeRole"] = lambda _: session

    code, _, said = run("--assume-role", role, "encrypt", "alias/k", stdin=b"x")

    assert (code, daemon.methods) == (0, ["AssumeRole", "Encrypt"]), said
    assert daemon.calls[0][1].role == role  # type: ignore[attr-defined]
    assert ["strongroom-session" in given for given in daemon.metadata] == [False, True]
    assert daemon.metadata[1]["strongroom-session"] == "token-1"


SECRET = "s" * 60


@pytest.fixture
def credential(daemon: FakeDaemon) -> None:
    made = key_stores_pb2.CreateKeyStoreCredentialResponse(secret_access_key=SECRET, uri_prefix="/blue")
    made.credential.access_key_id = "A" * 24
    daemon.answers["CreateKeyStoreCredential"] = lambda _: made


@pytest.mark.parametrize(
    "verb",
    [["store", "block", "/blue"], ["credential", "list", "/blue"], ["key", "remove", "/blue", "payroll"]],
)
def test_a_store_may_be_named_by_its_prefix(run: Run, daemon: FakeDaemon, verb: list[str]) -> None:
    daemon.answers["ListKeyStores"] = lambda _: key_stores_pb2.ListKeyStoresResponse(
        key_stores=[
            key_stores_pb2.KeyStore(key_store_id="xks-f", uri_prefix="/blue/sky"),
            key_stores_pb2.KeyStore(key_store_id=STORE, uri_prefix="/blue"),
        ]
    )

    assert run("xks", *verb)[0] == 0
    assert cast("Any", daemon.calls[-1][1]).key_store == STORE


def test_a_prefix_that_is_no_stores_is_refused_before_anything_is_done(run: Run, daemon: FakeDaemon) -> None:
    code, _, err = run("xks", "store", "delete", "/blue")

    assert (code, daemon.methods) == (4, ["ListKeyStores"])
    assert "no key store with this prefix" in err


def test_a_new_store_is_shown_with_its_limits_in_words_and_its_path(run: Run, daemon: FakeDaemon) -> None:
    made = key_stores_pb2.CreateKeyStoreResponse()
    made.key_store.uri_prefix = "/blue"
    made.key_store.limit.per_second = 1_800
    daemon.answers["CreateKeyStore"] = lambda _: made

    code, out, err = run("xks", "store", "create", "--prefix", "/blue")

    assert code == 0
    assert "/blue/kms/xks/v1" in err
    assert re.search(r"^limit +1,800 a second, 1,800 at once", out.decode(), re.MULTILINE)
    assert re.search(r"^key limit +none", out.decode(), re.MULTILINE)


@pytest.mark.usefixtures("credential")
def test_the_file_for_awss_console_is_private_and_the_secret_is_nowhere_else(
    run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "blue.json"

    for arguments in ([], ["--json"]):
        code, out, err = run("xks", "credential", "create", STORE, "--console-json", str(file), *arguments)

        assert code == 0
        assert SECRET not in out.decode() + err
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text()) == {
        "XksProxyUriPath": "/blue/kms/xks/v1",
        "XksProxyAuthenticationCredential": {"AccessKeyId": "A" * 24, "RawSecretAccessKey": SECRET},
    }


@pytest.mark.usefixtures("credential")
def test_the_secret_of_a_new_credential_is_shown_once_and_said_to_be(run: Run) -> None:
    code, out, err = run("xks", "credential", "create", STORE)

    assert (code, out.decode().count(SECRET)) == (0, 1)
    assert "not shown again" in err
    assert json.loads(run("xks", "credential", "create", STORE, "--json")[1])["secret_access_key"] == SECRET
    assert json.loads(run("xks", "credential", "create", STORE, "--console-json", "-")[1])


@pytest.mark.usefixtures("credential")
def test_no_credential_is_made_for_a_file_that_cannot_be_written(run: Run, daemon: FakeDaemon) -> None:
    code, _, err = run("xks", "credential", "create", STORE, "--console-json", "/nowhere/blue.json")

    assert (code, daemon.methods) == (4, [])
    assert "FILE_PROBLEM" in err


def test_a_repeated_answer_has_no_secret_and_leaves_the_file_as_it_was(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "blue.json"
    file.write_text("before")

    code, _, err = run("xks", "credential", "create", STORE, "--console-json", str(file))

    assert (code, file.read_text()) == (4, "before")
    assert "shown before" in err


@pytest.mark.parametrize(
    ("text", "expected"), [("1800", (1800, 0)), ("1800/3600", (1800, 3600)), ("0", (0, 0))]
)
def test_limits_are_numbers_a_second_and_at_once(
    run: Run, daemon: FakeDaemon, text: str, expected: tuple[int, int]
) -> None:
    run("xks", "store", "update", STORE, "--key-limit", text, "--description", "")

    [(_, request)] = daemon.calls
    sent = cast("Any", request)
    assert (sent.key_limit.per_second, sent.key_limit.burst) == expected
    assert [sent.HasField(name) for name in ("limit", "key_limit", "principal_limit")] == [False, True, False]
    assert [sent.HasField(name) for name in ("description", "policy")] == [True, False]


@pytest.mark.parametrize("text", ["", "x", "1/", "1/2/3", "1.5", "-1"])
def test_what_is_no_limit_is_refused(run: Run, daemon: FakeDaemon, text: str) -> None:
    assert (run("xks", "store", "update", STORE, "--limit", text)[0], daemon.calls) == (4, [])
