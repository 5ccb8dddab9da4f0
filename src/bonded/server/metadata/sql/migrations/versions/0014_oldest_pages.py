"""Which pages are the oldest, told by an index: behind their contents, that takes reading them."""

from alembic import op

revision = "0014"
down_revision = "0013"

_BEFORE = "ix_cached_pages_repository_is_absent_size_bytes"
_NOW = "ix_cached_pages_repository_is_absent_checked_at_size_bytes"


def upgrade() -> None:
    """Put an index by age in the place of the one without, which it holds too."""
    columns = ["repository", "is_absent", "checked_at", "size_bytes"]
    op.create_index(op.f(_NOW), "cached_pages", columns)
    op.drop_index(op.f(_BEFORE), "cached_pages")
