"""Grants in memory: whom a key lends to, as the journal has it, and the grants once they are asked for.

The journal's entries name key, grant and grantee, so the ledger's verified journal alone says who has grants:
for a caller without any the answer is one look-up, from the first moment on and without the store. The
records are read and verified when a caller who has some needs them, and kept: a grant never changes, it only
ends.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from strongroomd.custody.ledger import Ledger
from strongroomd.domain import grants as granting
from strongroomd.domain.actions import Action
from strongroomd.domain.grants import WITH_CONTEXT, Constraints, ConstraintType, Grant, NewGrant
from strongroomd.domain.policy.request import Request
from strongroomd.domain.records import GrantRecord
from strongroomd.ports import JournalEntry

_MOST_GRANTS: Final = 200_000  # kept in memory, some 2 KB each
_PAGE: Final = 200
_FEW: Final = 16  # grants that are read one by one

Pair = tuple[str, str]


def grant_of(record: GrantRecord) -> Grant:
    """Give a record as the rules of grants see it."""
    kind = record.constraint_type
    constraints = Constraints(
        equals=record.context if kind == ConstraintType.EQUALS else None,
        subset=record.context if kind == ConstraintType.SUBSET else None,
        source_arn=record.source_arn,
        source_account=record.source_account,
    )
    operations = granting.parse_operations(tuple(record.operations.split(",")))
    lent = NewGrant(record.grantee, operations, constraints, record.retiring, record.name)
    return Grant(record.grant_id, record.key_id, record.issuer, lent, record.parent)


class Lent:
    """One caller's grants of one key, by operation and by one pair that the encryption context must have.

    However many grants a caller has, a request is held against those only that could permit it.
    """

    def __init__(self) -> None:
        self._grants: dict[str, Grant] = {}
        self._by: dict[tuple[Action, Pair | None], dict[str, Grant]] = {}

    def __len__(self) -> int:
        return len(self._grants)

    def __contains__(self, grant_id: str) -> bool:
        return grant_id in self._grants

    def add(self, grant: Grant) -> None:
        """Take a grant in."""
        self._grants[grant.grant_id] = grant
        for place in _places(grant):
            self._by.setdefault(place, {})[grant.grant_id] = grant

    def remove(self, grant_id: str) -> None:
        """Forget a grant, if it is here."""
        grant = self._grants.pop(grant_id, None)
        for place in _places(grant) if grant else ():
            bucket = self._by[place]
            del bucket[grant_id]
            if not bucket:
                del self._by[place]

    def could_permit(self, request: Request) -> Iterator[Grant]:
        """Give the grants that could permit a request."""
        action = request.action
        yield from self._by.get((action, None), {}).values()
        if action in WITH_CONTEXT:
            for pair in request.encryption_context.items():
                yield from self._by.get((action, pair), {}).values()


def _places(grant: Grant) -> list[tuple[Action, Pair | None]]:
    pairs = grant.lent.constraints.equals or grant.lent.constraints.subset
    first = pairs[0] if pairs else None
    return [(action, first if action in WITH_CONTEXT else None) for action in grant.lent.operations]


class Lending:
    """All grants: who has some of which key, and what they say.

    Args:
        ledger: verified reads, and word of every change.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[tuple[str, str], set[str]] = {}
        self._places: dict[str, tuple[str, str]] = {}
        self._counts: dict[str, int] = {}
        self._lent: OrderedDict[tuple[str, str], Lent] = OrderedDict()
        self._loaded = 0
        for record_id in ledger.known(GrantRecord):
            self._learn(*record_id.split("/", 2))
        ledger.watch(self._changed)

    def _changed(self, change: JournalEntry) -> None:
        if change.kind != GrantRecord.KIND:
            return
        key_id, grant_id, grantee = change.record_id.split("/", 2)
        if change.row_version:
            self._learn(key_id, grant_id, grantee)
        else:
            self._forget(key_id, grant_id, grantee)

    def _learn(self, key_id: str, grant_id: str, grantee: str) -> None:
        if grant_id not in self._places:
            self._places[grant_id] = (key_id, grantee)
            self._counts[key_id] = self._counts.get(key_id, 0) + 1
            self._known.setdefault((key_id, grantee), set()).add(grant_id)

    def _forget(self, key_id: str, grant_id: str, grantee: str) -> None:
        place = (key_id, grantee)
        if self._places.pop(grant_id, None) is None:
            return
        self._counts[key_id] -= 1
        if not self._counts[key_id]:
            del self._counts[key_id]
        self._known[place].discard(grant_id)
        if not self._known[place]:
            del self._known[place]
        lent = self._lent.get(place)
        if lent is not None and grant_id in lent:
            lent.remove(grant_id)
            self._loaded -= 1

    def count(self, key_id: str) -> int:
        """Count the grants of a key."""
        return self._counts.get(key_id, 0)

    def concern(self, key_id: str, names: Iterable[str]) -> bool:
        """Say whether a key lends anything to a caller of these names."""
        known = self._known
        for name in names:  # noqa: SIM110 - a loop costs half of what any() does here
            if (key_id, name) in known:
                return True
        return False

    def record_id(self, grant_id: str) -> str:
        """Give the id of a grant's record, empty if there is no such grant."""
        place = self._places.get(grant_id)
        return f"{place[0]}/{grant_id}/{place[1]}" if place else ""

    async def find(self, grant_id: str, key_id: str = "") -> GrantRecord | None:
        """Read a grant, of this key if one is named."""
        record_id = self.record_id(grant_id)
        if not record_id or (key_id and not record_id.startswith(f"{key_id}/")):
            return None
        return await self._ledger.read(GrantRecord, record_id)

    async def permitting(self, key_id: str, names: Iterable[str], request: Request) -> Grant | None:
        """Find a grant of a key to a caller of these names that permits its request."""
        for name in names:
            if (key_id, name) in self._known:
                lent = await self._read(key_id, name)
                for grant in lent.could_permit(request):
                    # What ended while other grants were read is known here already.
                    if grant.grant_id in self._places and granting.permits(grant, request):
                        return grant
        return None

    async def _read(self, key_id: str, grantee: str) -> Lent:
        place = (key_id, grantee)
        lent = self._lent.setdefault(place, Lent())
        self._lent.move_to_end(place)
        missing = self._missing(place, lent)
        if len(missing) > _FEW:
            await self._read_pages(place, lent)
            missing = self._missing(place, lent)
        for grant_id in missing:
            record = await self._ledger.read(GrantRecord, f"{key_id}/{grant_id}/{grantee}")
            self._take(place, lent, [record] if record else [])
        return lent

    def _missing(self, place: tuple[str, str], lent: Lent) -> list[str]:
        known = self._known.get(place, set())
        return [] if len(lent) == len(known) else [grant_id for grant_id in known if grant_id not in lent]

    async def _read_pages(self, place: tuple[str, str], lent: Lent) -> None:
        after, where = "", {"key_id": place[0], "grantee": place[1]}
        while True:
            records, after = await self._ledger.page(GrantRecord, where, after=after, limit=_PAGE)
            self._take(place, lent, records)
            if not after:
                return

    def _take(self, place: tuple[str, str], lent: Lent, records: Sequence[GrantRecord]) -> None:
        """Keep what was read, but for what ended while it was."""
        known = self._known.get(place, set())
        for record in records:
            if record.grant_id in known and record.grant_id not in lent:
                lent.add(grant_of(record))
                self._loaded += self._lent.get(place) is lent
        while self._loaded > _MOST_GRANTS and len(self._lent) > 1:
            _, oldest = self._lent.popitem(last=False)
            self._loaded -= len(oldest)
