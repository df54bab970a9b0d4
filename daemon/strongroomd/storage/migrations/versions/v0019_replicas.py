"""Multi-region keys: peers, copies of material for them, replicas. Revision 0019."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0017"
branch_labels = None
depends_on = None

_TABLES = {
    "peers": (
        ("account", "region", "house", "registered_by"),
        ("created_at",),
        ("replica_key", "statement_key"),
    ),
    "replica_copies": (("key_id", "region", "pair"), ("version",), ("blob",)),
    "replicas": (("key_id", "region"), ("acknowledged", "created_at"), ()),
}
_OF_KEYS = ("replica_copies", "replicas")


def upgrade() -> None:
    """Create the tables; keys so far are of one region."""
    for name, (texts, numbers, blobs) in _TABLES.items():
        op.create_table(
            name,
            sa.Column("record_id", sa.Text(), primary_key=True, nullable=False),
            *(sa.Column(column, sa.Text(), nullable=False) for column in texts),
            *(sa.Column(column, sa.BigInteger(), nullable=False) for column in (*numbers, "row_version")),
            *(sa.Column(column, sa.LargeBinary(), nullable=False) for column in blobs),
            sa.Column("mac", sa.LargeBinary(), nullable=False),
            *(_of_key(name) for _ in range(name in _OF_KEYS)),
        )
    op.create_index("ix_peers_account", "peers", ["account", "record_id"])
    op.create_index("ix_replica_copies_key_id", "replica_copies", ["key_id", "record_id"])
    op.create_index("ix_replicas_key_id", "replicas", ["key_id", "record_id"])
    op.add_column("keys", sa.Column("multi_region", sa.Text(), nullable=False, server_default=""))
    op.add_column("keys", sa.Column("primary_region", sa.Text(), nullable=False, server_default=""))
    op.add_column("keys", sa.Column("term", sa.BigInteger(), nullable=False, server_default="0"))


def _of_key(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["key_id"], ["keys.record_id"], name=f"fk_{table}_key_id", deferrable=True, initially="DEFERRED"
    )
