"""AttestationService: what the house signs, and the keys that it signs with."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """What the house says: `signature` (DER) is over `payload`, see `strongroom.statements`."""

    payload: bytes
    signature: bytes
    signing_key_id: str
    signing_algorithm: str


@dataclass(frozen=True, slots=True)
class StatementKey:
    """A public key that statements verify with, DER and PEM; `current` marks the one that signs now."""

    key_id: str
    public_key: bytes
    public_key_pem: str
    current: bool
