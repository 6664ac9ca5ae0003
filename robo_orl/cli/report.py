"""The command `robo-orl report`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robo_orl.base.errors import RunError
from robo_orl.base.text import printable
from robo_orl.cli.options import Json

if TYPE_CHECKING:
    from robo_orl.report.build import Built


def report(
    results: Annotated[Path, typer.Argument(help="A working folder of `robo-orl bench`, or packed results.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Where to write report.html (default: the working folder, or runs/report-NAME if packed)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Turn results into report.html, report.json and a table; every score is computed from its rows."""
    from robo_orl.report.build import default_out
    from robo_orl.results.verify import verify

    built = write_report(results, out or default_out(results), as_json)
    faults = verify(results).faults if built.cells or built.costs else {}
    if as_json:
        print(json.dumps(built.to_json() | {"faults": faults}))
    for cell, sentences in faults.items():
        print(f"robo-orl: {printable(cell)}: {printable(' '.join(sentences))}", file=sys.stderr)
    if faults:
        raise RunError(f"{len(faults)} record(s) contradict their rows; do not trust this report.")


def write_report(results: Path, out: Path, as_json: bool) -> Built:
    """Write the report of a results folder and print its table for people."""
    from robo_orl.report.build import build
    from robo_orl.report.terminal import table

    built = build(results, out)
    if not as_json:
        from rich.console import Console

        Console().print(table(json.loads(Path(built.json).read_text(encoding="utf-8"))))
        print(f"Report: {built.html}")
    return built
