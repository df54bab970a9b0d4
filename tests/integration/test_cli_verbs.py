"""The first ten minutes with `strongroom` against a real daemon."""

import json
import subprocess
from pathlib import Path

import pytest
from tests.harness import ACCOUNT, SERVICE, Daemon, Shell, wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.softhsm]


def test_a_key_for_a_service_is_made_used_and_switched_off(shell: Shell, tmp_path: Path) -> None:
    made = shell("key", "create", "--alias", "cli-pay", "--user", "user/service", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["state"] == "ENABLED"

    sealed = shell("encrypt", "alias/cli-pay", "--base64", "-c", "n=1", stdin=b"4000 EUR", who="service")
    assert sealed.returncode == 0, sealed.stderr
    opened = shell("decrypt", "--base64", "-c", "n=1", stdin=sealed.stdout, who="service")
    assert opened.stdout == b"4000 EUR"
    assert shell("decrypt", "--base64", "-c", "n=2", stdin=sealed.stdout, who="service").returncode == 7
    # The administrator of this key manages it and cannot use it.
    assert shell("encrypt", "alias/cli-pay", stdin=b"x").returncode == 3
    assert shell("key", "disable", "alias/cli-pay", who="service").returncode == 3

    (tmp_path / "a").write_bytes(b"x" * 200_000)
    a, b, c = (str(tmp_path / name) for name in "abc")
    assert shell("file", "encrypt", "alias/cli-pay", a, b, who="service").returncode == 0
    assert shell("file", "decrypt", b, c, who="service").returncode == 0
    assert (tmp_path / "c").read_bytes() == b"x" * 200_000

    assert shell("key", "rotate", "alias/cli-pay").returncode == 0
    assert shell("decrypt", "--base64", "-c", "n=1", stdin=sealed.stdout, who="service").returncode == 0
    assert b"2" in shell("key", "versions", "alias/cli-pay").stdout


def test_openssl_verifies_what_was_signed(shell: Shell, tmp_path: Path) -> None:
    created = shell(
        "key", "create", "--spec", "ECC_NIST_P256", "--usage", "SIGN_VERIFY", "--alias", "cli-sign"
    )
    assert created.returncode == 0, created.stderr
    (tmp_path / "message").write_bytes(b"hello")
    message, signature, public = (str(tmp_path / name) for name in ("message", "signature", "public.pem"))

    assert shell("sign", "alias/cli-sign", "-i", message, "-o", signature).returncode == 0
    assert shell("key", "public-key", "alias/cli-sign", "-o", public).returncode == 0

    verified = subprocess.run(
        ["openssl", "dgst", "-sha256", "-verify", public, "-signature", signature, message],
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert verified.returncode == 0
    assert shell("verify", "alias/cli-sign", "--signature", signature, stdin=b"hello").returncode == 0
    assert shell("verify", "alias/cli-sign", "--signature", signature, stdin=b"other").returncode == 7


def test_administrators_see_limits_and_audit(shell: Shell) -> None:
    assert shell("quota", "put", "PRINCIPAL", SERVICE, "100000", "--burst", "100000").returncode == 0
    usage = shell("quota", "usage", "PRINCIPAL", SERVICE, "--json")
    assert json.loads(usage.stdout)["available"] > 0
    assert shell("quota", "delete", "PRINCIPAL", SERVICE).returncode == 0
    assert b"SYMMETRIC" in shell("quota", "list").stdout

    found = shell("audit", "query", "--outcome", "OK", "--json", "--limit", "3").stdout.splitlines()
    assert len(found) == 3
    assert {"OK"} == {json.loads(line)["additionalEventData"]["outcome"] for line in found}
    assert b"outcome" in shell("audit", "query", "--action", "kms:CreateKey", "--limit", "1").stdout
    assert shell("audit", "query", who="service").returncode == 3
    assert shell("whoami", who="service").stdout.count(SERVICE.encode()) == 1


def test_callers_are_made_bound_and_shut_out(shell: Shell, daemon: Daemon, tmp_path: Path) -> None:
    trust = {"Effect": "Allow", "Principal": {"AWS": SERVICE}, "Action": "sts:AssumeRole"}
    text = json.dumps({"Version": "2012-10-17", "Statement": [trust]}).encode()
    role = "role/cli-night"

    made = shell("principal", "create", "service/cli-pay", "--tag", "team=blue", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["tags"] == {"team": "blue"}
    assert shell("identity", "add", "service/cli-pay", "--uri", "spiffe://strongroom.dev/cli").returncode == 0
    assert b"spiffe://strongroom.dev/cli" in shell("identity", "list", "service/cli-pay").stdout
    assert shell("identity", "add", "service/cli-pay", "--dns", "*.example.org").returncode == 4
    assert shell("principal", "create", role, "--trust", "-", stdin=text).returncode == 0

    arn = f"arn:aws:iam::{ACCOUNT}:{role}"
    assumed = shell("role", "assume", arn, "tonight", "--json", who="service")
    assert assumed.returncode == 0, assumed.stderr
    assert json.loads(assumed.stdout)["session_arn"].endswith(":assumed-role/cli-night/tonight")
    assert arn.encode() in shell("--assume-role", arn, "whoami", who="service").stdout
    assert shell("--assume-role", arn, "whoami").returncode == 3
    assert shell("principal", "list", who="service").returncode == 3

    key = json.loads(shell("access-key", "create", "service/cli-pay", "--json").stdout)
    key_id = key["access_key"]["access_key_id"]
    assert len(key["secret_access_key"]) == 40
    assert key_id.encode() in shell("access-key", "list", "service/cli-pay").stdout
    assert shell("access-key", "deactivate", "service/cli-pay", key_id).returncode == 0
    assert shell("principal", "policy", "put", "service/cli-pay", "p", stdin=b"{").returncode == 4
    assert shell("principal", "delete", "service/cli-pay").returncode == 0
    assert shell("principal", "describe", "service/cli-pay").returncode == 4


def test_lists_and_tags_show_what_is_there(shell: Shell) -> None:
    made = json.loads(shell("key", "create", "--tag", "team=blue", "--json").stdout)

    assert shell("alias", "create", "cli-tagged", made["arn"]).returncode == 0
    assert made["key_id"].encode() in shell("key", "list", "--tag-key", "team").stdout
    assert b"team" in shell("tag", "list", "alias/cli-tagged").stdout
    assert b"alias/cli-tagged" in shell("alias", "list").stdout
    assert shell("key", "schedule-deletion", "alias/cli-tagged", "--days", "7").returncode == 0
    # Another worker may not know yet, for a second at most; to ask takes a process.
    wait_until(lambda: shell("encrypt", "alias/cli-tagged", stdin=b"x").returncode == 4, 5.0)
    assert shell("key", "cancel-deletion", "alias/cli-tagged").returncode == 0


def test_a_daemon_that_is_not_there_is_said_so(shell: Shell) -> None:
    ended = shell("--endpoint", "127.0.0.1:1", "whoami")

    assert ended.returncode == 6
    assert b"CONNECTION_FAILED" in ended.stderr
    assert b"Traceback" not in ended.stderr


def test_a_grant_is_made_used_listed_and_ended(shell: Shell) -> None:
    assert shell("key", "create", "--alias", "cli-lent", "--json").returncode == 0
    made = shell(
        *("grant", "create", "alias/cli-lent", "--grantee", "user/service", "--operation", "Encrypt"),
        *("--operation", "RetireGrant", "--context-equals", "n=1", "--name", "job", "--json"),
    )
    assert made.returncode == 0, made.stderr
    answer = json.loads(made.stdout)
    grant_id, token = answer["grant"]["grant_id"], answer["grant_token"]
    again = shell(
        *("grant", "create", "alias/cli-lent", "--grantee", SERVICE, "--operation", "RetireGrant"),
        *("--operation", "Encrypt", "--context-equals", "n=1", "--name", "job"),
    )
    assert grant_id.encode() in again.stdout

    as_service = ("encrypt", "alias/cli-lent", "--base64", "--grant-token", token, "-c")
    assert shell(*as_service, "n=1", stdin=b"x", who="service").returncode == 0
    assert shell(*as_service, "n=2", stdin=b"x", who="service").returncode == 3
    wrong = shell("encrypt", "alias/cli-lent", "--grant-token", "x", stdin=b"x", who="service")
    assert (wrong.returncode, b"INVALID_GRANT_TOKEN" in wrong.stderr) == (4, True)

    listed = shell("grant", "list", "alias/cli-lent", "--grantee", "user/service").stdout
    assert grant_id.encode() in listed
    assert shell("grant", "list", "alias/cli-lent", who="service").returncode == 3
    assert shell("grant", "list-retirable", who="service").returncode == 0
    assert shell("grant", "retire", "--token", token, "--dry-run", who="service").returncode == 0
    assert shell("grant", "retire", "--token", token, who="service").returncode == 0
    assert shell("grant", "revoke", "alias/cli-lent", grant_id).returncode == 4
    assert shell(*as_service, "n=1", stdin=b"x", who="service").returncode == 3
