"""The commands `robo-orl results ...`: packed results, and their verification."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robo_orl.base.text import notice, print_line
from robo_orl.cli.options import Json, show

if TYPE_CHECKING:
    from robo_orl.results.verify import Verification

app = typer.Typer(help="Results: pack them into few files, unpack them, verify them.", no_args_is_help=True)


@app.command()
def pack(
    folder: Annotated[Path, typer.Argument(help="A working folder of `robo-orl bench`.")],
    out: Annotated[Path | None, typer.Option(help="The container to write (default: results/SUITE).")] = None,
    as_json: Json = False,
) -> None:
    """Write the records, episodes and costs of a working folder as a container: four files instead of two a cell."""
    from robo_orl.results.pack import default_out
    from robo_orl.results.pack import pack as pack_folder

    written = pack_folder(folder, out or default_out(folder))
    show(written.to_json(), as_json)


@app.command()
def unpack(
    container: Annotated[Path, typer.Argument(help="A folder that `robo-orl results pack` wrote.")],
    out: Annotated[Path, typer.Option(help="The working folder to write, e.g. runs/SUITE; `bench` goes on there.")],
    as_json: Json = False,
) -> None:
    """Write a container as a working folder, which `robo-orl bench --out` continues."""
    from robo_orl.results.pack import unpack as unpack_container

    show(unpack_container(container, out).to_json(), as_json)


@app.command()
def verify(
    paths: Annotated[list[Path], typer.Argument(help="Working folders of `bench` and containers.")],
    as_json: Json = False,
) -> None:
    """Compute scores, hashes, addresses and episodes again; one sentence a fault, exit 1 when there is one.

    What no check can see (times, versions, hardware) is listed as claimed.
    """
    from robo_orl.results.verify import verify as verify_folder

    checked = {str(path): verify_folder(path) for path in paths}
    show({path: verification.to_json() for path, verification in checked.items()}, as_json, lambda _: _print(checked))
    if any(verification.faults for verification in checked.values()):
        raise typer.Exit(1)


def _print(checked: dict[str, Verification]) -> None:
    for path, verification in checked.items():
        for name, sentences in verification.faults.items():
            for sentence in sentences:
                notice(f"{path}: {name}: {sentence}")
        counts = f"{verification.cells} cells, {verification.episodes} episodes, {verification.costs} cost measurements"
        absent = f", {len(verification.missing)} cells not run" if verification.missing else ""
        if verification.superseded:
            absent += f", {len(verification.superseded)} records of settings that the suite has no more"
        faults = f"{len(verification.faults)} with faults" if verification.faults else "no fault"
        print_line(f"{path}: {counts}{absent}: {faults}")
        for sentence in verification.personal:
            print_line(f"{path}: {sentence} `robo-orl results pack` refuses it.")
    claimed = list(dict.fromkeys(words for verification in checked.values() for words in verification.claimed))
    print_line(f"Claimed, which no check can see: {'; '.join(claimed)}.")
