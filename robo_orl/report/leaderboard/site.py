"""Write the leaderboard: an index, a page per policy and per task, their data as CSV, and what they need to be read."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from robo_orl import __version__
from robo_orl.base.errors import UsageError
from robo_orl.base.files import atomic_file
from robo_orl.base.text import printable
from robo_orl.report.boards import group
from robo_orl.report.build import page_environment, read_template
from robo_orl.report.compare import comparisons
from robo_orl.report.leaderboard import words
from robo_orl.report.leaderboard.data import csv_files, profile_rows, script, series
from robo_orl.report.leaderboard.divisions import check, divisions
from robo_orl.report.leaderboard.methods import MethodPage, method_pages
from robo_orl.report.leaderboard.overall import Overall, overall
from robo_orl.report.leaderboard.plots import Figure, curves, figures, learning
from robo_orl.report.leaderboard.rankings import Ranked, Ranking, Standing, ranked
from robo_orl.report.leaderboard.table import FlatRow, backbone, by_size, choices, flat_rows
from robo_orl.report.leaderboard.tasks import TaskPage, media, regime_picture, task_pages
from robo_orl.report.numbers import plain_number, three
from robo_orl.report.vega import packed_bundle
from robo_orl.results.aggregate import Rank
from robo_orl.results.endpoints import Endpoint
from robo_orl.results.store import results_folders
from robo_orl.results.trainings import Estimate

SCRIPTS = ("figures.js", "leaderboard.js", "method.js")
DATA = {
    "results.csv.gz": "every row of every ranking, with intervals, places and costs: what the figures against the "
    "horizon, sizes and costs show",
    "overall.csv.gz": "the overall rankings",
    "profiles.csv.gz": "the performance profiles",
    "curves.csv.gz": "success within each twentieth of the limit, of every row",
    "learning.csv.gz": "success on the way, of every training that stored it",
}


@dataclass(frozen=True, slots=True)
class BuiltSite:
    """The files of a leaderboard and what they rest on. bytes: of all files but videos."""

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
    for name, content in files.items():
        with atomic_file(out / name) as temporary:
            temporary.write_bytes(_bytes(content))
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
        bytes=sum(len(_bytes(content)) for name, content in files.items() if not name.startswith("videos/")),
    )


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


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


OPTIONAL = re.compile(r"</(?:td|th|tr|dt|dd|li)>|(?<=\n)[ \t]+(?=<t[rdh])")
QUOTED = re.compile(r'(<t[dh] (?:class|scope)=)"([a-z]+)"(?=>)')


def render(site: Site) -> dict[str, str | bytes]:
    """Name of every file -> its text; of a picture its bytes."""
    environment, drawn = _environment(site), figures_of(site)
    lines = series(site.divisions)
    totals = list(zip(site.divisions, site.totals, strict=True))
    # A seventh of their size. What reads tables reads them as they are: pandas, polars, R, DuckDB.
    texts = csv_files(site.rows, site.profiles, lines, totals)
    tables = {f"{name}.gz": gzip.compress(text.encode(), mtime=0) for name, text in texts.items()}
    index = environment.get_template("leaderboard/index.html.j2")
    files: dict[str, str | bytes] = {"index.html": _short(index.render(_index(site, drawn, tables)))}
    method = environment.get_template("leaderboard/method.html.j2")
    for page in site.methods:
        first = page.places[0][0].division.cells.endpoints[0]
        files[page.page] = _short(
            method.render(
                m=page,
                first=first,
                topologies=words.TOPOLOGIES,
                version=__version__,
                figure=curves(),
                on_the_way=learning(),
            )
        )
    for task in site.tasks:
        files[task.page] = _short(
            environment.get_template("leaderboard/task.html.j2").render(
                t=task, regimes=words.REGIMES, version=__version__
            )
        )
    files |= {f"data/{name}": content for name, content in tables.items()}
    files |= media(site.tasks)
    style = read_template("style.css") + read_template("leaderboard/leaderboard.css")
    return files | {
        "assets/style.css": style,
        "assets/page.js": read_template("page.js"),
        **{f"assets/{name}": read_template(f"leaderboard/{name}") for name in SCRIPTS},
        "assets/data.js": script(site.rows, site.profiles, lines, [*drawn, curves(), learning()]),
        "assets/vega.js": packed_bundle(),
    }


def _short(page: str) -> str:
    """A page without what HTML lets be left out of tables: a twentieth of the site is end tags of cells and rows, and
    quotes of the plain words in them. Long names break where they must, by leaderboard.css."""
    return QUOTED.sub(r"\1\2", OPTIONAL.sub("", page)).replace("<wbr>", "")


def figures_of(site: Site) -> list[Figure]:
    """The figures of the front page that some row has the numbers of."""
    return [figure for figure in figures() if (site.profiles if figure.name == "profiles" else
            any(row.get(figure.needs) is not None for row in site.rows))]  # fmt: skip


def _index(site: Site, drawn: Sequence[Figure], tables: dict[str, bytes]) -> dict[str, Any]:
    """The values of the front page."""
    places: dict[tuple, int] = {}
    rows = iter(range(len(site.rows)))
    for made in site.divisions:
        for ranking in made.rankings:
            for standing in (*ranking.standings, *ranking.unranked):
                row = next(rows)
                places[made.division.name, ranking.index, standing.method] = row
                places.setdefault((made.division.name, "", standing.method), row)
    by_regime: dict[str, list[Ranking]] = {}
    for ranking in (ranking for made in site.divisions for ranking in made.rankings):
        by_regime.setdefault(ranking.board.regime, []).append(ranking)
    unknown = "A regime that is not defined in this version of robo_orl."
    regimes = [(name, words.REGIMES.get(name, unknown), regime_picture(name, own)) for name, own in by_regime.items()]
    sizes = by_size({row["size"] for row in site.rows})
    return {
        "version": __version__, "divisions": site.divisions, "totals": site.totals, "methods": site.methods,
        "tasks": site.tasks, "rows": site.rows, "row_of": places, "endpoints": site.endpoints, "last": site.last,
        "episodes": sum(row["n"] for row in site.rows), "tiers": words.TIERS, "families": words.FAMILIES,
        "topologies": words.TOPOLOGIES, "regimes": regimes, "figures": drawn,
        "choices": choices(site.rows, [page.name for page in site.tasks]),
        "not_drawn": [figure.title.lower() for figure in figures() if figure not in drawn],
        "sizes": [(size, backbone(site.rows, size)) for size in sizes],
        "files": [(name, DATA[name]) for name in tables],
    }  # fmt: skip


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
        "link": link, "num": plain_number, "task_page": lambda board: task_of[board.task, board.task_digest],
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
