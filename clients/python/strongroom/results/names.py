"""KeyService: what is attached to keys: aliases, tags, policies."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Alias:
    """A second name of a key."""

    name: str
    arn: str
    key_arn: str
    created_time: datetime | None
    updated_time: datetime | None
    etag: str


@dataclass(frozen=True, slots=True)
class Tags:
    """All tags of a key; `etag` is the key's, and empty where only the tags were read."""

    tags: Mapping[str, str]
    etag: str = ""


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """A key's policy, as JSON text, with the key's etag."""

    policy: str
    etag: str
