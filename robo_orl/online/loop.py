"""The loop: collect a round with the weights of before, learn meanwhile from the rounds of before, judge, and go on.

OUT is a run's folder like any other (config.json, spec.json, checkpoints/), which `robo-orl eval` takes, with
online.jsonl, replay/ and points/ beside. Everything is a function of the configuration and the seed: neither the number
of simulator processes nor a kill changes a weight or a collected action (schedule.py says why).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Any

from robo_orl.agent.agent import check_agent
from robo_orl.base.errors import UsageError
from robo_orl.base.files import read_json, write_json
from robo_orl.base.machine import cores
from robo_orl.config import Loop, RunConfig
from robo_orl.engine.checkpoint import CheckpointState, checkpoint_folder, checkpoints, save_checkpoint, save_weights
from robo_orl.engine.interruption import deferred_interruption, describe_interruption
from robo_orl.engine.process_group import describe_lost_process
from robo_orl.engine.run_folder import check_resumable, run_identity, run_lock
from robo_orl.evaluate.success import SLOTS, one_thread, view_of
from robo_orl.online.account import SUMMARY, Account
from robo_orl.online.calibration import errors_on
from robo_orl.online.learner import check_trainable
from robo_orl.online.opening import IMITATION, Online, open_imitation, open_online, open_windows, resume
from robo_orl.online.points import OtherTask
from robo_orl.online.schedule import Slot
from robo_orl.online.start import Start
from robo_orl.online.team import open_team
from robo_orl.rollout.env_spec import EnvSpec, TaskEnvSpec
from robo_orl.rollout.episodes import Rollouts

RECYCLE_AFTER = 500  # episodes of a simulator process: a fresh one takes seconds to start
AT_ONCE = 8  # episodes under way, whatever the number of processes


def go_online(
    start: Start,
    out: Path,
    steps: int,
    workers: int | None = None,
    loop: Loop = "exact",
    progress: bool = True,
    env_spec: EnvSpec | None = None,
    evaluation: Path | None = None,
    other_specs: Mapping[str, EnvSpec] = MappingProxyType({}),
) -> dict[str, Any]:
    """Collect `steps` environment steps and learn from them in the folder `out`; returns the account (online.json).

    A killed or interrupted call goes on where it stopped, and one with more `steps` goes on with a finished run.
    workers: simulator processes, default one per core. env_spec: another simulator than the task's. evaluation: a
    folder of `robo-orl eval` of the run that is gone on with, default its own: its episodes are not played again.
    other_specs: by the name of one of the run's other tasks, another simulator than that task's.

    Raises:
        UsageError: `out` holds another run, the data are others now, or the run's parts do not go online.
        RunError: learning diverged, a simulator died three times at one episode, or the disk is full.
    """
    run, out = start.run, Path(out)
    check_agent(run.policy)  # before anything is written
    check_trainable(run.policy)
    check_resumable(out, run, start.spec)
    if (summary := finished(out, run, steps)) is not None:
        return summary
    team, data, imitation = open_team(run, out), open_windows(start), open_imitation(start)
    reads = {"history": run.policy.observation.history, "keys": tuple(start.spec.obs)}
    spec = env_spec or TaskEnvSpec(run.task, loop, view_of(run.policy, start.render), **reads)
    workers = workers or cores()
    rollouts = _rollouts(spec, workers) if team.main else None
    others = []
    for task, render in zip(start.others, start.other_renders, strict=True):
        own = other_specs.get(task.name) or TaskEnvSpec(task, loop, view_of(run.policy, render), **reads)
        others.append(OtherTask(task, partial(_rollouts, own, workers), render))
    with ExitStack() as stack:
        stack.enter_context(run_lock(out, team.main))
        stack.enter_context(one_thread())
        stack.enter_context(describe_lost_process(lambda: checkpoints(out)))
        stack.enter_context(rollouts or nullcontext())
        stack.enter_context(describe_interruption(lambda: checkpoints(out)))
        online = open_online(start, out, steps, team, rollouts, data, imitation, progress, others)
        stack.callback(online.learner.end)
        with deferred_interruption() as interruption, online.progress:
            _learn(online, lambda: interruption.requested, evaluation)
        return _summary(online)


def _rollouts(spec: EnvSpec, workers: int) -> Rollouts:
    """The simulators. Few processes have more episodes under way in each: a decision of eight episodes takes a policy
    hardly longer than one of three."""
    slots = max(SLOTS, -(-AT_ONCE // workers))
    return Rollouts(spec, _nobody, workers, slots, recycle_after=RECYCLE_AFTER)


def _summary(online: Online) -> dict[str, Any]:
    """Write the account of a run that is done, in the first process; all return it."""
    start, run, path = online.start, online.start.run, online.out / SUMMARY
    if online.team.main:
        summary = {"run": online.identity, "method": start.method, "policy": run.policy.name, "task": run.task.name}
        summary |= {"steps": online.steps, "processes": online.team.num_processes, **online.account.sums()}
        summary |= {"points": _curve(online.account), "start": _shown(online.account.start)}
        write_json(path, summary)
    online.team.wait()
    return read_json(path)


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


def _learn(online: Online, interrupted: Callable[[], bool], evaluation: Path | None = None) -> None:
    """The slots up to the one that has nothing left to collect."""
    number, main, agreed = resume(online), online.team.main, online.team.agreed
    if not online.learner.updates:
        _save(online)  # the switch: a run that is killed before its first update goes on from its own weights
    if main and online.account.start is None:
        _judge_start(online, interrupted, evaluation)
    if agreed(0 not in online.account.points):
        _judge(online, 0, 0, interrupted)
    while True:
        online.team.wait()
        if not main:
            online.replay.refresh()
        slot = online.schedule.slots(online.replay.episodes)[number]
        last = slot.collected >= online.steps
        _work(online, slot, collects=not last, interrupted=interrupted)
        points = online.start.run.policy.online.evaluation.until(online.steps)
        due = [at for at in points if at <= slot.collected and at not in online.account.points]
        for at in agreed(due):
            _judge(online, at, slot.collected, interrupted)
        every = online.start.run.checkpoint_every
        if agreed(last or online.replay.frames >= online.steps or slot.after // every > slot.before // every):
            _save(online)  # the one before the last slot is where a run of more steps goes on
        if last and main:
            online.points.write_evaluation(max(online.account.points))
        if last:
            return
        number += 1


def _work(online: Online, slot: Slot, collects: bool, interrupted: Callable[[], bool]) -> None:
    """Collect the round of a slot and make its updates, the simulators going on between two updates.

    Where the method is on-policy the updates come first, and the simulators wait for them.
    """
    began, collection, learner, rounds = perf_counter(), online.collection, online.learner, online.schedule.rounds
    acting_before, skipped_before = collection.policy_s if collection else 0.0, learner.skipped
    if collects and rounds is None:
        _begin(online, slot)
    learning = _learn_due(online, slot, interrupted)
    if collects and rounds is not None:
        _begin(online, slot)
    collects &= collection is not None
    while collects and not collection.done:
        collection.turn(wait_s=0.2)
        if interrupted():
            raise KeyboardInterrupt
    seconds = {"acting_s": collection.policy_s - acting_before if collection else 0.0, "learning_s": learning}
    of_round = online.schedule.round_of(slot.number, online.replay.episodes) if collects else []
    counts = {"skipped": learner.skipped - skipped_before} | (rounds.discarded(of_round) if rounds else {})
    online.account.add_round(slot, of_round, seconds | {"wall_s": perf_counter() - began}, learner.metrics(), counts)
    online.progress.collected(online.replay)


def _begin(online: Online, slot: Slot) -> None:
    """Begin the round of a slot, with the weights that are now."""
    size, collection = online.start.run.policy.online.collection.episodes, online.collection
    online.learner.give(collection.policy.agent if collection else None)
    if collection:
        collection.policy.choose(slot.warm_up)
        collection.begin(slot.number * size, size)


def _learn_due(online: Online, slot: Slot, interrupted: Callable[[], bool]) -> float:
    """Make the updates of a slot; the seconds that they took."""
    due, learning, since = slot.after - slot.before, 0.0, perf_counter()
    size = online.start.run.policy.online.collection.episodes
    experience = online.experience(slot.number * size) if due else None
    before = _errors(online, slot) if _ends_warm_up(online, slot) else None
    for update in range(due):
        if before is not None and update == slot.critic_only:
            _warmed_up(online, slot, before)
            before = None
        over = online.learner.update(experience, critic_only=update < slot.critic_only)
        learning += perf_counter() - since
        if over:
            online.learner.skip(due - update - 1)
        online.progress.updated(online.learner.updates)
        if online.collection is not None and not online.collection.done:
            online.collection.turn(wait_s=0)
            online.collection.turn(wait_s=0)
        if interrupted():
            raise KeyboardInterrupt
        if over:
            break
        since = perf_counter()
    if before is not None:
        _warmed_up(online, slot, before)
    return learning


def _judge(online: Online, at: int, collected: int, interrupted: Callable[[], bool]) -> None:
    """Measure success of the weights as they are; episodes that are done outlive an interruption."""
    copy = online.learner.copy()
    if copy is None:
        return
    with _judging(online, f"success at {at:,} steps", interrupted) as told:
        point = online.points.judge(copy, at, collected, online.learner.updates, told)
    online.progress.judged(online.account.add_point(point))


def _judge_start(online: Online, interrupted: Callable[[], bool], evaluation: Path | None) -> None:
    """Measure success of the run that is gone on with, choosing as it does."""
    with _judging(online, "success of the run itself", interrupted) as told:
        row = online.points.judge_start(evaluation, online.learner.device, told)
    online.account.add_start(row)
    online.progress.judged(row)


@contextmanager
def _judging(online: Online, words: str, interrupted: Callable[[], bool]) -> Iterator[Callable[[int, int], None]]:
    """Yields what takes the successes and episodes of a point so far, and ends it on an interruption."""
    with online.progress.judging(words, online.points.episodes) as show:

        def told(successes: int, done: int) -> None:
            show(successes, done)
            if interrupted():
                raise KeyboardInterrupt

        yield told


# --------------------------------------------------------------------------------------------------------- the warm-up


def _ends_warm_up(online: Online, slot: Slot) -> bool:
    """Whether a slot begins to learn from what the warm-up collected, on which its critic is judged: not one that
    values rewards by imitation and not the task's, or learns during the warm-up."""
    warm_up, critic = online.start.run.policy.online.warm_up, online.learner.agent.critic
    if online.imitation is not None or online.schedule.rounds is not None or critic is None:
        return False
    begins = warm_up.steps and not slot.warm_up and not slot.before and online.account.warm_up is None
    return online.team.agreed(bool(begins) and online.of_warm_up(slot.collected) is not None)


def _errors(online: Online, slot: Slot) -> dict[str, Any]:
    """The critic's error of now on what the warm-up collected, in the first process."""
    copy = online.learner.copy()
    return {} if copy is None else errors_on(copy, online.of_warm_up(slot.collected))


def _warmed_up(online: Online, slot: Slot, before: dict[str, Any]) -> None:
    """The same error once the critic alone has learned; that of before where it had no updates of its own."""
    after = _errors(online, slot) if slot.critic_only else before
    online.account.add_warm_up(slot, before, after)


def _save(online: Online) -> None:
    """A checkpoint, after what it has learned from is on the disk. Before the first update it is of the weights alone:
    nothing else has learned anything."""
    learner, main = online.learner, online.team.main
    if main and online.replay.episodes:
        online.replay.flush()
    state = CheckpointState(
        step=learner.updates, skipped=learner.skipped, spec=online.start.spec.digest(), run=online.identity
    )
    if not learner.updates:
        if not checkpoint_folder(online.out, 0).exists():
            save_weights(checkpoint_folder(online.out, 0), learner.agent, state, write=main)
        return
    beside = {} if online.imitation is None else {IMITATION: online.imitation.source}
    save_checkpoint(online.out, learner.agent, learner.optimizer, state, write=main, beside=beside)


def _curve(account: Account) -> list[dict[str, Any]]:
    return [_shown(point) for _, point in sorted(account.points.items())]


def _shown(row: dict[str, Any] | None) -> dict[str, Any] | None:
    """What the summary has of a point: counts and not episodes."""
    names = ("at", "env_steps", "updates", "success", "lost", "won", "of_start", "others", "calibration")
    return None if row is None else {name: row[name] for name in names if name in row}


def _nobody(queries: list) -> Any:
    raise RuntimeError("no policy acts before the first round")
