"""The command `robo-orl online`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from robo_orl.cli.options import Json, Loop, Seed, Sets, Workers, check_loop, show, shows_progress
from robo_orl.engine.launch import process_rank

HELP = """Let a trained run go on to learn in its task: it collects episodes and learns from them.

A method says how: `robo-orl list online` names them, each a file in policies/online/. It is laid on the run's
policy: `robo-orl online runs/bc --method qc --out runs/bc_qc` begins with the cloned policy and learns a critic from
then on. Episodes begin at start states of training; success is measured at 0, 1,000, 2,000, 5,000, 10,000, 20,000 steps
and every 10,000 from there on, from the 200 start states of `robo-orl eval`, the same at every point.

OUT is a run's folder as `train` makes it, with online.jsonl (rounds and points), online.json (the account), points/ and
replay/ beside. The same command goes on with an interrupted run, and with more --steps with a finished one."""


def online(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    method: Annotated[
        str | None, typer.Option(help="A name of `robo-orl list online`, or a path; default: the policy's own.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="The file of the whole policy that goes on, in the place of a method.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Environment steps to learn from, warm-up included.")] = 60_000,
    seed: Seed = 0,
    workers: Workers = None,
    loop: Loop = "exact",
    data: Annotated[Path | None, typer.Option(help="The run's data, where they lie elsewhere now.")] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(help="A folder of `robo-orl eval` of RUN, whose episodes are not played again; default: its own."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="The task to go on in, of a run that learned several; the others are judged at every point."),
    ] = None,
    settings: Sets = [],
    as_json: Json = False,
) -> None:
    from robo_orl.config.presets import load_policy
    from robo_orl.online.loop import go_online
    from robo_orl.online.start import resolve_start

    whole = None if policy is None else load_policy(policy)
    start = resolve_start(run, method, seed, data, tuple(settings), whole, task)
    account = go_online(start, out, steps, workers, check_loop(loop), shows_progress(as_json), evaluation=evaluation)
    if process_rank() == 0:
        show(account, as_json, _tell)


def _tell(account: dict[str, Any]) -> None:
    """The account of a run, and its last point beside the first."""
    from robo_orl.cli.tables import key_values

    first, last = account["points"][0], account["points"][-1]
    lines = {
        "policy": account["policy"],
        **({"success of the run itself": _score(account["start"])} if account.get("start") else {}),
        "success at the switch": _score(first),
        f"success at {last['at']:,} steps": f"{_score(last)}; lost {last['lost']}, won {last['won']}",
        **_of_others(last),
        "environment steps": f"{account['env_steps']:,} in {account['episodes']:,} episodes, "
        f"{account['warm_up_steps']:,} of them warm-up",
        "updates": f"{account['updates']:,}, {account['critic_only_updates']:,} of them of the critic alone",
        **_left_out(account),
        "seconds": f"{account['wall_s']:.0f} for collecting and learning (simulators {account['simulation_s']:.0f}, "
        f"acting {account['acting_s']:.0f}, learning {account['learning_s']:.0f}); evaluation "
        f"{account['evaluation_s']:.0f}",
        "memory": f"{account['peak_memory_bytes'] / 1e9:.2f} GB at its peak, simulators excluded",
    }
    key_values(lines)


def _of_others(point: dict[str, Any]) -> dict[str, str]:
    """The other tasks of the start at a point; nothing where there is none."""
    return {
        f"{name}, not gone on in": f"{_score(one)}; lost {one['lost']}, won {one['won']} of the start's"
        for name, one in point.get("others", {}).items()
    }


def _left_out(account: dict[str, Any]) -> dict[str, str]:
    """What was due and not made, and collected and not learned from; nothing where there was none."""
    lines = {}
    if account["skipped"]:
        lines["not made"] = f"{account['skipped']:,} of the updates: the policy had moved far enough in its round"
    if account["discarded_groups"]:
        steps = f"{account['discarded_steps']:,} environment steps"
        lines["not learned from"] = f"{account['discarded_groups']:,} groups that ended alike, {steps}"
    return lines


def _score(point: dict[str, Any]) -> str:
    score = point["success"]
    return f"{score['k']} of {score['n']} (95 % interval {100 * score['low']:.0f} to {100 * score['high']:.0f} %)"
