"""Whether somebody wants a cached page to be asked for again."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the column; no page is expired so far."""
    op.add_column(
        "cached_pages",
        sa.Column("is_expired", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
