"""The base of every record that the store keeps under a MAC made in the HSM; see `records`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

SINCE: Final = "since"


def since(revision: str) -> dict[str, str]:
    """Give the metadata of a field that a kind did not have at first.

    The field's default is what records from before it are taken to say; it never changes.

    Args:
        revision: of the store's schema, the one that added the field's column.
    """
    return {SINCE: revision}


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
