"""External key stores, their external keys and credentials. Revision 0011."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_TEXTS = {
    "xks_stores": ("store_id", "account", "uri_prefix", "description", "policy"),
    "xks_keys": ("store_id", "external_key_id", "account", "key_id", "token", "pinning", "kms_key_arn"),
    "xks_credentials": ("store_id", "access_key_id", "account"),
}
_NUMBERS = {
    "xks_stores": (
        *("blocked", "per_second", "burst", "key_per_second", "key_burst"),
        *("principal_per_second", "principal_burst", "created_at", "row_version"),
    ),
    "xks_keys": ("blocked", "encrypts", "decrypts", "compatible", "created_at", "row_version"),
    "xks_credentials": ("created_at", "row_version"),
}
_BYTES = {"xks_credentials": ("sealed_secret",)}


def upgrade() -> None:
    """Create the tables and the ways to find their rows."""
    for table, texts in _TEXTS.items():
        op.create_table(
            table,
            sa.Column("record_id", sa.Text(), primary_key=True, nullable=False),
            *(sa.Column(name, sa.Text(), nullable=False) for name in texts),
            *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _NUMBERS[table]),
            *(sa.Column(name, sa.LargeBinary(), nullable=False) for name in _BYTES.get(table, ())),
            sa.Column("mac", sa.LargeBinary(), nullable=False),
            *_KEYS.get(table, ()),
        )
    op.create_index("ix_xks_stores_account", "xks_stores", ["account", "record_id"])
    op.create_index("ix_xks_stores_uri_prefix", "xks_stores", ["uri_prefix"], unique=True)
    op.create_index("ix_xks_keys_store_id", "xks_keys", ["store_id", "record_id"])
    op.create_index("ix_xks_keys_key_id", "xks_keys", ["key_id", "record_id"])
    op.create_index("ix_xks_credentials_store_id", "xks_credentials", ["store_id", "record_id"])


_KEYS = {
    "xks_keys": (
        sa.ForeignKeyConstraint(
            ["key_id"],
            ["keys.record_id"],
            name="fk_xks_keys_key_id",
            deferrable=True,
            initially="DEFERRED",
        ),
    )
}
