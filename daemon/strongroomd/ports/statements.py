"""Signatures over what the house states."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from strongroomd.domain.algorithms import SigningAlgorithm
from strongroomd.domain.records import HouseRecord


@dataclass(frozen=True, slots=True)
class StatementSignature:
    """A signature over a statement's payload.

    Attributes:
        key_id: names the house key: SHA-256 of its SubjectPublicKeyInfo (DER), 64 hex digits.
        algorithm: ECDSA_SHA_256.
        signature: DER, as `openssl dgst -sha256 -verify` takes it.
    """

    key_id: str
    algorithm: SigningAlgorithm
    signature: bytes


class StatementKeys(Protocol):
    """Knows which house records are statement keys."""

    def of(self, house: Sequence[HouseRecord]) -> dict[str, bytes]:
        """Give the public halves (DER SubjectPublicKeyInfo) by key id, the one that signs now last."""
        ...


class StatementSigner(Protocol):
    """Signs, in the HSM, what the house states; under a key that signs nothing else."""

    async def sign(self, payload: bytes) -> StatementSignature:
        """Sign a payload (`domain.statements`), under the newest statement key. Raises HSM_UNAVAILABLE."""
        ...
