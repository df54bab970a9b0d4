"""A token as the router sees it: there, or away and why."""

from dataclasses import dataclass, field
from typing import Final

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.tokens import spelled
from strongroomd.hsm.keystore import TokenVault

RETRY_AFTER: Final = 5.0  # seconds; what a caller of a token that is away is told
NOT_CONFIGURED: Final = "the store knows it, but the configuration does not name it"


@dataclass(slots=True, eq=False)
class Place:
    """Where keys live.

    Attributes:
        name: of the token, as records have it.
        trouble: why there is no vault, for the log and for health; empty while there is one.
        vault: the token's vault; None while it cannot be used.
        description: what the token said of itself when it was opened last; empty if it never was.
    """

    name: str
    trouble: str
    vault: TokenVault | None = field(default=None)
    description: str = ""

    def use(self) -> TokenVault:
        """Give the vault. Raises HSM_UNAVAILABLE while there is none."""
        if self.vault is None:
            raise self.refusal()
        return self.vault

    def refusal(self) -> StrongroomError:
        """Make the error for keys that live here."""
        detail = f"token {spelled(self.name)}: {self.trouble}"
        return StrongroomError(Reason.HSM_UNAVAILABLE, detail=detail, retry_after=RETRY_AFTER)
