"""A run online as it lies in its folder: agent, optimiser, replay and account, opened where they are or begun."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np

from robo_orl.base.errors import UsageError
from robo_orl.base.files import write_json
from robo_orl.base.text import notice
from robo_orl.config import RunConfig
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.arrays import EpisodeArrays
from robo_orl.data.windows import PairedWindows
from robo_orl.engine.checkpoint import checkpoints, read_state, remove_partial, restore_beside
from robo_orl.engine.run_folder import first_difference, make_spec, run_identity, write_run
from robo_orl.engine.task_data import make_windows, open_data
from robo_orl.evaluate.policy import instruction_of
from robo_orl.evaluate.success import check_observations, warn_of_other_pictures
from robo_orl.objectives import OBJECTIVES
from robo_orl.online.account import ROWS, Account, open_account
from robo_orl.online.collection import CollectingPolicy, Collection, acting_seed
from robo_orl.online.experience import Experience, collected_windows, successes_alone
from robo_orl.online.features import FrozenTokens
from robo_orl.online.imitation.points import Side, demonstrations_of, scale_of, side_of
from robo_orl.online.imitation.registry import make_reward
from robo_orl.online.imitation.reward import Imitation, RewardedWindows
from robo_orl.online.learner import Learner
from robo_orl.online.points import OtherTask, Points
from robo_orl.online.progress import OnlineProgress
from robo_orl.online.replay import Replay, open_replay, read_episodes, stored_replay
from robo_orl.online.replay_request import check_room, request_of
from robo_orl.online.rounds import Round, RoundPlan
from robo_orl.online.schedule import Schedule
from robo_orl.online.start import Start, initial_agent
from robo_orl.online.team import Team
from robo_orl.rollout.episodes import Rollouts

IMITATION = "imitation.safetensors"  # in a checkpoint: what the rewards have learned
# Collected episodes -> what updates draw from, None: nothing yet.
Experiences = Callable[[int], Experience | Round | None]


@dataclass
class Online:
    """A run under way, in one process of a team. collection, points: of the first one alone."""

    start: Start
    out: Path
    steps: int
    identity: str
    learner: Learner
    replay: Replay
    team: Team
    collection: Collection | None
    points: Points | None
    account: Account
    schedule: Schedule
    experience: Experiences
    progress: OnlineProgress
    imitation: Imitation | None

    def of_warm_up(self, steps: int) -> PairedWindows | None:
        """The windows of the first episodes, which have `steps` environment steps together."""
        lengths = accumulate(episode.length for episode in self.replay.episodes)
        episodes = sum(1 for length in lengths if length <= steps)
        return collected_windows(self.start.run, self.replay, list(self.start.spec.obs), episodes)


def open_online(
    start: Start,
    out: Path,
    steps: int,
    team: Team,
    rollouts: Rollouts | None,
    data: PairedWindows | None,
    imitation: Imitation | None,
    progress: bool,
    others: Sequence[OtherTask] = (),
) -> Online:
    """Agent, optimiser, replay and account as far as they are; the folder is begun where there is none.

    rollouts: of the first process of a team, which writes the folder; the others read what it has written. others:
    tasks that are judged beside its own.
    """
    run = start.run
    if rollouts is not None:
        _begin(start, out, steps, rollouts, data)
    team.wait()
    replay = stored_replay(out / "replay")
    agent = initial_agent(start, out if team.main else None)
    learner = Learner(run, agent, team)
    instructions = instruction_of(run, run.task)
    plan = RoundPlan.of(run.policy)
    collection = points = None
    if rollouts is not None:
        actor = CollectingPolicy(agent, run.policy, run.seed, instructions, team.device)
        collection = Collection(rollouts, actor, replay, run)
        points = Points(rollouts, run, out, instructions, others, start.render)
    return Online(
        start=start,
        out=out,
        steps=steps,
        identity=run_identity(out, run),
        learner=learner,
        replay=replay,
        team=team,
        collection=collection,
        points=points,
        account=Account(out / ROWS, keeps=team.main),
        schedule=Schedule(
            run.policy.online, run.policy.action_head.execute, data is not None, successes_alone(run.policy), plan
        ),
        experience=_rounds(start, replay, learner, plan)
        if plan
        else _experiences(start, replay, data, learner, imitation),
        progress=OnlineProgress(run.task.name, steps, progress and team.main),
        imitation=imitation,
    )


def _begin(start: Start, out: Path, steps: int, rollouts: Rollouts, data: PairedWindows | None) -> None:
    """Write the folder where there is none, and leave of an interrupted run's what is whole."""
    run, info, folder = start.run, rollouts.info(), out / "replay"
    check_observations(start.spec.obs, info, run.task.name)
    warn_of_other_pictures(start.render, info)
    request = request_of(run_identity(out, run), info, rollouts.spec.view)
    check_room(folder, request, steps, sum(episode.length for episode in read_episodes(folder)))
    open_replay(folder, request)
    write_run(out, run, start.spec)
    if data is not None:
        write_json(out / "data.json", {"files": [data.arrays.summary()]})
    remove_partial(out)
    (out / "engine.json").unlink(missing_ok=True)  # of a call before, which DeepSpeed made


def open_windows(start: Start) -> PairedWindows | None:
    """The windows of the run's data, None where it learns from what it collects alone."""
    run = start.run
    if run.policy.online.replay.mix == "online":
        return None
    opened = _open_arrays(start)
    if run.policy.online.imitation is None:
        _check_rewards(run, Path(run.tasks[0].data))
    return make_windows(run, opened)


def open_imitation(start: Start) -> Imitation | None:
    """The rewards by imitation as they begin, with the demonstrations that they are shown; None without them."""
    run, config = start.run, start.run.policy.online.imitation
    if config is None:
        return None
    (arrays,) = _open_arrays(start)
    source = make_reward(config, scale_of(arrays), run.seed)
    shown = side_of(arrays, demonstrations_of(arrays, config, run.seed), source.absorbing)
    source.begin(shown)
    return Imitation(source, shown, None)


def _open_arrays(start: Start) -> list[EpisodeArrays]:
    """The run's data; where episodes go on after a success, the data's do not end with it either."""
    run = start.run
    path = Path(run.tasks[0].data)
    if not path.exists():
        raise UsageError(
            f"The data of {run.init} lay in {path}, where there is nothing now: give their place with --data, or learn "
            "from collected episodes alone with --set policy.online.replay.mix=online."
        )
    opened = open_data(run)
    same = opened[0].sha256 == start.trained_on
    changed = None if same else first_difference(make_spec(run, opened).identity(), start.spec.identity())
    if changed:
        raise UsageError(
            f"{path} is not what {run.init} was trained on ({changed} differs): give that file with --data."
        )
    if run.policy.online.collection.ends == "time":
        return [replace(arrays, terminal=np.zeros_like(arrays.terminal)) for arrays in opened]
    return opened


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


def _experiences(
    start: Start, replay: Replay, data: PairedWindows | None, learner: Learner, imitation: Imitation | None
) -> Experiences:
    """What updates draw from once so many episodes are collected."""
    run, keys = start.run, list(start.spec.obs)
    cached = run.policy.online.trains == "cached"
    tokens, tokens_of_data = (FrozenTokens(learner.agent, learner.device) for _ in range(2))

    def experience(episodes: int) -> Experience | None:
        collected = collected_windows(run, replay, keys, episodes)
        if cached and collected is not None:
            collected = tokens(collected)
        of_data = tokens_of_data(data) if cached and data is not None else data
        if imitation is None:
            return Experience(of_data, collected, run.policy.online.replay.mix)
        own = replace(imitation, collected=_collected_side(run, replay, keys, episodes, imitation))
        of_both = [_rewarded(windows, imitation) for windows in (of_data, collected)]
        return Experience(*of_both, run.policy.online.replay.mix, own)

    return experience


def _rewarded(windows: PairedWindows | None, imitation: Imitation) -> RewardedWindows | None:
    return None if windows is None else RewardedWindows(windows, imitation.source)


def _collected_side(
    run: RunConfig, replay: Replay, keys: list[str], episodes: int, imitation: Imitation
) -> Side | None:
    """The episodes that the rewards are learned from, of so many that are collected; None without any."""
    if not episodes:
        return None
    arrays, source = replay.arrays(keys, run.task, episodes), imitation.source
    return side_of(arrays, np.arange(episodes) >= source.newest(episodes), source.absorbing)


def _rounds(start: Start, replay: Replay, learner: Learner, plan: RoundPlan) -> Experiences:
    """The newest round of so many collected episodes, by the weights that are now."""
    run, keys = start.run, list(start.spec.obs)

    def newest(episodes: int) -> Round:
        first = episodes - run.policy.online.collection.episodes
        windows = make_windows(run, [replay.arrays(keys, run.task, episodes, first)])
        if run.policy.online.trains == "cached":
            windows = FrozenTokens(learner.agent, learner.device)(windows)
        of_round = replay.episodes[first:episodes]
        return Round(plan, windows, of_round, learner.agent, acting_seed(run.seed), learner.updates)

    return newest


def resume(online: Online) -> int:
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
            if online.imitation is not None and online.learner.updates:
                restore_beside(folder, IMITATION, online.imitation.source)
            online.account = _account(online, place)
            online.progress.resumed(online.replay, online.learner.updates)
            return place
    if stored:
        notice(f"no checkpoint fits the {len(online.replay.episodes)} episodes that are kept: learning from them anew.")
    online.learner.begin()
    online.account = _account(online, 0)
    return 0


def _account(online: Online, first: int) -> Account:
    return open_account(online.out, first) if online.team.main else online.account
