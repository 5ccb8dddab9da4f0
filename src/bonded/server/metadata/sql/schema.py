"""The tables, in one text for SQLite and PostgreSQL; changes come as migrations.

Those of the audit log are in audit_schema.py.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """A moment in UTC as whole microseconds since 1970: exact and sortable in every engine."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> int | None:
        """Return what the database keeps."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, _dialect: Dialect) -> datetime | None:
        """Return what the program works with."""
        return None if value is None else _EPOCH + value * _MICROSECOND


Key = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts rows only in a column declared INTEGER."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

projects = Table(
    "projects",
    metadata,
    Column("id", String(63), primary_key=True),
    Column("number", BigInteger, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("created_at", Instant, nullable=False),
)

repositories = Table(
    "repositories",
    metadata,
    Column("key", Key, primary_key=True),
    Column("project", ForeignKey("projects.id"), nullable=False),
    Column("location", String(63), nullable=False),
    Column("repository", String(63), nullable=False),
    Column("mode", String(32), nullable=False),
    Column("description", Text, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("config", JSON(none_as_null=True)),
    UniqueConstraint("project", "location", "repository"),
)

# What `config` names as upstreams, where the database can see to it that they stay.
repository_upstreams = Table(
    "repository_upstreams",
    metadata,
    Column("repository", ForeignKey("repositories.key", ondelete="CASCADE"), primary_key=True),
    Column("upstream", ForeignKey("repositories.key"), primary_key=True, index=True),
)

packages = Table(
    "packages",
    metadata,
    Column("key", Key, primary_key=True),
    Column("repository", ForeignKey("repositories.key", ondelete="CASCADE"), nullable=False),
    Column("normalized", String(200), nullable=False),
    Column("spelled", String(200), nullable=False),
    Column("status", String(16), nullable=False),
    Column("status_reason", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    # When its last file was deleted; of a package with files: none. It then keeps its name.
    Column("emptied_at", Instant),
    UniqueConstraint("repository", "normalized"),
)

files = Table(
    "files",
    metadata,
    Column("key", Key, primary_key=True),
    Column("package", ForeignKey("packages.key", ondelete="CASCADE"), nullable=False),
    Column("filename", String(255), nullable=False),
    Column("canonical", String(320), nullable=False),
    Column("version", String(255), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("upload_time", Instant, nullable=False),
    Column("requires_python", Text),
    Column("core_metadata_sha256", String(64)),
    Column("yanked", Text),
    UniqueConstraint("package", "filename"),
    # One file, however its name is spelled: otherwise `Foo-1.0` would replace `foo-1.0`.
    UniqueConstraint("package", "canonical"),
    # Garbage collection asks whether anything still names a blob.
    Index(None, "sha256"),
    Index(None, "core_metadata_sha256"),
)

# What was deleted, in a table of its own so that whoever reads files sees those that are there.
# A row outlives the blob: of a filename that was published once, only the same bytes may return.
deleted_files = Table(
    "deleted_files",
    metadata,
    Column("key", Key, primary_key=True),
    Column("package", ForeignKey("packages.key", ondelete="CASCADE"), nullable=False),
    Column("filename", String(255), nullable=False),
    Column("canonical", String(320), nullable=False),
    Column("version", String(255), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("upload_time", Instant, nullable=False),
    Column("requires_python", Text),
    Column("core_metadata_sha256", String(64)),
    Column("yanked", Text),
    Column("deleted_at", Instant, nullable=False),
    Column("restorable_until", Instant, nullable=False),
    UniqueConstraint("package", "canonical"),
    Index(None, "sha256"),
    Index(None, "core_metadata_sha256"),
)

# Here and not among the blobs: it is small, is asked for more often than the file it
# describes, and so needs neither a disk's nor a bucket's round trip of its own.
core_metadata = Table(
    "core_metadata",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("content", LargeBinary, nullable=False),  # zstd
)

# What a remote repository knows of its upstream's pages, shared by replicas and restarts.
cached_pages = Table(
    "cached_pages",
    metadata,
    Column("repository", ForeignKey("repositories.key", ondelete="CASCADE"), primary_key=True),
    Column("normalized", String(200), primary_key=True),
    Column("spelled", String(200), nullable=False),
    Column("is_absent", Boolean, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("size_bytes", BigInteger, nullable=False, server_default="0"),
    Column("digest", String(64), nullable=False),
    Column("etag", Text, nullable=False),
    Column("last_modified", Text, nullable=False),
    Column("checked_at", Instant, nullable=False),
    Column("is_expired", Boolean, nullable=False, server_default=false()),
    # Their sizes are added up, and those found that are absent or the oldest, without reading any
    # page: what stands behind `content` in a row is read with all of it.
    Index(None, "repository", "is_absent", "checked_at", "size_bytes"),
)

# Beside its row in `files`, what a file of a remote repository has besides.
cached_files = Table(
    "cached_files",
    metadata,
    Column("file", ForeignKey("files.key", ondelete="CASCADE"), primary_key=True),
    Column("repository", ForeignKey("repositories.key", ondelete="CASCADE"), nullable=False),
    Column("url", Text, nullable=False),
    Column("used_at", Instant, nullable=False),
    # Eviction takes those used longest ago.
    Index(None, "repository", "used_at"),
)

# Core metadata of files that need not be here themselves.
cached_core_metadata = Table(
    "cached_core_metadata",
    metadata,
    Column("repository", ForeignKey("repositories.key", ondelete="CASCADE"), primary_key=True),
    Column("normalized", String(200), primary_key=True),
    Column("filename", String(255), primary_key=True),
    Column("sha256", String(64), nullable=False, index=True),
    Column("kept_at", Instant, nullable=False),
)

policies = Table(
    "policies",
    metadata,
    Column("resource", String(255), primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("bindings", JSON, nullable=False),
)

roles = Table(
    "roles",
    metadata,
    Column("name", String(255), primary_key=True),
    # Of a role on the server: none.
    Column("project", ForeignKey("projects.id", ondelete="CASCADE"), index=True),
    Column("revision", BigInteger, nullable=False),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("stage", String(16), nullable=False),
    Column("permissions", JSON, nullable=False),
    Column("is_deleted", Boolean, nullable=False),
)

groups = Table(
    "groups",
    metadata,
    Column("address", String(255), primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
)

group_members = Table(
    "group_members",
    metadata,
    Column("group", ForeignKey("groups.address", ondelete="CASCADE"), primary_key=True),
    # As in policies: `user:ADDRESS`, `serviceAccount:ADDRESS` or `group:ADDRESS`.
    Column("member", String(320), primary_key=True, index=True),
    Column("is_owner", Boolean, nullable=False),
)

accounts = Table(
    "service_accounts",
    metadata,
    Column("email", String(255), primary_key=True),
    Column("project", ForeignKey("projects.id"), nullable=False, index=True),
    Column("unique_id", String(32), nullable=False, unique=True),
    Column("display_name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("is_disabled", Boolean, nullable=False),
    Column("used_at", Instant),
)

keys = Table(
    "service_account_keys",
    metadata,
    Column("id", String(64), primary_key=True),
    Column(
        "email",
        ForeignKey("service_accounts.email", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("public_key_pem", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("is_disabled", Boolean, nullable=False),
    Column("is_uploaded", Boolean, nullable=False, server_default=false()),
    Column("used_at", Instant),
)

# The server's own, sealed: see identity/sealing.py.
signing_keys = Table(
    "signing_keys",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("sealed", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("starts_at", Instant, nullable=False),
)

revoked_tokens = Table(
    "revoked_tokens",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("expires_at", Instant, nullable=False, index=True),
)

users = Table(
    "users",
    metadata,
    Column("address", String(255), primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("source", String(16), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("subject", Text, nullable=False),
    Column("is_disabled", Boolean, nullable=False),
    Column("last_sign_in_at", Instant),
    Column("password_hash", Text, nullable=False),
    Column("factor", Text, nullable=False),
    Column("factor_step", BigInteger, nullable=False),
    Column("recovery_hashes", JSON, nullable=False),
    Column(
        "unique_id", String(255), nullable=False, server_default="none", index=True, unique=True
    ),
)

invitations = Table(
    "invitations",
    metadata,
    Column("secret_hash", String(64), primary_key=True),
    Column("address", ForeignKey("users.address", ondelete="CASCADE"), nullable=False, index=True),
    Column("expires_at", Instant, nullable=False, index=True),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("address", ForeignKey("users.address", ondelete="CASCADE"), nullable=False, index=True),
    Column("client", String(128), nullable=False),
    Column("secret_hash", String(64), nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("last_used_at", Instant, nullable=False),
    Column("also", JSON, nullable=False),
    Column("client_address", String(64), nullable=False),
)

code_grants = Table(
    "code_grants",
    metadata,
    Column("secret_hash", String(64), primary_key=True),
    Column("client", String(128), nullable=False),
    Column("redirect_uri", Text, nullable=False),
    Column("challenge", String(128), nullable=False),
    Column("scope", Text, nullable=False),
    Column("nonce", Text, nullable=False),
    Column("address", ForeignKey("users.address", ondelete="CASCADE"), nullable=False, index=True),
    Column("also", JSON, nullable=False),
    Column("expires_at", Instant, nullable=False, index=True),
    Column("session", String(32), nullable=False),
    Column("approved_by", String(32), nullable=False, server_default="none"),
)

device_grants = Table(
    "device_grants",
    metadata,
    Column("secret_hash", String(64), primary_key=True),
    Column("user_code_hash", String(64), nullable=False, unique=True),
    Column("client", String(128), nullable=False),
    Column("scope", Text, nullable=False),
    Column("client_address", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False, index=True),
    Column("polled_at", Instant),
    Column("interval_s", Integer, nullable=False),
    Column("address", String(255), nullable=False),
    Column("also", JSON, nullable=False),
    Column("is_denied", Boolean, nullable=False),
    Column("network", String(64), nullable=False, server_default="unknown"),
    Column("approved_by", String(32), nullable=False, server_default="none"),
)

pools = Table(
    "workload_identity_pools",
    metadata,
    Column("project", ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("id", String(32), primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("is_disabled", Boolean, nullable=False),
    Column("created_at", Instant, nullable=False),
)

providers = Table(
    "workload_identity_providers",
    metadata,
    Column("project", String(63), primary_key=True),
    Column("pool", String(32), primary_key=True),
    Column("id", String(32), primary_key=True),
    Column("issuer", Text, nullable=False),
    Column("attribute_mapping", JSON, nullable=False),
    Column("attribute_condition", Text, nullable=False),
    Column("allowed_audiences", JSON, nullable=False),
    Column("jwks", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("is_disabled", Boolean, nullable=False),
    Column("created_at", Instant, nullable=False),
    ForeignKeyConstraint(
        ["project", "pool"],
        ["workload_identity_pools.project", "workload_identity_pools.id"],
        ondelete="CASCADE",
    ),
)

publishers = Table(
    "trusted_publishers",
    metadata,
    Column("id", String(32), primary_key=True),
    Column(
        "repository",
        ForeignKey("repositories.key", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("kind", String(32), nullable=False),
    Column("issuer", String(512), nullable=False),
    Column("anchor", String(512), nullable=False),
    Column("claims", JSON, nullable=False),
    Column("packages", JSON, nullable=False),
    Column("created_at", Instant, nullable=False),
    # An object of JSON, once it has been used.
    Column("pins", Text),
    # Whoever publishes is looked up by what their token says, among all publishers there are.
    Index(None, "issuer", "anchor"),
)

# Assertions that were exchanged for a token to publish, until they expire: once each.
spent_assertions = Table(
    "spent_assertions",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("expires_at", Instant, nullable=False, index=True),
)

# The serial of something that was removed and made again must not go back: see serials.py.
serials = Table(
    "serials",
    metadata,
    Column("scope", String(512), primary_key=True),
    Column("serial", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
