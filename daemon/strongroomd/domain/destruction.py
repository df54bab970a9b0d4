"""The end of a key: who asked for it, when it came, and the certificate that says so. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from strongroomd.domain.protection import Record

CERTIFICATE: Final = "destruction-certificate"
"""The kind of statement."""

NOT_COVERED: Final = (
    "Backup sets made before the destruction, and copies of the token that its owner keeps, may still hold "
    "this material: wrapped by a key encryption key, or to the recovery key. It is gone from there when they "
    "are, or when those keys are destroyed. What was decrypted, exported or derived before is not covered "
    "either, nor are other houses' replicas of a multi-region key and copies on their way to them."
)
"""What no certificate of the daemon can say."""


@dataclass(frozen=True, slots=True)
class DeletionRecord(Record):
    """A key's deletion: scheduled, then carried out, then certified. Gone when it is called off.

    Attributes:
        scheduled_by: ARN of who asked for it; empty where an earlier release did not note it.
        request_id: of that call, as in the audit log.
        scheduled_at, due_at: milliseconds since the Unix epoch; 0 for one that was not noted.
        destroyed_at: when the key ended; 0 until then.
        certificate: the statement's payload; empty until every object is gone.
        signature: DER, over the certificate.
        signer: id of the statement key.
    """

    KIND: ClassVar[str] = "deletion"
    key_id: str
    account: str
    scheduled_by: str
    request_id: str
    scheduled_at: int
    due_at: int
    destroyed_at: int = 0
    certificate: bytes = b""
    signature: bytes = b""
    signer: str = ""
    row_version: int = 1

    @property
    def record_id(self) -> str:
        """The key id."""
        return self.key_id


ENDS: Final[Mapping[str, str]] = {
    "WRAPPED": "wrapped material erased from the store",
    "RESIDENT": "object destroyed in the token, and seen to be gone",
    "ADOPTED": "record ended; the object was not the daemon's and stays in the token",
}
"""What ending a version means, by custody mode."""


def certificate_claims(
    key: Mapping[str, Any],
    deletion: Mapping[str, Any],
    versions: Iterable[Mapping[str, Any]],
    position: Mapping[str, Any],
) -> dict[str, Any]:
    """Put together what a certificate claims.

    Args:
        key: what the key was.
        deletion: who asked, when, and when it ended.
        versions: each with its check value and what became of it.
        position: where audit log and journal stood when this was signed.
    """
    return {
        "key": dict(key),
        "deletion": dict(deletion),
        "versions": [dict(version) for version in versions],
        "position": dict(position),
        "not_covered": NOT_COVERED,
    }
