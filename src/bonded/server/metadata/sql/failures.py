"""The driver's errors as ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from bonded.server.core.errors import OutOfSpace, Rejected, Unavailable


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the driver raises into our errors; everything else passes through."""
    try:
        yield
    except PoolTimeout as error:
        raise Unavailable("The database has been busy for too long") from error
    except (DBAPIError, sqlite3.Error) as error:
        origin = error.orig if isinstance(error, DBAPIError) else error
        state = getattr(origin, "sqlstate", None) or ""
        # SQLite's words for SQLITE_FULL; PostgreSQL says it as SQLSTATE 53100.
        if "disk is full" in str(origin) or state == "53100":
            raise OutOfSpace("The database has no space left") from error
        # Class 22: a value that PostgreSQL cannot hold, such as text with a NUL in it.
        if state.startswith("22"):
            raise Rejected("The request holds a value that cannot be stored") from error
        raise Unavailable("The database does not answer") from error
    except OSError as error:
        # asyncpg lets a refused connection through as it came.
        raise Unavailable("The database does not answer") from error
