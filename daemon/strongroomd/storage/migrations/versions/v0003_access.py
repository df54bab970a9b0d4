"""Accounts, principals, identities, access keys. Revision 0003."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of callers; accounts stay once they are made."""
    _accounts()
    _principals()
    _identities()
    _access_keys()
    op.execute(
        "CREATE TRIGGER accounts_no_delete BEFORE DELETE ON accounts "
        "BEGIN SELECT RAISE(ABORT, 'accounts: rows are kept'); END"
    )


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _blob(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), nullable=False)


def _id() -> sa.Column[str]:
    return sa.Column("record_id", sa.Text(), primary_key=True, nullable=False)


def _accounts() -> None:
    op.create_table(
        "accounts",
        _id(),
        _text("account"),
        _text("description"),
        _number("created_at"),
        _text("guard_rails"),
        _number("row_version"),
        _blob("mac"),
    )


def _principals() -> None:
    op.create_table(
        "principals",
        _id(),
        _text("arn"),
        _text("account"),
        _text("kind"),
        _text("unique_id"),
        _text("state"),
        _number("trusted"),
        _text("description"),
        _number("created_at"),
        _text("tags"),
        _text("policies"),
        _text("trust_policy"),
        _number("max_session_seconds"),
        _number("session_epoch"),
        _number("row_version"),
        _blob("mac"),
    )
    op.create_index("ix_principals_account", "principals", ["account", "record_id"])


def _identities() -> None:
    op.create_table(
        "identities",
        _id(),
        _text("identity_kind"),
        _text("value"),
        _text("issuer"),
        _text("arn"),
        _text("account"),
        _number("created_at"),
        _number("row_version"),
        _blob("mac"),
    )
    op.create_index("ix_identities_arn", "identities", ["arn", "record_id"])


def _access_keys() -> None:
    op.create_table(
        "access_keys",
        _id(),
        _text("access_key_id"),
        _text("arn"),
        _text("account"),
        _number("active"),
        _blob("sealed_secret"),
        _number("created_at"),
        _number("row_version"),
        _blob("mac"),
    )
    op.create_index("ix_access_keys_arn", "access_keys", ["arn", "record_id"])
