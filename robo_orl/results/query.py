"""SQL over results by DuckDB, in memory: the tables of columns.py, and nothing else of the machine.

The engine may read and write no file, load no extension, open no connection and see no variable of this process; its
settings are locked before the query runs. One SELECT is taken, so that a query changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robo_orl.base.errors import UsageError
from robo_orl.results.columns import COLUMNS, Column, Kind
from robo_orl.results.tables import Table, read_tables

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

TYPES: dict[Kind, str] = {"text": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}
NUMPY: dict[Kind, type] = {"text": object, "integer": np.int64, "number": np.float64, "boolean": np.bool_}
SEALED = (
    "SET temp_directory = ''",
    "SET enable_external_access = false",
    "SET python_enable_replacements = false",
    "SET lock_configuration = true",
)
REMEDY = "`robo-orl results query --columns` lists tables and columns"


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a query: the names of its columns, and its rows as tuples."""

    columns: list[str]
    rows: list[tuple[Any, ...]]

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return {"columns": self.columns, "rows": [list(row) for row in self.rows]}


def query(sql: str, folders: Sequence[Path]) -> Answer:
    """The answer to one SELECT over the tables of results folders.

    Raises UsageError, one sentence, for a query that is none, fails, or is anything but one SELECT; and as
    `read_tables` does.
    """
    import duckdb

    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise _refused(error) from None
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise UsageError(f"A query is one SELECT, which this is not: {' '.join(sql.split())[:80]!r}.")
    with duckdb.connect(":memory:") as connection:
        for table in read_tables(folders):
            _fill(connection, table)
        for setting in SEALED:
            connection.execute(setting)
        try:
            result = connection.execute(statements[0])
            return Answer([column[0] for column in result.description], result.fetchall())
        except duckdb.Error as error:
            raise _refused(error) from None


def _fill(connection: DuckDBPyConnection, table: Table) -> None:
    """Make a table of the engine's own, each column with its type and description."""
    arrays = {column.name: _array(column, table) for column in table.columns}
    connection.register("incoming", arrays)
    typed = ", ".join(f"CAST({c.name} AS {TYPES[c.kind]}) AS {c.name}" for c in table.columns)
    connection.execute(f"CREATE TABLE {table.name} AS SELECT {typed} FROM incoming")
    connection.unregister("incoming")


def _array(column: Column, table: Table) -> np.ndarray:
    values = [row[column.name] for row in table.rows]
    if column.kind == "text":
        return np.array(values, dtype=object)
    empty = [value is None for value in values]
    return np.ma.array([0 if value is None else value for value in values], dtype=NUMPY[column.kind], mask=empty)


def _refused(error: Exception) -> UsageError:
    """The first sentence of the engine's message, which goes on for many lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    words = lines[0] if lines else type(error).__name__
    hint = next((line for line in lines[1:] if line.startswith("Candidate bindings")), "")
    return UsageError(f"The query failed: {words.rstrip('.!')}{hint and f' ({hint})'}; {REMEDY}.")


def column_rows() -> dict[str, list[dict[str, str]]]:
    """Every table with its documented columns."""
    return {
        name: [{"name": c.name, "kind": c.kind, "description": c.description} for c in columns]
        for name, columns in COLUMNS.items()
    }
