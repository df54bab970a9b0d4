"""From which addresses access keys were used. Revision 0006."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; a key without a row there was used from nowhere yet."""
    op.create_table(
        "access_key_addresses",
        sa.Column("record_id", sa.Text(), primary_key=True, nullable=False),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("access_key_id", "arn", "account", "addresses")
        ),
        sa.Column("row_version", sa.BigInteger(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
    )
