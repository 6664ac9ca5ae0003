"""The command `robo-orl eval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robo_orl.base.errors import UsageError
from robo_orl.cli.options import (
    EvalSets,
    Json,
    Loop,
    Seed,
    Workers,
    check_loop,
    check_starts,
    show,
    shows_progress,
)

if TYPE_CHECKING:
    from robo_orl.evaluate.result import EvaluationResult


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run or reference, or a checkpoint of robomimic.")],
    episodes: Annotated[int, typer.Option(min=1, help="Episodes; 500 or more for a leaderboard.")] = 200,
    workers: Workers = None,
    seed: Seed = 0,
    loop: Loop = "exact",
    video: Annotated[
        Path | None, typer.Option(help="Also write a few episodes as mp4 with the stage overlaid.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder to write (default: RUN/eval).")] = None,
    settings: EvalSets = [],
    task: Annotated[
        str, typer.Option(help="The task of a robomimic checkpoint, or one of a run on several (default: its first).")
    ] = "",
    paraphrases: Annotated[bool, typer.Option(help="Give the policy held-out paraphrases of the instruction.")] = False,
    starts: Annotated[
        str, typer.Option(help="Start states: test, or tuning for those that hyper-parameters are chosen on.")
    ] = "test",
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Load a robomimic checkpoint even if it executes code.")
    ] = False,
    value_error: Annotated[
        Path | None,
        typer.Option(help="Compare the critic with the Monte-Carlo returns of this data file; no other rollout."),
    ] = None,
    ranking: Annotated[
        int | None,
        typer.Option(
            min=1, help="Instead compare the critic's order of samples with the simulator's, in so many episodes."
        ),
    ] = None,
    value_states: Annotated[
        int,
        typer.Option(
            min=0, help="With --value-error: also roll out the policy from so many stored states of the file."
        ),
    ] = 0,
    held_out: Annotated[
        Path | None, typer.Option(help="Instead compare its actions with this data file, which it did not learn from.")
    ] = None,
    held_out_filter: Annotated[
        str | None, typer.Option(help="The same with the episodes of this mask, e.g. valid (default of env: none).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Roll out the last checkpoint from the task's stored start states; success with k, n and interval.

    A policy of a task without an environment (env: none) is compared with data that were held out instead.
    """
    from robo_orl.cli.tables import key_values
    from robo_orl.evaluate.result import in_words
    from robo_orl.robomimic.run_folder import is_reference

    check_starts(starts)
    asked = held_out is not None or held_out_filter is not None
    if asked or (value_error is None and not is_reference(run) and not _has_environment(run, task)):
        rollouts = settings or video or paraphrases or ranking or value_error or value_states or starts != "test"
        _compare_actions(run, held_out, held_out_filter, task, seed, out, rollouts, as_json)
        return
    if value_error is not None:
        rollouts = (settings and not value_states) or video or out or paraphrases or starts != "test"
        own = {"states": value_states, "workers": workers, "seed": seed, "loop": check_loop(loop)}
        own |= {"overrides": settings}
        _compare_values(run, value_error, task, rollouts, own, as_json)
        return
    if value_states:
        raise UsageError("--value-states is for --value-error, which names the data file whose states these are.")
    common: dict[str, Any]
    if ranking is not None:
        if video or out or paraphrases or is_reference(run):
            raise UsageError(
                "--ranking is of a critic of ours, and writes no file: leave --video, --out and the like out."
            )
        common = {"workers": workers, "seed": seed, "loop": check_loop(loop), "starts": starts}
        _rank(run, ranking, as_json, overrides=settings, task=task or None, **common)
        return
    common = {"workers": workers, "seed": seed, "loop": check_loop(loop), "video": video, "out": out}
    common |= {"progress": shows_progress(as_json)}
    if is_reference(run):
        _check_reference_options(settings, paraphrases, starts)
        result = _evaluate_reference(run, episodes, task=task, trust_pickle=trust_pickle, **common)
    else:
        from robo_orl.evaluate.success import evaluate as evaluate_run

        if trust_pickle:
            raise UsageError("--trust-pickle is for checkpoints of robomimic; ours hold numbers only.")
        common |= {"task": task or None, "paraphrases": paraphrases, "starts": starts}
        result = evaluate_run(run, episodes, overrides=settings, **common)
    show(result.to_json(), as_json, lambda _: key_values(in_words(result)))


def _has_environment(run: Path, task: str) -> bool:
    from robo_orl.engine.run_folder import read_run
    from robo_orl.engine.task_data import task_number

    config = read_run(run)
    return config.tasks[task_number(config, task or None)].task.has_environment


def _compare_actions(
    run: Path,
    data: Path | None,
    mask: str | None,
    task: str,
    seed: int,
    out: Path | None,
    rollouts: object,
    as_json: bool,
) -> None:
    """Errors on held-out data; nothing is rolled out."""
    from robo_orl.cli.tables import key_values
    from robo_orl.evaluate.held_out import held_out, in_words
    from robo_orl.robomimic.run_folder import is_reference

    if is_reference(run):
        raise UsageError("--held-out is for our policies; robomimic's own training reports its validation losses.")
    if rollouts:
        raise UsageError(
            "Held-out data are compared without an environment: leave out the options of rollouts; --held-out, "
            "--held-out-filter, --task, --seed and --out are taken."
        )
    result = held_out(run, data, mask, task or None, seed, out=out)
    show(result.to_json(), as_json, lambda _: key_values(in_words(result)))


def _compare_values(run: Path, data: Path, task: str, rollouts: object, own: dict[str, Any], as_json: bool) -> None:
    """own: what `own_policy_value` is asked for; without states nothing is rolled out."""
    from robo_orl.cli.tables import key_values
    from robo_orl.evaluate.value_error import value_error

    if rollouts:
        raise UsageError(
            "--value-error evaluates no start states: leave out the options of an evaluation; it takes --task and "
            "--value-states, and with these --set."
        )
    errors = value_error(run, data=data, task=task or None)
    result, lines = errors.to_json(), {"gamma": errors.gamma, **errors.overall.to_json()}
    if own["states"]:
        from robo_orl.evaluate.own_policy_value import in_words, own_policy_value

        measured = own_policy_value(run, data=data, task=task or None, **own)
        result, lines = result | {"own_policy": measured.to_json()}, lines | in_words(measured)
    show(result, as_json, lambda _: key_values(lines))


def _rank(run: Path, episodes: int, as_json: bool, **options: Any) -> None:
    from robo_orl.cli.tables import key_values
    from robo_orl.evaluate.ranking import in_words, ranking

    found = ranking(run, episodes, **options)
    show(found.model_dump(mode="json"), as_json, lambda _: key_values(in_words(found)))


def _check_reference_options(settings: list[str], paraphrases: bool, starts: str) -> None:
    """UsageError for an option that a reference does not take."""
    if paraphrases:
        raise UsageError("--paraphrases is for policies that read an instruction; a reference reads none.")
    if starts != "test":
        raise UsageError("--starts tuning is for our policies; a reference has its library's settings.")
    if settings:
        raise UsageError("--set selects among a policy's samples, which a reference does not draw; leave it out.")


def _evaluate_reference(run: Path, episodes: int, task: str, **options: Any) -> EvaluationResult:
    from robo_orl.config.presets import load_task
    from robo_orl.robomimic.evaluation import evaluate_reference

    return evaluate_reference(run, episodes, load_task(task) if task else None, **options)
