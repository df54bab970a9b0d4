"""What trials showed, held against the table of equivalents."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from tests.mutation.mutants import Key, Mutant


@dataclass
class Report:
    """The count of mutants, and whatever is not as it should be.

    Attributes:
        listed: the mutants that the table calls equivalent.
        killed: how many each stage killed.
        equivalents: how many of those listed were tried and lived.
        survivors: how many others lived.
    """

    listed: Collection[Key]
    killed: Counter[str] = field(default_factory=Counter)
    equivalents: int = 0
    survivors: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, mutant: Mutant, killer: str) -> None:
        """Take in how a trial ended."""
        listed = mutant.key in self.listed
        if killer:
            self.killed[killer] += 1
            if listed:
                self.problems.append(f"listed as equivalent, but killed by {killer}: {mutant}")
        elif listed:
            self.equivalents += 1
        else:
            self.survivors += 1
            self.problems.append(f"survives: {mutant}")

    def look_for_stale(self, mutants: Iterable[Mutant]) -> None:
        """Find entries of the table that name no mutant any more."""
        keys = {mutant.key for mutant in mutants}
        self.problems += [f"names no mutant: {': '.join(key)}" for key in self.listed if key not in keys]

    def summary(self) -> str:
        """Say in one line how many of what there were."""
        killed = self.killed.total()
        whole = killed + self.equivalents + self.survivors
        return (
            f"{whole} mutants: {killed} killed, {self.equivalents} equivalent as listed, "
            f"{self.survivors} survived"
        )
