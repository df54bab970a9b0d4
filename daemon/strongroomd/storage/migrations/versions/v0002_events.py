"""The outbox of events, what sinks and rules have of it, compliance findings. Revision 0002, after 0001."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables; all of them begin empty, and no event is made of what happened before."""
    _events()
    _deliveries()
    _rules_and_findings()


def _text(name: str, *, primary: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), primary_key=primary, nullable=False)


def _number(name: str, *, primary: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), primary_key=primary, nullable=False)


def _events() -> None:
    op.create_table(
        "events",
        _number("position", primary=True),
        _text("id"),
        _text("type"),
        _text("subject"),
        _number("sequence"),
        _number("time"),
        _text("principal"),
        _text("request_id"),
        _text("data"),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
    )
    op.create_index("ix_events_subject", "events", ["subject", "sequence"], unique=True)
    op.create_index("ix_events_type", "events", ["type", "subject", "time"])
    op.create_table("event_counters", _text("name", primary=True), _number("last"))


def _deliveries() -> None:
    op.create_table(
        "sinks",
        _text("name", primary=True),
        _number("position"),
        _number("tries"),
        _number("next_try"),
        _number("last_success"),
        _number("last_error_at"),
        _text("last_error"),
    )
    op.create_table(
        "deliveries",
        _text("sink", primary=True),
        _number("position", primary=True),
        _text("subject"),
        _number("tries"),
        _number("next_try"),
        _number("dead_at"),
        _text("error"),
    )
    op.create_index("ix_deliveries_position", "deliveries", ["position"])


def _rules_and_findings() -> None:
    op.create_table(
        "firings",
        _text("rule", primary=True),
        _number("position", primary=True),
        _text("subject"),
        _number("time"),
    )
    op.create_index("ix_firings_subject", "firings", ["rule", "subject", "time"])
    op.create_table(
        "findings", _text("subject", primary=True), _text("check", primary=True), _number("since")
    )
