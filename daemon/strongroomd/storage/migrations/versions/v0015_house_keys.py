"""House keys get successors, and keys move from one KEK to the next. Revision 0015."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_TEXTS = ("token", "target", "state", "started_by")
_NUMBERS = ("total", "rewrapped", "failed", "per_second", "started_at", "ended_at", "row_version")


def upgrade() -> None:
    """Number house keys: those that are there are the first of their roles; find versions by their KEK."""
    for name in ("generation", "created_at"):
        op.add_column("house", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("house", sa.Column("state", sa.Text(), nullable=False, server_default="ACTIVE"))
    op.create_index("ix_versions_kek_id", "versions", ["kek_id", "state", "record_id"])
    op.create_table(
        "rewraps",
        sa.Column("record_id", sa.Text(), primary_key=True, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _TEXTS),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _NUMBERS),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
    )
