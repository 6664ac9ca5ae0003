"""Write the leaderboard: an index, a page per policy and per task, their data as CSV, and what they need to be read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from robo_orl import __version__
from robo_orl.base.errors import UsageError
from robo_orl.base.files import atomic_file, write_text
from robo_orl.base.text import printable
from robo_orl.config import SIZES
from robo_orl.report.boards import group
from robo_orl.report.build import page_environment, read_template
from robo_orl.report.compare import comparisons
from robo_orl.report.leaderboard import words
from robo_orl.report.leaderboard.divisions import check, divisions
from robo_orl.report.leaderboard.overall import Overall, overall
from robo_orl.report.leaderboard.pages import MethodPage, TaskPage, method_pages, task_pages
from robo_orl.report.leaderboard.plots import Figure, curves, figures, learning
from robo_orl.report.leaderboard.rankings import Ranked, Standing, ranked
from robo_orl.report.leaderboard.table import FlatRow, csv_text, flat_rows, profile_rows
from robo_orl.report.numbers import three
from robo_orl.report.vega import bundle
from robo_orl.results.aggregate import Rank
from robo_orl.results.endpoints import Endpoint
from robo_orl.results.store import results_folders
from robo_orl.results.trainings import Estimate


@dataclass(frozen=True, slots=True)
class BuiltSite:
    """The files of a leaderboard and what they rest on."""

    index: str
    pages: int
    rankings: int
    rows: int
    policies: int
    episodes: int
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


@dataclass(frozen=True)
class Site:
    """All that the pages show."""

    divisions: list[Ranked]
    totals: list[Overall]
    methods: list[MethodPage]
    tasks: list[TaskPage]
    rows: list[FlatRow]
    profiles: list[FlatRow]
    last: str

    @property
    def endpoints(self) -> list[Endpoint]:
        """Every endpoint of every suite, the first suite's order first."""
        return list({e.name: e for made in self.divisions for e in made.division.cells.endpoints}.values())


def build(paths: Sequence[Path], out: Path) -> BuiltSite:
    """Write the leaderboard of all results folders among `paths` into `out`; every folder is verified first.

    Raises UsageError for folders without records and an `out` that is a file, RunError for results that contradict
    themselves: then nothing is written.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; the leaderboard needs a folder.")
    folders = results_folders(paths)
    check(folders)
    site = gather(folders)
    if not site.rows:
        raise UsageError("These results hold costs only; a leaderboard needs cells that were evaluated.")
    files = render(site)
    for name, text in files.items():
        write_text(out / name, text)
    for video in {path.name: path for page in site.methods for path in page.videos}.values():
        with atomic_file(out / "videos" / video.name) as temporary:
            shutil.copyfile(video, temporary)
    return BuiltSite(
        index=str(out / "index.html"),
        pages=sum(name.endswith(".html") for name in files),
        rankings=sum(len(made.rankings) for made in site.divisions),
        rows=len(site.rows),
        policies=len(site.methods),
        episodes=sum(row["n"] for row in site.rows),
        bytes=sum(len(text.encode()) for text in files.values()),
    )


def gather(folders: Sequence[Path]) -> Site:
    """Everything that the pages show, computed from the records."""
    made: list[Ranked] = []
    for division in divisions(folders):
        made.append(ranked(division, first=sum(len(other.rankings) for other in made)))
    totals = [overall(one) for one in made]
    compared = []
    for one in made:
        grouped = group(one.division.cells)
        compared.append(comparisons(one.division.cells, one.boards, list(grouped.values())))
    costs = list({cost.key: cost for one in made for cost in one.division.cells.costs}.values())
    records = [record for one in made for record in one.division.cells.records]
    return Site(
        divisions=made,
        totals=totals,
        methods=method_pages(made, compared, costs),
        tasks=task_pages(made),
        rows=flat_rows(made),
        profiles=profile_rows(list(zip(made, totals, strict=True))),
        last=max((record.created for record in records), default=""),
    )


def render(site: Site) -> dict[str, str]:
    """Name of every file -> its text."""
    environment = _environment(site)
    files = {"index.html": environment.get_template("leaderboard/index.html.j2").render(_index(site))}
    for page in site.methods:
        files[page.page] = environment.get_template("leaderboard/method.html.j2").render(
            m=page, first=page.places[0][0].division.cells.endpoints[0], topologies=words.TOPOLOGIES,
            version=__version__, figure=curves(), on_the_way=learning(),
            rows_json=_json({"curves": page.curves, "learning": page.learning}),
            specs_json=_json({f.name: {"spec": f.spec, "needs": f.needs} for f in (curves(), learning())}),
        )  # fmt: skip
        files[f"data/{page.curve_file}"] = csv_text(page.curves, curves().fields)
        if page.learning:
            files[f"data/{page.learning_file}"] = csv_text(page.learning, learning().fields)
    for task in site.tasks:
        files[task.page] = environment.get_template("leaderboard/task.html.j2").render(
            t=task, regimes=words.REGIMES, version=__version__
        )
    for figure in figures():
        rows = site.profiles if figure.name == "profiles" else [r for r in site.rows if r.get(figure.needs)]
        files[f"data/{figure.name}.csv"] = csv_text(rows, ("suite", *(f for f in figure.fields if f != "suite")))
    files |= {
        "data/results.csv": csv_text(site.rows),
        "data/overall.csv": csv_text(_overall_rows(site)),
        "assets/style.css": read_template("style.css") + read_template("leaderboard/leaderboard.css"),
        "assets/page.js": read_template("page.js"),
        "assets/figures.js": read_template("leaderboard/figures.js"),
        "assets/leaderboard.js": read_template("leaderboard/leaderboard.js"),
        "assets/vega.js": bundle(),
    }
    return files


def _overall_rows(site: Site) -> list[dict[str, Any]]:
    rows = []
    for made, total in zip(site.divisions, site.totals, strict=True):
        for row in total.rows:
            value: dict[str, Any] = {"suite": made.division.name, "policy": row.method[0], "size": row.method[1]}
            for name, mean in row.means.items():
                middle, place = row.middles[name], row.places[name]
                value |= {f"{name}_place": place.place, f"{name}_best": place.best, f"{name}_worst": place.worst,
                          f"{name}_mean": mean.mean, f"{name}_low": mean.low, f"{name}_high": mean.high,
                          f"{name}_iqm": middle.mean, f"{name}_iqm_low": middle.low,
                          f"{name}_iqm_high": middle.high}  # fmt: skip
            rows.append(value | {"better_than_control": row.improvement, "trainings": row.standing.row.seeds})
    return rows


def _index(site: Site) -> dict[str, Any]:
    """The values of the front page."""
    flat: dict[tuple, FlatRow] = {}
    rows = iter(site.rows)
    for made in site.divisions:
        for ranking in made.rankings:
            for standing in (*ranking.standings, *ranking.unranked):
                row = next(rows)
                flat[made.division.name, ranking.index, standing.method] = row
                flat.setdefault((made.division.name, "", standing.method), row)
    drawn = [figure for figure in figures() if any(row.get(figure.needs) is not None
             for row in (site.profiles if figure.name == "profiles" else site.rows))]  # fmt: skip
    regimes = [(name, words.REGIMES.get(name, "A regime that is not defined in this version of robo_orl."))
               for name in dict.fromkeys(row["regime"] for row in site.rows)]  # fmt: skip
    sizes = by_size({row["size"] for row in site.rows})
    return {
        "version": __version__, "divisions": site.divisions, "totals": site.totals, "methods": site.methods,
        "tasks": site.tasks, "rows": site.rows, "flat": flat, "endpoints": site.endpoints, "last": site.last,
        "episodes": sum(row["n"] for row in site.rows), "tiers": words.TIERS, "families": words.FAMILIES,
        "topologies": words.TOPOLOGIES, "regimes": regimes, "figures": drawn, "choices": _choices(site),
        "not_drawn": [figure.title.lower() for figure in figures() if figure not in drawn],
        "sizes": [(size, _backbone(site.rows, size)) for size in sizes],
        "files": [("results.csv", "every row of every ranking, with intervals, places and costs"),
                  ("overall.csv", "the overall rankings"),
                  *((f"{figure.name}.csv", f"the figure “{figure.title}”") for figure in drawn)],
        "rows_json": _json([_drawn(row, drawn) for row in site.rows]), "profiles_json": _json(site.profiles),
        "specs_json": _json({figure.name: {"spec": figure.spec, "needs": figure.needs} for figure in drawn}),
    }  # fmt: skip


DRAWN = (
    "suite", "task", "regime", "size", "topology", "family", "tier", "policy", "critic", "control", "ranked", "board",
    "line", "line_of_tasks", "line_of_sizes", "rate", "low", "high", "shown", "interval", "trained",
)  # fmt: skip


def _drawn(row: FlatRow, drawn: Sequence[Figure]) -> FlatRow:
    """The columns of a row that the page's figures and filters read."""
    return {key: row[key] for key in dict.fromkeys((*DRAWN, *(f.needs for f in drawn))) if key in row}


def _json(value: Any) -> Markup:
    """JSON inside a script element: no character of it ends the element."""
    text = json.dumps(_rounded(value), ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return printable(value) if isinstance(value, str) else value


def _choices(site: Site) -> list[tuple[str, str, list[str]]]:
    """The filters: (column, title, values in their natural order)."""

    def found(column: str) -> list[str]:
        return list(dict.fromkeys(row[column] for row in site.rows))

    tasks = [page.name for page in site.tasks]
    return [
        ("task", "Task", sorted(found("task"), key=lambda t: tasks.index(t) if t in tasks else len(tasks))),
        ("regime", "Regime", found("regime")),
        ("size", "Size", by_size(found("size"))),
        ("topology", "Critic's features", [t for t in words.TOPOLOGIES if t in found("topology")]),
        ("family", "Objective family", [f for f in words.FAMILIES if f in found("family")]),
        ("tier", "Tier", [t for t in words.TIERS if t in found("tier")]),
    ]  # fmt: skip


def by_size(names: Sequence[str] | set[str]) -> list[str]:
    """Sizes in the order of size: by depth, `debug` first, those of other libraries last."""

    def depth(name: str) -> tuple[int, str]:
        if name in SIZES:
            return SIZES[name], name
        digits = name[1:] if name[:1] == "d" else ""
        return (int(digits) if digits.isdigit() else 0 if name == "debug" else 10**6), name

    return sorted(names, key=depth)


def _backbone(rows: Sequence[FlatRow], size: str) -> int | None:
    counts = [row["backbone"] for row in rows if row["size"] == size and row["backbone"]]
    return min(counts) if counts else None


def _environment(site: Site) -> Environment:
    """The report's templates, with what links the pages of a leaderboard."""
    environment = page_environment().overlay()
    policy_pages = {page.name: page.page for page in site.methods}
    task_of = {(page.rankings[0][1].board.task, page.digest): page.page for page in site.tasks}

    def link(standing: Standing) -> Markup:
        name = standing.row.policy
        shown = environment.filters["breakable"](printable(name))
        return Markup('<a href="{}">{}</a>').format(policy_pages[name], shown)

    environment.globals = environment.globals | {
        "link": link, "task_page": lambda board: task_of[board.task, board.task_digest],
    }  # fmt: skip
    environment.filters = environment.filters | {
        "per": lambda value: f"{100 * value:.0f}",
        "pts": lambda value: f"{100 * value:+.0f}".replace("-", "−"),
        "share": lambda value: f"{min(max(value, 0.0), 1.0):.3f}",
        "three": three,
        "short_float": lambda value: None if value is None else float(f"{value:.5g}"),
        "trained": _trained,
        "places": lambda places: _places(places),
    }  # fmt: skip
    return environment


def _trained(estimate: Estimate) -> str:
    return {1: "one training", 2: "two trainings"}.get(estimate.trainings, f"{estimate.trainings} trainings")


def _places(places: dict[str, Rank]) -> str:
    return json.dumps({name: [r.place, r.best, r.worst] for name, r in places.items()}, separators=(",", ":"))
