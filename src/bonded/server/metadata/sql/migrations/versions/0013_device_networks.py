"""Which network a device waits in, so that one network does not crowd out all others."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the column; devices that wait meanwhile count as one network, for ten minutes."""
    op.add_column(
        "device_grants",
        sa.Column("network", sa.String(64), nullable=False, server_default="unknown"),
    )
