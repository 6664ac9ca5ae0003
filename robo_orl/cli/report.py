"""The command `robo-orl report`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from robo_orl.base.errors import RunError
from robo_orl.base.text import printable
from robo_orl.cli.options import Json


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

    summary = write_report(results, out or default_out(results), as_json)
    summary["faults"] = verify(results).faults if summary["cells"] or summary["costs"] else {}
    if as_json:
        print(json.dumps(summary))
    for cell, sentences in summary["faults"].items():
        print(f"robo-orl: {printable(cell)}: {printable(' '.join(sentences))}", file=sys.stderr)
    if summary["faults"]:
        raise RunError(f"{len(summary['faults'])} record(s) contradict their rows; do not trust this report.")


def write_report(results: Path, out: Path, as_json: bool) -> dict[str, Any]:
    """Write the report of a results folder, print its table for people, and return its summary."""
    from robo_orl.report.build import build
    from robo_orl.report.terminal import table

    summary = build(results, out)
    if not as_json:
        from rich.console import Console

        Console().print(table(json.loads(Path(summary["json"]).read_text(encoding="utf-8"))))
        print(f"Report: {summary['html']}")
    return summary
