"""Who looks after a key. Revision 0008."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a key's manager; all keys so far are their customers' own."""
    op.add_column("keys", sa.Column("manager", sa.Text(), nullable=False, server_default="CUSTOMER"))
    op.create_index("ix_keys_manager", "keys", ["manager", "record_id"])
