"""The four URIs of the API (specification, "URI path").

A legal path has one spelling only: all its characters are unreserved, nothing is percent-encoded, no
segment is a dot segment. So what was signed and what is served cannot differ.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from strongroomd.domain.xks.names import MAX_PREFIX

MAX_PATH: Final = 512  # characters; the longest legal one has 276


class Operation(StrEnum):
    """The API's operations, under the names that CloudWatch's metrics use."""

    HEALTH = "GetHealthStatus"
    METADATA = "GetKeyMetadata"
    ENCRYPT = "Encrypt"
    DECRYPT = "Decrypt"


_PATH: Final = re.compile(
    r"(?P<prefix>(?:/[A-Za-z0-9_-]+)*?)/kms/xks/v1"
    r"(?:/(?P<health>health)|/keys/(?P<key>[A-Za-z0-9._-]{1,128})/(?P<act>metadata|encrypt|decrypt))",
    re.ASCII,
)
_ACTS: Final = {
    "metadata": Operation.METADATA,
    "encrypt": Operation.ENCRYPT,
    "decrypt": Operation.DECRYPT,
}


@dataclass(frozen=True, slots=True)
class Route:
    """Where a path leads.

    Attributes:
        operation: what is asked for.
        prefix: the store's URI prefix; may be empty.
        external_key_id: of which key; empty for health.
    """

    operation: Operation
    prefix: str
    external_key_id: str = ""


def find(path: str) -> Route | None:
    """Find where a path leads; None if it is none of the four."""
    match = _PATH.fullmatch(path) if len(path) <= MAX_PATH else None
    if match is None or len(match["prefix"]) > MAX_PREFIX:
        return None
    if match["health"]:
        return Route(Operation.HEALTH, match["prefix"])
    if match["key"] in {".", ".."}:
        return None
    return Route(_ACTS[match["act"]], match["prefix"], match["key"])
