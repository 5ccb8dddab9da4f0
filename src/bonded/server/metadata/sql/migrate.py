"""Brings a database to this version's schema, or refuses one from a newer version."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, func, inspect, select, text

from bonded.server.core.errors import Unavailable

HEAD = "0016"
"""The newest migration; a test holds it to the folder."""

_TURN = 0x626F6E646564
"""The advisory lock of whoever migrates: "bonded" in ASCII."""
_MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(connection: Connection) -> None:
    """Run the migrations that the database lacks, within the caller's transaction.

    Raises:
        Unavailable: the database was written by a newer version of Bonded.
    """
    if connection.dialect.name == "postgresql":
        # Replicas that start together take turns; SQLite's writers do so anyway.
        connection.execute(select(func.pg_advisory_xact_lock(_TURN)))
    # Alembic takes 0.3 s to import: a database that is up to date need not wait for it.
    if inspect(connection).has_table("alembic_version"):
        current = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        if current == HEAD:
            return
        if current is not None and current > HEAD:
            raise Unavailable(
                f"The database has schema {current}, newer than this version's {HEAD}",
                hint="Start the newer version of Bonded again, or restore a backup.",
            )
    migrate(connection, HEAD)


def migrate(connection: Connection, revision: str) -> None:
    """Run the migrations up to *revision*, within the caller's transaction."""
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
