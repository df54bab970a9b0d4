"""Use cases of the daemon's own keys: list them, and give one a successor; operators only.

A successor is announced by a record, made in the token, proved, and made active by the same record's next
version: from then on every worker takes it up within a second, and what is under the old one stays readable.
"""

import dataclasses
from dataclasses import dataclass
from typing import Final

from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.ledger import Change, Ledger
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.passage import Passage
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.housekeys import KEKS, House, newest, next_generation, role_of
from strongroomd.domain.keys import HouseMaterial
from strongroomd.domain.records import WITH_MATERIAL, HouseRecord, HouseState, VersionRecord
from strongroomd.domain.tokens import MAIN, TokenNames, spelled
from strongroomd.ports import Store, Vault
from strongroomd.telemetry import failpoints, logs

_log = logs.get("custody")
MAX_HOUSE_KEYS: Final = 1_000
"""Most records of house keys, of all roles and tokens: each is proved at every start of a worker."""


@dataclass(frozen=True, slots=True)
class HouseKey:
    """A house key as operators see it.

    Attributes:
        record: its record.
        in_use: whether it is the one of its role that is used for what is new.
        versions: for KEKs, how many key versions are wrapped under it; unverified statistics.
    """

    record: HouseRecord
    in_use: bool
    versions: int


async def house_records(ledger: Ledger, store: Store) -> list[HouseRecord]:
    """Read all house records, verified. Raises INTEGRITY_FAILURE."""
    names = sorted({*await store.names(HouseRecord), *ledger.known(HouseRecord)})
    found = [await ledger.read(HouseRecord, name) for name in names]
    return [record for record in found if record is not None]


async def survey(ledger: Ledger, store: Store) -> list[HouseKey]:
    """Look at every house key; by token, role and generation."""
    records = await house_records(ledger, store)
    used = {newest(records, House(record.role), record.token) for record in records}
    found = [HouseKey(record, record in used, await wrapped_under(store, record)) for record in records]
    return sorted(found, key=lambda key: (key.record.token, key.record.role, key.record.generation))


async def wrapped_under(store: Store, kek: HouseRecord) -> int:
    """Count the key versions under a KEK; none for other house keys."""
    if kek.role not in KEKS:
        return 0
    wheres = [{"kek_id": kek.hsm_id, "state": state.value} for state in WITH_MATERIAL]
    return sum([await store.how_many(VersionRecord, where) for where in wheres])


class HouseKeys(UseCases):
    """House keys' management."""

    def __init__(
        self, gate: Gate, mutations: Mutations, store: Store, vault: Vault, tokens: TokenNames | None = None
    ) -> None:
        super().__init__(gate)
        self._mutations = mutations
        self._ledger = mutations.ledger
        self._store = store
        self._vault = vault
        self._tokens = tokens or TokenNames()

    @gated(Action.LIST_HOUSE_KEYS)
    async def list_keys(self, passage: Passage) -> list[HouseKey]:
        """List the house keys of all tokens, by token, role and generation."""
        passage.claim_keyless()
        return await survey(self._ledger, self._store)

    @gated(Action.ROTATE_HOUSE_KEY)
    async def rotate(self, passage: Passage, role: str, token: str = "", request_id: str = "") -> HouseRecord:
        """Give a role another key; the one before stays for what is under it.

        Args:
            passage: the call.
            role: a house role, such as `kek-sealed`.
            token: which token; empty for the main one.
            request_id: the caller's idempotency key.

        Raises:
            StrongroomError: INVALID_FIELD for no such role or token; LIMIT_EXCEEDED; HSM_UNAVAILABLE.
        """
        name = self._tokens.settle(token) if token else MAIN
        wanted = role_of(role, name)
        passage.facts |= {"role": wanted.value, "token": spelled(name)}
        passage.claim_keyless()
        arguments = [wanted.value, name]
        found = await self._mutations.earlier(passage, HouseRecord, request_id, arguments)
        if found is not None:
            return found
        await passage.intent()
        intent = await self._announce(wanted, name)
        failpoints.reach("rotate-kek.1")
        made = await self._vault.make_house_key(wanted, intent.hsm_id, name)
        failpoints.reach("rotate-kek.2")

        async def work(change: Change) -> HouseRecord:
            return await activate(change, intent, made)

        record = await self._mutations.once(passage, HouseRecord, request_id, arguments, work, audited=True)
        failpoints.reach("rotate-kek.3")
        passage.facts["house_key"] = record.hsm_id
        await self._use(record)
        return record

    async def _use(self, record: HouseRecord) -> None:
        """Use it here at once; where that fails it was rotated all the same, and is taken up later."""
        try:
            await self._vault.take_up([record])
        except StrongroomError as error:
            _log.warning("house key not taken up yet", role=record.role, detail=error.detail)

    async def _announce(self, role: House, token: str) -> HouseRecord:
        hsm_id = (await self._vault.random(16)).hex()
        async with self._ledger.change() as change:
            records = await in_transaction(change, role, token)
            if await change.transaction.how_many(HouseRecord, {}) >= MAX_HOUSE_KEYS:
                raise StrongroomError(Reason.LIMIT_EXCEEDED, f"there are {MAX_HOUSE_KEYS} house keys already")
            intent = HouseRecord(
                role=role.value,
                hsm_id=hsm_id,
                public_key=b"",
                check_value=b"",
                token=token,
                generation=next_generation(records, role, token),
                created_at=self._mutations.clock.wall_ms(),
                state=HouseState.INTENT,
            )
            await change.put(intent)
        return intent


async def in_transaction(change: Change, role: House, token: str) -> list[HouseRecord]:
    """Read the records of a role in a token, verified, as a transaction sees them."""
    stored = await change.transaction.find(HouseRecord, {"role": role.value, "token": token})
    found = [await change.get(HouseRecord, each.record.record_id) for each in stored]
    return [record for record in found if record is not None]


async def activate(change: Change, intent: HouseRecord, made: HouseMaterial) -> HouseRecord:
    """Make an announced key the one in use. Raises ETAG_MISMATCH when it is no intent any more."""
    current = await change.get(HouseRecord, intent.record_id)
    if current is None or current.state is not HouseState.INTENT:
        raise StrongroomError(Reason.ETAG_MISMATCH, detail="the house key is settled already")
    record = dataclasses.replace(
        current,
        public_key=made.public_key,
        check_value=made.check_value,
        state=HouseState.ACTIVE,
        row_version=current.row_version + 1,
    )
    await change.put(record)
    return record
