"""What the store keeps about external key stores; protected like all records (`records`).

A key store is what an AWS customer's custom key store of type EXTERNAL_KEY_STORE points at: a URI path
prefix, credentials that KMS signs with, and external key ids, each of which stands for a key of this daemon.
It uses keys under a principal of its own (`names.store_arn`).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from strongroomd.domain.protection import Record

MAX_STORES: Final = 1_000  # of the daemon: they are held in memory
MAX_EXTERNAL_KEYS: Final = 50_000  # of one store: they are held in memory
MAX_CREDENTIALS: Final = 8  # of one store


class Pinning(StrEnum):
    """To which KMS key an external key is bound: to none, to the first that uses it, to a configured one."""

    NONE = "NONE"
    FIRST_USE = "FIRST_USE"
    FIXED = "FIXED"


@dataclass(frozen=True, slots=True)
class StoreRecord(Record):
    """A key store.

    Attributes:
        store_id: `xks-` and 16 hex digits.
        account: 12 digits.
        uri_prefix: what stands before /kms/xks/v1 in its URIs; unique over the daemon.
        blocked: nothing is answered but that it is blocked.
        policy: who among AWS's callers may do what (policy.py), JSON; empty: a valid signature is enough.
        per_second, burst: requests of the store; 0 for no limit of its own.
        key_per_second, key_burst: of each external key in it.
        principal_per_second, principal_burst: of each AWS principal that uses it.
        created_at: milliseconds since the Unix epoch.
    """

    KIND: ClassVar[str] = "xks_store"
    store_id: str
    account: str
    uri_prefix: str
    description: str
    blocked: bool
    policy: str
    per_second: int
    burst: int
    key_per_second: int
    key_burst: int
    principal_per_second: int
    principal_burst: int
    created_at: int
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """The store's id."""
        return self.store_id


@dataclass(frozen=True, slots=True)
class ExternalKeyRecord(Record):
    """An external key id, and the key that it stands for.

    Attributes:
        account: the store's.
        key_id: the key, of any account that lends it.
        token: name of the token in which the key lives; empty for the main one.
        blocked: it answers that it is blocked, and its metadata say DISABLED.
        encrypts, decrypts: what the store may do with the key.
        pinning: how it is bound to a KMS key.
        kms_key_arn: that KMS key; empty while none is known.
        compatible: opens ciphertexts of AWS's sample proxy, too (`layout.digested`).
        created_at: milliseconds since the Unix epoch.
    """

    KIND: ClassVar[str] = "xks_key"
    store_id: str
    external_key_id: str
    account: str
    key_id: str
    token: str
    blocked: bool
    encrypts: bool
    decrypts: bool
    pinning: Pinning
    kms_key_arn: str
    compatible: bool
    created_at: int
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """The store and the external key id."""
        return f"{self.store_id}/{self.external_key_id}"


@dataclass(frozen=True, slots=True)
class CredentialRecord(Record):
    """A pair of access key id and secret that KMS signs a store's requests with.

    Attributes:
        account: the store's.
        sealed_secret: the secret, sealed by the HSM's means (custody.secrets).
        created_at: milliseconds since the Unix epoch.
    """

    KIND: ClassVar[str] = "xks_credential"
    store_id: str
    access_key_id: str
    account: str
    sealed_secret: bytes
    created_at: int
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """The store and the access key id."""
        return f"{self.store_id}/{self.access_key_id}"
