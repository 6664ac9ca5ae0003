"""What the page of a task shows: the task, its film, the data of its regimes, its rankings, published numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from markupsafe import Markup

from robo_orl.base.errors import UsageError
from robo_orl.base.text import printable
from robo_orl.config.presets import load_task
from robo_orl.report.layers import figure, layer
from robo_orl.report.leaderboard.methods import slug
from robo_orl.report.leaderboard.rankings import Ranked, Ranking
from robo_orl.report.published import PublishedNumber, published_for
from robo_orl.report.vega import drawing
from robo_orl.results.record import Record

MEDIA = files("robo_orl.report")


@dataclass(frozen=True)
class TaskPage:
    """One task by name and digest. picture, film: file names of task_pictures and task_videos."""

    name: str
    digest: str
    page: str
    description: str
    instruction: str
    horizon: int
    control_hz: int
    seconds: float
    padding: float
    stages: list[str]
    starts: list[str]
    rankings: list[tuple[Ranked, Ranking]]
    published: dict[str, list[PublishedNumber]]
    picture: str | None
    film: str | None

    @property
    def regimes(self) -> dict[str, list[tuple[Ranked, Ranking]]]:
        """Its rankings by regime."""
        made: dict[str, list[tuple[Ranked, Ranking]]] = {}
        for division, ranking in self.rankings:
            made.setdefault(ranking.board.regime, []).append((division, ranking))
        return made


def task_media(name: str, folder: str, ending: str) -> str | None:
    """The file name of a task's picture or film; a variant of a task looks like the task."""
    parts = name.split("_")
    for candidate in ("_".join(parts[:count]) for count in range(len(parts), 0, -1)):
        if re.fullmatch(r"[a-z0-9_]+", candidate) and (MEDIA / folder / f"{candidate}.{ending}").is_file():
            return f"{candidate}.{ending}"
    return None


def media(pages: Sequence[TaskPage]) -> dict[str, bytes]:
    """Name on the site -> content of every picture and film that the pages show."""
    pictures = dict.fromkeys(page.picture for page in pages if page.picture)
    films = dict.fromkeys(page.film for page in pages if page.film)
    return {f"assets/{name}": (MEDIA / "task_pictures" / name).read_bytes() for name in pictures} | {
        f"videos/{name}": (MEDIA / "task_videos" / name).read_bytes() for name in films
    }


def regime_picture(regime: str, rankings: Sequence[Ranking]) -> Markup:
    """How many of a regime's demonstrations succeed, a bar per task: what cloning has to imitate."""
    data = {ranking.board.task: (ranking.board.horizon, ranking.board.data) for ranking in rankings}
    rows = [
        {"task": printable(task), "share": d.success["k"] / d.success["n"], "whole": 1,
         "words": f"{d.success['k']} of {d.success['n']}"}
        for task, (_, d) in sorted(data.items(), key=lambda item: (item[1][0], item[0])) if d.success["n"]
    ]  # fmt: skip
    x = {"field": "share", "type": "quantitative", "scale": {"domain": [0, 1]}, "axis": None}
    y = {"field": "task", "type": "nominal", "sort": None, "axis": None}
    text = {"type": "text", "baseline": "middle", "limit": 0}
    layers = [
        layer({"type": "bar", "height": 12, "color": "var(--rule)"}, x={**x, "field": "whole"}, y=y),
        layer({"type": "bar", "height": 12, "color": "var(--free)"}, x=x, y=y),
        layer({**text, "align": "right", "x": -8, "fontSize": 12}, y=y, text={"field": "task"}),
        layer({**text, "align": "left", "x": 148, "fontSize": 11, "color": "var(--muted)"}, y=y,
              text={"field": "words"}),
    ]  # fmt: skip
    words = "; ".join(f"{row['task']} {row['words']}" for row in rows)
    return drawing(
        figure(140, 20 * len(rows), layers, rows, (90, 60)), f"Demonstrations of {regime} that succeed: {words}"
    )


def task_pages(made: Sequence[Ranked]) -> list[TaskPage]:
    """A page for every task, by horizon."""
    taken: dict[str, str] = {}
    places: dict[tuple[str, str], list[tuple[Ranked, Ranking]]] = {}
    for division in made:
        for ranking in division.rankings:
            places.setdefault((ranking.board.task, ranking.board.task_digest), []).append((division, ranking))
    several = [name for name, _ in places]
    pages = []
    for (name, digest), rankings in places.items():
        board = rankings[0][1].board
        shown = name if several.count(name) == 1 else f"{name} {digest[:6]}"
        description, instruction = _of_preset(name, digest)
        records = [r for _, k in rankings for s in k.standings for r in s.records]
        starts = {r.evaluation.starts_sha256 for r in records}
        pages.append(TaskPage(
            name=shown, digest=digest, page=slug("task", shown, taken), description=description,
            instruction=instruction, horizon=board.horizon, control_hz=board.control_hz,
            seconds=board.horizon / board.control_hz, padding=board.padding, stages=board.stages,
            starts=sorted(starts), rankings=rankings, published=_published(records),
            picture=task_media(name, "task_pictures", "jpg"), film=task_media(name, "task_videos", "mp4"),
        ))  # fmt: skip
    return sorted(pages, key=lambda page: (page.horizon, page.name))


def _of_preset(name: str, digest: str) -> tuple[str, str]:
    """(description, instruction) of a task that is defined here by this digest; else what its name says."""
    for candidate in (name, name.replace("_", "+", 1)):
        try:
            task = load_task(candidate)
        except UsageError:
            continue
        if task.digest() == digest:
            return task.description, task.instruction or ""
    return "A task that is not defined in this version of robo_orl.", ""


def _published(records: Sequence[Record]) -> dict[str, list[PublishedNumber]]:
    """Source in words -> what it says on the scene of these records and on their kinds of data."""
    regimes = {record.regime for record in records}
    made: dict[str, list[PublishedNumber]] = {}
    for number in published_for(records[0].task):
        if number.regime in regimes:
            words = f"{number.source}; {number.protocol}; {number.kind}: {number.kind_words}"
            made.setdefault(words, []).append(number)
    return made
