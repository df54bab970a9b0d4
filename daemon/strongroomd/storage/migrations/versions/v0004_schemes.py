"""How a version encrypts, and how often it did. Revision 0004, after 0002."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the scheme of a version (its default is what all had so far) and the invocation counters."""
    op.add_column("versions", sa.Column("scheme", sa.Text(), nullable=False, server_default="DEFAULT"))
    op.create_table(
        "invocations",
        sa.Column("record_id", sa.Text(), primary_key=True, nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.Column("row_version", sa.BigInteger(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"],
            ["keys.record_id"],
            name="fk_invocations_key_id",
            deferrable=True,
            initially="DEFERRED",
        ),
    )
    op.create_index("ix_invocations_reserved", "invocations", ["reserved"])
    op.execute(
        "CREATE TRIGGER invocations_no_delete BEFORE DELETE ON invocations "
        "BEGIN SELECT RAISE(ABORT, 'invocations: rows are kept'); END"
    )
