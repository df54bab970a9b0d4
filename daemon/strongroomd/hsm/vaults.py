"""Several tokens as one `ports.Vault`: each key is used where it lives.

Wrapped versions go to a token that holds their KEK, resident and adopted ones to the token that their record
names; what a house has once stays with the main token. The methods of the hot path look the place up and hand
over the coroutine of that token's own vault: they are no coroutines themselves.
"""

from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
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
from strongroomd.domain.exporting import ExportAlgorithm, Recipient, SharedKey
from strongroomd.domain.housekeys import House
from strongroomd.domain.importing import WrappingAlgorithm, WrappingKeySpec
from strongroomd.domain.keys import (
    NOBODY,
    Anchor,
    Arrival,
    Audience,
    BoundVersion,
    HouseMaterial,
    Imported,
    Material,
    ResidentObject,
    WrappingPair,
)
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

    def expect(self, record_id: str) -> None:
        """Take note of where a KEK is, by the id of a house record that another worker wrote just now."""
        role, hsm_id, *token = record_id.split("/")
        name = "/".join(token)
        if role in PROBE_LIFE and name in self._places:
            holders = self._keks.get(hsm_id, ())
            if self._places[name] not in holders:
                self._keks[hsm_id] = (*holders, self._places[name])

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

    def generate(  # noqa: PLR0913 - what a birth needs
        self,
        spec: KeySpec,
        usage: KeyUsage,
        mode: CustodyMode,
        *,
        exportable: bool,
        hsm_id: str,
        deadline: float,
        token: str = MAIN,
        audience: Audience = NOBODY,
    ) -> Job[Material]:
        """See `Vault.generate`."""
        vault = self._named(token)
        return vault.generate(
            spec, usage, mode, exportable=exportable, hsm_id=hsm_id, deadline=deadline, audience=audience
        )

    def make_wrapping_pair(
        self, bits: WrappingKeySpec, algorithm: WrappingAlgorithm, *, deadline: float, token: str = MAIN
    ) -> Job[WrappingPair]:
        """See `Vault.make_wrapping_pair`."""
        return self._named(token).make_wrapping_pair(bits, algorithm, deadline=deadline)

    def import_material(
        self, pair: WrappingPair, wrapped: bytes, arrival: Arrival, *, deadline: float, token: str = MAIN
    ) -> Job[Imported]:
        """See `Vault.import_material`."""
        return self._named(token).import_material(pair, wrapped, arrival, deadline=deadline)

    @property
    def replica_key(self) -> bytes:
        """See `Vault.replica_key`."""
        return self._main.replica_key

    def receive(
        self,
        version: BoundVersion,
        copy: bytes,
        pair: str,
        *,
        audience: Audience = NOBODY,
        deadline: float,
    ) -> Job[Material]:
        """See `Vault.receive`."""
        return self._main.receive(version, copy, pair, audience=audience, deadline=deadline)

    async def examine(self, name: ObjectName, *, deadline: float, token: str = MAIN) -> AdoptedObject:
        """See `Vault.examine`."""
        return await self._named(token).examine(name, deadline=deadline)

    def traits(self, key: BoundVersion, *, deadline: float) -> Job[dict[str, bool | None]]:
        """See `Vault.traits`."""
        return self._of(key).traits(key, deadline=deadline)

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

    def export(
        self, key: BoundVersion, recipient: Recipient, algorithm: ExportAlgorithm, *, deadline: float
    ) -> Job[bytes]:
        """See `Vault.export`."""
        return self._of(key).export(key, recipient, algorithm, deadline=deadline)

    async def list_resident(self, token: str = MAIN) -> list[ResidentObject]:
        """See `Vault.list_resident`."""
        return await self._named(token).list_resident()

    async def destroy_resident(self, hsm_id: str, token: str = MAIN) -> None:
        """See `Vault.destroy_resident`."""
        await self._named(token).destroy_resident(hsm_id)

    async def make_house_key(self, role: House, hsm_id: str, token: str = MAIN) -> HouseMaterial:
        """See `Vault.make_house_key`."""
        return await self._named(token).make_house_key(role, hsm_id)

    async def find_house_key(self, role: House, hsm_id: str, token: str = MAIN) -> HouseMaterial | None:
        """See `Vault.find_house_key`."""
        return await self._named(token).find_house_key(role, hsm_id)

    async def house_strangers(self, known: Collection[str], token: str = MAIN) -> list[str]:
        """See `Vault.house_strangers`."""
        return await self._named(token).house_strangers(known)

    async def take_up(self, records: Sequence[HouseRecord]) -> None:
        """See `Vault.take_up`: in every token that is open; one that is opened later reads them then."""
        self.learn(records)
        for vault in self._open():
            await vault.take_up(records)

    def rewrap(self, key: BoundVersion, *, deadline: float) -> Job[Material]:
        """See `Vault.rewrap`."""
        return self._of(key).rewrap(key, deadline=deadline)

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

    def share_wrapping_key(self, public_key: bytes, *, deadline: float) -> Job[SharedKey]:
        """See `Vault.share_wrapping_key`."""
        return self._main.share_wrapping_key(public_key, deadline=deadline)

    def data_key_pair(self, spec: KeySpec, *, deadline: float) -> Job[tuple[bytearray, bytes]]:
        """See `Vault.data_key_pair`."""
        return self._main.data_key_pair(spec, deadline=deadline)

    def random(self, length: int) -> Job[bytes]:
        """See `Vault.random`."""
        return self._main.random(length)

    def row_mac(self, data: bytes) -> Job[bytes]:
        """See `Vault.row_mac`."""
        return self._main.row_mac(data)

    def record_mac(self, data: bytes) -> Job[bytes]:
        """See `Vault.record_mac`."""
        return self._main.record_mac(data)

    def record_mac_matches(self, data: bytes, mac: bytes) -> Job[bool]:
        """See `Vault.record_mac_matches`."""
        return self._main.record_mac_matches(data, mac)

    def knows_mac_key(self, mac: bytes) -> bool:
        """See `Vault.knows_mac_key`."""
        return self._main.knows_mac_key(mac)

    def know_mac_keys(self, records: Sequence[HouseRecord]) -> Job[None]:
        """See `Vault.know_mac_keys`."""
        return self._main.know_mac_keys(records)

    @property
    def mac_tag(self) -> bytes:
        """See `Vault.mac_tag`."""
        return self._main.mac_tag

    def sign_checkpoint(self, data: bytes, public_key: bytes = b"") -> Job[bytes]:
        """See `Vault.sign_checkpoint`."""
        return self._main.sign_checkpoint(data, public_key)

    @property
    def checkpoint_key(self) -> bytes:
        """See `Vault.checkpoint_key`."""
        return self._main.checkpoint_key

    @property
    def checkpoint_keys(self) -> tuple[bytes, ...]:
        """See `Vault.checkpoint_keys`."""
        return self._main.checkpoint_keys

    @property
    def statement_key(self) -> bytes:
        """See `TokenVault.statement_key`."""
        return self._main.statement_key

    def sign_statement(self, data: bytes) -> Job[bytes]:
        """See `TokenVault.sign_statement`."""
        return self._main.sign_statement(data)

    def read_anchor(self) -> Job[Anchor | None]:
        """See `Vault.read_anchor`."""
        return self._main.read_anchor()

    def write_anchor(self, anchor: Anchor) -> Job[None]:
        """See `Vault.write_anchor`."""
        return self._main.write_anchor(anchor)

    def probe(self) -> Job[None]:
        """See `Vault.probe`: of the main token; further ones are probed where they are watched."""
        return self._main.probe()
