"""Numbers of users, which never change hands: ID tokens name people by them."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add the column. Who is here already keeps the address, by which others know them."""
    number = sa.Column("unique_id", sa.String(255), nullable=False, server_default="none")
    op.add_column("users", number)
    op.execute("UPDATE users SET unique_id = address")
    op.create_index(op.f("ix_users_unique_id"), "users", ["unique_id"], unique=True)
