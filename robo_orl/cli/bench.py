"""The command `robo-orl bench`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robo_orl.base.errors import RunError
from robo_orl.cli.options import Json, check_finite, show, shows_progress

if TYPE_CHECKING:
    from robo_orl.sweep.runners.choice import Machines


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
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Cores to use (default: all); with slurm the jobs in the queue at a time."),
    ] = None,
    runner: Annotated[str, typer.Option(help="Where the jobs run: local, ray or slurm.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster: auto, HOST or HOST:PORT (default: one of this machine).")
    ] = None,
    slurm: Annotated[
        str, typer.Option(help="Options of sbatch for every job, e.g. '--partition=gpu --time=4:00:00'.")
    ] = "",
    per_gpu: Annotated[int, typer.Option(min=1, help="The most jobs on one GPU; fewer where memory ends.")] = 1,
    plan: Annotated[
        bool, typer.Option("--plan", help="Run nothing; say what is missing, its time, disk, memory and GPUs.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also try jobs that failed twice in the same way.")
    ] = False,
    official: Annotated[
        Path | None,
        typer.Option(help="Folder of `data download`, for suites that take official files (default: runs/official)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a whole suite: data, training, evaluation, cost. Resumable; finished cells are not computed a second time."""
    from robo_orl.cli.report import write_report
    from robo_orl.sweep.bench import bench as run_bench
    from robo_orl.sweep.runners.choice import Machines

    folder = out or Path("runs") / Path(suite).stem
    machines = Machines(runner, workers, address, slurm, per_gpu)
    if plan:
        _show_plan(suite, folder, machines, blocks, minutes, official, as_json)
        return
    progress = shows_progress(as_json)
    summary = run_bench(
        suite,
        folder,
        progress=progress,
        blocks=blocks,
        minutes=minutes,
        machines=machines,
        retry_failed=retry_failed,
        official=official,
    )
    written = write_report(folder, folder, as_json, summary.unchanged)
    if as_json:
        print(json.dumps(summary.to_json() | {"report": written.to_json()}))
    if summary.failed:
        raise RunError(f"{len(summary.failed)} cell(s) failed; --retry-failed tries them once more.")


def _show_plan(
    suite: str,
    out: Path,
    machines: Machines,
    blocks: int | None,
    minutes: float | None,
    official: Path | None,
    as_json: bool,
) -> None:
    """Print what the same command without --plan would do."""
    from robo_orl.cli.plan import print_plan
    from robo_orl.sweep.forecast import forecast_of

    show(forecast_of(suite, out, machines, blocks, minutes, official).to_json(), as_json, print_plan)
