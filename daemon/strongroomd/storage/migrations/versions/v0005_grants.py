"""Grants. Revision 0005."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TEXTS = (
    *("key_id", "account", "grant_id", "grantee", "retiring", "issuer", "operations", "constraint_type"),
    *("context", "source_arn", "source_account", "name", "parent"),
)


def upgrade() -> None:
    """Create the table of grants and the ways to find them."""
    op.create_table(
        "grants",
        sa.Column("record_id", sa.Text(), primary_key=True, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _TEXTS),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("row_version", sa.BigInteger(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"], ["keys.record_id"], name="fk_grants_key_id", deferrable=True, initially="DEFERRED"
        ),
    )
    op.create_index("ix_grants_key_id", "grants", ["key_id", "record_id"])
    op.create_index("ix_grants_grantee", "grants", ["grantee", "key_id", "record_id"])
    op.create_index("ix_grants_retiring", "grants", ["retiring", "record_id"])
    op.create_index("ix_grants_name", "grants", ["key_id", "name"])
