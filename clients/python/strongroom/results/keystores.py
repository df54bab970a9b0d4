"""KeyStoreService: external key stores of AWS KMS, their credentials and external keys."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class RequestLimit:
    """Requests let through each second, and at once (0: as many as in a second); both 0 for no limit."""

    per_second: int = 0
    burst: int = 0

    def __str__(self) -> str:
        if not self.per_second:
            return "none"
        return f"{self.per_second:,} a second, {self.burst or self.per_second:,} at once"


@dataclass(frozen=True, slots=True)
class KeyStore:
    """An external key store of AWS KMS; `arn` is the principal under which it uses keys."""

    key_store_id: str
    arn: str
    account: str
    uri_prefix: str
    description: str
    blocked: bool
    policy: str
    limit: RequestLimit
    key_limit: RequestLimit
    principal_limit: RequestLimit
    created_time: datetime | None
    etag: str


@dataclass(frozen=True, slots=True)
class KeyStoreCredential:
    """What AWS KMS signs a store's requests with, without its secret."""

    access_key_id: str
    key_store: str
    created_time: datetime | None
    last_used_time: datetime | None


@dataclass(frozen=True, slots=True)
class NewKeyStoreCredential:
    """A new credential and its secret, which is not shown again; empty where the answer is a repeated one."""

    credential: KeyStoreCredential
    uri_prefix: str
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ExternalKey:
    """An external key id of a store, and the key it stands for; `key_arn` is empty where that is damaged."""

    key_store: str
    external_key_id: str
    key_arn: str
    key_id: str
    blocked: bool
    encrypts: bool
    decrypts: bool
    pinning: str
    kms_key_arn: str
    compatible: bool
    created_time: datetime | None
    etag: str
