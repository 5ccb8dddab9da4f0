"""How remote and virtual repositories are set up, and which repositories they name."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# SQLite counts rows only in a column declared INTEGER.
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the column and the table; every repository so far is a standard one."""
    op.add_column("repositories", sa.Column("config", sa.JSON(none_as_null=True), nullable=True))
    op.create_table(
        "repository_upstreams",
        sa.Column("repository", KEY, nullable=False),
        sa.Column("upstream", KEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["repository"],
            ["repositories.key"],
            name=op.f("fk_repository_upstreams_repository"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["upstream"], ["repositories.key"], name=op.f("fk_repository_upstreams_upstream")
        ),
        sa.PrimaryKeyConstraint("repository", "upstream", name=op.f("pk_repository_upstreams")),
    )
    op.create_index(op.f("ix_repository_upstreams_upstream"), "repository_upstreams", ["upstream"])
