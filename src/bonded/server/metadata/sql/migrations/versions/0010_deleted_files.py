"""Files that were deleted: what can be restored, and which bytes alone may come back."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

# SQLite counts rows only in a column declared INTEGER.
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table, and when a package lost its last file; none has so far."""
    op.add_column("packages", sa.Column("emptied_at", sa.BigInteger()))
    op.create_table(
        "deleted_files",
        sa.Column("key", KEY, nullable=False),
        sa.Column("package", KEY, nullable=False),
        sa.Column("filename", sa.String(length=255), nullable=False),
        sa.Column("canonical", sa.String(length=320), nullable=False),
        sa.Column("version", sa.String(length=255), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("upload_time", sa.BigInteger(), nullable=False),
        sa.Column("requires_python", sa.Text(), nullable=True),
        sa.Column("core_metadata_sha256", sa.String(length=64), nullable=True),
        sa.Column("yanked", sa.Text(), nullable=True),
        sa.Column("deleted_at", sa.BigInteger(), nullable=False),
        sa.Column("restorable_until", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["package"],
            ["packages.key"],
            name=op.f("fk_deleted_files_package"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_deleted_files")),
        sa.UniqueConstraint(
            "package", "canonical", name=op.f("uq_deleted_files_package_canonical")
        ),
    )
    for column in ("sha256", "core_metadata_sha256"):
        op.create_index(op.f(f"ix_deleted_files_{column}"), "deleted_files", [column])
