"""The commands `robo-orl results ...`: packed results, and their verification."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robo_orl.base.errors import UsageError
from robo_orl.base.text import notice, print_line, printable
from robo_orl.cli.options import Json, Workers, show

if TYPE_CHECKING:
    from robo_orl.results.verify import Verification

app = typer.Typer(help="Results: pack them into few files, unpack, verify and query them.", no_args_is_help=True)


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
    paths: Annotated[list[Path], typer.Argument(help="Working folders of `bench`, containers, folders of these.")],
    rerun: Annotated[
        int | None,
        typer.Option(min=1, help="Also play so many episodes of every cell again from its checkpoint, drawn anew."),
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(help="With --rerun: the folder below which checkpoints are (default: each path).")
    ] = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Compute scores, hashes, addresses and episodes again; one sentence a fault, exit 1 when there is one.

    What no check can see (times, versions, hardware) is listed as claimed. --rerun writes reruns.jsonl into each path,
    and counts an episode of another outcome or length as a fault.
    """
    from robo_orl.results.store import results_inside
    from robo_orl.results.verify import verify as verify_folder

    paths = [one for path in paths for one in results_inside(path) or [path]]
    checked = {str(path): verify_folder(path) for path in paths}
    show({path: verification.to_json() for path, verification in checked.items()}, as_json, lambda _: _print(checked))
    if any(verification.faults for verification in checked.values()):
        raise typer.Exit(1)
    played = [_play_again(path, rerun, runs, workers) for path in paths] if rerun is not None else []
    if not all(played):
        raise typer.Exit(1)


def _play_again(path: Path, count: int, runs: Path | None, workers: int | None) -> bool:
    """Whether every episode that was played has the outcome and length of its row; one line a cell on stderr."""
    from robo_orl.evaluate.rerun import replay
    from robo_orl.results.reruns import add_reruns
    from robo_orl.robomimic.evaluation import reference_player

    played, agree = [], True
    for cell in replay(path, count, runs, workers, references=reference_player):
        if cell.rerun is None:
            notice(f"{path}: {cell.name}: not played: {cell.reason}.")
            continue
        played.append(cell.rerun)
        agree = agree and not cell.differing
        same = len(cell.rerun.episodes) - len(cell.differing)
        notice(f"{path}: {cell.name}: {same} of {len(cell.rerun.episodes)} episodes have the same outcome and length.")
    if agree:
        notice(f"{path}: {add_reruns(path, played)} holds {len(played)} reruns.")
    return agree


QUERY_HELP = """Answer a question about results in SQL, by DuckDB: tables records, episodes, cost and points.

The engine reads these tables only: no file, no network; a query changes nothing. Three examples:

robo-orl results query "SELECT policy, k, n FROM records WHERE task = 'chain1' ORDER BY k DESC" results/methods

robo-orl results query "SELECT policy, avg(length) FROM episodes WHERE success GROUP BY policy" runs/quick

robo-orl results query "SELECT policy, size, max(memory_relative) FROM cost GROUP BY ALL" results --csv
"""


@app.command(help=QUERY_HELP)
def query(
    sql: Annotated[str | None, typer.Argument(help="One SELECT.", show_default=False)] = None,
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Results folders, packed or not, or folders of them.", show_default="results"),
    ] = None,
    columns: Annotated[bool, typer.Option("--columns", help="List the tables and their columns.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values with a header.")] = False,
    as_json: Json = False,
) -> None:
    """Answer one SELECT over the tables of results folders."""
    from robo_orl.cli.tables import listing
    from robo_orl.results.query import column_rows
    from robo_orl.results.query import query as ask

    if as_csv and as_json:
        raise UsageError("--csv and --json are two forms of one answer: give one of them.")
    if columns:
        show(column_rows(), as_json, listing)
        return
    if sql is None:
        raise UsageError("Give a query, as in `robo-orl results query --help`, or --columns for what there is to ask.")
    answer = ask(sql, folders or [Path("results")])
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows(
            [printable(value) if isinstance(value, str) else value for value in row]
            for row in [answer.columns, *answer.rows]
        )
    elif as_json:
        print(json.dumps(answer.to_json(), default=str))
    else:
        rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
        listing({f"{len(rows)} rows": rows})


@app.command()
def budgets(
    paths: Annotated[list[Path], typer.Argument(help="Results folders, and folders of runs with points on the way.")],
    as_json: Json = False,
) -> None:
    """Say from learning curves after how many steps a policy has stopped gaining.

    By held-out loss: no later point is lower by more than 1 % of the whole fall. By success: no later point lies above
    the interval of this one. Two points or more must follow; the budget is the later of the two steps.
    """
    from robo_orl.cli.tables import listing
    from robo_orl.results.budgets import read_budgets

    found = read_budgets(paths)
    rows = [
        {
            "name": " ".join(filter(None, (b.task, b.regime, b.policy, b.size))), "seed": _or_dash(b.seed),
            "by loss": _or_dash(b.by_loss), "by success": _or_dash(b.by_success),
            "budget": f"over {b.last:,}" if b.budget is None else f"{b.budget:,}",
        }
        for b in found
    ]  # fmt: skip
    show({"budgets": [b.to_json() for b in found]}, as_json, lambda _: listing({"steps until nothing is gained": rows}))


def _or_dash(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


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
