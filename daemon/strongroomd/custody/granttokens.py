"""Grant tokens at work: made with a grant, and heeded before a call that brings them is decided."""

import hmac
from collections import OrderedDict
from typing import Final

from strongroomd.custody.ledger import Ledger
from strongroomd.custody.lending import Lending
from strongroomd.domain import granttokens
from strongroomd.domain.granttokens import NONCE_BYTES, GrantToken
from strongroomd.ports import Vault

_REMEMBERED: Final = 10_000


class GrantTokens:
    """Makes and heeds tokens.

    Args:
        ledger: is followed when a token names a grant that is not known here yet.
        lending: knows grants.
        vault: MACs of tokens.
    """

    def __init__(self, ledger: Ledger, lending: Lending, vault: Vault) -> None:
        self._ledger = ledger
        self._lending = lending
        self._vault = vault
        self._verified: OrderedDict[str, GrantToken] = OrderedDict()

    async def make(self, grant_id: str) -> str:
        """Make a token of a grant that is in the journal as far as it was followed; each is a new one."""
        token = GrantToken(grant_id, self._ledger.sequence, await self._vault.random(NONCE_BYTES))
        return token.spell(await self._vault.row_mac(token.message()))

    async def heed(self, tokens: tuple[str, ...]) -> None:
        """See to it that the grants which tokens name are known here, if they still exist.

        Raises:
            StrongroomError: INVALID_GRANT_TOKEN for a token that this house did not make.
        """
        for text in tokens:
            await self.named(text)

    async def named(self, text: str, field: str = "grant_tokens") -> str:
        """Give the grant id that a token names; the grant may have ended since.

        Raises:
            StrongroomError: INVALID_GRANT_TOKEN.
        """
        token = self._verified.get(text) or await self._verify(text, field)
        if not self._lending.record_id(token.grant_id) and token.sequence > self._ledger.sequence:
            await self._ledger.follow()
        return token.grant_id

    async def _verify(self, text: str, field: str) -> GrantToken:
        token, mac = granttokens.parse(text, field)
        if not hmac.compare_digest(await self._vault.row_mac(token.message()), mac):
            raise granttokens.refused(field)
        self._verified[text] = token
        if len(self._verified) > _REMEMBERED:
            self._verified.popitem(last=False)
        return token
