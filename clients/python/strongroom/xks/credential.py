"""The key pair with which KMS signs its requests to a proxy: from the console's file, or the environment."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from strongroom.errors import error, misconfigured

ID_VARIABLE: Final = "STRONGROOM_XKS_ACCESS_KEY_ID"
SECRET_VARIABLE: Final = "STRONGROOM_XKS_SECRET_ACCESS_KEY"  # noqa: S105 - a name
_MAX_FILE: Final = 65_536
_ID: Final = re.compile(r"[A-Z2-7]{20,30}")
_SECRET: Final = re.compile(r"[A-Za-z0-9/+=]{43,64}")


@dataclass(frozen=True, slots=True)
class Credential:
    """An access key of a key store; unrelated to IAM."""

    access_key_id: str
    secret: str = field(repr=False)

    @property
    def is_legal(self) -> bool:
        """Whether KMS would take it (XksProxyAuthenticationCredentialType)."""
        return bool(_ID.fullmatch(self.access_key_id) and _SECRET.fullmatch(self.secret))


def from_file(path: Path) -> tuple[Credential, str]:
    """Read the file that the AWS console takes; gives the credential and the store's XksProxyUriPath, or "".

    Raises:
        CallerError: FILE_PROBLEM.
        ConfigurationError: it is not that file.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE)
    except (OSError, ValueError) as problem:
        why = getattr(problem, "strerror", None) or "not a valid path"
        raise error("FILE_PROBLEM", f"the file cannot be used: {why}", field="credentials") from None
    try:
        found = json.loads(data)
        pair = found["XksProxyAuthenticationCredential"]
        made = _credential(pair["AccessKeyId"], pair["RawSecretAccessKey"])
        place = found.get("XksProxyUriPath", "")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise misconfigured("is not the JSON that the AWS console takes for a proxy", "credentials") from None
    return made, place if isinstance(place, str) else ""


def from_environment(environ: Mapping[str, str]) -> Credential:
    """Take the credential from STRONGROOM_XKS_ACCESS_KEY_ID and STRONGROOM_XKS_SECRET_ACCESS_KEY.

    Raises:
        ConfigurationError: one of them is not set.
    """
    for name in (ID_VARIABLE, SECRET_VARIABLE):
        if not environ.get(name):
            raise misconfigured(f"is not set: give --credentials FILE, or set {name}", "credentials")
    return Credential(environ[ID_VARIABLE], environ[SECRET_VARIABLE])


def _credential(access_key_id: Any, secret: Any) -> Credential:  # noqa: ANN401 - of a file that anyone wrote
    if not (isinstance(access_key_id, str) and isinstance(secret, str) and access_key_id.isascii()):
        raise TypeError
    return Credential(access_key_id, secret)
