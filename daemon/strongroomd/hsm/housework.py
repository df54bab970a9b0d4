"""What the daemon has the token do for itself: MACs of records, signed checkpoints and statements, random.

It has no caller whose deadline would bound it, so it has one of its own.
"""

import hashlib
import hmac
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Concatenate, Final, ParamSpec, TypeVar

from pkcs11.mechanisms import Mechanism

from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.limits import MAX_RANDOM
from strongroomd.hsm.device import FIRST_PAUSE, Device, Health
from strongroomd.hsm.faults import Fault, Refused
from strongroomd.hsm.handles import Session
from strongroomd.hsm.house import Household, sign_digest
from strongroomd.hsm.module import Module
from strongroomd.hsm.quick import Quick

P = ParamSpec("P")
T = TypeVar("T")

_ROW_MAC: Final = Mechanism.SHA256_HMAC
_MAC_BYTES: Final = 32
_HOUSE_SECONDS: Final = 5.0


class HouseWork:
    """The methods of `ports.Vault` that use house keys, or none.

    Args:
        house: the keys.
        health: told when one of them vanished.
        here: over the session pool, for the loop's thread.
        device: the same, for any other.
        quick: the lane of this work while the token is slow.
        module: calls into it.
    """

    def __init__(
        self, house: Household, health: Health, here: Device, device: Device, quick: Quick, module: Module
    ) -> None:
        self._house = house
        self._health = health
        self._here = here
        self._device = device
        self._quick = quick
        self._pace = quick.pace
        self._calls, self._released = module.direct, module.released

    async def row_mac(self, data: bytes) -> bytes:
        """See `Vault.row_mac`."""
        return await self._mac_under(self._house.row_mac, data)

    async def record_mac(self, data: bytes) -> bytes:
        """See `Vault.record_mac`."""
        tag = self._house.mac_tag
        return tag + await self._mac_under(self._house.row_macs[tag], data)

    async def record_mac_matches(self, data: bytes, mac: bytes) -> bool:
        """See `Vault.record_mac_matches`."""
        tag = _tag_of(mac)
        handle = self._house.row_macs.get(tag, 0)
        return handle != 0 and hmac.compare_digest(tag + await self._mac_under(handle, data), mac)

    def knows_mac_key(self, mac: bytes) -> bool:
        """See `Vault.knows_mac_key`."""
        return _tag_of(mac) in self._house.row_macs

    @property
    def mac_tag(self) -> bytes:
        """See `Vault.mac_tag`."""
        return self._house.mac_tag

    async def sign_checkpoint(self, data: bytes, public_key: bytes = b"") -> bytes:
        """See `Vault.sign_checkpoint`."""
        handle = self._house.checkpoints.get(public_key or self._house.checkpoint_key)
        if handle is None:
            raise unavailable("the checkpoint key is not known here yet")
        return await self._sign_for_the_house(handle, data)

    @property
    def checkpoint_key(self) -> bytes:
        """See `Vault.checkpoint_key`."""
        return self._house.checkpoint_key

    @property
    def checkpoint_keys(self) -> tuple[bytes, ...]:
        """See `Vault.checkpoint_keys`."""
        return tuple(self._house.checkpoints)

    @property
    def statement_key(self) -> bytes:
        """Public half (DER SubjectPublicKeyInfo) of the key that signs statements."""
        return self._house.statement_key

    async def sign_statement(self, data: bytes) -> bytes:
        """ECDSA P-256 SHA-256 signature (DER) over `data` under the statement house key."""
        return await self._sign_for_the_house(self._house.statement, data)

    @property
    def replica_key(self) -> bytes:
        """See `Vault.replica_key`."""
        return self._house.replica_key

    async def random(self, length: int) -> bytes:
        """See `Vault.random`."""
        if not 0 < length <= MAX_RANDOM:
            raise StrongroomError(
                Reason.INVALID_FIELD, f"1 to {MAX_RANDOM} bytes can be asked for", field="length"
            )
        if self._pace.inline:
            token = self._here.run("C_GenerateRandom", _random, length)
        else:
            token = await self._for_the_house(self._device.run, "C_GenerateRandom", _random, length)
        host = os.urandom(length)
        return bytes(a ^ b for a, b in zip(token, host, strict=True))

    async def _mac_under(self, handle: int, data: bytes) -> bytes:
        mac = (handle, _ROW_MAC, data)
        if self._pace.inline:
            return self._with_house(self._here, self._calls.sign, *mac)
        return await self._for_the_house(partial(self._with_house, self._device, self._released.sign, *mac))

    async def _sign_for_the_house(self, key: int, data: bytes) -> bytes:
        digest = hashlib.sha256(data).digest()
        if self._pace.inline:
            return self._with_house(self._here, sign_digest, key, digest)
        return await self._for_the_house(partial(self._with_house, self._device, sign_digest, key, digest))

    async def _for_the_house(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the daemon's own short work on the quick lane. Raises HSM_UNAVAILABLE when it takes too long."""
        try:
            return await self._quick.run(time.monotonic() + _HOUSE_SECONDS, work, *args, **kwargs)
        except StrongroomError as error:
            if error.reason is Reason.DEADLINE_EXCEEDED:
                raise unavailable("the token takes too long") from error
            raise

    def _with_house(
        self,
        device: Device,
        work: Callable[Concatenate[Session, P], bytes],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> bytes:
        """Use a house key; when its handle is gone, so is the token as this process knew it."""
        try:
            return device.run("C_Sign", work, *args, **kwargs)
        except Refused as refused:
            if refused.kind is Fault.HANDLE:
                self._health.breaker.give_up("a house key vanished from the token")
            raise


def _tag_of(mac: bytes) -> bytes:
    """Read which row MAC key made a MAC; the first one's have no tag."""
    return mac[:-_MAC_BYTES]


def _random(session: Session, length: int) -> bytes:
    return session.generate_random(length * 8)  # type: ignore[no-any-return]


def unavailable(detail: str) -> StrongroomError:
    """Make the error for a token that does not do the daemon's own work."""
    return StrongroomError(Reason.HSM_UNAVAILABLE, detail=detail, retry_after=FIRST_PAUSE)
