"""The command `robo-orl bench`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from robo_orl.base.errors import RunError
from robo_orl.cli.options import Json, Workers, check_finite, shows_progress


def bench(
    suite: Annotated[str, typer.Option(help="Name of a file in tasks/suites/, or a path.")] = "quick",
    out: Annotated[Path | None, typer.Option(help="Results folder (default: runs/SUITE).")] = None,
    blocks: Annotated[
        int | None,
        typer.Option(min=1, help="Only the first so many groups of the suite, each a whole comparison (default: all)."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0, callback=check_finite, help="Start no job that would end later; the same command continues."
        ),
    ] = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Run a whole suite: data, training, evaluation, cost. Resumable; finished cells are not computed a second time."""
    from robo_orl.cli.report import write_report
    from robo_orl.sweep.bench import bench as run_bench

    folder = out or Path("runs") / Path(suite).stem
    progress = shows_progress(as_json)
    summary = run_bench(suite, folder, workers=workers, progress=progress, blocks=blocks, minutes=minutes)
    written = write_report(folder, folder, as_json)
    if as_json:
        print(json.dumps(summary.to_json() | {"report": written.to_json()}))
    if summary.failed:
        raise RunError(f"{len(summary.failed)} cell(s) failed; run the same command again to retry them.")
