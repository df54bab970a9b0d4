"""GetParametersForImport: a wrapping pair of a key, made in its token, and the import token that names it."""

from dataclasses import dataclass
from functools import partial

from strongroomd.custody import bringing
from strongroomd.custody.admission import Lane
from strongroomd.custody.crypto import PAIR_COSTS
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.importedkeys import require_imported
from strongroomd.custody.importtokens import ImportTokens
from strongroomd.custody.ledger import Change
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.passage import Passage
from strongroomd.domain.actions import Action
from strongroomd.domain.algorithms import SPECS
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.domain.importing import (
    IMPORT_ID_BYTES,
    ImportLevel,
    Way,
    WrappingAlgorithm,
    WrappingKeySpec,
    fresh_token,
    refused_token,
    settle_way,
)
from strongroomd.domain.lifecycle import Act, require
from strongroomd.domain.limits import MAX_WRAPPING_PAIRS
from strongroomd.domain.materials import WrappingPairRecord
from strongroomd.domain.records import KeyRecord
from strongroomd.ports import Vault
from strongroomd.telemetry import failpoints


@dataclass(frozen=True, slots=True)
class Parameters:
    """What GetParametersForImport gives: a wrapping pair, whose public half goes out, and its token."""

    pair: WrappingPairRecord
    token: bytes


class ImportParameters(UseCases):
    """Gives parameters for imports.

    Args:
        gate: the one way in.
        mutations: idempotent changes.
        vault: makes pairs.
        least: the level that the configuration demands.
    """

    def __init__(self, gate: Gate, mutations: Mutations, vault: Vault, least: ImportLevel) -> None:
        super().__init__(gate)
        self._mutations = mutations
        self._vault = vault
        self._least = least
        self._tokens = ImportTokens(mutations.ledger, vault)

    @gated(Action.GET_PARAMETERS_FOR_IMPORT)
    async def give(
        self,
        passage: Passage,
        key: str,
        algorithm: WrappingAlgorithm,
        wrapping_key: WrappingKeySpec,
        level: ImportLevel | None = None,
        request_id: str = "",
    ) -> Parameters:
        """Make a wrapping pair, good for one import within 24 hours; at most ten of a key wait at a time."""
        bring = partial(bringing.import_parameters, algorithm, wrapping_key, level)
        entry = await passage.claim(key, Act.READ, bring=bring)
        bound = [entry.key.key_id, algorithm, wrapping_key, level]
        found = await self._mutations.earlier(passage, WrappingPairRecord, request_id, bound)
        if found is not None:
            return await self._again(found)
        require_imported(entry.key)
        require(entry.key.state, Act.IMPORT)
        way = settle_way(entry.key.spec, algorithm, wrapping_key, level, self._least)
        note_way(passage, way)
        caller, spec = passage.caller.principal, wrapping_key.spec
        self.gate.quotas.spend(caller, "", SPECS[spec].quota, PAIR_COSTS[spec])
        await passage.intent()
        failpoints.reach("import-parameters.1")
        pair = await self._make_pair(passage, entry.key, way)
        failpoints.reach("import-parameters.2")

        async def work(change: Change) -> WrappingPairRecord:
            await self._require_room(change, entry.key.key_id)
            await change.put(pair)
            failpoints.reach("import-parameters.3")
            return pair

        made = await self._mutations.once(passage, WrappingPairRecord, request_id, bound, work, audited=True)
        failpoints.reach("import-parameters.4")
        return Parameters(pair, await self._tokens.make(pair)) if made is pair else await self._again(made)

    async def _again(self, answered: WrappingPairRecord) -> Parameters:
        """Give the parameters that were given before. Raises INVALID_IMPORT_TOKEN when they were used."""
        pair = await self._mutations.ledger.read(WrappingPairRecord, answered.record_id)
        if pair is None:
            raise refused_token()
        return Parameters(pair, await self._tokens.make(pair))

    async def _make_pair(self, passage: Passage, key: KeyRecord, way: Way) -> WrappingPairRecord:
        job = self._vault.make_wrapping_pair(
            way.wrapping_key, way.algorithm, deadline=passage.deadline, token=key.token
        )
        pair = await passage.work(Lane.BIRTH, job, key.token)
        now = self._mutations.clock.wall_ms()
        token = fresh_token((await self._vault.random(IMPORT_ID_BYTES)).hex(), now)
        passage.facts["import_id"] = token.import_id
        return WrappingPairRecord(
            key_id=key.key_id,
            import_id=token.import_id,
            account=key.account,
            wrapping_key=way.wrapping_key,
            algorithm=way.algorithm,
            level=way.level,
            created_at=now,
            expires_at=token.expires_at,
            kek_id=pair.kek_id,
            blob=pair.blob,
            public_key=pair.public_key,
        )

    async def _require_room(self, change: Change, key_id: str) -> None:
        now = self._mutations.clock.wall_ms()
        waiting = await change.transaction.find(WrappingPairRecord, {"key_id": key_id})
        if sum(stored.record.expires_at > now for stored in waiting) >= MAX_WRAPPING_PAIRS:
            text = f"at most {MAX_WRAPPING_PAIRS} import tokens of a key wait for material at a time"
            raise StrongroomError(Reason.LIMIT_EXCEEDED, text)


def note_way(passage: Passage, way: Way) -> None:
    """Have the audit record say how material comes in."""
    passage.facts |= {
        "wrapping_algorithm": way.algorithm.value,
        "wrapping_key_spec": way.wrapping_key.value,
        "level": way.level.value,
    }
