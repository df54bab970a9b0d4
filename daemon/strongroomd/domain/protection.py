"""The base of every record that the store keeps under a MAC made in the HSM; see `records`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar


@dataclass(frozen=True, slots=True)
class Record:
    """Base of protected records.

    Attributes:
        row_version: starts at 1 and rises by one with each change; also the public etag.
    """

    KIND: ClassVar[str]

    if TYPE_CHECKING:

        @property
        def row_version(self) -> int:
            """Every record's last field."""

    @property
    def record_id(self) -> str:
        """The record's primary key as text, unique within its kind."""
        raise LookupError(type(self).__name__)
