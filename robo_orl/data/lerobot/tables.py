"""Parquet files by DuckDB, which queries of records need anyway: rows of an episode as arrays, arrays as a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.files import atomic_file

SQL_TYPES = {bool: "BOOLEAN", int: "BIGINT", float: "DOUBLE", str: "VARCHAR"}


def _connect() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    return connection


def _quoted(name: str, mark: str = '"') -> str:
    return mark + name.replace(mark, 2 * mark) + mark


def column_names(path: Path) -> list[str]:
    """The columns of a Parquet file; UsageError where it is damaged."""
    return [row[0] for row in _query(path, "DESCRIBE SELECT * FROM read_parquet(?)").fetchall()]


def rows(path: Path, columns: Sequence[str] | None = None, episode: int | None = None) -> dict[str, np.ndarray]:
    """Column -> its values (N,), lists as objects; of one episode in the order of its frames.

    Raises UsageError for a truncated or damaged file and for a column that it does not have.
    """
    wanted = ", ".join(map(_quoted, columns)) if columns else "*"
    if episode is None:
        return _query(path, f"SELECT {wanted} FROM read_parquet(?)").fetchnumpy()
    where = f"WHERE episode_index = {int(episode)} ORDER BY frame_index"
    return _query(path, f"SELECT {wanted} FROM read_parquet(?) {where}").fetchnumpy()


def _query(path: Path, text: str) -> duckdb.DuckDBPyConnection:
    if not path.is_file():
        raise UsageError(f"{path} does not exist; fetch the whole data set again.")
    try:
        return _connect().execute(text, [str(path)])
    except duckdb.BinderException as error:
        column = str(error).partition('column "')[2].partition('"')[0] or "a column"
        raise UsageError(f"{path} has no column {column}, which meta/info.json promises.") from None
    except duckdb.Error as error:
        reason = " ".join(str(error).split())[:120]
        raise UsageError(f"{path} is truncated or damaged: fetch it again ({reason}).") from None


def write_frames(path: Path, columns: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Write columns (N,), or (N, D) as lists, as one Parquet file, atomically; metadata: JSON values by name."""
    flat: dict[str, np.ndarray] = {}
    chosen = []
    for number, (name, values) in enumerate(columns.items()):
        if values.ndim == 1:
            flat[f"c{number}"] = np.ascontiguousarray(values)
            chosen.append(f"c{number} AS {_quoted(name)}")
            continue
        parts = [f"c{number}_{i}" for i in range(values.shape[1])]
        flat |= {part: np.ascontiguousarray(values[:, i]) for i, part in enumerate(parts)}
        chosen.append(f"[{', '.join(parts)}] AS {_quoted(name)}")
    connection = _connect()
    connection.register("flat", flat)
    _copy(connection, f"SELECT {', '.join(chosen)} FROM flat", path, metadata)


def write_rows(path: Path, table: Sequence[Mapping[str, Any]], metadata: Mapping[str, Any]) -> None:
    """Write rows of Python values, nested lists among them, as one Parquet file, atomically."""
    types = ", ".join(f"{_quoted(name)} {_sql_type(value)}" for name, value in table[0].items())
    connection = _connect()
    connection.execute(f"CREATE TABLE made ({types})")
    marks = ", ".join("?" for _ in table[0])
    connection.executemany(f"INSERT INTO made VALUES ({marks})", [list(row.values()) for row in table])
    _copy(connection, "SELECT * FROM made", path, metadata)


def _sql_type(value: Any) -> str:
    return f"{_sql_type(value[0])}[]" if isinstance(value, list) else SQL_TYPES[type(value)]


def _copy(connection: duckdb.DuckDBPyConnection, query: str, path: Path, metadata: Mapping[str, Any]) -> None:
    pairs = ", ".join(f"{name}: {_quoted(json.dumps(value), chr(39))}" for name, value in metadata.items())
    keep = f", KV_METADATA {{{pairs}}}" if pairs else ""
    with atomic_file(path) as temporary:
        target = _quoted(str(temporary), "'")
        try:
            connection.execute(f"COPY ({query}) TO {target} (FORMAT parquet, COMPRESSION snappy{keep})")
        except duckdb.IOException as error:
            raise RunError(f"{path} could not be written ({' '.join(str(error).split())[:120]}).") from None
