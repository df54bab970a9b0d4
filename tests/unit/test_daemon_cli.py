"""Commands tell every mistake, quote no value, and end with the codes that supervisors and scripts rely on."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner

from strongroomd.cli import dev
from strongroomd.cli.app import app
from strongroomd.cli.doctor import examine
from strongroomd.config import load


def strongroomd(*arguments: str, timeout: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "strongroomd", *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STRONGROOM_")}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, check=False, env=clean | environment
    )


@pytest.mark.parametrize("spelling", ["version", "--version"])
def test_version_is_told(spelling: str) -> None:
    done = strongroomd(spelling)

    assert done.returncode == 0
    assert re.match(r"strongroomd \d+\.\d+\.\d+ on Python 3\.", done.stdout)


def test_help_has_a_short_form_too() -> None:
    for arguments in (["-h"], ["serve", "-h"]):
        done = strongroomd(*arguments)
        assert (done.returncode, "Usage: " in done.stdout) == (0, True)


def test_check_config_prints_every_mistake_and_exits_78(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[daemon]\naccount = "secret-canary"\nworkers = 0\n[hsm]\npin = "secret-canary"\n')

    done = strongroomd("check-config", "--config", str(config))

    assert done.returncode == 78
    for place in (
        "[daemon] account: ",
        "[daemon] workers: ",
        "[hsm] pin: is not a known setting",
        "[grpc] key_file: ",
    ):
        assert place in done.stderr
    assert "secret-canary" not in done.stdout + done.stderr


def test_a_missing_or_hostile_configuration_path_is_no_traceback(tmp_path: Path) -> None:
    for name in ("absent.toml", "\udcff.toml", "x" * 300, "."):
        done = strongroomd("check-config", "--config", str(tmp_path / name))

        assert done.returncode == 78
        assert "Traceback" not in done.stderr


def test_serve_refuses_a_bad_configuration_with_78(tmp_path: Path) -> None:
    assert strongroomd("serve", "--config", str(tmp_path / "absent.toml")).returncode == 78


@pytest.mark.parametrize("module", ["strongroomd.supervisor", "strongroomd.cli.app"])
def test_the_supervisors_process_loads_no_grpc_no_pkcs11_and_no_sql(module: str) -> None:
    heavy = "('grpc', 'pkcs11', 'sqlalchemy', 'cryptography', 'prometheus_client')"
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.strip() == "[]"


def test_dev_prepares_a_valid_configuration_whose_secrets_are_private(tmp_path: Path) -> None:
    settings = load(dev.prepare(tmp_path, port=0, ops_port=0, workers=3))

    assert settings.daemon.workers == 3
    assert [identity.uri for identity in settings.identities] == [
        "spiffe://strongroom.dev/admin",
        "spiffe://strongroom.dev/service",
    ]
    assert settings.access.administrators == ("arn:aws:iam::111122223333:user/admin",)
    for secret in ("token/pin", "token/so-pin", "tls/server.key", "tls/admin.key", "tls/service.key"):
        assert (tmp_path / secret).stat().st_mode & 0o077 == 0
    assert (tmp_path / "token" / "pin").read_text() not in (tmp_path / "strongroomd.toml").read_text()


def test_dev_makes_certificates_of_callers_that_the_configuration_does_not_know(tmp_path: Path) -> None:
    settings = load(dev.prepare(tmp_path, port=0, ops_port=0, workers=1, callers=["alice"]))

    certificate = x509.load_pem_x509_certificate((tmp_path / "tls" / "alice.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://strongroom.dev/alice"]
    assert (tmp_path / "tls" / "alice.key").stat().st_mode & 0o077 == 0
    assert not any("alice" in (identity.uri or "") for identity in settings.identities)


@pytest.mark.parametrize(
    "name", ["", "ca", "server", "admin", "service", "../x", "A", "a b", "a\n", "x" * 33]
)
def test_dev_makes_no_certificate_over_another_file(tmp_path: Path, name: str) -> None:
    done = CliRunner().invoke(app, ["dev", "--env", "--dir", str(tmp_path / "dev"), "--caller", name])

    assert (done.exit_code, done.stdout) == (1, "")
    assert "--caller must be" in done.stderr
    assert not (tmp_path / "dev").exists()


def test_dev_opens_the_door_of_key_stores_only_where_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "closed").mkdir(mode=0o700)

    opened = load(dev.prepare(tmp_path / "open", port=0, ops_port=0, workers=1, xks_port=0)).xks
    closed = load(dev.prepare(tmp_path / "closed", port=0, ops_port=0, workers=1)).xks
    later = CliRunner().invoke(app, ["dev", "--env", "--dir", str(tmp_path / "closed"), "--xks-port", "0"])

    assert opened.address is not None
    assert (opened.address.host, opened.plain_http) == ("127.0.0.1", False)
    assert closed.address is None
    assert later.exit_code == 1
    assert "made without --xks-port" in later.stderr


def test_dev_cannot_make_a_certificate_later_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "dev"
    folder.mkdir(mode=0o700)
    dev.prepare(folder, port=0, ops_port=0, workers=1)

    done = CliRunner().invoke(app, ["dev", "--env", "--dir", str(folder), "--caller", "alice"])

    assert done.exit_code == 1
    assert "made without such a --caller" in done.stderr


def test_dev_never_removes_or_uses_a_folder_that_it_did_not_make(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")

    assert strongroomd("dev", "--down", "--dir", str(tmp_path)).returncode == 1
    assert strongroomd("dev", "--env", "--dir", str(tmp_path)).returncode == 1
    assert (tmp_path / "precious").read_text() == "x"


@pytest.mark.parametrize("arguments", [("verify",), ("checkpoint",)])
def test_audit_commands_without_a_log_say_so(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = strongroomd("audit", *arguments, "--config", str(tmp_path / "absent.toml"))

    assert done.returncode == 78
    assert "Traceback" not in done.stderr


def test_doctor_finds_what_is_wrong_and_says_what_to_do(tmp_path: Path) -> None:
    config = dev.prepare(tmp_path, port=0, ops_port=0, workers=1)
    (tmp_path / "token" / "pin").chmod(0o444)
    further = '\n[[hsm.tokens]]\nname = "berlin"\ntoken_label = "berlin"\npin_file = "absent"\n'
    text = config.read_text().replace('token_label = "strongroom-dev"', 'token_label = "other"')
    config.write_text(text + further)

    done = strongroomd("doctor", "--config", str(config))

    assert done.returncode == 1
    assert "ok    token              the PKCS#11 module loads, with locking" in done.stdout
    assert "no single token has the configured serial and label" in done.stdout
    assert "[hsm] pin_file: has too open a mode, 0444" in done.stdout
    assert "[hsm] tokens.#1.pin_file: cannot be read" in done.stdout
    assert "ok    further tokens     berlin: the PKCS#11 module loads, with locking" in done.stdout
    assert "warn  further tokens     berlin: no single token has" in done.stdout
    assert "schema absent" in done.stdout
    assert "strongroomd init" in done.stdout


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("", "ok    key stores         the XKS door is closed"),
        (
            'certificate_file = "tls/server.pem"\nkey_file = "tls/server.key"',
            "ok    key stores         the XKS door can serve",
        ),
        (
            'certificate_file = "tls/server.pem"\nkey_file = "tls/admin.key"',
            "fail  key stores         xks.certificate_file",
        ),
        ("plain_http = true", "warn  key stores         the XKS door speaks plain HTTP"),
    ],
)
def test_doctor_tries_what_the_xks_door_would_serve_with(tmp_path: Path, table: str, line: str) -> None:
    config = dev.prepare(tmp_path, port=0, ops_port=0, workers=1)
    if table:
        config.write_text(config.read_text() + f'\n[xks]\naddress = "127.0.0.1:0"\n{table}\n')

    found = [
        f"{f.verdict:<5} {f.check:<18} {f.text}"
        for f in examine(load(config, check_files=False))
        if f.check == "key stores"
    ]

    assert found
    assert found[0].startswith(line)


def test_doctor_survives_a_module_that_is_none(tmp_path: Path) -> None:
    config = dev.prepare(tmp_path, port=0, ops_port=0, workers=1)
    (tmp_path / "bad.so").write_bytes(b"no module")
    text = re.sub(r"module = .*", 'module = "bad.so"', config.read_text())
    config.write_text(text)

    done = strongroomd("doctor", "--config", str(config))

    assert done.returncode == 1
    assert "the PKCS#11 module cannot be loaded" in done.stdout
