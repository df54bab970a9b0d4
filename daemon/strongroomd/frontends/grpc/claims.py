"""What the metadata says of a caller beyond its certificate: a role session, for whom it calls.

Whoever may not say such a thing is refused, never ignored; so is a name under `strongroom-` that means
nothing, since it was meant to mean something.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from strongroomd.domain.errors import Reason, StrongroomError, invalid, too_large
from strongroomd.domain.limits import MAX_ASSERTION, MAX_SESSION_TOKEN, MAX_SOURCE_ARN
from strongroomd.domain.names import account_id, source_arn
from strongroomd.domain.principals import NO_BEHALF, Behalf, Principal, parse_principal

_OURS: Final = "strongroom-"
SESSION: Final = "strongroom-session"
_VIA_SERVICE: Final = "strongroom-via-service"
_CALLER_ACCOUNT: Final = "strongroom-caller-account"
_SOURCE_PRINCIPAL: Final = "strongroom-source-principal"
_SOURCE_ARN: Final = "strongroom-source-arn"
_SOURCE_ACCOUNT: Final = "strongroom-source-account"
_LIMITS: Final = {
    SESSION: MAX_SESSION_TOKEN,
    _VIA_SERVICE: MAX_ASSERTION,
    _CALLER_ACCOUNT: 12,
    _SOURCE_PRINCIPAL: MAX_ASSERTION,
    _SOURCE_ARN: MAX_SOURCE_ARN,
    _SOURCE_ACCOUNT: 12,
}
_SERVICE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,126}[A-Za-z0-9])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Claims:
    """What the metadata says.

    Attributes:
        session: a role session's token, or empty.
        behalf: for whom the caller says that it calls.
    """

    session: str = ""
    behalf: Behalf = NO_BEHALF


NO_CLAIMS: Final = Claims()


def read_claims(metadata: Iterable[Any] | None) -> Claims:
    """Read the metadata of a call.

    Raises:
        StrongroomError: INVALID_FIELD or FIELD_TOO_LARGE naming the metadata's key.
    """
    ours = [(key, value) for key, value in metadata or () if key.startswith(_OURS)]
    return _claims(ours) if ours else NO_CLAIMS


def _claims(ours: list[tuple[str, str | bytes]]) -> Claims:
    found: dict[str, str] = {}
    for key, value in ours:
        if key not in _LIMITS or not isinstance(value, str):
            raise invalid("metadata", "holds a key under strongroom- that means nothing here")
        if key in found:
            raise invalid(key, "must be given once")
        if len(value) > _LIMITS[key]:
            raise too_large(key, _LIMITS[key], "characters")
        if not value:
            raise invalid(key, "must not be empty")
        found[key] = value
    return Claims(found.get(SESSION, ""), _behalf(found))


def _behalf(found: dict[str, str]) -> Behalf:
    if not any(key in found for key in _CHECKS):
        return NO_BEHALF
    return Behalf(*(check(found[key], key) if key in found else "" for key, check in _CHECKS.items()))


def _service(text: str, field: str) -> str:
    if not _SERVICE.fullmatch(text):
        raise invalid(field, "must be a service's name: letters, digits, dots and dashes")
    return text


_CHECKS: Final[dict[str, Callable[[str, str], str]]] = {
    _VIA_SERVICE: _service,
    _CALLER_ACCOUNT: account_id,
    _SOURCE_PRINCIPAL: lambda text, field: parse_principal(text, field).arn,
    _SOURCE_ARN: source_arn,
    _SOURCE_ACCOUNT: account_id,
}
"""What a trusted service may say, in the order of `Behalf`'s fields."""


def require_trusted(behalf: Behalf, principal: Principal) -> None:
    """Refuse whoever may not say for whom it calls. Raises ACCESS_DENIED."""
    if behalf is not NO_BEHALF and not principal.trusted:
        raise StrongroomError(Reason.ACCESS_DENIED, "only a trusted service may say for whom it calls")
