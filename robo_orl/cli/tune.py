"""The command `robo-orl tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robo_orl.cli.options import Json, Seed, Workers, show, shows_progress


def tune(
    suite: Annotated[str, typer.Option(help="The suite that will use the result: its policies, data and training.")],
    policies: Annotated[
        str | None,
        typer.Option(help="Comma-separated names of the suite's policies (default: those of its first group)."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="Comma-separated tasks of the suite; a trial is judged on each (default: its first)."),
    ] = None,
    regime: Annotated[
        str | None, typer.Option(help="One of the suite's regimes (default: its first); a search is of one.")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials of each policy; the first one is its file as it is.")] = 8,
    episodes: Annotated[
        int, typer.Option(min=1, max=100, help="Episodes that a trial is judged by on each task.")
    ] = 50,
    out: Annotated[Path | None, typer.Option(help="Results folder (default: runs/tune-SUITE).")] = None,
    workers: Workers = None,
    seed: Seed = 0,
    settings: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Laid on every policy, e.g. optim.steps=1000.")
    ] = [],
    spaces: Annotated[bool, typer.Option("--spaces", help="Print what would be searched, and search nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Choose hyper-parameters: every policy has the same number of trials, on start states that no result is from.

    Resumable. Writes OUT/tuned.yaml; a suite that names it under `tuned:` uses the chosen values, and its report says
    how many trials they are from. A trial is trained and evaluated as a cell of the suite, and kept. It is judged by
    what the suite's boards are sorted by: the first of its endpoints.
    """
    from robo_orl.cli.tables import search_spaces, tuned_values
    from robo_orl.sweep.search import SearchRequest, make_plan, spaces_of
    from robo_orl.sweep.tune import tune as run_search

    request = SearchRequest(
        suite=suite,
        policies=policies,
        task=task,
        regime=regime,
        trials=trials,
        episodes=episodes,
        seed=seed,
        settings=settings,
    )
    plan = make_plan(request)
    if spaces:
        show(spaces_of(plan), as_json, search_spaces)
        return
    folder = out or Path("runs") / f"tune-{Path(suite).stem}"
    result = run_search(plan, folder, workers=workers, progress=shows_progress(as_json))
    show(result.to_json(), as_json, tuned_values)
