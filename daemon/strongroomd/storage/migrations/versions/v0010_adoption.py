"""Which objects of others the versions of adopted keys are. Revision 0010."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what is remembered of an adopted object; so far there are none."""
    for name in ("object_class", "object_id", "object_label", "uses", "traits"):
        op.add_column("versions", sa.Column(name, sa.Text(), nullable=False, server_default=""))
    op.create_index("ix_versions_object", "versions", ["object_label", "object_id"])
