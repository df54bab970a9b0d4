"""The house's statements: what it says, when, under its signature."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from strongroomd.custody.clock import Clock
from strongroomd.domain.statements import Statement
from strongroomd.ports import StatementSignature, StatementSigner


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """A statement as it goes out.

    Attributes:
        payload: the bytes that are signed, canonical JSON.
        signature: with the id of the key that made it.
    """

    payload: bytes
    signature: StatementSignature


class Notary:
    """Makes signed statements.

    Args:
        signer: has the house's key.
        house: names the installation in each statement.
        clock: tells when it was said.
    """

    def __init__(self, signer: StatementSigner, house: str, clock: Clock) -> None:
        self._signer = signer
        self._house = house
        self._clock = clock

    async def state(self, kind: str, claims: Mapping[str, Any]) -> SignedStatement:
        """State something now.

        Raises:
            StrongroomError: INVALID_FIELD for claims that no statement can make, HSM_UNAVAILABLE.
        """
        payload = Statement(kind, self._house, self._clock.wall_ms(), claims).payload()
        return SignedStatement(payload, await self._signer.sign(payload))
