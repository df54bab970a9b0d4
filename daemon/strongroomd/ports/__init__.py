"""What the core needs from outside, as Protocols, with the duties of whoever provides it.

Deadlines are `time.monotonic()` seconds. Every method raises only `StrongroomError`. Calls come from one
asyncio loop; an implementation may use threads of its own but must answer on that loop.

`vault` is the HSM; its parts, for whoever needs one only, are `tokens`, `material`, `keyuse` and `house`.
`statements` are signed in it, `store` keeps records, `events` leave the store, `audit` is the log, `quotas`
are what workers share of limits.
"""

from strongroomd.ports.audit import AuditLog, AuditPage, AuditTrail, AuditWanted
from strongroomd.ports.events import Outbox, Sink
from strongroomd.ports.house import OwnKeys, RowMacs
from strongroomd.ports.keyuse import KeyUse
from strongroomd.ports.material import KeyMaterial
from strongroomd.ports.quotas import Charge, QuotaTable, Shortfall
from strongroomd.ports.statements import StatementKeys, StatementSignature, StatementSigner
from strongroomd.ports.store import Answer, JournalEntry, Store, Stored, Transaction, Usage
from strongroomd.ports.tokens import Tokens
from strongroomd.ports.vault import Vault

__all__ = [
    "Answer",
    "AuditLog",
    "AuditPage",
    "AuditTrail",
    "AuditWanted",
    "Charge",
    "JournalEntry",
    "KeyMaterial",
    "KeyUse",
    "Outbox",
    "OwnKeys",
    "QuotaTable",
    "RowMacs",
    "Shortfall",
    "Sink",
    "StatementKeys",
    "StatementSignature",
    "StatementSigner",
    "Store",
    "Stored",
    "Tokens",
    "Transaction",
    "Usage",
    "Vault",
]
