"""Write report.html and report.json of results: the page is one self-contained file, made of report.json's value."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from robo_orl.base.errors import UsageError
from robo_orl.base.files import write_text
from robo_orl.base.text import printable
from robo_orl.report import cost_figures, figures
from robo_orl.report.contents import load
from robo_orl.report.document import document
from robo_orl.report.layers import SHAPES, Look
from robo_orl.report.learning import AXES, learning_figure
from robo_orl.report.numbers import num, span
from robo_orl.report.online import online_figures
from robo_orl.results.container import is_container

FORESTS_SHOWN = 12  # boards whose comparisons open the page; the others follow in the table


@dataclass(frozen=True, slots=True)
class Built:
    """The files of a report, its answer, and the number of cells and measurements that it rests on."""

    html: str
    json: str
    answer: str
    cells: int
    costs: int
    absent: int
    superseded: int

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


def default_out(results: Path) -> Path:
    """The folder of a report: a working folder itself; packed results stay as they are, theirs is runs/report-NAME."""
    return Path("runs") / f"report-{results.resolve().name}" if is_container(results) else results


def build(results: Path, out: Path) -> Built:
    """Write out/report.html and out/report.json, each complete or not at all.

    results: a working folder of `robo-orl bench`, finished or not, or a container. Raises UsageError for a folder
    without results or an `out` that is a file.
    """
    results, out = Path(results), Path(out)
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; the report needs a folder.")
    made = document(load(results))
    html, data = out / "report.html", out / "report.json"
    write_text(html, render(made))
    write_text(data, json.dumps(made, indent=1, ensure_ascii=False) + "\n")  # last: where it is, the page is
    return _built(made, out)


def built_before(out: Path) -> Built | None:
    """The report that stands in a folder, None where there is none or it is damaged."""
    try:
        made = json.loads((Path(out) / "report.json").read_text(encoding="utf-8"))
        return _built(made, Path(out)) if (Path(out) / "report.html").exists() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _built(made: dict[str, Any], out: Path) -> Built:
    html, data = out / "report.html", out / "report.json"
    return Built(
        html=str(html),
        json=str(data),
        answer=made["headline"]["short"],
        cells=len(made["cells"]),
        costs=len(made["cost"]),
        absent=len(made["absent"]),
        superseded=made["superseded"],
    )


def render(document: dict[str, Any]) -> str:
    """The page as text."""
    look = figures.look_of(document)
    template = page_environment().get_template("page.html.j2")
    return template.render(
        d=document,
        cost=cost_figures,
        style=Markup(read_template("style.css")),
        script=Markup(read_template("page.js")),
        look=look,
        shapes=SHAPES,
        forests=_forests(document, look),
        success_curves=[(board, figures.success_curve(board, look)) for board in document["boards"]
                        if any(row["low"] for row in board["curve"]["rows"])],
        multiples=[(trend, figures.success_multiples(trend, _control(document), look))
                   for trend in document["horizon"] + document["size"] if trend["metric"] == "success"],
        curves=[(trend, figures.curves(trend, look)) for trend in document["horizon"] + document["size"]
                if trend["metric"] != "success" and not trend["metric"].startswith("cell_")],
        clocks=[(trend, figures.curves(trend, look)) for trend in document["horizon"]
                if trend["metric"].startswith("cell_")],
        learning=[(panel, [learning_figure(panel, axis, look) for axis in AXES]) for panel in document["learning"]],
        online=[(board, online_figures(board, look)) for board in document["online"]],
        tradeoffs=_tradeoffs(document, look),
        many={name: len({c[name] for c in document["comparisons"]}) > 1 for name in ("size", "seeds")},
    )  # fmt: skip


def _forests(document: dict[str, Any], look: Look) -> list[tuple[dict[str, Any], Markup]]:
    rows = [c for c in document["comparisons"] if c["against_control"] and c["endpoint"] == "success"]
    shown = []
    for board in document["boards"]:
        here = [c for c in rows if c["board"] == board["index"]]
        if here:
            shown.append((board, here))
    shown = shown[:FORESTS_SHOWN]
    ends = [abs(c[end]) for _, here in shown for c in here for end in ("low", "high")]
    limit = max([0.1, *ends])
    return [(board, figures.forest(here, limit, look)) for board, here in shown]


def _tradeoffs(document: dict[str, Any], look: Look) -> list[tuple[dict[str, Any], Markup]]:
    times = [row["time_relative"] for board in document["boards"] for row in board["rows"] if row["time_relative"]]
    drawn = [(board, figures.tradeoff(board, look, times)) for board in document["boards"]]
    return [(board, figure) for board, figure in drawn if figure is not None]


def _control(document: dict[str, Any]) -> str | None:
    return next((board["control"] for board in document["boards"] if board["control"]), None)


def read_template(name: str) -> str:
    """The text of a file in templates/."""
    return (files("robo_orl.report") / "templates" / name).read_text(encoding="utf-8")


def _without_control_characters(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def page_environment() -> Environment:
    """Jinja2 for every page: names of others are text wherever they stand, and an unknown name is an error."""
    environment = Environment(
        loader=FunctionLoader(read_template), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=StrictUndefined, finalize=_without_control_characters,
    )  # fmt: skip
    environment.globals.update(num=num, span=span)
    environment.filters["words"] = lambda name: str(name).replace("_", " ")
    environment.filters["breakable"] = lambda name: Markup("_<wbr>").join(printable(str(name)).split("_"))
    return environment
