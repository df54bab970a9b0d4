"""A queue that serves accounts in turn, within each its principals in turn, and of each the oldest first.

Turns are those of start-time fair queueing (Goyal, Vin, Cheng 1996) with calls of equal weight: whoever was
served gets the next turn a round later, and whoever was away for that round is due at once. So however long
one line is, a newcomer of another account is served next, unless others are due as well.
"""

import itertools
from collections import OrderedDict
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Final, Generic, TypeVar

T = TypeVar("T")
M = TypeVar("M")
Flow = tuple[str, str]
"""Account and principal of who waits."""

_SLACK: Final = 64  # names beyond the members that a turn table may remember


class _Turns(Generic[M]):
    """Members by name, and whose turn it is."""

    def __init__(self) -> None:
        self.members: dict[str, M] = {}
        self._round = 0
        self._due: dict[str, int] = {}
        self._heap: list[tuple[int, int, str]] = []
        self._order = itertools.count()

    def add(self, name: str, member: M) -> None:
        """Add a member: it is due now, or a round after it was last served."""
        self.members[name] = member
        due = self._due[name] = max(self._round, self._due.get(name, 0))
        heappush(self._heap, (due, next(self._order), name))

    def drop(self, name: str) -> None:
        """Remove a member; for a round it is remembered that it was served."""
        del self.members[name]
        if not self.members:
            self._due.clear()
            self._heap.clear()
            self._round = 0
        elif len(self._heap) > 2 * len(self.members) + _SLACK:
            self._forget()

    def next(self) -> tuple[str, M]:
        """Give the member whose turn it is, and count that as its turn."""
        while True:
            due, _, name = heappop(self._heap)
            member = self.members.get(name)
            if member is not None and self._due[name] == due:
                break
        self._round = due
        self._due[name] = due + 1
        heappush(self._heap, (due + 1, next(self._order), name))
        return name, member

    def _forget(self) -> None:
        """Drop what is known of names that are due anyway, and turns of members that left."""
        members, now = self.members, self._round
        self._due = {name: due for name, due in self._due.items() if name in members or due > now}
        kept = {name: entry for entry in sorted(self._heap) if self._is_valid(entry) for name in [entry[2]]}
        self._heap = list(kept.values())
        heapify(self._heap)

    def _is_valid(self, entry: tuple[int, int, str]) -> bool:
        due, _, name = entry
        return name in self.members and self._due[name] == due


@dataclass(slots=True)
class _Line(Generic[T]):
    """One principal's items; `since` is when the first came, while the line was never empty."""

    since: float
    items: "OrderedDict[T, None]" = field(default_factory=OrderedDict)


@dataclass(slots=True)
class _Account(Generic[T]):
    size: int = 0
    lines: "_Turns[_Line[T]]" = field(default_factory=_Turns)


class FairQueue(Generic[T]):
    """Items of many flows; only `take_from_longest` looks at all of them."""

    def __init__(self) -> None:
        self._size = 0
        self._accounts: _Turns[_Account[T]] = _Turns()

    def __len__(self) -> int:
        return self._size

    def push(self, flow: Flow, item: T, now: float) -> None:
        """Add an item, which is in the queue no second time, at the end of its flow's line."""
        account = self._accounts.members.get(flow[0])
        if account is None:
            account = _Account()
            self._accounts.add(flow[0], account)
        line = account.lines.members.get(flow[1])
        if line is None:
            line = _Line(now)
            account.lines.add(flow[1], line)
        line.items[item] = None
        account.size += 1
        self._size += 1

    def pop(self) -> T:
        """Take the next item; the queue is not empty."""
        name, account = self._accounts.next()
        principal, line = account.lines.next()
        item = next(iter(line.items))
        self.remove((name, principal), item)
        return item

    def remove(self, flow: Flow, item: T) -> None:
        """Take out an item, if it is there."""
        account, line = self._find(flow)
        if account is None or line is None or item not in line.items:
            return
        del line.items[item]
        account.size -= 1
        self._size -= 1
        if not line.items:
            account.lines.drop(flow[1])
        if not account.size:
            self._accounts.drop(flow[0])

    def _find(self, flow: Flow) -> tuple[_Account[T] | None, _Line[T] | None]:
        account = self._accounts.members.get(flow[0])
        return account, None if account is None else account.lines.members.get(flow[1])

    def ahead(self, flow: Flow) -> int:
        """Count the items that are served before a newcomer of a flow; rather too many than too few."""
        account, line = self._find(flow)
        accounts = len(self._accounts.members)
        if account is None:
            return min(self._size, accounts)
        rounds = 0 if line is None else len(line.items)
        within = min(account.size, (rounds + 1) * len(account.lines.members))
        return min(self._size, (within + 1) * accounts)

    def standing(self, flow: Flow, now: float) -> float:
        """Say for how many seconds a flow's line has not been empty."""
        _, line = self._find(flow)
        return 0.0 if line is None else now - line.since

    def take_from_longest(self, flow: Flow) -> T | None:
        """Take the newest item of the longest line of the largest account, to make room for a newcomer.

        None if that is the newcomer's own line, or no longer than it.
        """
        name, account = max(self._accounts.members.items(), key=lambda entry: entry[1].size)
        mine, own = self._find(flow)
        if name != flow[0] and mine is not None and mine.size >= account.size:
            return None
        principal, line = max(account.lines.members.items(), key=lambda entry: len(entry[1].items))
        if name == flow[0] and own is not None and len(own.items) >= len(line.items):
            return None
        item = next(reversed(line.items))
        self.remove((name, principal), item)
        return item
