"""Signing keys and revoked tokens; uploaded keys; when keys and accounts were last used."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add two tables, and columns to accounts and keys."""
    op.create_table(
        "signing_keys",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signing_keys")),
    )
    op.create_table(
        "revoked_tokens",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revoked_tokens")),
    )
    op.create_index(op.f("ix_revoked_tokens_expires_at"), "revoked_tokens", ["expires_at"])
    op.add_column("service_accounts", sa.Column("used_at", sa.BigInteger(), nullable=True))
    op.add_column(
        "service_account_keys",
        sa.Column("is_uploaded", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.add_column("service_account_keys", sa.Column("used_at", sa.BigInteger(), nullable=True))
