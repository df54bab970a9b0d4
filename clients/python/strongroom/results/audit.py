"""AuditService: records and signed checkpoints of the audit log."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class AuditDecision:
    """What allowed or denied a call: a rule, its statement or grant, the policy (empty: the key's)."""

    basis: str
    ground: str
    policy: str


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One record of the audit log; `canonical_json` is the record as it stands in the file.

    `strongroom.cloudtrail.event` gives it in the shape of CloudTrail's events.
    """

    origin: str
    sequence: int
    time: datetime | None
    kind: str
    action: str
    principal: str
    key_arn: str
    outcome: str
    request_id: str
    hash: bytes
    canonical_json: bytes
    identity: str = ""
    session: str = ""
    session_source: str = ""
    via_service: str = ""
    caller_account: str = ""
    source_principal: str = ""
    source_arn: str = ""
    source_account: str = ""
    source_address: str = ""
    door: str = ""
    decision: AuditDecision | None = None
    other_key_arns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The end of one audit chain at the time of a checkpoint."""

    origin: str
    sequence: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed checkpoint: `signature` is over `canonical_json`, by `public_key` (DER)."""

    canonical_json: bytes
    signature: bytes
    public_key: bytes
    signing_algorithm: str
    number: int
    time: datetime | None
    chain_heads: tuple[ChainHead, ...]
