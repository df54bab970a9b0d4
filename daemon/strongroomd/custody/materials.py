"""Use cases of imported material: the import, and deleting what was imported.

A failed import leaves the token usable: it is used up in the transaction that stores the material, whichever
worker is first, and by nothing else.
"""

import hashlib
from dataclasses import dataclass
from functools import partial

from strongroomd.custody import bringing, guarded
from strongroomd.custody.admission import Lane
from strongroomd.custody.arrivals import current, store, use_up
from strongroomd.custody.asking import Brought
from strongroomd.custody.catalog import Entry
from strongroomd.custody.dualcontrol import DualControl
from strongroomd.custody.fingerprints import fingerprint
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.importedkeys import (
    ends_of,
    is_there,
    no_material,
    remove,
    require_imported,
    shortens,
)
from strongroomd.custody.importparameters import note_way
from strongroomd.custody.importtokens import ImportTokens
from strongroomd.custody.ledger import Change
from strongroomd.custody.passage import Passage
from strongroomd.domain.actions import Action
from strongroomd.domain.algorithms import Scheme
from strongroomd.domain.approvals import check_optional_id
from strongroomd.domain.errors import Fault, StrongroomError, invalid, too_large
from strongroomd.domain.importing import (
    ExpirationModel,
    ImportLevel,
    ImportType,
    Way,
    model_of,
    settle_expiry,
    settle_way,
)
from strongroomd.domain.keys import Arrival, Imported, WrappingPair
from strongroomd.domain.lifecycle import Act, require
from strongroomd.domain.limits import MAX_WRAPPED_MATERIAL
from strongroomd.domain.materials import MaterialRecord, WrappingPairRecord
from strongroomd.domain.records import KeyRecord, Origin, VersionRecord, VersionState, protection_of
from strongroomd.ports import Vault
from strongroomd.telemetry import failpoints


@dataclass(frozen=True, slots=True)
class NewMaterial:
    """What a caller imports.

    Attributes:
        token: of the wrapping pair.
        wrapped: the material, wrapped as the pair's algorithm says.
        model: None for KEY_MATERIAL_EXPIRES, as in AWS.
        valid_to: ms since the Unix epoch; 0 for none.
        kind: None for EXISTING_KEY_MATERIAL, as in AWS; a key that never had any takes either.
        level: which the caller expects; None takes the pair's.
        approval_id: of a request for an end of the material; empty for none.
    """

    token: bytes
    wrapped: bytes
    model: ExpirationModel | None = None
    valid_to: int = 0
    kind: ImportType | None = None
    level: ImportLevel | None = None
    approval_id: str = ""

    def bound(self, key_id: str) -> list[object]:
        """Give what an idempotency key is bound to; no material, wrapped or not, is among it."""
        digests = [hashlib.sha256(part).hexdigest() for part in (self.token, self.wrapped)]
        return [key_id, *digests, self.model, self.valid_to, self.kind, self.level]


@dataclass(frozen=True, slots=True)
class _Coming:
    """What was settled of an import before the HSM is asked."""

    pair: WrappingPairRecord
    way: Way
    expires_at: int


@dataclass(frozen=True, slots=True)
class _Landed:
    """Material that is ready to be stored.

    Attributes:
        pair: the wrapping pair that it came in by.
        fresh: what is known of it; which version it is, the transaction finds.
    """

    pair: WrappingPairRecord
    fresh: MaterialRecord
    imported: Imported


class Materials(UseCases):
    """Imports.

    Args:
        gate: the one way in.
        control: idempotent changes, and the approvals that some of them need.
        vault: makes pairs and unwraps material.
        least: the level that the configuration demands.
    """

    def __init__(self, gate: Gate, control: DualControl, vault: Vault, least: ImportLevel) -> None:
        super().__init__(gate)
        self._control = control
        self._mutations = control.mutations
        self._vault = vault
        self._least = least
        self._tokens = ImportTokens(self._mutations.ledger, vault)

    @gated(Action.IMPORT_KEY_MATERIAL)
    async def import_material(
        self, passage: Passage, key: str, wanted: NewMaterial, request_id: str = ""
    ) -> MaterialRecord:
        """Import material: the first of a key, some that it had before, or new one to rotate to.

        Raises:
            StrongroomError: APPROVAL_REQUIRED, APPROVAL_MISMATCH, APPROVAL_CLOSED for a protected key that
                would end sooner by it; what else MaterialService says.
        """
        check_optional_id(wanted.approval_id)
        entry = await passage.claim(key, Act.READ, bring=partial(self._brought, wanted))
        bound = wanted.bound(entry.key.key_id)
        found = await self._mutations.earlier(passage, MaterialRecord, request_id, bound)
        if found is not None:
            return found
        require_imported(entry.key)
        require(entry.key.state, Act.IMPORT)
        coming = await self._check(passage, entry.key, wanted)
        await passage.intent()
        failpoints.reach("import.1")
        imported = await self._bring_in(passage, entry.key, coming, wanted.wrapped)
        failpoints.reach("import.2")
        landed = _Landed(coming.pair, await self._draft(entry.key, coming, imported), imported)
        work = partial(self._store, passage, entry, wanted, landed)
        made = await self._mutations.once(passage, MaterialRecord, request_id, bound, work, audited=True)
        failpoints.reach("import.4")
        return made

    async def _store(
        self, passage: Passage, entry: Entry, wanted: NewMaterial, landed: _Landed, change: Change
    ) -> MaterialRecord:
        """Use the import token up and store what came in by it, approved where it ends a key sooner."""
        await use_up(change, landed.pair)
        ends = await ends_of(change, entry.key.key_id)
        stored = await store(change, landed.fresh, landed.imported, wanted.kind)
        passage.facts["version"] = stored.version
        if shortens(ends, stored):
            await self._guard_expiry(passage, change, entry, stored, wanted.approval_id)
        failpoints.reach("import.3")
        return stored

    async def _guard_expiry(
        self, passage: Passage, change: Change, entry: Entry, stored: MaterialRecord, approval_id: str
    ) -> None:
        """Spend an approval of an earlier end of a protected key: by a near date anybody could destroy it."""
        key = await current(change, stored.key_id)
        if protection_of(key):
            wanted = guarded.material_expiry(key, entry.arn, stored.version, stored.expires_at)
            await self._control.spend(passage, change, approval_id, wanted)

    async def _brought(self, wanted: NewMaterial, entry: Entry) -> Brought:
        """Say what policies may ask of an import."""
        level = await self._level(entry.key.key_id, wanted.token)
        return bringing.import_material(wanted.model, wanted.valid_to, level, entry)

    async def _level(self, key_id: str, token: bytes) -> ImportLevel | None:
        """Say at which level an import would come in, for policies; None where its token is not good.

        Not where it cannot be known: a denial may depend on it.
        """
        try:
            return (await self._tokens.pair(key_id, token, self._mutations.clock.wall_ms())).level
        except StrongroomError as error:
            if error.fault is not Fault.CALLER:
                raise
            return None

    async def _check(self, passage: Passage, key: KeyRecord, wanted: NewMaterial) -> _Coming:
        """Check all that can be checked before the HSM is asked, and have the audit log told of it.

        The way in is settled once more: the configuration may demand more than when the pair was made.
        """
        now = self._mutations.clock.wall_ms()
        expires_at = settle_expiry(wanted.model, wanted.valid_to, now)
        _check_size(wanted.wrapped)
        pair = await self._tokens.pair(key.key_id, wanted.token, now)
        if wanted.level not in {None, pair.level}:
            raise invalid("level", f"the import token is for level {pair.level}")
        way = settle_way(key.spec, pair.algorithm, pair.wrapping_key, pair.level, self._least)
        note_way(passage, way)
        passage.facts |= {
            "import_id": pair.import_id,
            "import_type": (wanted.kind or ImportType.EXISTING_KEY_MATERIAL).value,
            "expiration_model": model_of(expires_at).value,
            "valid_to": expires_at,
        }
        return _Coming(pair, way, expires_at)

    async def _bring_in(self, passage: Passage, key: KeyRecord, coming: _Coming, wrapped: bytes) -> Imported:
        way, pair = coming.way, coming.pair
        scheme = await self._scheme(key)
        arrival = Arrival(key.spec, key.usage, key.exportable, way.algorithm, way.level, scheme)
        job = self._vault.import_material(
            WrappingPair(pair.kek_id, pair.blob, pair.public_key),
            wrapped,
            arrival,
            deadline=passage.deadline,
            token=key.token,
        )
        return await passage.work(Lane.BIRTH, job, key.token)

    async def _draft(self, key: KeyRecord, coming: _Coming, imported: Imported) -> MaterialRecord:
        """Write down what is known of material; which version it is, the transaction finds."""
        return MaterialRecord(
            key_id=key.key_id,
            version=0,
            account=key.account,
            imported_at=self._mutations.clock.wall_ms(),
            expires_at=coming.expires_at,
            removed_at=0,
            algorithm=coming.way.algorithm,
            level=coming.way.level,
            fingerprint=await fingerprint(self._vault, key.key_id, imported.trait),
            recovery_trait=imported.recovery_trait,
        )

    async def _scheme(self, key: KeyRecord) -> Scheme | None:
        """Give the scheme of a key's first material: what comes back must open what it once encrypted."""
        first = await self._mutations.ledger.read(VersionRecord, f"{key.key_id}/1")
        return first.scheme if first else None

    @gated(Action.DELETE_KEY_MATERIAL)
    async def delete(
        self, passage: Passage, key: str, version: int = 0, request_id: str = "", approval_id: str = ""
    ) -> KeyRecord:
        """Delete imported material at once: of one version, 0 being the current one.

        The key waits for the same material then. What is not there stays so.

        Raises:
            StrongroomError: APPROVAL_REQUIRED, APPROVAL_MISMATCH, APPROVAL_CLOSED for a protected key: it may
                be destroyed by this for good, and without any waiting time.
        """
        check_optional_id(approval_id)
        entry = await passage.claim(key, Act.READ)
        bound = [entry.key.key_id, version]
        found = await self._mutations.earlier(passage, KeyRecord, request_id, bound)
        if found is not None:
            return found
        require_imported(entry.key)
        require(entry.key.state, Act.DELETE_MATERIAL)
        await passage.intent()
        failpoints.reach("delete-material.1")
        work = partial(self._remove, passage, entry, version, approval_id)
        after = await self._mutations.once(passage, KeyRecord, request_id, bound, work, audited=True)
        failpoints.reach("delete-material.3")
        self._vault.forget(entry.key.key_id)
        return after

    async def _remove(
        self, passage: Passage, entry: Entry, version: int, approval_id: str, change: Change
    ) -> KeyRecord:
        """Take a version's material away, approved where the key is protected; what is gone stays so."""
        key = await current(change, entry.key.key_id)
        require(key.state, Act.DELETE_MATERIAL)
        passage.facts["version"] = number = version or key.current_version
        held = await change.get(VersionRecord, f"{key.key_id}/{number}")
        if (held is None and not version) or (held and held.state is VersionState.AWAITING_IMPORT):
            return key
        if held is None or not is_there(held):
            raise no_material()
        if protection_of(key):
            wanted = guarded.material_deletion(key, entry.arn, number)
            await self._control.spend(passage, change, approval_id, wanted)
        after = await remove(change, key, held, self._mutations.clock.wall_ms())
        failpoints.reach("delete-material.2")
        return after

    async def of(self, key: KeyRecord, version: int = 0) -> MaterialRecord | None:
        """Read what is known of a version's material, 0 being the current one; None if it never had any."""
        if key.origin is not Origin.EXTERNAL:
            return None
        number = version or key.current_version
        return await self._mutations.ledger.read(MaterialRecord, f"{key.key_id}/{number}")


def _check_size(wrapped: bytes) -> None:
    if not wrapped:
        raise invalid("encrypted_key_material", "must not be empty")
    if len(wrapped) > MAX_WRAPPED_MATERIAL:
        raise too_large("encrypted_key_material", MAX_WRAPPED_MATERIAL)
