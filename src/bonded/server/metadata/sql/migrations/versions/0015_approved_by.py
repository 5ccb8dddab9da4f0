"""In which session of a browser a code or a device was approved: what it approves ends with it."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the columns; what waits meanwhile, for ten minutes at the most, has to be asked again."""
    for table in ("code_grants", "device_grants"):
        op.add_column(
            table, sa.Column("approved_by", sa.String(32), nullable=False, server_default="none")
        )
