"""Statements: what the house says under its signature, in the one byte form that is signed. Pure.

A payload is canonical JSON: keys sorted, no spaces, ASCII, no fractions, and these members:

    {"claims":{...},"format":"strongroom.statement.v1","house":"/strongroom/REGION/ACCOUNT","kind":"...","time":"..."}

It is signed as it stands (ECDSA P-256 with SHA-256, DER), so that openssl alone can verify it. A reader takes
a payload only in that form: two texts that mean the same are not both signed.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from strongroomd.domain.errors import StrongroomError, invalid, too_large

FORMAT: Final = "strongroom.statement.v1"
MAX_STATEMENT: Final = 1 << 20  # bytes of a payload: a key of 1,000 versions needs half of it
MAX_NUMBER: Final = 2**53 - 1  # every JSON reader can hold it (RFC 8259, section 6)
MAX_DEPTH: Final = 16
_KIND: Final = re.compile(r"[a-z][a-z0-9-]{0,63}", re.ASCII)
_HOUSE: Final = re.compile(r"[!-~]{1,256}", re.ASCII)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_MEMBERS: Final = {"claims", "format", "house", "kind", "time"}
_FIELD: Final = "statement"


@dataclass(frozen=True, slots=True)
class Statement:
    """What the house says.

    Attributes:
        kind: what is stated, e.g. `key-attestation`: lower case, digits and hyphens.
        house: names the installation.
        time: when it was said, ms since the Unix epoch.
        claims: plain JSON: text, whole numbers of at most 53 bits, truth, null, lists, objects.
    """

    kind: str
    house: str
    time: int
    claims: Mapping[str, Any]

    def payload(self) -> bytes:
        """Give the byte form that is signed.

        Raises:
            StrongroomError: INVALID_FIELD for what no statement can say, FIELD_TOO_LARGE.
        """
        _check_envelope(self.kind, self.house)
        _check_value(self.claims, 0)
        members = {
            "claims": dict(self.claims),
            "format": FORMAT,
            "house": self.house,
            "kind": self.kind,
            "time": spell_time(self.time),
        }
        payload = _encode(members)
        if len(payload) > MAX_STATEMENT:
            raise too_large(_FIELD, MAX_STATEMENT)
        return payload


def spell_time(milliseconds: int) -> str:
    """Spell a time as statements do: RFC 3339, UTC, milliseconds.

    Raises:
        StrongroomError: INVALID_FIELD for a time outside the years 1970 to 9999.
    """
    if not 0 <= milliseconds < 253_402_300_800_000:
        raise invalid(_FIELD, "a time must lie in the years 1970 to 9999")
    seconds, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


def parse_statement(payload: bytes) -> Statement:
    """Read a payload; whatever is not the one byte form of a statement is refused.

    Raises:
        StrongroomError: INVALID_FIELD, FIELD_TOO_LARGE.
    """
    if len(payload) > MAX_STATEMENT:
        raise too_large(_FIELD, MAX_STATEMENT)
    try:
        found = json.loads(payload.decode("ascii"), parse_float=_refuse_number, parse_constant=_refuse_number)
    except (ValueError, RecursionError):
        raise _not_canonical() from None
    if not isinstance(found, dict) or found.keys() != _MEMBERS or found["format"] != FORMAT:
        raise _not_canonical()
    statement = _statement_of(found)
    if statement.payload() != payload:
        raise _not_canonical()
    return statement


def _statement_of(found: dict[str, Any]) -> Statement:
    kind, house, time, claims = (found[name] for name in ("kind", "house", "time", "claims"))
    if not (isinstance(kind, str) and isinstance(house, str) and isinstance(claims, dict)):
        raise _not_canonical()
    return Statement(kind, house, _read_time(time), claims)


def _read_time(text: object) -> int:
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        raise _not_canonical()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _not_canonical() from None
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def _check_envelope(kind: str, house: str) -> None:
    if not _KIND.fullmatch(kind):
        raise invalid(_FIELD, "a kind is 1 to 64 lower-case letters, digits and hyphens, a letter first")
    if not _HOUSE.fullmatch(house):
        raise invalid(_FIELD, "a house's name is 1 to 256 printable ASCII characters without spaces")


def _check_value(value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise invalid(_FIELD, f"claims nest at most {MAX_DEPTH} deep")
    match value:
        case None | bool():
            return
        case str():
            _check_text(value)
        case int():
            if abs(value) > MAX_NUMBER:
                raise invalid(_FIELD, "numbers have at most 53 bits")
        case list() | tuple():
            for item in value:
                _check_value(item, depth + 1)
        case Mapping():
            _check_members(value, depth)
        case _:
            raise invalid(_FIELD, "claims are text, whole numbers, truth, null, lists and objects")


def _check_members(members: Mapping[Any, Any], depth: int) -> None:
    for name, value in members.items():
        if not isinstance(name, str):
            raise invalid(_FIELD, "names of members must be text")
        _check_text(name)
        _check_value(value, depth + 1)


def _check_text(text: str) -> None:
    """Refuse half of a surrogate pair, which is no character: readers differ in what they make of it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise invalid(_FIELD, "text must be Unicode") from None


def _encode(members: Mapping[str, Any]) -> bytes:
    return json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def _refuse_number(_: str) -> object:
    raise ValueError("numbers are whole")


def _not_canonical() -> StrongroomError:
    return invalid(_FIELD, "must be a statement in its canonical form")
