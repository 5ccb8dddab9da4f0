"""The first schema: projects, repositories, packages, files, access, serials."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# SQLite counts rows only in a column declared INTEGER.
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "core_metadata",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_core_metadata")),
    )
    op.create_table(
        "policies",
        sa.Column("resource", sa.String(length=255), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("bindings", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("resource", name=op.f("pk_policies")),
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("number", name=op.f("uq_projects_number")),
    )
    op.create_table(
        "serials",
        sa.Column("scope", sa.String(length=512), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope", name=op.f("pk_serials")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "repositories",
        sa.Column("key", KEY, nullable=False),
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("location", sa.String(length=63), nullable=False),
        sa.Column("repository", sa.String(length=63), nullable=False),
        sa.Column("mode", sa.String(length=32), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_repositories_project")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_repositories")),
        sa.UniqueConstraint(
            "project",
            "location",
            "repository",
            name=op.f("uq_repositories_project_location_repository"),
        ),
    )
    op.create_table(
        "service_accounts",
        sa.Column("email", sa.String(length=255), nullable=False),
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("unique_id", sa.String(length=32), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("is_disabled", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project"], ["projects.id"], name=op.f("fk_service_accounts_project")
        ),
        sa.PrimaryKeyConstraint("email", name=op.f("pk_service_accounts")),
        sa.UniqueConstraint("unique_id", name=op.f("uq_service_accounts_unique_id")),
    )
    op.create_index(
        op.f("ix_service_accounts_project"), "service_accounts", ["project"], unique=False
    )
    op.create_table(
        "packages",
        sa.Column("key", KEY, nullable=False),
        sa.Column("repository", KEY, nullable=False),
        sa.Column("normalized", sa.String(length=200), nullable=False),
        sa.Column("spelled", sa.String(length=200), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("status_reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository"],
            ["repositories.key"],
            name=op.f("fk_packages_repository"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_packages")),
        sa.UniqueConstraint(
            "repository", "normalized", name=op.f("uq_packages_repository_normalized")
        ),
    )
    op.create_table(
        "service_account_keys",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("email", sa.String(length=255), nullable=False),
        sa.Column("public_key_pem", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("is_disabled", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["email"],
            ["service_accounts.email"],
            name=op.f("fk_service_account_keys_email"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service_account_keys")),
    )
    op.create_index(
        op.f("ix_service_account_keys_email"), "service_account_keys", ["email"], unique=False
    )
    op.create_table(
        "files",
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
        sa.ForeignKeyConstraint(
            ["package"], ["packages.key"], name=op.f("fk_files_package"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_files")),
        sa.UniqueConstraint("package", "filename", name=op.f("uq_files_package_filename")),
        sa.UniqueConstraint("package", "canonical", name=op.f("uq_files_package_canonical")),
    )
    op.create_index(
        op.f("ix_files_core_metadata_sha256"), "files", ["core_metadata_sha256"], unique=False
    )
    op.create_index(op.f("ix_files_sha256"), "files", ["sha256"], unique=False)
