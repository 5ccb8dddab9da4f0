"""Statements of the hot path: compiled once, and run on SQLite without SQLAlchemy.

SQLAlchemy spends ten times as long on a point query as SQLite does: it looks for
the compiled text, converts parameters in general and wraps the result. What
installs and uploads send is therefore compiled here, by SQLAlchemy, and kept.
"""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Delete, Insert, Select, Update
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import IntegrityError

Parameters = Mapping[str, Any]
Statement = Select[Any] | Insert | Update | Delete

# sqlite3 takes parameters by name, which spares putting them in order.
_DIALECT = sqlite.dialect(paramstyle="named")


class Rows(Protocol):
    """The few rows that a statement returns; a column's value is an attribute of its row."""

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""
        ...

    def all(self) -> Sequence[Any]:
        """Return every row."""
        ...

    def one_or_none(self) -> Any:
        """Return the only row, or None."""
        ...

    def scalar_one(self) -> Any:
        """Return the first value of the only row."""
        ...

    def scalar_one_or_none(self) -> Any:
        """Return the first value of the only row, or None."""
        ...


class Prepared:
    """A statement with named parameters, built once."""

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self._texts: dict[tuple[str, ...], _Text] = {}

    def run_on(self, connection: sqlite3.Connection, parameters: Parameters) -> Rows:
        """Run it below SQLAlchemy.

        Raises:
            IntegrityError: a constraint does not hold.
            sqlite3.Error: the database does not do it.
        """
        # Which columns an INSERT names follows from its parameters.
        names = tuple(parameters)
        text = self._texts.get(names)
        if text is None:
            text = self._texts[names] = _Text(self.statement, names)
        return text.run_on(connection, parameters)


class _Text:
    """A statement as SQLite takes it, and what turns its values into ours and back."""

    def __init__(self, statement: Statement, names: tuple[str, ...]) -> None:
        compiled = statement.compile(dialect=_DIALECT, column_keys=list(names))
        if compiled.post_compile_params:
            raise TypeError(f"Not a text of its own for every run: {statement}")
        self._sql = compiled.string
        self._from_ours = tuple(
            (name, convert)
            for name, bind in compiled.binds.items()
            if (convert := bind.type.dialect_impl(_DIALECT).bind_processor(_DIALECT))
        )
        self._literals = {
            name: value for name, value in compiled.params.items() if name not in names
        }
        columns = list(statement.exported_columns)
        # Not typing.NamedTuple: the fields are known only now.
        row = namedtuple("Row", [str(one.key) for one in columns])  # type: ignore[misc] # noqa: PYI024
        self._row: Callable[[Iterable[Any]], Any] = row._make
        self._to_ours = tuple(
            (place, convert)
            for place, one in enumerate(columns)
            if (convert := one.type.dialect_impl(_DIALECT).result_processor(_DIALECT, None))
        )

    def run_on(self, connection: sqlite3.Connection, parameters: Parameters) -> Rows:
        values = {**self._literals, **parameters}
        for name, convert in self._from_ours:
            values[name] = convert(values[name])
        try:
            cursor = connection.execute(self._sql, values)
            # To the end, or the statement would stay open and with it SQLite's snapshot.
            rows = cursor.fetchall()
        except sqlite3.IntegrityError as error:
            raise IntegrityError(self._sql, None, error) from error
        return _LocalRows([self._ours(row) for row in rows], cursor.rowcount)

    def _ours(self, row: tuple[Any, ...]) -> Any:
        if not self._to_ours:
            return self._row(row)
        values = list(row)
        for place, convert in self._to_ours:
            values[place] = convert(values[place])
        return self._row(values)


class _LocalRows:
    def __init__(self, rows: list[Any], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def all(self) -> Sequence[Any]:
        return self._rows

    def one_or_none(self) -> Any:
        if len(self._rows) > 1:
            raise LookupError(f"{len(self._rows)} rows where one was expected")
        return self._rows[0] if self._rows else None

    def scalar_one(self) -> Any:
        (row,) = self._rows
        return row[0]

    def scalar_one_or_none(self) -> Any:
        row = self.one_or_none()
        return None if row is None else row[0]
