"""Attestation: what the house states of a key, signed, for third parties who trust the house's public key.

Of resident and adopted versions the token itself is asked, at the time of the statement; of wrapped ones
there is no object to be asked: the house says what it has recorded, under a MAC, since their birth.
"""

import hashlib
from typing import Any, Final

from strongroomd.custody.admission import Lane
from strongroomd.custody.catalog import Catalog, Entry
from strongroomd.custody.checkvalues import public_check
from strongroomd.custody.clock import Clock
from strongroomd.custody.gate import Gate, UseCases, gated
from strongroomd.custody.ledger import Ledger
from strongroomd.custody.notary import Notary, SignedStatement
from strongroomd.custody.passage import Passage
from strongroomd.domain.actions import Action
from strongroomd.domain.errors import invalid
from strongroomd.domain.keys import BoundVersion
from strongroomd.domain.lifecycle import Act
from strongroomd.domain.records import CustodyMode, HouseRecord, KeyRecord, VersionRecord, VersionState
from strongroomd.domain.replication import CopyRecord, MultiRegion
from strongroomd.domain.statements import spell_time
from strongroomd.domain.tokens import spelled
from strongroomd.ports import StatementKeys, Store, Vault

ATTESTATION: Final = "key-attestation"
"""The kind of statement."""
MOST_VERSIONS: Final = 100
"""Versions that one statement speaks of: the newest."""
_SHOWN: Final = frozenset({VersionState.ACTIVE, VersionState.MISSING})


class Attestation(UseCases):
    """Statements about keys, and the keys that they are verified with.

    Args:
        gate: the one way in.
        catalog: names keys.
        ledger: verified reads.
        store: lists versions and house keys.
        vault: reads objects, makes check values.
        notary: signs.
        keys: reads statement keys out of house records.
        recovery: SHA-256 of the main token's recovery public key, hex; empty where there is none.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - a statement draws on every room
        self,
        gate: Gate,
        catalog: Catalog,
        ledger: Ledger,
        store: Store,
        vault: Vault,
        notary: Notary,
        keys: StatementKeys,
        clock: Clock,
        recovery: str = "",
    ) -> None:
        super().__init__(gate)
        self._realm = catalog.realm
        self._ledger = ledger
        self._store = store
        self._vault = vault
        self._notary = notary
        self._keys = keys
        self._clock = clock
        self._recovery = recovery

    @gated(Action.GET_KEY_ATTESTATION)
    async def attest(self, passage: Passage, key: str, nonce: str = "") -> SignedStatement:
        """State what a key is; for whoever may describe it.

        Args:
            passage: the call.
            key: any of its names.
            nonce: text of the asker's, at most 128 printable ASCII characters, that the statement repeats.

        Raises:
            StrongroomError: INVALID_FIELD; HSM_UNAVAILABLE or KEY_UNAVAILABLE where an object cannot be read.
        """
        if len(nonce) > _NONCE or not (nonce.isascii() and nonce.isprintable()):
            raise invalid("nonce", f"must be at most {_NONCE} printable ASCII characters")
        entry = await passage.claim(key, Act.READ, action=Action.DESCRIBE_KEY)
        stored = await self._store.versions(entry.key.key_id)
        shown = [v for v in [await self._ledger.verify(each) for each in stored] if v.state in _SHOWN]
        told = shown[-MOST_VERSIONS:]
        claims = {
            "key": _key(entry) | await self._houses(entry.key),
            "versions": [await self._version(passage, entry.key, version) for version in told],
            "versions_omitted": len(shown) - len(told),
            "recovery_key_sha256": self._recovery,
            "nonce": nonce,
        }
        return await self._notary.state(ATTESTATION, claims)

    @gated(Action.LIST_STATEMENT_KEYS)
    async def statement_keys(self, passage: Passage) -> dict[str, bytes]:
        """Give the public halves (DER) of all keys that signed statements, by id, the current one last."""
        passage.claim_keyless()
        house = [await self._ledger.verify(stored) for stored in await self._store.all(HouseRecord)]
        return self._keys.of(house)

    async def _version(self, passage: Passage, key: KeyRecord, version: VersionRecord) -> dict[str, Any]:
        return {
            "version": version.version,
            "created": spell_time(version.created_at),
            "state": version.state.value,
            "current": version.version == key.current_version,
            "check_value": await public_check(self._vault, version),
            "public_key_sha256": hashlib.sha256(version.public_key).hexdigest() if version.public_key else "",
            "kek": version.kek_id,
            "recovery_blob": bool(version.recovery_blob),
            **await self._custody(passage, key, version),
        }

    async def _houses(self, key: KeyRecord) -> dict[str, Any]:
        """Say of a multi-region key where its primary is, and for which houses' pairs it was wrapped."""
        if key.multi_region is MultiRegion.NONE:
            return {}
        copies, after = set(), ""
        while True:
            found, after = await self._ledger.page(
                CopyRecord, {"key_id": key.key_id}, after=after, limit=_COPIES
            )
            copies |= {(copy.region, copy.pair) for copy in found}
            if not after:
                break
        return {
            "multi_region": key.multi_region.value,
            "primary_region": key.primary_region,
            "wrapped_for": [
                {"region": region, "replica_key_sha256": pair} for region, pair in sorted(copies)
            ],
        }

    async def _custody(self, passage: Passage, key: KeyRecord, version: VersionRecord) -> dict[str, Any]:
        """Say how a version's material is kept, and on what evidence."""
        if key.mode is CustodyMode.WRAPPED:
            return {"evidence": "record", "sensitive": True, "extractable": key.exportable}
        if version.state is not VersionState.ACTIVE:
            return {"evidence": "none", "sensitive": None, "extractable": None}
        bound = BoundVersion(key.key_id, key.spec, key.usage, key.mode, key.exportable, version)
        job = self._vault.traits(bound, deadline=passage.deadline)
        traits = await passage.work(Lane.RSA, job, version.token)
        return {
            "evidence": "token",
            "read_at": spell_time(self._clock.wall_ms()),
            "sensitive": traits["sensitive"],
            "extractable": traits["extractable"],
            "attributes": traits,
        }


_NONCE: Final = 128
_COPIES: Final = 500


def _key(entry: Entry) -> dict[str, Any]:
    key = entry.key
    return {
        "arn": entry.arn,
        "account": key.account,
        "spec": key.spec.value,
        "usage": key.usage.value,
        "custody_mode": key.mode.value,
        "custody_note": key.custody_note,
        "origin": key.origin.value,
        "exportable": key.exportable,
        "state": key.state.value,
        "manager": key.manager.value,
        "created": spell_time(key.created_at),
        "current_version": key.current_version,
        "token": spelled(key.token),
    }
