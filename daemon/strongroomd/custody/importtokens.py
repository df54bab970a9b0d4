"""Import tokens: made with a wrapping pair, and believed for its key, for a day, once."""

import hmac

from strongroomd.custody.ledger import Ledger
from strongroomd.domain.errors import Reason, StrongroomError, too_large
from strongroomd.domain.importing import ImportToken, parse_token, refused_token
from strongroomd.domain.limits import MAX_IMPORT_TOKEN
from strongroomd.domain.materials import WrappingPairRecord
from strongroomd.ports import RowMacs


class ImportTokens:
    """Makes and reads tokens.

    Args:
        ledger: has the pairs; a token is used up when its pair is gone.
        vault: MACs of tokens.
    """

    def __init__(self, ledger: Ledger, vault: RowMacs) -> None:
        self._ledger = ledger
        self._vault = vault

    async def make(self, pair: WrappingPairRecord) -> bytes:
        """Make the token of a pair; the same each time."""
        token = ImportToken(pair.import_id, pair.expires_at)
        return token.spell(await self._vault.row_mac(token.message(pair.key_id)))

    async def pair(self, key_id: str, raw: bytes, now: int) -> WrappingPairRecord:
        """Find the pair that a token belongs to.

        Args:
            key_id: the key whose material the token must be for.
            raw: the token.
            now: ms since the Unix epoch.

        Raises:
            StrongroomError: INVALID_IMPORT_TOKEN for what is no token of this key or was used already,
                EXPIRED_IMPORT_TOKEN, FIELD_TOO_LARGE.
        """
        if len(raw) > MAX_IMPORT_TOKEN:
            raise too_large("import_token", MAX_IMPORT_TOKEN)
        token, mac = parse_token(raw)
        if not hmac.compare_digest(await self._vault.row_mac(token.message(key_id)), mac):
            raise refused_token()
        if token.expires_at <= now:
            raise StrongroomError(Reason.EXPIRED_IMPORT_TOKEN, field="import_token")
        found = await self._ledger.read(WrappingPairRecord, f"{key_id}/{token.import_id}")
        if found is None:
            raise refused_token()
        return found
