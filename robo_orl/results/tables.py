"""Results as flat tables, read from working folders and containers alike; columns.py says what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robo_orl.base.errors import UsageError
from robo_orl.results.columns import COLUMNS, Column, CostOf, EpisodeOf, InFolder, PointOf, Value
from robo_orl.results.store import open_results, results_folders


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its columns, and rows in the order of the folders. rows: column -> value."""

    name: str
    columns: tuple[Column, ...]
    rows: list[dict[str, Value]]

    def frame(self) -> Any:
        """The table as a pandas data frame; UsageError where pandas is not installed, which nothing else needs."""
        try:
            from pandas import DataFrame
        except ImportError:
            raise UsageError(
                "pandas is not installed: `pip install pandas`, or use .rows, a list of dictionaries."
            ) from None
        return DataFrame(self.rows, columns=[column.name for column in self.columns])


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one or more results folders."""

    records: Table
    episodes: Table
    cost: Table
    points: Table

    def __iter__(self) -> Iterator[Table]:
        return iter((self.records, self.episodes, self.cost, self.points))


def read_tables(folders: Sequence[Path]) -> Tables:
    """The tables of results folders: working folders, containers, and folders of them.

    Raises UsageError where a folder does not exist, holds no results, or a file of it is damaged.
    """
    records: list[InFolder] = []
    episodes: list[EpisodeOf] = []
    costs: list[CostOf] = []
    points: list[PointOf] = []
    for folder in results_folders(folders):
        results, place = open_results(folder), str(folder)
        for cell in results.cells:
            record = cell.record()
            records.append(InFolder(place, record))
            points += [PointOf(place, record, point) for point in (record.curve.points if record.curve else ())]
            episodes += [EpisodeOf(place, record, row) for row in cell.rows(record)]
        costs += [CostOf(place, record, row) for record in results.cost_records for row in record.rows]
    sources = {"records": records, "episodes": episodes, "cost": costs, "points": points}
    return Tables(**{name: _table(name, sources[name]) for name in COLUMNS})


def _table(name: str, sources: Sequence[Any]) -> Table:
    columns = COLUMNS[name]
    return Table(name, columns, [{column.name: column.value(source) for column in columns} for source in sources])
