"""The commands `robo-orl leaderboard ...`: the public board of everybody's records, and how to enter it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

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
    results: Annotated[Path, typer.Argument(help="A working folder of `robo-orl bench`, or packed results.")],
    out: Annotated[
        Path | None, typer.Option(help="Where to write the submission (default: runs/submission-SUITE).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Pack the results of a suite for the leaderboard: verified, records, costs and suite only; shows what it packs."""
    from robo_orl.results.submission import submit as pack_submission

    show(pack_submission(results, out).to_json(), as_json, _print_submission)


@app.command()
def check(
    folders: Annotated[list[Path], typer.Argument(help="Submissions: packed results that a pull request adds.")],
    as_json: Json = False,
) -> None:
    """Check submissions as the pull request does: files and their sizes, no rerun of one's own, every number again."""
    from robo_orl.results.submission import check_submission

    for folder in folders:
        check_submission(folder)
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
    print_line("Not packed: weights, data, logs, videos; no host, user or path stands in a record.")
    print_line(f"Claimed, which no check can see: {'; '.join(made['claimed'])}.")
    print_line(f"Next: {made['next_step']}")


def _print(built: dict[str, Any]) -> None:
    print_line(
        f"{built['rankings']} rankings, {built['policies']} policies, {built['rows']} rows of {built['episodes']} "
        f"episodes; {built['pages']} pages, {built['bytes'] / 1e6:.1f} MB."
    )
    print_line(f"Leaderboard: {built['index']}")
