"""ExportService: keys on their way out, and what they are wrapped under."""

from dataclasses import dataclass, field
from datetime import datetime

from strongroom.results.approvals import Receipt


@dataclass(frozen=True, slots=True)
class Export:
    """A key on its way out.

    Attributes:
        blob: the wrapped key.
        length: its true length in bytes, behind which KWP may have put zeros; 0 for key pairs, whose PKCS#8
            says it itself.
        receipt: the house's, for it.
    """

    blob: bytes = field(repr=False)
    algorithm: str
    level: str
    key: str
    key_version: int
    length: int
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class WrappingKey:
    """A registered wrapping key; `transport` is the AES key for the recipient, wrapped to `public_key`."""

    wrapping_key_id: str
    account: str
    name: str
    kind: str
    public_key: bytes
    transport: bytes
    registered_by: str
    created_time: datetime | None
