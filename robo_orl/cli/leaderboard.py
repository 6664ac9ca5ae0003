"""The commands `robo-orl leaderboard ...`: the public board of everybody's records, and how to enter it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from robo_orl.base.errors import UsageError
from robo_orl.base.text import print_line
from robo_orl.cli.options import Json, show

app = typer.Typer(help="The leaderboard: build it from records, submit records to it.", no_args_is_help=True)


@app.command()
def build(
    records: Annotated[
        list[Path], typer.Argument(help="Results folders (working folders or packed), or folders that hold such.")
    ],
    out: Annotated[Path, typer.Option(help="Where to write the pages.")] = Path("runs/leaderboard"),
    as_json: Json = False,
) -> None:
    """Turn records into a static site: rankings, figures, a page per policy and task; every folder is verified first.

    The pages open from the folder, without a server, and load nothing from elsewhere.
    """
    from robo_orl.report.leaderboard.site import build as build_site

    built = build_site(records, out)
    show(built.to_json(), as_json, _print)


@app.command()
def submit(
    results: Annotated[
        Path,
        typer.Argument(help="A working folder of `robo-orl bench`, packed results, or one run that was evaluated."),
    ],
    suite: Annotated[
        str | None, typer.Option(help="Of one run: the suite whose data and start states it has, e.g. controls.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of one run: the name of its row (default: that of its policy).")] = "",
    out: Annotated[
        Path | None, typer.Option(help="Where to write the submission (default: runs/submission-SUITE).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Pack results for the leaderboard: verified, records, costs and suite only; shows what it packs.

    One run is ranked where it learned from the data of a suite and was evaluated as that suite asks for.
    """
    from robo_orl.sweep.single_run import is_run, submit_run

    notes: list[str] = []
    if is_run(results):
        made, notes = submit_run(results, suite, name, out)
    elif suite or name:
        raise UsageError(f"--suite and --name are for one run, and {results} is none: its suite.json says them.")
    else:
        from robo_orl.results.submission import submit as pack_submission

        made = pack_submission(results, out)
    show(made.to_json() | ({"notes": notes} if notes else {}), as_json, _print_submission)


@app.command()
def check(
    folders: Annotated[list[Path], typer.Argument(help="Submissions: packed results that a pull request adds.")],
    merged: Annotated[
        Path | None,
        typer.Option(help="results/ as it was before: a folder that is there already may bring reruns of its cells."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check submissions as the pull request does: files and their sizes, no rerun of one's own, every number again."""
    from robo_orl.results.submission import check_submission

    for folder in folders:
        check_submission(folder, merged)
    show(
        {"checked": [str(folder) for folder in folders]},
        as_json,
        lambda made: print_line(f"{len(made['checked'])} submission(s) verify."),
    )


def _print_submission(made: dict[str, Any]) -> None:
    print_line(f"{made['folder']}: suite {made['suite']}, {made['cells']} cells, {made['episodes']} episodes.")
    for name, size in made["files"].items():
        print_line(f"  {name:20} {size / 1e3:10.1f} kB")
    print_line("Policies and their cells: " + ", ".join(f"{name} {count}" for name, count in made["policies"].items()))
    print_line(f"Fields of a record: {', '.join(made['fields'])}.")
    for note in made.get("notes", ()):
        print_line(f"Its own: {note}.")
    print_line("Not packed: weights, data, logs, videos; no host, user or path stands in a record.")
    print_line(f"Claimed, which no check can see: {'; '.join(made['claimed'])}.")
    print_line(f"Next: {made['next_step']}")


def _print(built: dict[str, Any]) -> None:
    print_line(
        f"{built['rankings']} rankings, {built['policies']} policies, {built['rows']} rows of {built['episodes']} "
        f"episodes; {built['pages']} pages, {built['bytes'] / 1e6:.1f} MB."
    )
    print_line(f"Leaderboard: {built['index']}")
