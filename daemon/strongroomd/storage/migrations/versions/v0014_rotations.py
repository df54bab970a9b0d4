"""Rotation schedules, why versions were made, and how keys ended. Revision 0014."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_TABLES = {
    "schedules": ((), ("period_days", "next_at", "row_version"), ()),
    "deletions": (
        ("account", "scheduled_by", "request_id", "signer"),
        ("scheduled_at", "due_at", "destroyed_at", "row_version"),
        ("certificate", "signature"),
    ),
}


def upgrade() -> None:
    """Create both tables; keys so far have no schedule, their versions no reason."""
    for name, (texts, numbers, blobs) in _TABLES.items():
        op.create_table(
            name,
            sa.Column("record_id", sa.Text(), primary_key=True, nullable=False),
            sa.Column("key_id", sa.Text(), nullable=False),
            *(sa.Column(column, sa.Text(), nullable=False) for column in texts),
            *(sa.Column(column, sa.BigInteger(), nullable=False) for column in numbers),
            *(sa.Column(column, sa.LargeBinary(), nullable=False) for column in blobs),
            sa.Column("mac", sa.LargeBinary(), nullable=False),
            sa.ForeignKeyConstraint(
                ["key_id"],
                ["keys.record_id"],
                name=f"fk_{name}_key_id",
                deferrable=True,
                initially="DEFERRED",
            ),
        )
    op.create_index("ix_schedules_next_at", "schedules", ["next_at"])
    op.create_index("ix_deletions_destroyed_at", "deletions", ["destroyed_at"])
    op.add_column("versions", sa.Column("rotation", sa.Text(), nullable=False, server_default=""))
