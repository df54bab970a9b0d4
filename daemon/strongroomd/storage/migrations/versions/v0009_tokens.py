"""In which token a key lives. Revision 0009, after 0007."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Name the token of house keys, keys and versions; so far all were in the main one, named by nothing."""
    for table in ("house", "keys", "versions"):
        op.add_column(table, sa.Column("token", sa.Text(), nullable=False, server_default=""))
