"""Where the daemon is and who the caller is: from arguments, the environment, or a profile.

Each setting is taken from the first place that has it: an argument, `STRONGROOM_ENDPOINT`, `STRONGROOM_CA`,
`STRONGROOM_CERT`, `STRONGROOM_KEY`, `STRONGROOM_SERVER_NAME`, `STRONGROOM_TIMEOUT`, `STRONGROOM_ASSUME_ROLE`,
then the profile.
Profiles stand in `$XDG_CONFIG_HOME/strongroom/config.toml`, by default `~/.config/strongroom/config.toml`:

    default_profile = "home"

    [profiles.home]
    endpoint = "127.0.0.1:9443"
    ca = "ca.pem"           # relative paths are relative to this file
    cert = "me.pem"
    key = "me-key.pem"

`STRONGROOM_PROFILE` chooses another profile than `default_profile`, and `STRONGROOM_CLIENT_CONFIG` another
file.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from strongroom.errors import misconfigured

CONFIG_VARIABLE: Final = "STRONGROOM_CLIENT_CONFIG"
DEFAULT_TIMEOUT: Final = 10.0
MAX_TIMEOUT: Final = 86_400.0
_PATHS: Final = ("ca", "cert", "key")
_NAMES: Final = ("endpoint", *_PATHS, "server_name", "timeout", "assume_role")
_REQUIRED: Final = ("endpoint", *_PATHS)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client needs to connect.

    Attributes:
        endpoint: host and port, `keys.example.org:9443`.
        ca: PEM file of the authorities that the daemon's certificate must be signed by.
        cert: PEM file of the caller's certificate chain.
        key: PEM file of its private key.
        server_name: name that the daemon's certificate must carry, if it is not the endpoint's host.
        timeout: default deadline of a call, in seconds.
        assume_role: ARN of the role as which all calls are made; empty for none.
    """

    endpoint: str
    ca: Path
    cert: Path
    key: Path
    server_name: str = ""
    timeout: float = DEFAULT_TIMEOUT
    assume_role: str = ""


def resolve(
    overrides: Mapping[str, str | None] | None = None,
    *,
    profile: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Find the settings from arguments, environment and profile, in this order.

    Args:
        overrides: settings by name; None and empty ones count as not given.
        profile: name of a profile that must exist; None for the environment's or the file's own choice.
        environ: environment variables, by default those of the process.

    Raises:
        ConfigurationError: a setting is missing or not usable; the field names it.
    """
    environment = os.environ if environ is None else environ
    given = {name: value for name, value in (overrides or {}).items() if value}
    from_environment = {
        name: environment[f"STRONGROOM_{name.upper()}"]
        for name in _NAMES
        if environment.get(f"STRONGROOM_{name.upper()}")
    }
    found = {**_profile(profile, environment), **from_environment, **given}
    missing = [name for name in _REQUIRED if not found.get(name)]
    if missing:
        raise misconfigured(
            f"is not set: give --{missing[0]}, set STRONGROOM_{missing[0].upper()}, or choose a profile",
            missing[0],
        )
    return make_settings(found)


def config_path(environ: Mapping[str, str]) -> Path:
    """Say where the profiles are kept."""
    if chosen := environ.get(CONFIG_VARIABLE):
        return Path(chosen)
    base = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME") or "~").expanduser() / ".config")
    return Path(base) / "strongroom" / "config.toml"


def make_settings(found: Mapping[str, Any]) -> Settings:
    """Check settings by name and make the value of them."""
    return Settings(
        endpoint=_endpoint(found["endpoint"]),
        ca=Path(found["ca"]),
        cert=Path(found["cert"]),
        key=Path(found["key"]),
        server_name=_server_name(str(found.get("server_name", ""))),
        timeout=_timeout(found.get("timeout", DEFAULT_TIMEOUT)),
        assume_role=_role(str(found.get("assume_role", ""))),
    )


def _endpoint(text: str) -> str:
    host, colon, port = text.rpartition(":")
    plain = text.isascii() and text.isprintable() and "/" not in text and " " not in text
    if not (plain and host and colon and port.isdecimal() and 0 < int(port) < 65_536):
        raise misconfigured("must be host:port", "endpoint")
    return text


def _server_name(text: str) -> str:
    if not (text.isascii() and text.isprintable()):
        raise misconfigured("must be a host name", "server_name")
    return text


def _role(text: str) -> str:
    if text and not (text.startswith("arn:") and text.isascii() and text.isprintable()):
        raise misconfigured("must be the ARN of a role", "assume_role")
    return text


def _timeout(value: object) -> float:
    try:
        seconds = float(str(value))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MAX_TIMEOUT:
        raise misconfigured("must be a number of seconds, above 0 and at most 86,400", "timeout")
    return seconds


def _profile(name: str | None, environ: Mapping[str, str]) -> dict[str, Any]:
    """Read a profile; none at all is fine unless one was asked for by name."""
    path = config_path(environ)
    wanted = name or environ.get("STRONGROOM_PROFILE") or None
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if wanted:
            raise misconfigured("there is no configuration file to find a profile in", "profile") from None
        return {}
    except (OSError, ValueError) as problem:
        raise misconfigured(f"the configuration file cannot be read ({_why(problem)})", "config") from None
    return _chosen(document, wanted, path.parent)


def _chosen(document: dict[str, Any], wanted: str | None, base: Path) -> dict[str, Any]:
    profiles = document.get("profiles", {})
    name = wanted or document.get("default_profile", "default")
    table = profiles.get(name) if isinstance(profiles, dict) and isinstance(name, str) else None
    if table is None and wanted is None and "default_profile" not in document:
        return {}
    if not isinstance(table, dict):
        raise misconfigured("the configuration file has no profile of this name", "profile")
    unknown = sorted(set(table) - set(_NAMES))
    if unknown:
        raise misconfigured(f"a profile may hold only {', '.join(_NAMES)}", "profile")
    wrong = [key for key, value in table.items() if key != "timeout" and not isinstance(value, str)]
    if wrong:
        raise misconfigured("must be a string", f"profile.{wrong[0]}")
    return {
        key: str(base / Path(value).expanduser()) if key in _PATHS else value for key, value in table.items()
    }


def _why(problem: Exception) -> str:
    if isinstance(problem, tomllib.TOMLDecodeError):
        return "not valid TOML"
    return problem.strerror or "not readable" if isinstance(problem, OSError) else "not valid UTF-8"
