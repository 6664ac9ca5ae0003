"""The command `robo-orl report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robo_orl.base.errors import RunError
from robo_orl.base.text import notice, print_line
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
    """Turn results into report.html, report.json and a table; every score is computed from its rows.

    Results that contradict themselves are named, and no page is written of them.
    """
    from robo_orl.report.build import default_out

    _check_results(results, as_json)
    built = write_report(results, out or default_out(results), as_json)
    if as_json:
        print(json.dumps(built.to_json() | {"faults": {}}))


def _check_results(results: Path, as_json: bool) -> None:
    """RunError where stored results contradict themselves, after one line for each."""
    from robo_orl.results.store import open_results
    from robo_orl.results.verify import verify

    stored = open_results(results)
    faults = verify(results).faults if stored.cells or stored.costs else {}
    if faults and as_json:
        print(json.dumps({"faults": faults}))
    for cell, sentences in faults.items():
        notice(f"{cell}: {' '.join(sentences)}")
    if faults:
        raise RunError(
            f"{len(faults)} of the results contradict themselves, so no page is written: take them away and run "
            "`robo-orl bench` once more, or `robo-orl results verify` for all sentences."
        )


def write_report(results: Path, out: Path, as_json: bool, unchanged: bool = False) -> Built:
    """Write the report of a results folder and print its table for people.

    unchanged: the results are those of the report that stands there, which stays.
    """
    from robo_orl.report.build import build, built_before
    from robo_orl.report.terminal import table

    built = (built_before(out) if unchanged else None) or build(results, out)
    if not as_json:
        from rich.console import Console

        Console().print(table(json.loads(Path(built.json).read_text(encoding="utf-8"))))
        print_line(f"Report: {built.html}")
    return built
