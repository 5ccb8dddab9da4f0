"""The tables of the audit log; see schema.py."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from bonded.server.metadata.sql.schema import Instant, Key, metadata

# What transactions leave for the audit log. Chaining it there and then would make all
# writers of all replicas wait for each other; the log takes it over within a second.
audit_inbox = Table(
    "audit_inbox",
    metadata,
    Column("key", Key, primary_key=True),
    Column("entry", Text, nullable=False),
)

# Its one row is the end of the chain, and the lock of whoever appends to it.
audit_chain = Table(
    "audit_chain",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
)

# Only ever appended to, and cut at its beginning. The columns after `entry` are had from it.
audit_log = Table(
    "audit_log",
    metadata,
    Column("number", Key, primary_key=True, autoincrement=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("entry", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("principal", String(255), nullable=False),
    Column("method", String(255), nullable=False),
    Column("resource", String(255), nullable=False),
    Column("project", String(255), nullable=False),
    Column("package", String(255), nullable=False),
    Column("version", String(255), nullable=False),
    Index(None, "at", "number"),
    Index(None, "principal", "at", "number"),
    Index(None, "method", "at", "number"),
    Index(None, "resource", "at", "number"),
    Index(None, "project", "at", "number"),
    Index(None, "package", "version", "at", "number"),
)
