"""Wrapping pairs that wait for material, and what is known of imported material. Revision 0012."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_TEXTS = {
    "wrapping_pairs": (*("key_id", "import_id", "account", "wrapping_key", "algorithm", "level", "kek_id"),),
    "materials": ("key_id", "account", "algorithm", "level"),
}
_NUMBERS = {
    "wrapping_pairs": ("created_at", "expires_at", "row_version"),
    "materials": ("version", "imported_at", "expires_at", "removed_at", "row_version"),
}
_BYTES = {"wrapping_pairs": ("blob", "public_key"), "materials": ("fingerprint",)}


def upgrade() -> None:
    """Create the tables and the ways to find their rows; so far no key was imported."""
    for table, texts in _TEXTS.items():
        op.create_table(
            table,
            sa.Column("record_id", sa.Text(), primary_key=True, nullable=False),
            *(sa.Column(name, sa.Text(), nullable=False) for name in texts),
            *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _NUMBERS[table]),
            *(sa.Column(name, sa.LargeBinary(), nullable=False) for name in _BYTES[table]),
            sa.Column("mac", sa.LargeBinary(), nullable=False),
            sa.ForeignKeyConstraint(
                ["key_id"],
                ["keys.record_id"],
                name=f"fk_{table}_key_id",
                deferrable=True,
                initially="DEFERRED",
            ),
        )
    op.create_index("ix_wrapping_pairs_key_id", "wrapping_pairs", ["key_id", "record_id"])
    for table in _TEXTS:
        op.create_index(f"ix_{table}_expires_at", table, ["expires_at"])
