"""Statements are signed by the main token; which of its keys do and did."""

import hashlib
from collections.abc import Iterable, Sequence

from strongroomd.domain.algorithms import SigningAlgorithm
from strongroomd.domain.housekeys import active
from strongroomd.domain.records import HouseRecord
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.templates import House
from strongroomd.hsm.vaults import Vaults
from strongroomd.ports import StatementSignature


def key_id(public_key: bytes) -> str:
    """Name a statement key by its public half (DER SubjectPublicKeyInfo)."""
    return hashlib.sha256(public_key).hexdigest()


def statement_keys(house: Iterable[HouseRecord]) -> dict[str, bytes]:
    """Give the public halves (DER SubjectPublicKeyInfo) of all statement keys by key id, old ones too."""
    found = [record.public_key for record in active(house) if record.role == House.STATEMENT.value]
    return {key_id(public_key): public_key for public_key in found}


class HouseSigner:
    """`ports.StatementSigner` and `ports.StatementKeys`.

    Args:
        vault: has the key.
    """

    def __init__(self, vault: TokenVault | Vaults) -> None:
        self._vault = vault

    async def sign(self, payload: bytes) -> StatementSignature:
        """See `StatementSigner.sign`."""
        signature = await self._vault.sign_statement(payload)
        return StatementSignature(
            key_id(self._vault.statement_key), SigningAlgorithm.ECDSA_SHA_256, signature
        )

    def of(self, house: Sequence[HouseRecord]) -> dict[str, bytes]:
        """See `StatementKeys.of`."""
        keys, current = statement_keys(house), self._vault.statement_key
        keys.pop(key_id(current), None)
        return keys | {key_id(current): current}
