"""The command `robo-orl task new`: a task's file from a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robo_orl.base.errors import UsageError
from robo_orl.base.text import print_line
from robo_orl.cli.options import Json, show

app = typer.Typer(help="Tasks: write one from a data set.", no_args_is_help=True)


@app.callback()
def _commands() -> None:
    """Tasks of your own."""


@app.command()
def new(
    source: Annotated[Path, typer.Option("--from", help="A data set whose env_args say what it was recorded in.")],
    out: Annotated[Path, typer.Option(help="The YAML file to write; its name is the task's.")],
    as_json: Json = False,
) -> None:
    """Write the task of a data set: its robosuite environment, robots, rate and a time limit, without code.

    Where its environment is not here, or it is a robot, the task has none (env: none): it trains, and is judged on
    held-out data.
    """
    import yaml

    from robo_orl.base.files import atomic_file
    from robo_orl.data.new_task import task_of

    if out.suffix not in (".yaml", ".yml"):
        raise UsageError(f"--out {out} is no task's file: give it the ending .yaml.")
    if out.exists():
        raise UsageError(f"{out} exists already: remove it, or give --out another name.")
    values, lacking = task_of(source, out.stem)
    with atomic_file(out) as partial:
        partial.write_text(yaml.safe_dump(values, sort_keys=False, width=115))
    show({"path": str(out), "task": values, "no_environment": lacking or None}, as_json, _print)


def _print(result: dict) -> None:
    print_line(f"{result['path']}: {result['task']['env']}, {', '.join(result['task']['stages'])}")
    if result["no_environment"]:
        print_line(f"env: none, because {result['no_environment']}: it trains, and eval compares with held-out data.")
    print_line(
        f"Next: robo-orl data validate DATA, then robo-orl train --policy bc --task {result['path']} --data DATA"
    )
