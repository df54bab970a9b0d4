"""Several tokens as one `ports.Vault`: each key is used where it lives.

Wrapped versions go to a token that holds their KEK, resident and adopted ones to the token that their record
names; what a house has once stays with the main token. The methods of the hot path look the place up and hand
over the coroutine of that token's own vault: they are no coroutines themselves.
"""

from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from strongroomd.domain.adoption import AdoptedObject, ObjectName
from strongroomd.domain.algorithms import (
    EncryptionAlgorithm,
    KeySpec,
    KeyUsage,
    MacAlgorithm,
    SigningAlgorithm,
)
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.keys import Anchor, BoundVersion, Material, ResidentObject
from strongroomd.domain.records import CustodyMode, HouseRecord
from strongroomd.domain.tokens import MAIN
from strongroomd.hsm.further import FurtherToken
from strongroomd.hsm.house import PROBE_LIFE
from strongroomd.hsm.keystore import TokenVault
from strongroomd.hsm.places import NOT_CONFIGURED, RETRY_AFTER, Place

T = TypeVar("T")
Job = Coroutine[Any, Any, T]


class Vaults:
    """`ports.Vault` on the main token and further ones. Everything here belongs to the event loop's thread.

    Args:
        main: the main token's vault.
        further: the other configured tokens; they come and go by themselves.
        house: all house records of the store, verified; they say which token holds which KEK.
    """

    def __init__(
        self, main: TokenVault, further: Sequence[FurtherToken], house: Iterable[HouseRecord]
    ) -> None:
        self.further = tuple(further)
        self._main = main
        self._places = {MAIN: Place(MAIN, "", main), **{token.place.name: token.place for token in further}}
        self._keks: dict[str, tuple[Place, ...]] = {}
        self.learn(house)
        for token in further:
            token.tell = self.learn

    def learn(self, house: Iterable[HouseRecord]) -> None:
        """Take note of which tokens hold which KEKs; one that nobody configured is a place that is away."""
        for record in house:
            place = self._places.setdefault(record.token, Place(record.token, NOT_CONFIGURED))
            holders = self._keks.get(record.hsm_id, ())
            if record.role in PROBE_LIFE and place not in holders:
                self._keks[record.hsm_id] = (*holders, place)

    # --- what the worker watches ---

    @property
    def fatal(self) -> str | None:
        """Why this process must be replaced: the main token's reason; no other token's ends it."""
        return self._main.fatal

    def hanging(self) -> str | None:
        """Name the main token's lane that has a call over its limit; a further token is given up instead."""
        return self._main.hanging()

    def loaded(self) -> tuple[int, int]:
        """Count the keys and decryption sub-keys now held."""
        counts = [vault.loaded() for vault in self._open()]
        return sum(keys for keys, _ in counts), sum(subkeys for _, subkeys in counts)

    def states(self) -> dict[str, str]:
        """Say of every further token what is wrong, empty for nothing; any thread."""
        return {name: place.trouble for name, place in tuple(self._places.items()) if name != MAIN}

    def sweep(self) -> None:
        """Take keys over their age out of the tokens."""
        for vault in self._open():
            vault.sweep()

    def close(self) -> None:
        """Let all tokens go, the main one last."""
        for token in self.further:
            token.close()
        self._main.close()

    def _open(self) -> list[TokenVault]:
        return [place.vault for place in self._places.values() if place.vault is not None]

    # --- where a key lives ---

    def _of(self, key: BoundVersion) -> TokenVault:
        """Find the vault of a key version. Raises HSM_UNAVAILABLE when its token is away."""
        record = key.record
        if not record.kek_id:
            return self._named(record.token)
        places = self._keks.get(record.kek_id)
        if places is None:
            return self._of_unknown_kek()
        for place in places:
            if place.vault is not None:
                return place.vault
        raise places[0].refusal()

    def _of_unknown_kek(self) -> TokenVault:
        """It may be that of a token which got its house keys just now; else the main token says so."""
        if any(token.place.vault is None for token in self.further):
            detail = "no token that is open holds the KEK"
            raise StrongroomError(Reason.HSM_UNAVAILABLE, detail=detail, retry_after=RETRY_AFTER)
        return self._main

    def _named(self, token: str) -> TokenVault:
        place = self._places.get(token)
        return (place or Place(token, NOT_CONFIGURED)).use()

    # --- Vault: keys ---

    def tokens(self) -> tuple[str, ...]:
        """See `Vault.tokens`."""
        return tuple(self._places)

    def usable(self, token: str) -> bool:
        """See `Vault.usable`."""
        place = self._places.get(token)
        return place is not None and place.vault is not None and not place.trouble

    def placement(
        self,
        spec: KeySpec,
        usage: KeyUsage,
        mode: CustodyMode | None,
        *,
        exportable: bool,
        token: str = MAIN,
    ) -> tuple[CustodyMode, str]:
        """See `Vault.placement`."""
        return self._named(token).placement(spec, usage, mode, exportable=exportable)

    def generate(
        self,
        spec: KeySpec,
        usage: KeyUsage,
        mode: CustodyMode,
        *,
        exportable: bool,
        hsm_id: str,
        deadline: float,
        token: str = MAIN,
    ) -> Job[Material]:
        """See `Vault.generate`."""
        vault = self._named(token)
        return vault.generate(spec, usage, mode, exportable=exportable, hsm_id=hsm_id, deadline=deadline)

    async def examine(self, name: ObjectName, *, deadline: float, token: str = MAIN) -> AdoptedObject:
        """See `Vault.examine`."""
        return await self._named(token).examine(name, deadline=deadline)

    def seal(self, key: BoundVersion, plaintext: bytes, aad: bytes, *, deadline: float) -> Job[bytes]:
        """See `Vault.seal`."""
        return self._of(key).seal(key, plaintext, aad, deadline=deadline)

    def seal_apart(
        self, key: BoundVersion, plaintext: bytes, aad_of: Callable[[bytes], bytes], *, deadline: float
    ) -> Job[bytes]:
        """See `Vault.seal_apart`."""
        return self._of(key).seal_apart(key, plaintext, aad_of, deadline=deadline)

    def open(self, key: BoundVersion, sealed: bytes, aad: bytes, *, deadline: float) -> Job[bytes]:
        """See `Vault.open`."""
        return self._of(key).open(key, sealed, aad, deadline=deadline)

    def mac(
        self, key: BoundVersion, algorithm: MacAlgorithm, message: bytes, *, deadline: float
    ) -> Job[bytes]:
        """See `Vault.mac`."""
        return self._of(key).mac(key, algorithm, message, deadline=deadline)

    def sign(
        self, key: BoundVersion, algorithm: SigningAlgorithm, data: bytes, *, deadline: float
    ) -> Job[bytes]:
        """See `Vault.sign`."""
        return self._of(key).sign(key, algorithm, data, deadline=deadline)

    def rsa_decrypt(
        self, key: BoundVersion, algorithm: EncryptionAlgorithm, ciphertext: bytes, *, deadline: float
    ) -> Job[bytes]:
        """See `Vault.rsa_decrypt`."""
        return self._of(key).rsa_decrypt(key, algorithm, ciphertext, deadline=deadline)

    def agree(self, key: BoundVersion, peer: bytes, *, deadline: float) -> Job[bytes]:
        """See `Vault.agree`."""
        return self._of(key).agree(key, peer, deadline=deadline)

    async def list_resident(self, token: str = MAIN) -> list[ResidentObject]:
        """See `Vault.list_resident`."""
        return await self._named(token).list_resident()

    async def destroy_resident(self, hsm_id: str, token: str = MAIN) -> None:
        """See `Vault.destroy_resident`."""
        await self._named(token).destroy_resident(hsm_id)

    async def exercise(self, token: str = MAIN) -> float:
        """See `Vault.exercise`."""
        return await self._named(token).exercise()

    def describe(self, token: str = MAIN) -> str:
        """See `Vault.describe`."""
        place = self._places.get(token)
        if place is None:
            return ""
        return place.description if place.vault is None else place.vault.describe()

    def forget(self, key_id: str) -> None:
        """See `Vault.forget`."""
        for vault in self._open():
            vault.forget(key_id)

    # --- Vault: what a house has once ---

    def data_key_pair(self, spec: KeySpec, *, deadline: float) -> Job[tuple[bytearray, bytes]]:
        """See `Vault.data_key_pair`."""
        return self._main.data_key_pair(spec, deadline=deadline)

    def random(self, length: int) -> Job[bytes]:
        """See `Vault.random`."""
        return self._main.random(length)

    def row_mac(self, data: bytes) -> Job[bytes]:
        """See `Vault.row_mac`."""
        return self._main.row_mac(data)

    def sign_checkpoint(self, data: bytes) -> Job[bytes]:
        """See `Vault.sign_checkpoint`."""
        return self._main.sign_checkpoint(data)

    def read_anchor(self) -> Job[Anchor | None]:
        """See `Vault.read_anchor`."""
        return self._main.read_anchor()

    def write_anchor(self, anchor: Anchor) -> Job[None]:
        """See `Vault.write_anchor`."""
        return self._main.write_anchor(anchor)

    def probe(self) -> Job[None]:
        """See `Vault.probe`: of the main token; further ones are probed where they are watched."""
        return self._main.probe()
