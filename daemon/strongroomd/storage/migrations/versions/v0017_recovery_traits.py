"""How imported material is told again in another token. Revision 0017."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what a recovery takes along of imported material; what is there already has none."""
    column = sa.Column("recovery_trait", sa.LargeBinary(), nullable=False, server_default=sa.text("x''"))
    op.add_column("materials", column)
