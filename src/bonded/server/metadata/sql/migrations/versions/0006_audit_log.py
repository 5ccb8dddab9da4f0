"""The audit log: what transactions leave for it, the log itself, and the end of its chain."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

# SQLite counts rows only in a column declared INTEGER.
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables, and the chain before its first entry."""
    op.create_table(
        "audit_inbox",
        sa.Column("key", KEY, nullable=False),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_audit_inbox")),
    )
    chain = op.create_table(
        "audit_chain",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_chain")),
    )
    op.bulk_insert(chain, [{"id": 1, "number": 0, "hash": "0" * 64}])
    op.create_table(
        "audit_log",
        sa.Column("number", KEY, autoincrement=False, nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("principal", sa.String(length=255), nullable=False),
        sa.Column("method", sa.String(length=255), nullable=False),
        sa.Column("resource", sa.String(length=255), nullable=False),
        sa.Column("project", sa.String(length=255), nullable=False),
        sa.Column("package", sa.String(length=255), nullable=False),
        sa.Column("version", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_log")),
    )
    op.create_index(op.f("ix_audit_log_at_number"), "audit_log", ["at", "number"], unique=False)
    op.create_index(
        op.f("ix_audit_log_principal_at_number"),
        "audit_log",
        ["principal", "at", "number"],
        unique=False,
    )
    op.create_index(
        op.f("ix_audit_log_method_at_number"), "audit_log", ["method", "at", "number"], unique=False
    )
    op.create_index(
        op.f("ix_audit_log_resource_at_number"),
        "audit_log",
        ["resource", "at", "number"],
        unique=False,
    )
    op.create_index(
        op.f("ix_audit_log_project_at_number"),
        "audit_log",
        ["project", "at", "number"],
        unique=False,
    )
    op.create_index(
        op.f("ix_audit_log_package_version_at_number"),
        "audit_log",
        ["package", "version", "at", "number"],
        unique=False,
    )
