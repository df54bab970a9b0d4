"""Use cases of re-wrap: exportable keys move from older KEKs of a token to its newest; operators only.

The work itself is the elected worker's (`rewrapper`). Keys that are not exportable cannot be moved by
anybody who has only the token: they move by rotation, or in a ceremony with the recovery token.
"""

import dataclasses
from typing import Final

from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.housekeys import in_transaction
from strongroomd.custody.ledger import Change
from strongroomd.custody.mutations import Mutations
from strongroomd.custody.passage import Passage
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import Reason, StrongroomError, invalid
from strongroomd.domain.housekeys import House, newest, older
from strongroomd.domain.records import (
    WITH_MATERIAL,
    HouseRecord,
    RewrapRecord,
    RewrapState,
    VersionRecord,
)
from strongroomd.domain.tokens import MAIN, TokenNames, spelled

DEFAULT_PER_SECOND: Final = 200
"""Versions moved in a second: a third of one core's time on SoftHSM; callers' work goes on beside it."""
MAX_PER_SECOND: Final = 2_000


class Rewraps(UseCases):
    """Starting, watching and stopping a re-wrap."""

    def __init__(self, gate: Gate, mutations: Mutations, tokens: TokenNames | None = None) -> None:
        super().__init__(gate)
        self._mutations = mutations
        self._tokens = tokens or TokenNames()

    @gated(Action.START_REWRAP)
    async def start(
        self, passage: Passage, token: str = "", per_second: int = 0, request_id: str = ""
    ) -> RewrapRecord:
        """Have a token's exportable keys move to its newest exportable KEK, in the background.

        One that runs already is left running if it moves to that KEK, at the speed now asked for.

        Args:
            passage: the call.
            token: which token; empty for the main one.
            per_second: most versions moved in a second; 0 for 200.
            request_id: the caller's idempotency key.

        Raises:
            StrongroomError: INVALID_FIELD.
        """
        if not 0 <= per_second <= MAX_PER_SECOND:
            raise invalid("per_second", f"must be 1 to {MAX_PER_SECOND}, or 0 for {DEFAULT_PER_SECOND}")
        name, speed = self._enter(passage, token), per_second or DEFAULT_PER_SECOND

        async def work(change: Change) -> RewrapRecord:
            keks = await in_transaction(change, House.KEK_EXPORTABLE, name)
            target = newest(keks, House.KEK_EXPORTABLE, name)
            if target is None:
                raise StrongroomError(Reason.NOT_FOUND, field="token")
            job = await change.get(RewrapRecord, spelled(name))
            made = await self._job(passage, change, keks, target, speed)
            if job is not None:
                made = dataclasses.replace(made, row_version=job.row_version + 1)
                if job.state is RewrapState.RUNNING and job.target == target.hsm_id:
                    made = dataclasses.replace(job, per_second=speed, row_version=job.row_version + 1)
            await change.put(made)
            return made

        return await self._mutations.once(passage, RewrapRecord, request_id, [name, speed], work)

    async def _job(
        self, passage: Passage, change: Change, keks: list[HouseRecord], target: HouseRecord, speed: int
    ) -> RewrapRecord:
        total = 0
        for kek in older(keks, target.hsm_id):
            for state in WITH_MATERIAL:
                where = {"kek_id": kek.hsm_id, "state": state.value}
                total += await change.transaction.how_many(VersionRecord, where)
        return RewrapRecord(
            token=target.token,
            target=target.hsm_id,
            state=RewrapState.RUNNING,
            total=total,
            rewrapped=0,
            failed=0,
            per_second=speed,
            started_at=self._mutations.clock.wall_ms(),
            ended_at=0,
            started_by=passage.caller.principal.arn,
        )

    @gated(Action.GET_REWRAP)
    async def get(self, passage: Passage, token: str = "") -> RewrapRecord:
        """Say how far a token's re-wrap is. Raises NOT_FOUND where none was ever started."""
        name = self._enter(passage, token)
        found = await self._mutations.ledger.read(RewrapRecord, spelled(name))
        if found is None:
            raise StrongroomError(Reason.NOT_FOUND, field="token")
        return found

    @gated(Action.CANCEL_REWRAP)
    async def cancel(self, passage: Passage, token: str = "", request_id: str = "") -> RewrapRecord:
        """Stop a token's re-wrap; what has moved stays moved. One that has ended stays as it ended.

        Raises:
            StrongroomError: NOT_FOUND where none was ever started.
        """
        name = self._enter(passage, token)

        async def work(change: Change) -> RewrapRecord:
            job = await change.get(RewrapRecord, spelled(name))
            if job is None:
                raise StrongroomError(Reason.NOT_FOUND, field="token")
            if job.state is not RewrapState.RUNNING:
                return job
            ended = self._mutations.clock.wall_ms()
            stopped = dataclasses.replace(
                job, state=RewrapState.CANCELLED, ended_at=ended, row_version=job.row_version + 1
            )
            await change.put(stopped)
            return stopped

        return await self._mutations.once(passage, RewrapRecord, request_id, [name], work)

    def _enter(self, passage: Passage, token: str) -> str:
        name = self._tokens.settle(token) if token else MAIN
        passage.facts["token"] = spelled(name)
        passage.claim_keyless()
        return name
