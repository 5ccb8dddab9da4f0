"""What trusted publishers are held to once they have published."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the column; the next use of each publisher fills it."""
    op.add_column("trusted_publishers", sa.Column("pins", sa.Text()))
