"""The loop: collect a round with the weights of before, learn meanwhile from the rounds of before, judge, and go on.

OUT is a run's folder like any other (config.json, spec.json, checkpoints/), which `robo-orl eval` takes, with
online.jsonl, replay/ and points/ beside. Everything is a function of the configuration and the seed: neither the number
of simulator processes nor a kill changes a weight or a collected action (schedule.py says why).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from robo_orl.base.errors import UsageError
from robo_orl.base.files import read_json, write_json
from robo_orl.base.machine import cores
from robo_orl.base.text import notice
from robo_orl.config import Loop, RunConfig
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.windows import PairedWindows
from robo_orl.engine.checkpoint import CheckpointState, checkpoints, read_state, remove_partial, save_checkpoint
from robo_orl.engine.interruption import deferred_interruption, describe_interruption
from robo_orl.engine.run_folder import check_resumable, first_difference, make_spec, run_identity, run_lock, write_run
from robo_orl.engine.task_data import make_windows, open_data
from robo_orl.evaluate.policy import instruction_of
from robo_orl.evaluate.success import SLOTS, check_observations, one_thread
from robo_orl.objectives import OBJECTIVES
from robo_orl.online.account import ROWS, SUMMARY, Account, open_account
from robo_orl.online.collection import CollectingPolicy, Collection
from robo_orl.online.experience import Experience, collected_windows, successes_alone
from robo_orl.online.features import FrozenTokens
from robo_orl.online.learner import Learner, check_trainable
from robo_orl.online.points import Points
from robo_orl.online.progress import OnlineProgress
from robo_orl.online.replay import Replay, open_replay
from robo_orl.online.schedule import Schedule, Slot
from robo_orl.online.start import Start, initial_agent
from robo_orl.rollout.env_spec import EnvSpec, TaskEnvSpec
from robo_orl.rollout.episodes import Rollouts

RECYCLE_AFTER = 500  # episodes of a simulator process: a fresh one takes seconds to start
Experiences = Callable[[int], Experience | None]  # collected episodes -> what updates draw from, None: nothing yet


@dataclass
class Online:
    """A run under way."""

    start: Start
    out: Path
    steps: int
    identity: str
    learner: Learner
    replay: Replay
    collection: Collection
    points: Points
    account: Account
    schedule: Schedule
    experience: Experiences
    progress: OnlineProgress


def go_online(
    start: Start,
    out: Path,
    steps: int,
    workers: int | None = None,
    loop: Loop = "exact",
    progress: bool = True,
    env_spec: EnvSpec | None = None,
) -> dict[str, Any]:
    """Collect `steps` environment steps and learn from them in the folder `out`; returns the account (online.json).

    A killed or interrupted call goes on where it stopped, and one with more `steps` goes on with a finished run.
    workers: simulator processes, default one per core. env_spec: another simulator than the task's.

    Raises:
        UsageError: `out` holds another run, the data are others now, or the run's parts do not go online.
        RunError: learning diverged, a simulator died three times at one episode, or the disk is full.
    """
    run, out = start.run, Path(out)
    check_trainable(run.policy)
    check_resumable(out, run, start.spec)
    if (summary := finished(out, run, steps)) is not None:
        return summary
    data = _open_windows(start)
    spec = env_spec or TaskEnvSpec(run.task, loop, history=run.policy.observation.history)
    rollouts = Rollouts(spec, _nobody, workers or cores(), SLOTS, recycle_after=RECYCLE_AFTER)
    with run_lock(out), one_thread(), rollouts, describe_interruption(lambda: checkpoints(out)):
        online = _open(start, out, steps, rollouts, data, progress)
        with deferred_interruption() as interruption, online.progress:
            _learn(online, lambda: interruption.requested)
        summary = {"run": online.identity, "method": start.method, "policy": run.policy.name, "task": run.task.name}
        summary |= {"steps": steps, **online.account.sums(), "points": _curve(online.account)}
        write_json(out / SUMMARY, summary)
        return summary


def finished(out: Path, run: RunConfig, steps: int) -> dict[str, Any] | None:
    """The account of a run of so many steps that is done, None where it is not. UsageError where it has gone on."""
    if not (out / SUMMARY).exists():
        return None
    summary = read_json(out / SUMMARY)
    if summary.get("run") != run_identity(out, run):
        raise UsageError(f"{out / SUMMARY} is of another run than its folder; delete it, or choose another --out.")
    if summary["steps"] > steps:
        raise UsageError(f"{out} has learned from {summary['steps']} steps, and --steps {steps} is less.")
    return summary if summary["steps"] == steps else None


def _learn(online: Online, interrupted: Callable[[], bool]) -> None:
    """The slots up to the one that has nothing left to collect."""
    number = _resume(online)
    if 0 not in online.account.points:
        _judge(online, 0, 0, interrupted)
    while True:
        slot = online.schedule.slots(online.replay.episodes)[number]
        last = slot.collected >= online.steps
        _work(online, slot, collects=not last, interrupted=interrupted)
        for at in online.start.run.policy.online.evaluation.until(online.steps):
            if at <= slot.collected and at not in online.account.points:
                _judge(online, at, slot.collected, interrupted)
        every = online.start.run.checkpoint_every
        if last or online.replay.frames >= online.steps or slot.after // every > slot.before // every:
            _save(online)  # the one before the last slot is where a run of more steps goes on
        if last:
            return
        number += 1


def _work(online: Online, slot: Slot, collects: bool, interrupted: Callable[[], bool]) -> None:
    """Collect the round of a slot and make its updates, the simulators going on between two updates."""
    began, learning, collection, learner = perf_counter(), 0.0, online.collection, online.learner
    size, acting_before = online.start.run.policy.online.collection.episodes, collection.policy_s
    if collects:
        if slot.number * size + size > len(online.replay.episodes):
            collection.policy.take(learner.agent)
        collection.begin(slot.number * size, size)
    due = slot.after - slot.before
    experience = online.experience(slot.number * size) if due else None
    for update in range(due):
        since = perf_counter()
        learner.update(experience, critic_only=update < slot.critic_only)
        learning += perf_counter() - since
        online.progress.updated(learner.updates)
        if collects and not collection.done:
            collection.turn(wait_s=0)
            collection.turn(wait_s=0)
        if interrupted():
            raise KeyboardInterrupt
    while collects and not collection.done:
        collection.turn(wait_s=0.2)
        if interrupted():
            raise KeyboardInterrupt
    seconds = {"acting_s": collection.policy_s - acting_before, "learning_s": learning}
    of_round = online.schedule.round_of(slot.number, online.replay.episodes) if collects else []
    online.account.add_round(slot, of_round, seconds | {"wall_s": perf_counter() - began}, learner.metrics())
    online.progress.collected(online.replay)


def _judge(online: Online, at: int, collected: int, interrupted: Callable[[], bool]) -> None:
    """Measure success of the weights as they are; episodes that are done outlive an interruption."""
    learner = online.learner
    with online.progress.judging(at, online.points.episodes) as show:

        def told(successes: int, done: int) -> None:
            show(successes, done)
            if interrupted():
                raise KeyboardInterrupt

        point = online.points.judge(learner.agent, at, collected, learner.updates, told)
    online.progress.judged(online.account.add_point(point))


# ------------------------------------------------------------------------------------------------------- start and end


def _open(
    start: Start, out: Path, steps: int, rollouts: Rollouts, data: PairedWindows | None, progress: bool
) -> Online:
    """Agent, optimiser, replay and account as far as they are; the folder is begun where there is none."""
    run, info = start.run, rollouts.info()
    check_observations(start.spec.obs, info, run.task.name)
    identity, device = run_identity(out, run), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    replay = open_replay(out / "replay", identity, info)
    write_run(out, run, start.spec)
    if data is not None:
        write_json(out / "data.json", {"files": [data.arrays.summary()]})
    remove_partial(out)
    agent = initial_agent(start, out)
    learner = Learner(run, agent, device)
    instructions = instruction_of(run, run.task)
    actor = CollectingPolicy(agent, run.policy, run.seed, instructions)
    return Online(
        start=start,
        out=out,
        steps=steps,
        identity=identity,
        learner=learner,
        replay=replay,
        collection=Collection(rollouts, actor, replay, run.task, run.seed),
        points=Points(rollouts, run, out, instructions),
        account=Account(out / ROWS),
        schedule=Schedule(
            run.policy.online, run.policy.action_head.execute, data is not None, successes_alone(run.policy)
        ),
        experience=_experiences(start, replay, data, learner),
        progress=OnlineProgress(run.task.name, steps, progress),
    )


def _open_windows(start: Start) -> PairedWindows | None:
    """The windows of the run's data, None where it learns from what it collects alone."""
    run = start.run
    if run.policy.online.replay.mix == "online":
        return None
    path = Path(run.tasks[0].data)
    if not path.exists():
        raise UsageError(
            f"The data of {run.init} lay in {path}, where there is nothing now: give their place with --data, or learn "
            "from collected episodes alone with --set policy.online.replay.mix=online."
        )
    _check_rewards(run, path)
    opened = open_data(run)
    changed = first_difference(make_spec(run, opened).identity(), start.spec.identity())
    if changed:
        raise UsageError(
            f"{path} is not what {run.init} was trained on ({changed} differs): give that file with --data."
        )
    return make_windows(run, opened)


def _check_rewards(run: RunConfig, path: Path) -> None:
    """UsageError where the data's rewards are not of the kind that the simulator gives."""
    if not OBJECTIVES[run.policy.objective.name].reads_rewards:
        return
    with layout.open_hdf5(path) as file:
        if layout.REWARD not in file["data"].attrs:
            return
    raise UsageError(
        f"The rewards in {path} come from another source than the simulator, which rewards what is collected: train on "
        "the file as it was recorded, or learn from episodes alone with --set policy.online.replay.mix=online."
    )


def _experiences(start: Start, replay: Replay, data: PairedWindows | None, learner: Learner) -> Experiences:
    """What updates draw from once so many episodes are collected."""
    run, keys = start.run, list(start.spec.obs)
    cached = run.policy.online.trains == "cached"
    tokens = FrozenTokens(learner.agent, learner.device) if cached else None
    of_data = FrozenTokens(learner.agent, learner.device)(data) if cached and data is not None else data

    def experience(episodes: int) -> Experience | None:
        collected = collected_windows(run, replay, keys, episodes)
        if tokens is not None and collected is not None:
            collected = tokens(collected)
        return Experience(of_data, collected, run.policy.online.replay.mix)

    return experience


def _resume(online: Online) -> int:
    """The slot to go on with: the one before which the newest checkpoint was saved.

    The weights at the end of a run of fewer steps are none of them: the round that comes next is collected with those
    of one slot before.
    """
    stored = checkpoints(online.out)
    slots = online.schedule.slots(online.replay.episodes)
    for folder in reversed(stored):
        place = online.schedule.place_of(read_state(folder).step, slots)
        if place is not None:
            critic_only = sum(slot.critic_only for slot in slots[:place])
            online.learner.resume(folder, online.identity, critic_only)
            online.account = open_account(online.out, place)
            online.progress.resumed(online.replay, online.learner.updates)
            return place
    if stored:
        notice(f"no checkpoint fits the {len(online.replay.episodes)} episodes that are kept: learning from them anew.")
    online.account = open_account(online.out, 0)
    return 0


def _save(online: Online) -> None:
    """A checkpoint, after what it has learned from is on the disk."""
    if not online.learner.updates:
        return
    online.replay.flush()
    state = CheckpointState(step=online.learner.updates, spec=online.start.spec.digest(), run=online.identity)
    save_checkpoint(online.out, online.learner.agent, online.learner.optimizer, state)


def _curve(account: Account) -> list[dict[str, Any]]:
    names = ("at", "env_steps", "updates", "success", "lost", "won")
    return [{name: point[name] for name in names} for _, point in sorted(account.points.items())]


def _nobody(queries: list) -> Any:
    raise RuntimeError("no policy acts before the first round")
