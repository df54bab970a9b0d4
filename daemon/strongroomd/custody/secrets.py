"""Secrets that the daemon must be able to read again: sealed under keys that only the token can make.

A secret's key is an HMAC, made in the HSM under the row MAC house key, of a salt of its own; the label
keeps it apart from every other use of that key. It encrypts one message, so that the IV may be constant.
Secret and key pass through the daemon's memory, where a signature's check needs the secret anyway.

    sealed = 01 || salt (32) || AES-256-GCM(HMAC(label || salt), IV = 0, secret, AAD = what it belongs to)
    || tag
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.ports import Vault

_LABEL: Final = b"strongroom.secret-key.v1"
_FORMAT: Final = b"\x01"
_SALT: Final = 32
_IV: Final = bytes(12)


class SecretBox:
    """Seals and opens secrets."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def seal(self, secret: bytes, owner: str) -> bytes:
        """Seal a secret; it opens for the same owner only."""
        salt = await self._vault.random(_SALT)
        return _FORMAT + salt + (await self._cipher(salt)).encrypt(_IV, secret, owner.encode())

    async def open(self, sealed: bytes, owner: str) -> bytes:
        """Undo `seal`. Raises INTEGRITY_FAILURE for what was not sealed here for this owner."""
        salt, body = sealed[1 : 1 + _SALT], sealed[1 + _SALT :]
        if sealed[:1] != _FORMAT:
            raise _damaged()
        try:
            return (await self._cipher(salt)).decrypt(_IV, body, owner.encode())
        except (InvalidTag, ValueError):
            raise _damaged() from None

    async def _cipher(self, salt: bytes) -> AESGCM:
        return AESGCM(await self._vault.row_mac(_LABEL + salt))


def _damaged() -> StrongroomError:
    return StrongroomError(Reason.INTEGRITY_FAILURE, detail="a sealed secret does not open")
