"""Settings come from arguments, environment and profile, in this order."""

from pathlib import Path
from typing import Any

import pytest

from strongroom import errors
from strongroom.settings import config_path, resolve

FULL = {"endpoint": "host:1", "ca": "ca", "cert": "cert", "key": "key"}


def environ(tmp_path: Path, text: str | bytes | None = None, **variables: str) -> dict[str, str]:
    if text is not None:
        path = tmp_path / "strongroom" / "config.toml"
        path.parent.mkdir()
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return {"XDG_CONFIG_HOME": str(tmp_path), "HOME": "/people/me", **variables}


PROFILE = 'default_profile = "a"\n[profiles.a]\nendpoint = "a:1"\nca = "ca"\ncert = "/cert"\nkey = "~/key"\n'


def test_arguments_come_before_the_environment_and_that_before_the_profile(tmp_path: Path) -> None:
    found = resolve(
        {"endpoint": "arg:1", "ca": None},
        environ=environ(tmp_path, PROFILE, STRONGROOM_ENDPOINT="env:1", STRONGROOM_CERT="env"),
    )

    assert (found.endpoint, found.cert) == ("arg:1", Path("env"))
    assert found.ca == tmp_path / "strongroom" / "ca"
    assert found.timeout == 10.0


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"STRONGROOM_CLIENT_CONFIG": "/x.toml"}, "/x.toml"),
        ({"XDG_CONFIG_HOME": "/xdg"}, "/xdg/strongroom/config.toml"),
        ({"HOME": "/people/me"}, "/people/me/.config/strongroom/config.toml"),
    ],
)
def test_the_profile_file_is_where_xdg_says(variables: dict[str, str], expected: str) -> None:
    assert config_path(variables) == Path(expected)


@pytest.mark.parametrize("missing", list(FULL))
def test_what_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    with pytest.raises(errors.ConfigurationError) as raised:
        resolve({**FULL, missing: None}, environ=environ(tmp_path))

    assert raised.value.field == missing


@pytest.mark.parametrize(
    "endpoint",
    [
        "host",
        "host:",
        ":1",
        "host:0",
        "host:65536",
        "host:x",
        "https://host:1",
        "h ost:1",
        "hö:1",
        "\udcff:1",
        "host:\u0661",
    ],
)
def test_endpoints_are_host_and_port(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(errors.ConfigurationError) as raised:
        resolve({**FULL, "endpoint": endpoint}, environ=environ(tmp_path))

    assert raised.value.field == "endpoint"


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "inf", "soon", "86401"])
def test_timeouts_are_seconds(tmp_path: Path, timeout: str) -> None:
    with pytest.raises(errors.ConfigurationError):
        resolve({**FULL, "timeout": timeout}, environ=environ(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "not toml",
        b"\xff",
        "profiles = 5",
        'default_profile = "b"\n' + PROFILE.partition("\n")[2],
        "default_profile = 5",
        PROFILE + "unknown = 1\n",
        PROFILE.replace('"a:1"', "5"),
        "[profiles]\na = 5\ndefault = 7",
    ],
)
def test_mistakes_in_the_profile_file_are_clean_errors(tmp_path: Path, text: Any) -> None:
    with pytest.raises(errors.ConfigurationError):
        resolve({}, environ=environ(tmp_path, text))


@pytest.mark.parametrize("profile", ["b", "\udcff", ""])
def test_a_profile_that_was_asked_for_must_exist(tmp_path: Path, profile: str) -> None:
    if not profile:
        assert resolve({}, profile=profile, environ=environ(tmp_path, PROFILE)).endpoint == "a:1"
        return
    with pytest.raises(errors.ConfigurationError):
        resolve(FULL, profile=profile, environ=environ(tmp_path, PROFILE))


def test_without_a_file_arguments_are_enough(tmp_path: Path) -> None:
    assert resolve(FULL, environ=environ(tmp_path)).endpoint == "host:1"
