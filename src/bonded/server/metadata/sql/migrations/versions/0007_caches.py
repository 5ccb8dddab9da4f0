"""What remote repositories have cached: pages, files, core metadata."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

# SQLite counts rows only in a column declared INTEGER.
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "cached_pages",
        sa.Column("repository", KEY, nullable=False),
        sa.Column("normalized", sa.String(length=200), nullable=False),
        sa.Column("spelled", sa.String(length=200), nullable=False),
        sa.Column("is_absent", sa.Boolean(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("last_modified", sa.Text(), nullable=False),
        sa.Column("checked_at", sa.BigInteger(), nullable=False),
        _of_repository("cached_pages"),
        sa.PrimaryKeyConstraint("repository", "normalized", name=op.f("pk_cached_pages")),
    )
    op.create_table(
        "cached_files",
        sa.Column("file", KEY, nullable=False),
        sa.Column("repository", KEY, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["file"], ["files.key"], name=op.f("fk_cached_files_file"), ondelete="CASCADE"
        ),
        _of_repository("cached_files"),
        sa.PrimaryKeyConstraint("file", name=op.f("pk_cached_files")),
    )
    op.create_index(
        op.f("ix_cached_files_repository_used_at"), "cached_files", ["repository", "used_at"]
    )
    op.create_table(
        "cached_core_metadata",
        sa.Column("repository", KEY, nullable=False),
        sa.Column("normalized", sa.String(length=200), nullable=False),
        sa.Column("filename", sa.String(length=255), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("kept_at", sa.BigInteger(), nullable=False),
        _of_repository("cached_core_metadata"),
        sa.PrimaryKeyConstraint(
            "repository", "normalized", "filename", name=op.f("pk_cached_core_metadata")
        ),
    )
    op.create_index(op.f("ix_cached_core_metadata_sha256"), "cached_core_metadata", ["sha256"])


def _of_repository(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["repository"],
        ["repositories.key"],
        name=op.f(f"fk_{table}_repository"),
        ondelete="CASCADE",
    )
