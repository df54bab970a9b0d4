"""[xks]: the door is closed without an address, and refuses settings that do not go together."""

from pathlib import Path

import pytest

from strongroomd.config import ConfigurationErrors, Settings, load

BASE = """
[daemon]
account = "111122223333"
allow_root = true
[grpc]
certificate_file = "s.pem"
key_file = "s.key"
client_ca_file = "ca.pem"
[hsm]
module = "m.so"
token_label = "t"
pin_file = "pin"
[xks]
"""
TLS = 'certificate_file = "x.pem"\nkey_file = "x.key"\n'


def loaded(text: str) -> Settings:
    return load(Path("/nowhere/strongroomd.toml"), (BASE + text).encode(), check_files=False)


def test_door_is_closed_without_an_address() -> None:
    assert loaded("").xks.address is None


def test_door_is_opened_by_address_and_certificate() -> None:
    xks = loaded(f'address = "0.0.0.0:443"\n{TLS}').xks

    assert (str(xks.address), xks.deadline_ms, xks.plain_http) == ("0.0.0.0:443", 200, False)


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8080", "10.1.2.3:80", "192.168.0.9:80", "[::1]:80", "[fd00::1]:80"]
)
def test_plain_http_is_for_private_addresses(address: str) -> None:
    assert loaded(f'address = "{address}"\nplain_http = true').xks.plain_http


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (TLS, "[xks] address"),
        ("fleet_size = 2", "[xks] address"),
        ('address = "0.0.0.0:443"', "[xks] certificate_file"),
        ('address = "0.0.0.0:443"\ncertificate_file = "x.pem"', "[xks] key_file"),
        (f'address = "0.0.0.0:443"\n{TLS}client_names = ["a"]', "[xks] client_names"),
        ('address = "0.0.0.0:80"\nplain_http = true', "[xks] plain_http"),
        ('address = "[::]:80"\nplain_http = true', "[xks] plain_http"),
        ('address = "8.8.8.8:80"\nplain_http = true', "[xks] plain_http"),
        (f'address = "127.0.0.1:80"\nplain_http = true\n{TLS}', "[xks] certificate_file"),
        (f'address = "127.0.0.1:7443"\n{TLS}', "[xks] address"),
        (f'address = "127.0.0.1:9464"\n{TLS}', "[xks] address"),
        (f'address = "xks.example.com:443"\n{TLS}', "[xks] address"),
        (f'address = "0.0.0.0:443"\ndeadline_ms = 241\n{TLS}', "[xks] deadline_ms"),
        (f'address = "0.0.0.0:443"\nmax_connections = 0\n{TLS}', "[xks] max_connections"),
        (f'address = "0.0.0.0:443"\nprefix = "/p"\n{TLS}', "[xks] prefix"),
    ],
)
def test_refused(text: str, place: str) -> None:
    with pytest.raises(ConfigurationErrors) as errors:
        loaded(text)

    assert place in {mistake.place for mistake in errors.value.mistakes}


def test_files_are_looked_at(tmp_path: Path) -> None:
    key = tmp_path / "x.key"
    key.write_text("k")
    key.chmod(0o644)
    text = BASE + f'address = "0.0.0.0:443"\n{TLS}'

    with pytest.raises(ConfigurationErrors) as errors:
        load(tmp_path / "strongroomd.toml", text.encode())

    found = {mistake.place for mistake in errors.value.mistakes}
    assert {"[xks] certificate_file", "[xks] key_file"} <= found
