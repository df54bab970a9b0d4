"""Dual control: approvers, requests, approvals, quorums; registered wrapping keys. Revision 0013."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_TEXTS = {
    "approvers": ("approver_id", "account", "principal", "enrolled_by", "revoked_by"),
    "approval_requests": (
        *("approval_id", "account", "action", "key_id", "key_arn", "parameters", "requester", "behind"),
        *("purpose", "nonce", "state", "closed_by", "note", "statement_key"),
    ),
    "approvals": ("approval_id", "account", "key_id", "principal", "approver_id", "digest"),
    "quorums": ("account", "changed_by"),
    "wrapping_keys": ("wrapping_key_id", "account", "name", "kind", "kek_id", "registered_by"),
}
_NUMBERS = {
    "approvers": ("enrolled_at", "revoked_at"),
    "approval_requests": ("version", "quorum", "created_at", "expires_at", "closed_at"),
    "approvals": ("approved_at",),
    "quorums": ("quorum", "changed_at"),
    "wrapping_keys": ("created_at",),
}
_BYTES = {
    "approvers": ("public_key",),
    "approval_requests": ("statement", "signature"),
    "approvals": ("signature",),
    "wrapping_keys": ("public_key", "blob", "transport"),
}


def upgrade() -> None:
    """Create the tables and the ways to find their rows; keys get a quorum."""
    for table, texts in _TEXTS.items():
        op.create_table(
            table,
            sa.Column("record_id", sa.Text(), primary_key=True, nullable=False),
            *(sa.Column(name, sa.Text(), nullable=False) for name in texts),
            *(sa.Column(name, sa.BigInteger(), nullable=False) for name in (*_NUMBERS[table], "row_version")),
            *(sa.Column(name, sa.LargeBinary(), nullable=False) for name in _BYTES.get(table, ())),
            sa.Column("mac", sa.LargeBinary(), nullable=False),
        )
    op.create_index("ix_approvers_account", "approvers", ["account", "record_id"])
    op.create_index("ix_approval_requests_account", "approval_requests", ["account", "state", "record_id"])
    op.create_index("ix_approval_requests_key_id", "approval_requests", ["key_id", "state"])
    op.create_index("ix_approval_requests_state", "approval_requests", ["state", "expires_at"])
    op.create_index("ix_approvals_approval_id", "approvals", ["approval_id", "record_id"])
    op.create_index("ix_wrapping_keys_account", "wrapping_keys", ["account", "record_id"])
    op.add_column("keys", sa.Column("quorum", sa.BigInteger(), nullable=False, server_default="0"))
