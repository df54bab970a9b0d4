"""Names of an external key store: URI path prefix, external key id, ids of stores and credentials.

Lengths and alphabets are those that AWS KMS accepts (KMS API: XksProxyUriPath, XksKeyId,
XksProxyAuthenticationCredential). All their characters are unreserved in a URI: a legal path has one
spelling.
"""

import base64
import re
from typing import Final

from strongroomd.domain.errors import invalid, too_large
from strongroomd.domain.limits import MAX_SOURCE_ARN

MAX_PREFIX: Final = 117  # characters: XksProxyUriPath has at most 128, of which /kms/xks/v1 takes 11
MAX_EXTERNAL_KEY_ID: Final = 128
ACCESS_KEY_ID_BYTES: Final = 15  # 24 characters of base32, without padding
SECRET_BYTES: Final = 45  # 60 characters of base64, without padding; 256 bits of entropy are asked for
STORE_ID_BYTES: Final = 8

_STORES: Final = "xks/"
_PREFIX: Final = re.compile(r"(?:/[A-Za-z0-9_-]+)*", re.ASCII)
_KEY: Final = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_STORE: Final = re.compile(r"xks-[0-9a-f]{16}", re.ASCII)
_ACCESS_KEY: Final = re.compile(r"[A-Z2-7]{20,30}", re.ASCII)
_KMS_KEY: Final = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]{1,64}", re.ASCII)


def uri_prefix(text: str, field: str = "uri_prefix") -> str:
    """Check a URI path prefix: empty, or segments of letters, digits, - and _, each after a slash.

    Raises:
        StrongroomError: INVALID_FIELD or FIELD_TOO_LARGE.
    """
    if len(text) > MAX_PREFIX:
        raise too_large(field, MAX_PREFIX, "characters")
    if not _PREFIX.fullmatch(text):
        raise invalid(field, "must be segments of letters, digits, - or _, each after a slash, or empty")
    return text


def external_key_id(text: str, field: str = "external_key_id") -> str:
    """Check an external key id: 1 to 128 letters, digits, dots, dashes and underscores."""
    if len(text) > MAX_EXTERNAL_KEY_ID:
        raise too_large(field, MAX_EXTERNAL_KEY_ID, "characters")
    if not _KEY.fullmatch(text):
        raise invalid(field, "must be 1 to 128 letters, digits, '.', '_' or '-'")
    return text


def store_id(text: str, field: str = "key_store") -> str:
    """Check the form of a store's id: `xks-` and 16 hexadecimal digits."""
    if not _STORE.fullmatch(text):
        raise invalid(field, "must be xks- and 16 hexadecimal digits")
    return text


def access_key_id(text: str, field: str = "access_key_id") -> str:
    """Check the form of a credential's id: 20 to 30 characters of A-Z and 2-7."""
    if not is_access_key_id(text):
        raise invalid(field, "must be 20 to 30 letters A to Z or digits 2 to 7")
    return text


def is_access_key_id(text: str) -> bool:
    """Say whether a credential can have this id at all."""
    return _ACCESS_KEY.fullmatch(text) is not None


def kms_key_arn(text: str, field: str = "kms_key_arn") -> str:
    """Check the ARN of an AWS KMS key: arn:aws:kms:<region>:<account>:key/<id>; of an alias it is none."""
    if len(text) > MAX_SOURCE_ARN:
        raise too_large(field, MAX_SOURCE_ARN, "characters")
    if not _KMS_KEY.fullmatch(text):
        raise invalid(field, "must be the ARN of an AWS KMS key: arn:aws:kms:<region>:<account>:key/<id>")
    return text


def store_id_of(random: bytes) -> str:
    """Spell a new store's id from 8 random bytes."""
    return f"xks-{random.hex()}"


def access_key_id_of(random: bytes) -> str:
    """Spell a new credential's id from 15 random bytes: 24 characters."""
    return base64.b32encode(random).decode()


def secret_of(random: bytes) -> str:
    """Spell a new credential's secret from 45 random bytes: 60 characters of a-z A-Z 0-9 / +."""
    return base64.b64encode(random).decode()


def is_store(arn: str) -> bool:
    """Say whether a principal's ARN is one under which key stores use keys."""
    return arn.partition(":service/")[2].startswith(_STORES)


def store_arn(account: str, store: str) -> str:
    """Spell the ARN under which a store uses keys."""
    return f"arn:aws:iam::{account}:service/{_STORES}{store}"
