"""Evaluate a run: the last checkpoint from the task's stored start states, one row per episode, scores with intervals.

RUN/eval/episodes.jsonl   the episodes, one row each
RUN/eval/eval.json        scores (the schema is results.record.Evaluation), speed, versions, what was evaluated
RUN/eval/finished.jsonl   every row of this plan so far: an interrupted evaluation continues from it
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from robo_orl.base.errors import UsageError, unknown
from robo_orl.base.files import file_sha256
from robo_orl.base.locks import folder_lock
from robo_orl.base.machine import cores
from robo_orl.base.text import as_label, notice
from robo_orl.config import (
    Loop,
    PolicyConfig,
    SelectionConfig,
    StartBankName,
    TaskConfig,
    View,
    apply_overrides,
    parse,
)
from robo_orl.config.instructions import held_out_sentences
from robo_orl.engine.checkpoint import AGENT, checkpoints, load_agent
from robo_orl.engine.run_folder import read_spec
from robo_orl.engine.task_data import task_number
from robo_orl.evaluate.policy import AgentPolicy, SearchedPolicy
from robo_orl.evaluate.result import EvaluationResult, Speed
from robo_orl.evaluate.scores import (
    EvaluationPlan,
    FinishedRows,
    read_current,
    render_difference,
    row_of,
    write_scores,
)
from robo_orl.models.backbones import BACKBONES
from robo_orl.rollout.env_spec import EnvSpec, TaskEnvSpec
from robo_orl.rollout.episodes import FinishedEpisode, Policy, Rollouts
from robo_orl.rollout.look_ahead import LookAheadRollouts
from robo_orl.rollout.simulator import SimulatorInfo

VIDEOS = 4  # episodes that --video writes
SLOTS = 3  # episodes under way per simulator process


def evaluate(
    run_dir: Path,
    episodes: int,
    workers: int | None = None,
    seed: int = 0,
    loop: Loop = "exact",
    video: Path | None = None,
    progress: bool = True,
    overrides: Sequence[str] = (),
    out: Path | None = None,
    task: str | None = None,
    paraphrases: bool = False,
    starts: StartBankName = "test",
    checkpoint: Path | None = None,
) -> EvaluationResult:
    """Roll out the newest checkpoint of a run from start states 0 .. episodes-1 of its task, and write its files.

    workers: simulator processes, default one per core; the result does not depend on it. overrides: `selection.*` only.
    out: the folder written, default run_dir/eval. Episodes of the same plan that are already there are kept.
    task: one of those that the run was trained on, default the first. paraphrases: the policy reads sentences that no
    policy was trained on, episode by episode the next one, and not the task's instruction. starts: `test`, or `tuning`
    for the start states that hyper-parameters are chosen on. checkpoint: another one than the newest. video: the
    folder of the mp4 files of the first episodes.

    Raises:
        UsageError: no such run, more episodes than start states, an override of anything but the selection, an
            observation that the policy was not trained on.
        RunError: an episode crashed its simulator three times, the renderer is missing, the disk is full.
    """
    run_dir = Path(run_dir)
    ready = prepare(run_dir, seed, loop, overrides, task, paraphrases, starts, checkpoint)
    where = out or run_dir / "eval"
    return roll_out(
        ready.plan, ready.policy, ready.env_spec, ready.observations, episodes, workers, where, video, progress
    )


@dataclass(frozen=True)
class Prepared:
    """All that an evaluation of a run is made of. observations: the vectors that the policy reads, key -> size."""

    plan: EvaluationPlan
    policy: AgentPolicy
    env_spec: TaskEnvSpec
    observations: dict[str, int]


def prepare(
    run_dir: Path,
    seed: int = 0,
    loop: Loop = "exact",
    overrides: Sequence[str] = (),
    task: str | None = None,
    paraphrases: bool = False,
    starts: str = "test",
    checkpoint: Path | None = None,
) -> Prepared:
    """Load what `evaluate` rolls out; options and errors are its own. starts: any bank of envs/start_banks.py."""
    agent, run = load_agent(run_dir, checkpoint)
    checkpoint = checkpoint or checkpoints(run_dir)[-1]
    policy = selected(run.policy, overrides)
    number = task_number(run, task)
    task_config, spec = run.tasks[number].task, read_spec(run_dir)
    sentences = _sentences(policy, task_config, paraphrases)
    step = int(checkpoint.name.split("_")[1])
    render = spec.render[number] if spec.render else None
    plan = EvaluationPlan(policy, task_config, file_sha256(checkpoint / AGENT), step, seed, sentences, render)
    agent.select_by(policy.selection)
    if torch.cuda.is_available():
        agent = agent.to("cuda")
    actor, env_spec = player(agent, plan, loop, starts, tuple(spec.obs))
    return Prepared(plan, actor, env_spec, spec.obs)


def player(
    agent: torch.nn.Module, plan: EvaluationPlan, loop: Loop, starts: str, keys: tuple[str, ...] = ()
) -> tuple[AgentPolicy | SearchedPolicy, TaskEnvSpec]:
    """An agent as the policy of a plan, and the environment that it acts in. keys: the vectors that it reads."""
    policy = plan.policy
    tokens = BACKBONES[policy.backbone.kind].tokeniser(policy.backbone)(plan.sentences) if plan.sentences else None
    execute = policy.action_head.execute
    if policy.selection.look_ahead:
        actor = SearchedPolicy(agent, policy.selection, execute, plan.seed, instructions=tokens)
    else:
        actor = AgentPolicy(agent, execute, plan.seed, instructions=tokens)
    return actor, TaskEnvSpec(plan.task, loop, view_of(policy, plan.render), policy.observation.history, starts, keys)


def _sentences(policy: PolicyConfig, task: TaskConfig, paraphrases: bool) -> tuple[str, ...]:
    """The instructions that the policy reads, none where it reads none."""
    if policy.observation.instruction:
        return tuple(held_out_sentences(task)) if paraphrases else (task.instruction,)
    if paraphrases:
        raise UsageError(f"Policy '{policy.name}' reads no instruction: --paraphrases would change nothing.")
    return ()


def view_of(policy: PolicyConfig, render: dict[str, Any] | None) -> View | None:
    """The pictures that the policy decides on, in the look of its data; those of robomimic's own files are full."""
    observation, look = policy.observation, render["look"] if render else "full"
    if not observation.cameras:
        return None
    return View(cameras=tuple(observation.cameras), size=observation.image_size, look=look)


def selected(policy: PolicyConfig, overrides: Sequence[str]) -> PolicyConfig:
    """The policy with another selection among its samples; UsageError for other settings."""
    items = [item.removeprefix("policy.") for item in overrides]
    for item in items:
        if not item.startswith("selection."):
            raise unknown("setting for an evaluation", item.partition("=")[0], _selection_keys())
    return parse(PolicyConfig, apply_overrides(policy.model_dump(mode="json"), items), "--set")


def _selection_keys() -> list[str]:
    return [f"selection.{key}" for key in SelectionConfig.model_fields]


def roll_out(
    plan: EvaluationPlan,
    policy: Policy,
    env_spec: EnvSpec,
    observations: dict[str, int],
    episodes: int,
    workers: int | None,
    out: Path,
    video: Path | None,
    progress: bool,
) -> EvaluationResult:
    """The episodes of a plan that `out` does not hold yet, then its two files.

    observations: the vectors that the policy reads, key -> size. policy: has the attribute dtype, of its arithmetic.
    Raises as `evaluate` does.
    """
    workers = min(workers or cores(), episodes)
    slots = min(SLOTS, -(-episodes // workers))
    began = perf_counter()
    with (
        one_thread(),
        _video_files(video, plan, episodes) as videos,
        rollouts_of(plan, policy, env_spec, workers, slots, videos) as rollouts,
        ExitStack() as stack,
    ):
        info = rollouts.info()
        check_observations(observations, info, plan.task.name)
        check_actions(policy, info, plan.task.name)
        warn_of_other_pictures(plan.render, info)
        stack.enter_context(folder_lock(out, "evaluating"))  # after the checks: what is refused leaves no folder
        rows = FinishedRows(out / "finished.jsonl", plan.digest(info))
        missing = [i for i in range(episodes) if i not in rows or i in videos]
        ready = perf_counter()
        for finished in _with_progress(rollouts.run(missing), rows, episodes, plan.task.name, progress):
            rows.add(row_of(finished, plan, info))
        played = [rows[i] for i in range(episodes)]
        if not missing and (current := read_current(out, played)) is not None:
            return current
        reused = episodes - len(missing)
        speed = Speed.of(rollouts, len(missing), reused, perf_counter() - ready, ready - began)
        return write_scores(plan, info, played, out, speed, str(policy.dtype))


def rollouts_of(
    plan: EvaluationPlan, policy: Policy, env_spec: EnvSpec, workers: int, slots: int, videos: dict[int, Path]
) -> Rollouts:
    """Rollouts of the plan's policy, by a search where its selection looks ahead."""
    common = (env_spec, policy, workers, slots, plan.gamma, videos)
    selection = plan.policy.selection
    if not selection.look_ahead:
        return Rollouts(*common)
    return LookAheadRollouts(*common, look_ahead=selection.look_ahead, every=selection.look_every)


@contextmanager
def _video_files(folder: Path | None, plan: EvaluationPlan, episodes: int) -> Iterator[dict[int, Path]]:
    """Episode -> the mp4 it becomes; what a killed process left of one is removed."""
    if folder is None:
        yield {}
        return
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{plan.task.name}-{plan.policy.name}"
    try:
        yield {i: folder / f"{stem}-episode_{i:03d}.mp4" for i in range(min(VIDEOS, episodes))}
    finally:
        for path in folder.glob(f".{stem}-*.partial.mp4"):
            path.unlink(missing_ok=True)


@contextmanager
def one_thread() -> Iterator[None]:
    """The simulators have the other cores: more threads for the policy would only take them away."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def check_observations(observations: dict[str, int], info: SimulatorInfo, task: str) -> None:
    """UsageError where the simulator gives something else for a key that the policy reads; it need not read all."""
    wrong = next((key for key in observations if observations[key] != info.spec.get(key)), None)
    if wrong is not None and wrong not in info.spec:
        has = ", ".join(key for key in observations if key in info.spec) or "none of the others either"
        raise UsageError(
            f"The policy reads '{wrong}', which the environment of {task} does not give (it has {has}): train without "
            f"it, by --set policy.observation.low_dim=[...], or judge it on data with --held-out."
        )
    if wrong is not None:
        raise UsageError(
            f"The policy was trained on other observations than {task} gives: '{wrong}' has size {observations[wrong]} "
            f"in the training data and {info.spec.get(wrong, 0)} in the simulator; if it was trained on another task, "
            "give that with --task; if not, generate new data and train on them."
        )


def check_actions(policy: Policy, info: SimulatorInfo, task: str) -> None:
    """UsageError where the simulator takes other actions than the policy gives (another robot or controller)."""
    size = getattr(policy, "action_dim", None)  # a reference's is checked by its library
    if size is not None and size != info.action_dim:
        raise UsageError(
            f"The policy was trained on actions of {size} numbers, and {task} takes {info.action_dim}: its data are of "
            "another robot or controller; name that in the task (robots, controller) and train on data of it."
        )


def warn_of_other_pictures(render: dict[str, Any] | None, info: SimulatorInfo) -> None:
    """Write on stderr where the policy learned from pictures of another renderer than the simulator's."""
    difference = render_difference(render, info)
    if difference:
        notice(f"the policy learned from other pictures than it is shown: {difference}.")


def _with_progress(
    finished: Iterator[FinishedEpisode], rows: FinishedRows, episodes: int, task: str, progress: bool
) -> Iterator[FinishedEpisode]:
    """The same episodes, with a progress bar on stderr that counts successes."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not progress, transient=True) as bar:
        done = [rows[i] for i in range(episodes) if i in rows]
        successes = sum(row.success_once for row in done)
        line = bar.add_task(as_label(f"evaluating {task}"), total=episodes, completed=len(done))
        for item in finished:
            yield item
            successes += item.outcome.success_once
            bar.update(line, advance=1)
            bar.update(line, description=as_label(f"evaluating {task}: {successes} successes"))
