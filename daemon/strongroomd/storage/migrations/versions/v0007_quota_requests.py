"""Quota requests. Revision 0007."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TEXTS = (
    *("id", "account", "scope", "subject", "justification", "principal", "asker_account", "source"),
    *("state", "closed_by", "note"),
)
_NUMBERS = (
    *("per_second", "burst", "in_force_per_second", "in_force_burst", "granted_per_second"),
    *("granted_burst", "created_at", "closed_at", "row_version"),
)


def upgrade() -> None:
    """Create the table of quota requests and the ways to find them."""
    op.create_table(
        "quota_requests",
        sa.Column("record_id", sa.Text(), primary_key=True, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _TEXTS),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _NUMBERS),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
    )
    op.create_index("ix_quota_requests_account", "quota_requests", ["account", "record_id"])
    op.create_index("ix_quota_requests_principal", "quota_requests", ["principal", "state"])
    op.create_index("ix_quota_requests_asker", "quota_requests", ["asker_account", "state"])
    op.create_index("ix_quota_requests_state", "quota_requests", ["state"])
    op.create_index("ix_quota_requests_closed", "quota_requests", ["closed_at"])
