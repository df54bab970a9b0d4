"""Names of keys, aliases and regions, in AWS's form, parsed to values once at the border.

A key may be named by id, key ARN, alias name or alias ARN (AWS KMS developer guide, key identifiers). Every
spelling that is not exactly one of these is refused, so that two spellings never mean one thing.
"""

import re
from dataclasses import dataclass

from strongroomd.domain.errors import invalid, too_large
from strongroomd.domain.limits import MAX_ALIAS, MAX_DESCRIPTION, MAX_KEY_NAME, MAX_SOURCE_ARN

_KEY_ID = re.compile(
    r"(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|mrk-[0-9a-f]{32})", re.ASCII
)
_ALIAS = re.compile(r"alias/[A-Za-z0-9/_-]+", re.ASCII)
_ARN = re.compile(r"arn:aws:kms:([a-z0-9-]{1,32}):([0-9]{12}):(key|alias)/(.+)", re.ASCII)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)
_SOURCE = re.compile(r"arn:[a-z0-9-]+:[A-Za-z0-9-]+:[a-z0-9-]*:(?:[0-9]{12})?:[!-)+->@-~]+", re.ASCII)
RESERVED_ALIAS = "alias/aws/"


@dataclass(frozen=True, slots=True)
class KeyName:
    """A parsed way to name a key: exactly one of `key_id` and `alias` is set.

    Attributes:
        account: the account that an ARN names, or the default account.
    """

    account: str
    key_id: str = ""
    alias: str = ""


@dataclass(frozen=True, slots=True)
class Realm:
    """Where this daemon's keys are: the region of its ARNs and its default account (12 digits)."""

    region: str
    account: str

    def key_arn(self, key_id: str, account: str) -> str:
        """Spell a key's ARN."""
        return f"arn:aws:kms:{self.region}:{account}:key/{key_id}"

    def alias_arn(self, name: str, account: str) -> str:
        """Spell an alias's ARN; `name` has its `alias/` prefix."""
        return f"arn:aws:kms:{self.region}:{account}:{name}"

    def parse_key(self, text: str, account: str, field: str = "key") -> KeyName:
        """Parse any of the four ways to name a key.

        Args:
            text: what the caller wrote.
            account: the caller's account, which bare ids and aliases belong to.
            field: the request field, for errors.

        Raises:
            StrongroomError: INVALID_FIELD or FIELD_TOO_LARGE.
        """
        if len(text) > MAX_KEY_NAME:
            raise too_large(field, MAX_KEY_NAME, "characters")
        if _KEY_ID.fullmatch(text):
            return KeyName(account, key_id=text)
        if text.startswith("alias/"):
            return KeyName(account, alias=alias_name(text, field))
        return self._parse_arn(text, field)

    def _parse_arn(self, text: str, field: str) -> KeyName:
        match = _ARN.fullmatch(text)
        if match is None or match[1] != self.region:
            raise invalid(field, "must be a key id, a key ARN of this region, alias/NAME or an alias ARN")
        if match[3] == "alias":
            return KeyName(match[2], alias=alias_name("alias/" + match[4], field))
        if not _KEY_ID.fullmatch(match[4]):
            raise invalid(field, "must be a key id, a key ARN of this region, alias/NAME or an alias ARN")
        return KeyName(match[2], key_id=match[4])


def alias_name(text: str, field: str = "alias") -> str:
    """Check an alias name: `alias/` and characters A-Z a-z 0-9 / _ -, at most 256 in all.

    Raises:
        StrongroomError: INVALID_FIELD or FIELD_TOO_LARGE.
    """
    if len(text) > MAX_ALIAS:
        raise too_large(field, MAX_ALIAS, "characters")
    if not _ALIAS.fullmatch(text):
        raise invalid(field, "must be alias/ followed by letters, digits, /, _ or -")
    return text


def new_alias_name(text: str, field: str = "alias") -> str:
    """Check an alias name that a caller wants to make: `alias/aws/` is reserved for service keys."""
    if alias_name(text, field).startswith(RESERVED_ALIAS):
        raise invalid(field, "names under alias/aws/ are reserved")
    return text


def request_id(text: str, field: str = "request_id") -> str:
    """Check an idempotency key: empty (none), or 1 to 64 letters, digits, dots, dashes, underscores."""
    if text and not _REQUEST_ID.fullmatch(text):
        raise invalid(field, "must be 1 to 64 letters, digits, '.', '_' or '-', such as a UUID")
    return text


def account_id(text: str, field: str = "account") -> str:
    """Check an account id: 12 digits."""
    if not _ACCOUNT.fullmatch(text):
        raise invalid(field, "must be 12 digits")
    return text


def source_arn(text: str, field: str = "source_arn") -> str:
    """Check the ARN of the resource that a service calls for: `arn:` and five more parts, no wildcards.

    Raises:
        StrongroomError: INVALID_FIELD or FIELD_TOO_LARGE.
    """
    if len(text) > MAX_SOURCE_ARN:
        raise too_large(field, MAX_SOURCE_ARN, "characters")
    if not _SOURCE.fullmatch(text):
        raise invalid(field, "must be the whole ARN of one resource, such as arn:aws:s3:::bucket")
    return text


def description(text: str, field: str = "description") -> str:
    """Check a description: printable text of at most 8,192 characters."""
    if len(text) > MAX_DESCRIPTION:
        raise too_large(field, MAX_DESCRIPTION, "characters")
    return plain_text(text, field)


def plain_text(text: str, field: str) -> str:
    """Refuse control characters and lone surrogates, which logs, files and C libraries choke on."""
    if any((ord(c) < 0x20 and c not in "\n\t") or 0xD800 <= ord(c) <= 0xDFFF or ord(c) == 0x7F for c in text):
        raise invalid(field, "must not hold control characters or lone surrogates")
    return text
