"""Verifying an audit directory, from the files alone and the checkpoint key's public half.

Found are: any change, removal or reordering of records or files that a checkpoint covers, and any truncation
behind the newest checkpoint that the verifier holds. Records after the newest checkpoint, at most a second's,
are chained but not signed: whoever owns the machine could rewrite them, and they are reported as unsigned.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from strongroomd.domain.audit import CLOSED, OPENED, Checkpoint, Head
from strongroomd.domain.errors import Reason, StrongroomError
from strongroomd.storage.audit_chain import Scan, all_chains
from strongroomd.storage.checkpoints import CheckpointFile, parse_signed

SignatureCheck = Callable[[bytes, bytes], bool]
Successor = Callable[[bytes], SignatureCheck]
"""Makes the check for a checkpoint key that another one says comes next (DER, may be nonsense)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        where: a chain's origin, or `checkpoints`.
        line: counted from 1; 0 if no line is to blame.
        text: what is wrong.
    """

    where: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What a chain holds.

    Attributes:
        records: how many verify.
        signed: how many of them the newest checkpoint covers.
        closed: whether the chain has its closing record.
        torn: bytes of an unfinished write at its end, never acknowledged.
        previous, successor: the chains that it names, if any.
    """

    origin: str
    records: int
    signed: int
    closed: bool
    torn: int
    previous: str | None
    successor: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """Outcome of a verification; good only if there is no problem.

    Attributes:
        keys: the checkpoint keys (DER SubjectPublicKeyInfo) that followed the first one, in order.
    """

    chains: tuple[ChainReport, ...]
    checkpoints: int
    newest: Checkpoint | None
    problems: tuple[Problem, ...]
    keys: tuple[bytes, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def records(self) -> int:
        """All records that verify."""
        return sum(chain.records for chain in self.chains)

    @property
    def unsigned(self) -> int:
        """Records after the newest checkpoint."""
        return sum(max(0, chain.records - chain.signed) for chain in self.chains)


def verify(
    directory: Path,
    signature_ok: SignatureCheck,
    held: Checkpoint | None = None,
    successor: Successor | None = None,
) -> Report:
    """Verify every chain and checkpoint of an audit directory.

    Args:
        directory: the audit directory, living or copied (copy `checkpoints.jsonl` first).
        signature_ok: tells whether a signature (second) over a message (first) is the first checkpoint key's.
        held: a checkpoint that the verifier kept elsewhere, already trusted.
        successor: gives the checks of later keys; without it none is believed.
    """
    problems: list[Problem] = []
    # Checkpoints first: a living chain may only be longer than they say.
    history = _History(signature_ok, held, successor)
    history.read(CheckpointFile(directory), problems)
    history.compare(problems)
    chains = [_check_chain(path, history.signed.get(path.stem), problems) for path in all_chains(directory)]
    _check_names(chains, set(history.signed), problems)
    return Report(tuple(chains), history.number, history.newest, tuple(problems), tuple(history.keys))


class _History:
    """The chain of checkpoints, and the newest head that it gives each chain."""

    def __init__(
        self, signature_ok: SignatureCheck, held: Checkpoint | None, successor: Successor | None
    ) -> None:
        self._signature_ok = signature_ok
        self._successor = successor
        self.keys: list[bytes] = []
        self._held = held
        self._at_held: Checkpoint | None = None
        self.newest: Checkpoint | None = None
        self.signed: dict[str, Head] = {}

    @property
    def number(self) -> int:
        return self.newest.number if self.newest else 0

    def read(self, file: CheckpointFile, problems: list[Problem]) -> None:
        for line in file.lines():
            fault = self._take(line) if line.endswith(b"\n") else None
            if fault:
                problems.append(Problem("checkpoints", self.number + 1, fault))
                return

    def compare(self, problems: list[Problem]) -> None:
        """Hold the checkpoint that the verifier kept against the one of its number."""
        held = self._held
        if held is None:
            return
        if self._at_held is None:
            problems.append(Problem("checkpoints", 0, f"checkpoint {held.number}, which is held, is missing"))
        elif self._at_held != held:
            problems.append(Problem("checkpoints", held.number, "is not the one that is held"))
        for head in held.heads:
            known = self.signed.get(head.origin)
            if known is None or known.count < head.count:
                self.signed[head.origin] = head

    def _take(self, line: bytes) -> str | None:
        """Add a checkpoint; gives what is wrong with it, if anything."""
        try:
            signed = parse_signed(line)
        except ValueError:
            return "is not a checkpoint"
        checkpoint = signed.checkpoint
        if checkpoint.number != self.number + 1:
            return "has the wrong number"
        if checkpoint.previous != (self.newest.digest() if self.newest else bytes(32)):
            return "does not follow the one before"
        if not self._signature_ok(checkpoint.message(), signed.signature):
            return "has a wrong signature"
        if checkpoint.next_key:
            if self._successor is None:
                return "names another key, which is not followed here"
            self._signature_ok = self._successor(checkpoint.next_key)
            self.keys.append(checkpoint.next_key)
        return self._advance(checkpoint)

    def _advance(self, checkpoint: Checkpoint) -> str | None:
        for head in checkpoint.heads:
            known = self.signed.get(head.origin)
            if known and (head.count < known.count or (head.count == known.count and head != known)):
                return "contradicts an earlier one"
        self.signed |= {head.origin: head for head in checkpoint.heads}
        self.newest = checkpoint
        if self._held and checkpoint.number == self._held.number:
            self._at_held = checkpoint
        return None


def _check_chain(path: Path, signed: Head | None, problems: list[Problem]) -> ChainReport:
    scan = Scan.start(path.stem)
    facts: dict[str, str | None] = {}
    try:
        closed = _check_records(path, scan, signed, facts)
    except (StrongroomError, OSError) as error:
        closed = False
        problems.append(Problem(scan.origin, scan.count + 1, _text(error)))
    else:
        if signed and scan.count < signed.count:
            text = f"ends after {scan.count} records, but {signed.count} are signed"
            problems.append(Problem(scan.origin, scan.count + 1, text))
    return ChainReport(
        origin=scan.origin,
        records=scan.count,
        signed=min(scan.count, signed.count) if signed else 0,
        closed=closed,
        torn=scan.torn,
        previous=facts.get("previous"),
        successor=facts.get("successor"),
    )


def _check_records(path: Path, scan: Scan, signed: Head | None, facts: dict[str, str | None]) -> bool:
    """Follow the chain, checking what each record says of itself; gives whether it is closed."""
    closed = False
    for _ in scan.bodies(path):
        record = scan.record()
        _require(not closed, "follows the closing record")
        _require(record.get("seq") == scan.count - 1, "has the wrong sequence number")
        if scan.count == 1:
            opened = record.get("event") == OPENED and record.get("origin") == scan.origin
            _require(opened, "is not this chain's first record")
            facts["previous"] = record.get("previous")
        if record.get("event") == CLOSED:
            closed = True
            facts["successor"] = record.get("successor")
        if signed and scan.count == signed.count:
            _require(scan.head == signed, "is not the record that is signed")
    _require(not (closed and scan.torn), "follows the closing record")
    return closed


def _require(condition: bool, text: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not condition:
        raise StrongroomError(Reason.INTEGRITY_FAILURE, detail=text)


def _text(error: StrongroomError | OSError) -> str:
    return (error.detail or error.message) if isinstance(error, StrongroomError) else "cannot be read"


def _check_names(chains: list[ChainReport], signed: set[str], problems: list[Problem]) -> None:
    """Find chains that are gone although a checkpoint or another chain names them."""
    present = {chain.origin for chain in chains}
    problems.extend(Problem(origin, 0, "the chain is gone") for origin in sorted(signed - present))
    named = {name for chain in chains for name in (chain.previous, chain.successor) if name}
    problems.extend(Problem(origin, 0, "the chain is gone") for origin in sorted(named - present - signed))
