"""Evaluate a run: the last checkpoint from the task's stored start states, one row per episode, scores with intervals.

RUN/eval/episodes.jsonl   the episodes asked for, one row each
RUN/eval/eval.json        scores (the schema is results.record.Evaluation), speed, versions, what was evaluated
RUN/eval/finished.jsonl   every row of this request so far: an interrupted evaluation continues from it
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from robo_orl.base.errors import UsageError, unknown
from robo_orl.base.files import file_sha256
from robo_orl.base.machine import cores
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
from robo_orl.engine.run_folder import Spec, read_spec
from robo_orl.engine.task_data import task_number, tasks_of
from robo_orl.evaluate.acting import Actor
from robo_orl.evaluate.scores import FinishedRows, Request, is_current, row_of, speed_of, write_scores
from robo_orl.models.backbones import BACKBONES
from robo_orl.rollout.episodes import Finished, Policy, Rollouts
from robo_orl.rollout.simulator import Hello, Scene, TaskScene

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
) -> dict[str, Any]:
    """Roll out the newest checkpoint of a run from start states 0 .. episodes-1 of its task; returns eval.json.

    workers: simulator processes, default one per core; the result does not depend on it. overrides: `selection.*` only.
    out: the folder written, default run_dir/eval. Episodes of the same request that are already there are kept.
    task: one of those that the run was trained on, default the first. paraphrases: tell the policy sentences that no
    policy was trained on, episode by episode the next one, and not the task's instruction. starts: `test`, or `tuning`
    for the start states that hyper-parameters are chosen on.

    Raises:
        UsageError: no such run, more episodes than start states, an override of anything but the selection, an
            observation that the policy was not trained on.
        RunError: an episode crashed its simulator three times, the renderer is missing, the disk is full.
    """
    run_dir = Path(run_dir)
    agent, run = load_agent(run_dir)
    checkpoint = checkpoints(run_dir)[-1]
    policy = _selected(run.policy, overrides)
    number = task_number(run, task)
    chosen, seen, spec = tasks_of(run)[number].task, policy.observation, read_spec(run_dir)
    sentences = _sentences(policy, chosen, paraphrases)
    step = int(checkpoint.name.split("_")[1])
    request = Request(policy, chosen, file_sha256(checkpoint / AGENT), step, seed, sentences, _made_by(spec, number))
    agent.select_by(policy.selection)
    if torch.cuda.is_available():
        agent = agent.to("cuda")
    told = BACKBONES[policy.backbone.kind].tokeniser(policy.backbone)(sentences) if sentences else None
    actor = Actor(agent, policy.action_head.execute, seed, told=told)
    scene = TaskScene(chosen, loop, _view(policy, request.render), seen.history, starts)
    return roll_out(request, actor, scene, spec.obs, episodes, workers, out or run_dir / "eval", video, progress)


def _sentences(policy: PolicyConfig, task: TaskConfig, paraphrases: bool) -> tuple[str, ...]:
    """What the policy is told; nothing where it does not listen."""
    if policy.observation.instruction:
        return tuple(held_out_sentences(task)) if paraphrases else (task.instruction,)
    if paraphrases:
        raise UsageError(f"Policy '{policy.name}' reads no instruction: --paraphrases would change nothing.")
    return ()


def _made_by(spec: Spec, number: int) -> dict[str, Any] | None:
    """The fingerprint of the pictures that the run learned the task from."""
    return spec.render[number] if spec.render else None


def _view(policy: PolicyConfig, render: dict[str, Any] | None) -> View | None:
    """The pictures that the policy decides on, in the look of its data; those of robomimic's own files are full."""
    seen = policy.observation
    if not seen.cameras:
        return None
    return View(cameras=tuple(seen.cameras), size=seen.image_size, look=render["look"] if render else "full")


def _selected(policy: PolicyConfig, overrides: Sequence[str]) -> PolicyConfig:
    """The policy with another selection among its samples."""
    items = [item.removeprefix("policy.") for item in overrides]
    for item in items:
        if not item.startswith("selection."):
            raise unknown("setting for an evaluation", item.partition("=")[0], _selection_keys())
    return parse(PolicyConfig, apply_overrides(policy.model_dump(mode="json"), items), "--set")


def _selection_keys() -> list[str]:
    return [f"selection.{key}" for key in SelectionConfig.model_fields]


def roll_out(
    request: Request,
    actor: Policy,
    scene: Scene,
    spec: dict[str, int],
    episodes: int,
    workers: int | None,
    out: Path,
    video: Path | None,
    progress: bool,
) -> dict[str, Any]:
    """The episodes of a request that `out` does not hold yet, then its two files; returns eval.json."""
    workers = min(workers or cores(), episodes)
    slots = min(SLOTS, -(-episodes // workers))
    began = perf_counter()
    with (
        _one_thread(),
        _video_files(video, request, episodes) as videos,
        Rollouts(scene, actor, workers, slots, request.gamma, videos) as rollouts,
    ):
        hello = rollouts.hello()
        _check_spec(spec, hello, request.task.name)
        _tell_difference(request, hello)
        rows = FinishedRows(out / "finished.jsonl", request.digest(hello))
        todo = [i for i in range(episodes) if i not in rows or i in videos]
        ready = perf_counter()
        for finished in _shown(rollouts.run(todo), rows, episodes, request.task.name, progress):
            rows.add(row_of(finished, request, hello))
    asked = [rows[i] for i in range(episodes)]
    if not todo and is_current(out, asked):
        return json.loads((out / "eval.json").read_text())
    speed = speed_of(rollouts, len(todo), perf_counter() - ready, ready - began)
    return write_scores(request, hello, asked, out, speed | {"episodes_reused": episodes - len(todo)}, str(actor.dtype))


@contextmanager
def _video_files(folder: Path | None, request: Request, episodes: int) -> Iterator[dict[int, Path]]:
    """Episode -> the mp4 it becomes; what a killed process left of one is removed."""
    if folder is None:
        yield {}
        return
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{request.task.name}-{request.policy.name}"
    try:
        yield {i: folder / f"{stem}-episode_{i:03d}.mp4" for i in range(min(VIDEOS, episodes))}
    finally:
        for path in folder.glob(f".{stem}-*.partial.mp4"):
            path.unlink(missing_ok=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    """The simulators have the other cores: more threads for the policy would only take them away."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _check_spec(spec: dict[str, int], hello: Hello, task: str) -> None:
    """UsageError where the simulator gives something else for a key that the policy sees; it need not see them all."""
    wrong = next((key for key in spec if spec[key] != hello.spec.get(key)), None)
    if wrong is not None:
        raise UsageError(
            f"The policy was trained on other observations than {task} gives: '{wrong}' has size {spec[wrong]} "
            f"in the training data and {hello.spec.get(wrong, 0)} in the simulator; if it was trained on another task, "
            "give that with --task; if not, generate the data again and train."
        )


def _tell_difference(request: Request, hello: Hello) -> None:
    """Say on stderr where the policy learned from pictures of another renderer."""
    found = request.render_difference(hello)
    if found:
        print(f"robo-orl: the policy learned from other pictures than it is shown: {found}.", file=sys.stderr)


def _shown(
    finished: Iterator[Finished], rows: FinishedRows, episodes: int, task: str, progress: bool
) -> Iterator[Finished]:
    """The same episodes, with a progress bar on stderr that counts successes."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not progress, transient=True) as bar:
        done = [rows[i] for i in range(episodes) if i in rows]
        successes = sum(row.success_once for row in done)
        line = bar.add_task(f"evaluating {task}", total=episodes, completed=len(done))
        for item in finished:
            yield item
            successes += item.outcome.success_once
            bar.update(line, advance=1)
            bar.update(line, description=f"evaluating {task}: {successes} successes")
