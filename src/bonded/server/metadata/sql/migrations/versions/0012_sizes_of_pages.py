"""How large cached pages are: they count in a cache's limit."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the column, and an index in which sizes are added up."""
    size = sa.Column("size_bytes", sa.BigInteger(), nullable=False, server_default="0")
    op.add_column("cached_pages", size)
    op.execute("UPDATE cached_pages SET size_bytes = length(content)")
    columns = ["repository", "is_absent", "size_bytes"]
    op.create_index(
        op.f("ix_cached_pages_repository_is_absent_size_bytes"), "cached_pages", columns
    )
