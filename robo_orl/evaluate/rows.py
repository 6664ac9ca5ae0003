"""The episode rows of an evaluation in progress: appended as episodes end, read again by the call that continues."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from robo_orl.data.atomic import full_disk_is_a_sentence
from robo_orl.results.record import EpisodeRow
from robo_orl.results.store import rows_text, write_text


class FinishedRows:
    """Rows by episode, backed by a file of JSON lines that survives a kill at any moment.

    Rows of another request, and a last line cut short, are dropped when the file is opened.
    """

    def __init__(self, path: Path, request: str):
        self.path, self.request = path, request
        rows = [row for line in _lines(path) if (row := _parsed(line)) is not None and row.request == request]
        self._rows = {row.episode: row for row in rows}
        write_text(path, rows_text(list(self._rows.values())))

    def __contains__(self, episode: int) -> bool:
        return episode in self._rows

    def __getitem__(self, episode: int) -> EpisodeRow:
        return self._rows[episode]

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: EpisodeRow) -> None:
        """Keep a row, on disk first."""
        with full_disk_is_a_sentence(self.path), self.path.open("a") as file:
            file.write(rows_text([row]))
        self._rows[row.episode] = row


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.exists() else []


def _parsed(line: str) -> EpisodeRow | None:
    """The row, or None for a line that a kill cut short or another version wrote."""
    try:
        return EpisodeRow.model_validate_json(line)
    except ValidationError:
        return None
