"""Workload identity pools, their providers, trusted publishers, spent assertions."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

# SQLite counts rows only in a column declared INTEGER.
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables of federation."""
    op.create_table(
        "workload_identity_pools",
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        *_described(),
        sa.ForeignKeyConstraint(
            ["project"],
            ["projects.id"],
            name=op.f("fk_workload_identity_pools_project"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_workload_identity_pools")),
    )
    op.create_table(
        "workload_identity_providers",
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("pool", sa.String(length=32), nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("attribute_mapping", sa.JSON(), nullable=False),
        sa.Column("attribute_condition", sa.Text(), nullable=False),
        sa.Column("allowed_audiences", sa.JSON(), nullable=False),
        sa.Column("jwks", sa.Text(), nullable=False),
        *_described(),
        sa.ForeignKeyConstraint(
            ["project", "pool"],
            ["workload_identity_pools.project", "workload_identity_pools.id"],
            name=op.f("fk_workload_identity_providers_project"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "project", "pool", "id", name=op.f("pk_workload_identity_providers")
        ),
    )
    _create_publishers()
    op.create_table(
        "spent_assertions",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_spent_assertions")),
    )
    op.create_index(op.f("ix_spent_assertions_expires_at"), "spent_assertions", ["expires_at"])


def _create_publishers() -> None:
    op.create_table(
        "trusted_publishers",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("repository", KEY, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("issuer", sa.String(length=512), nullable=False),
        sa.Column("anchor", sa.String(length=512), nullable=False),
        sa.Column("claims", sa.JSON(), nullable=False),
        sa.Column("packages", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository"],
            ["repositories.key"],
            name=op.f("fk_trusted_publishers_repository"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trusted_publishers")),
    )
    op.create_index(op.f("ix_trusted_publishers_repository"), "trusted_publishers", ["repository"])
    op.create_index(
        op.f("ix_trusted_publishers_issuer_anchor"), "trusted_publishers", ["issuer", "anchor"]
    )


def _described() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("is_disabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
    )
