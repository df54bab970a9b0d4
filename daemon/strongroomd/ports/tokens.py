"""The tokens that keys may live in: which there are, how they are, and what lies in them."""

from typing import Protocol

from strongroomd.domain.keys import BoundVersion, ResidentObject
from strongroomd.domain.tokens import MAIN


class Tokens(Protocol):
    """The tokens of a vault. One that cannot be used now raises HSM_UNAVAILABLE for its own keys alone."""

    def tokens(self) -> tuple[str, ...]:
        """Name all tokens that keys may live in, the main one first, those that are away now among them."""
        ...

    def usable(self, token: str) -> bool:
        """Say whether a token can be used as far as is known; for tasks that can wait. It is not asked."""
        ...

    async def probe(self) -> None:
        """Prove by a canary operation on a fresh session that the token works. Raises HSM_UNAVAILABLE."""
        ...

    async def exercise(self, token: str = MAIN) -> float:
        """Encrypt and decrypt random bytes in a token, under a key for nothing else, and compare.

        Returns the seconds that both took. Raises HSM_UNAVAILABLE, within two seconds, for whatever is wrong.
        """
        ...

    def describe(self, token: str = MAIN) -> str:
        """Say what a token is: manufacturer, model, firmware; at most 64 characters of printable ASCII.

        As it said itself when it was opened; empty for one that never was.
        """
        ...

    async def traits(self, key: BoundVersion, *, deadline: float) -> dict[str, bool | None]:
        """Read how the token keeps the object of a resident or adopted version, now, once it is proved.

        By the names of PKCS#11's attributes in lower case, e.g. `never_extractable`; None for what the token
        does not say.

        Raises:
            StrongroomError: KEY_UNAVAILABLE for an object that is missing or another; HSM_UNAVAILABLE.
        """
        ...

    async def list_resident(self, token: str = MAIN) -> list[ResidentObject]:
        """List a token's objects of resident keys. Raises HSM_UNAVAILABLE unless its sentinel is visible."""
        ...

    async def destroy_resident(self, hsm_id: str, token: str = MAIN) -> None:
        """Destroy a resident key's objects and confirm it by a fresh search; absent objects are no error."""
        ...
