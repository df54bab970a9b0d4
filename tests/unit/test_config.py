"""One file, every mistake at once, and no value in any message."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from strongroomd.config import Address, ConfigurationErrors, Settings, load

ARN = "arn:aws:iam::111122223333:user/admin"
GOOD = f"""
[daemon]
account = "111122223333"
allow_root = true
state_dir = "state"

[grpc]
address = "127.0.0.1:0"
certificate_file = "server.pem"
key_file = "server.key"
client_ca_file = "ca.pem"

[hsm]
module = "module.so"
token_label = "strongroom"
pin_file = "pin"

[access]
administrators = ["{ARN}"]

[[identities]]
arn = "{ARN}"
uri = "spiffe://example.org/admin"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("server.pem", "server.key", "ca.pem", "module.so", "pin"):
        (tmp_path / name).write_bytes(b"x")
        (tmp_path / name).chmod(0o400)
    return tmp_path


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "strongroomd.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(0o600)
    return path


def settings(folder: Path, text: str = GOOD) -> Settings:
    return load(write(folder, text))


def mistakes(folder: Path, text: str | bytes, *, check_files: bool = True) -> list[str]:
    with pytest.raises(ConfigurationErrors) as caught:
        load(write(folder, text), check_files=check_files)
    return [str(mistake) for mistake in caught.value.mistakes]


def test_a_good_file_gives_settings_with_absolute_paths_and_defaults(folder: Path) -> None:
    got = settings(folder)

    assert got.daemon.state_dir == folder / "state"
    assert got.store_path == folder / "state" / "strongroom.sqlite"
    assert got.hsm.pin_file == folder / "pin"
    assert got.grpc.address == Address("127.0.0.1", 0)
    assert got.daemon.region == "local-1"
    assert got.daemon.workers == 2
    assert got.quota.symmetric.per_second == 5_500
    assert got.limits.max_plaintext == 4_096
    assert not got.grpc.reflection


def test_settings_are_frozen_down_to_their_sections(folder: Path) -> None:
    got = settings(folder)

    with pytest.raises(ValidationError):
        got.daemon.workers = 3
    with pytest.raises(ValidationError):
        got.ops = got.ops


def test_every_mistake_is_reported_at_once_with_its_place(folder: Path) -> None:
    text = GOOD.replace('account = "111122223333"', 'account = "12"\nworkers = 0\ncolour = "red"')
    text = text.replace('pin_file = "pin"', 'pin_file = "absent"').replace("uri =", "uir =")
    text += '\n[quota.rsa]\nper_second = "many"\nburst = 1\n[nonsense]\n[telemetry]\nlog_level = "loud"\n'

    found = "\n".join(mistakes(folder, text))

    for place in (
        "[daemon] account: ",
        "[daemon] workers: ",
        "[daemon] colour: is not a known setting",
        "[[identities]] #1 uir: is not a known setting",
        "[hsm] pin_file: cannot be read: No such file or directory",
        "[quota.rsa] per_second: must be a whole number",
        "[nonsense]: is not a known section",
        "[telemetry] log_level: must be ",
    ):
        assert place in found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('pin_file = "pin"', "pin_file = 918273645"),
        ('pin_file = "pin"', 'pin_fd = "918273645"'),
        ('pin_file = "pin"', 'pin = "918273645"'),
        ('pin_file = "pin"', 'pin_credential = "918273645 "'),
        ('token_label = "strongroom"', "token_label = 918273645"),
        ('address = "127.0.0.1:0"', 'address = "918273645"'),
        ('administrators = ["' + ARN, 'administrators = ["918273645'),
        ("spiffe://example.org/admin", "918273645"),
        ('pin_file = "pin"', 'pin_file = "918273645'),
        ('pin_file = "pin"', "pin_file = 918273645\npin_file = 918273645"),
    ],
)
def test_no_mistake_quotes_a_value(folder: Path, old: str, new: str) -> None:
    text = GOOD.replace(old, new)
    assert text != GOOD

    assert "918273645" not in "\n".join(mistakes(folder, text))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"[daemon]\naccount = '\xff'\n", "line 2: is not UTF-8 text"),
        (b"\xed\xa0\x80", "line 1: is not UTF-8 text"),
        ('[daemon]\nnode = "\\ud800"', "line 2, column "),
        ('[daemon]\naccount = "1"\naccount = "2"\n', "line 3, column 14: names a setting or table twice"),
        ("[daemon]\n[daemon]\n", "names a setting or table twice"),
        ("[daemon", "is not valid TOML"),
        ("a=" + "[" * 5_000, "is not valid TOML"),
        (b"#" * ((1 << 20) + 1), "file: must be at most"),
    ],
)
def test_files_that_are_no_configuration_get_one_clean_error(
    folder: Path, text: str | bytes, place: str
) -> None:
    found = mistakes(folder, text)

    assert len(found) == 1
    assert place in found[0]


@pytest.mark.parametrize("value", ["1", "true", "[]", '"text"', "1979-05-27", "inf", "[[1]]", "{a=1}"])
@pytest.mark.parametrize("section", ["daemon", "hsm", "quota", "identities", "access", "grpc"])
def test_a_section_of_the_wrong_type_is_refused_not_crashed_on(
    folder: Path, section: str, value: str
) -> None:
    text = f"{section} = {value}\n" + GOOD.split(f"[{section}]", maxsplit=1)[0].replace(
        "[[identities]]", "[x]"
    )

    assert mistakes(folder, text)


def test_a_missing_file_is_one_clean_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationErrors, match="file: cannot be read"):
        load(tmp_path / "absent.toml")
    with pytest.raises(ConfigurationErrors, match="file: cannot be read"):
        load(Path("nul\0byte"))


def test_a_configuration_that_everybody_may_write_is_refused(folder: Path) -> None:
    path = write(folder, GOOD)
    path.chmod(0o666)

    with pytest.raises(ConfigurationErrors, match="writable by everybody"):
        load(path)


@pytest.mark.parametrize(
    ("name", "mode", "place"),
    [
        ("pin", 0o440, "[hsm] pin_file"),
        ("pin", 0o404, "[hsm] pin_file"),
        ("server.key", 0o444, "[grpc] key_file"),
        ("ca.pem", 0o646, "[grpc] client_ca_file"),
        ("module.so", 0o757, "[hsm] module"),
    ],
)
def test_files_with_too_open_modes_are_refused(folder: Path, name: str, mode: int, place: str) -> None:
    (folder / name).chmod(mode)

    assert mistakes(folder, GOOD)[0].startswith(f"{place}: has too open a mode")


def test_a_pin_file_of_another_user_is_refused(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(folder / "pin", 65_534, 65_534)

    assert mistakes(folder, GOOD)[0].startswith("[hsm] pin_file: must belong to")


@pytest.mark.parametrize("extra", ["", "pin_fd = 3\npin_file = 'pin'", "pin_fd = 3\npin_credential = 'pin'"])
def test_the_pin_has_exactly_one_source(folder: Path, extra: str) -> None:
    assert "[hsm]: needs exactly one of" in mistakes(folder, GOOD.replace('pin_file = "pin"', extra))[0]


@pytest.mark.parametrize(
    ("matcher", "rule"),
    [
        ("", "needs exactly one of uri and subject"),
        ('uri = "spiffe://a/b"\nsubject = "CN=x"', "needs subject and issuer_spki_sha256 together"),
        (
            f'uri = "spiffe://a/b"\nsubject = "CN=x"\nissuer_spki_sha256 = "{"0" * 64}"',
            "needs exactly one of",
        ),
        ('subject = "CN=x"', "needs subject and issuer_spki_sha256 together"),
        (f'subject = "CN=x"\nissuer_spki_sha256 = "{"A" * 64}"', "is not in the documented form"),
        ('uri = "spiffe://EXAMPLE.org/x"', "must be a SPIFFE ID"),
        ('uri = "spiffe://a/b/"', "must be a SPIFFE ID"),
        ('uri = "spiffe://a/../b"', "must be a SPIFFE ID"),
        ('uri = "spiffe://a/b?c"', "must be a SPIFFE ID"),
        ('uri = "https://a/b"', "must be a SPIFFE ID"),
    ],
)
def test_an_identity_needs_one_exact_matcher(folder: Path, matcher: str, rule: str) -> None:
    assert rule in "\n".join(mistakes(folder, GOOD.replace('uri = "spiffe://example.org/admin"', matcher)))


def test_one_certificate_cannot_speak_for_two_principals(folder: Path) -> None:
    other = '[[identities]]\narn = "arn:aws:iam::111122223333:user/b"\nuri = "spiffe://example.org/admin"\n'

    assert mistakes(folder, GOOD + other) == [
        "[[identities]] #2: repeats the certificate of an earlier entry"
    ]


def test_an_administrator_without_an_identity_is_a_mistake(folder: Path) -> None:
    text = GOOD.replace(f'administrators = ["{ARN}"]', f'administrators = ["{ARN[:-1]}"]')

    assert mistakes(folder, text) == ["[access] administrators.#1: has no [[identities]] entry"]


def test_an_operator_is_an_administrator_too(folder: Path) -> None:
    administrators = f'administrators = ["{ARN}"]'
    good = GOOD.replace(administrators, f'{administrators}\noperators = ["{ARN}"]')
    bad = GOOD.replace(administrators, f'{administrators}\noperators = ["{ARN[:-1]}"]')

    assert settings(folder, good).access.operators == (ARN,)
    assert mistakes(folder, bad) == ["[access] operators.#1: must be one of the administrators, too"]


@pytest.mark.parametrize(
    "arn", ["arn:aws:iam::111122223333:root", "arn:aws:iam::1:user/a", "admin", "", "\U0001f600"]
)
def test_identities_are_users_roles_or_services_by_arn(folder: Path, arn: str) -> None:
    assert mistakes(folder, GOOD.replace(ARN, arn))


@pytest.mark.parametrize(
    "address",
    ["localhost:1", "127.0.0.1", "127.0.0.1:70000", "300.0.0.1:1", "::1:7443", "", ":1", "127.0.0.1:-1"],
)
def test_addresses_are_an_ip_address_and_a_port(folder: Path, address: str) -> None:
    text = GOOD.replace('address = "127.0.0.1:0"', f'address = "{address}"')

    assert mistakes(folder, text)[0].startswith("[grpc] address: must")


def test_an_ipv6_address_is_spelled_with_brackets(folder: Path) -> None:
    got = settings(folder, GOOD.replace('"127.0.0.1:0"', '"[::1]:7443"'))

    assert got.grpc.address == Address("::1", 7443)
    assert str(got.grpc.address) == "[::1]:7443"


def test_the_doors_must_not_share_a_port(folder: Path) -> None:
    text = GOOD.replace('"127.0.0.1:0"', '"127.0.0.1:9464"')

    assert mistakes(folder, text) == ["[ops] address: must differ from [grpc] address"]


def test_root_is_refused_unless_allowed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    assert mistakes(folder, GOOD.replace("allow_root = true", ""), check_files=False)[0].startswith(
        "[daemon] allow_root"
    )


def test_plaintext_limit_stops_at_the_ceiling(folder: Path) -> None:
    assert settings(folder, GOOD + "[limits]\nmax_plaintext = 65536\n").limits.max_plaintext == 65_536
    assert mistakes(folder, GOOD + "[limits]\nmax_plaintext = 65537\n")[0].startswith(
        "[limits] max_plaintext"
    )


def test_waiting_for_a_login_ends_before_the_supervisors_patience(folder: Path) -> None:
    hsm = next(line for line in GOOD.splitlines() if line.startswith("[hsm]"))

    assert settings(folder, GOOD.replace(hsm, f"{hsm}\nlock_seconds = 20")).hsm.lock_seconds == 20
    assert settings(folder).hsm.lock_seconds == 20
    assert mistakes(folder, GOOD.replace(hsm, f"{hsm}\nlock_seconds = 21"))[0].startswith(
        "[hsm] lock_seconds"
    )


@pytest.mark.parametrize("value", ['[""]', '["\\u0007"]', "[1]", '"tenant"', str(["x"] * 65)])
def test_names_of_the_context_to_be_told_in_clear_are_checked(folder: Path, value: str) -> None:
    assert any(
        "plain_context_keys" in each
        for each in mistakes(folder, GOOD + f"\n[audit]\nplain_context_keys = {value}\n")
    )
