"""The commands `robo-orl leaderboard ...`: the public board of everybody's records, and how to enter it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

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


def _print(built: dict[str, Any]) -> None:
    print(
        f"{built['rankings']} rankings, {built['policies']} policies, {built['rows']} rows of {built['episodes']} "
        f"episodes; {built['pages']} pages, {built['bytes'] / 1e6:.1f} MB."
    )
    print(f"Leaderboard: {built['index']}")
