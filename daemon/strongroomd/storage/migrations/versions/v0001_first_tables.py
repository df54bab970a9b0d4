"""The first tables. Revision 0001, the beginning."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table, then the triggers that keep tombstones and the journal in place."""
    _keys()
    _versions()
    _aliases()
    _limits_and_house()
    _journal()
    _answers()
    _usage_and_leases()
    for table in ("keys", "versions", "house", "journal"):
        _never(table, "DELETE")
    _never("journal", "UPDATE")
    _gapless_journal()


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _blob(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), nullable=False)


def _id() -> sa.Column[str]:
    return sa.Column("record_id", sa.Text(), primary_key=True, nullable=False)


def _of_key(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["key_id"], ["keys.record_id"], name=f"fk_{table}_key_id", deferrable=True, initially="DEFERRED"
    )


def _keys() -> None:
    op.create_table(
        "keys",
        _id(),
        _text("key_id"),
        _text("account"),
        _text("spec"),
        _text("usage"),
        _text("mode"),
        _text("custody_note"),
        _text("origin"),
        _number("exportable"),
        _text("state"),
        _text("description"),
        _number("created_at"),
        _number("deletion_at"),
        _number("current_version"),
        _text("policy"),
        _text("tags"),
        _number("row_version"),
        _blob("mac"),
    )
    op.create_index("ix_keys_account", "keys", ["account", "record_id"])
    op.create_index("ix_keys_state", "keys", ["state", "deletion_at"])


def _versions() -> None:
    op.create_table(
        "versions",
        _id(),
        _text("key_id"),
        _number("version"),
        _text("state"),
        _number("created_at"),
        _text("kek_id"),
        _text("hsm_id"),
        _blob("blob"),
        _number("length"),
        _blob("public_key"),
        _blob("check_value"),
        _blob("recovery_blob"),
        _number("row_version"),
        _blob("mac"),
        _of_key("versions"),
    )
    op.create_index("ix_versions_key_id", "versions", ["key_id", "version"], unique=True)
    op.create_index("ix_versions_hsm_id", "versions", ["hsm_id"])


def _aliases() -> None:
    op.create_table(
        "aliases",
        _id(),
        _text("account"),
        _text("name"),
        _text("key_id"),
        _number("created_at"),
        _number("updated_at"),
        _number("row_version"),
        _blob("mac"),
        _of_key("aliases"),
    )
    op.create_index("ix_aliases_key_id", "aliases", ["key_id", "record_id"])


def _limits_and_house() -> None:
    op.create_table(
        "limits",
        _id(),
        _text("scope"),
        _text("subject"),
        _number("per_second"),
        _number("burst"),
        _number("row_version"),
        _blob("mac"),
    )
    op.create_table(
        "house",
        _id(),
        _text("role"),
        _text("hsm_id"),
        _blob("public_key"),
        _blob("check_value"),
        _number("row_version"),
        _blob("mac"),
    )


def _journal() -> None:
    op.create_table(
        "journal",
        sa.Column("sequence", sa.BigInteger(), primary_key=True, nullable=False),
        _text("kind"),
        _text("record_id"),
        _number("row_version"),
        _blob("row_mac"),
        _blob("head"),
        _blob("head_mac"),
    )


def _answers() -> None:
    op.create_table(
        "answers",
        sa.Column("principal", sa.Text(), primary_key=True, nullable=False),
        sa.Column("request_id", sa.Text(), primary_key=True, nullable=False),
        _text("method"),
        _blob("fingerprint"),
        _blob("answer"),
        _number("created_at"),
        _blob("mac"),
    )
    op.create_index("ix_answers_created_at", "answers", ["created_at"])


def _usage_and_leases() -> None:
    op.create_table(
        "usage",
        sa.Column("key_id", sa.Text(), primary_key=True, nullable=False),
        sa.Column("operation", sa.Text(), primary_key=True, nullable=False),
        _number("count"),
        _number("last_used"),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), primary_key=True, nullable=False),
        _text("holder"),
        _number("expires_at"),
    )


def _never(table: str, verb: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table}: rows are kept'); END"
    )


def _gapless_journal() -> None:
    op.execute(
        "CREATE TRIGGER journal_gapless BEFORE INSERT ON journal "
        "WHEN NEW.sequence <> (SELECT COALESCE(MAX(sequence), 0) + 1 FROM journal) "
        "BEGIN SELECT RAISE(ABORT, 'journal: not the next number'); END"
    )
