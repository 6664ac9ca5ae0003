"""Regimes: the operators of a data set. A plan says who works on which start; equal items give equal episodes.

The names are those of robomimic (Mandlekar et al. 2021: ph, mh, mg, paired) and OGBench (Park et al. 2024: stitch).
half_fast and never_whole are controls: data of which values must make more than cloning can, whatever is filtered out
and whatever outcome the clone is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from robo_orl.base.errors import UsageError, unknown
from robo_orl.base.seeds import derive_seed
from robo_orl.config import TaskConfig
from robo_orl.envs.demonstrators.recording import EpisodePlan, draw_start, record
from robo_orl.envs.demonstrators.styles import OperatorStyle
from robo_orl.envs.demonstrators.targets import TARGETS
from robo_orl.envs.registry import object_names, scene_entry
from robo_orl.envs.start_states import training_seed

__all__ = ["REGIMES", "EpisodePlan", "draw_start", "plan", "record"]

EXPERT = OperatorStyle("expert", noise=0.1)

HUMANS = (  # two of each grade, as in robomimic's multi-human sets
    OperatorStyle("better_1", "better", speed=0.95, noise=0.1),
    OperatorStyle("better_2", "better", speed=0.9, noise=0.12, pause=0.1),
    OperatorStyle("okay_1", "okay", speed=0.8, noise=0.12, detour=0.3, pause=0.2, miss=0.15),
    OperatorStyle("okay_2", "okay", speed=0.75, noise=0.12, detour=0.2, pause=0.2, drop=0.15),
    OperatorStyle("worse_1", "worse", speed=0.65, noise=0.15, detour=0.4, pause=0.3, miss=0.2, drop=0.1),
    OperatorStyle("worse_2", "worse", speed=0.6, noise=0.15, detour=0.4, pause=0.3, miss=0.25, early_release=0.15),
)

MACHINES = (  # mixed competence: each fault is one operator's habit, so that it does not average out
    OperatorStyle("fair", speed=0.9, noise=0.15, miss=0.2, pause=0.2, give_up=0.05),
    OperatorStyle("misser", speed=0.8, noise=0.15, miss=0.6, pause=0.2, give_up=0.25),
    OperatorStyle("dropper", speed=0.8, noise=0.15, miss=0.2, early_release=0.7, pause=0.2, give_up=0.2),
    OperatorStyle("idler", speed=0.5, noise=0.15, miss=0.4, pause=0.8, detour=0.5, give_up=0.2),
    OperatorStyle("quitter", speed=0.8, noise=0.15, miss=0.4, early_release=0.3, give_up=0.6),
    OperatorStyle("misplacer", speed=0.85, noise=0.15, miss=0.3, pause=0.2, misplace=0.6),
)

COMPETENT = OperatorStyle("competent", speed=0.95, noise=0.1)
FUMBLING = OperatorStyle("fumbling", speed=0.42, noise=0.12, miss=0.91, early_release=0.5, pause=0.4, give_up=0.22)
MISPLACING = OperatorStyle("misplacing", speed=0.8, noise=0.15, miss=0.3, misplace=1.0)
QUITTING = OperatorStyle("quitting", speed=0.5, noise=0.15, miss=1.0, give_up=1.0)

FAST = OperatorStyle("fast", speed=1.0, noise=0.1, least_speed=0.88)
SLOW = OperatorStyle("slow", speed=0.7, noise=0.1, least_speed=0.1)
SECONDS_A_CUBE = 7.5  # of half_fast: a fast cube takes about 5, so that a slow one takes about 10
HASTY = OperatorStyle("hasty", noise=0.1, short=0.12)  # sets the cube down within the zone, where the stage counts
AT_THE_EDGE = OperatorStyle("competent", speed=0.95, noise=0.1, short=0.12)  # so does who is competent at the last cube
BEYOND = OperatorStyle("beyond", speed=0.95, noise=0.1, short=-0.12)  # sets it down beyond the zone
ONE_ROW = 4  # cubes that go into the zone's first row, 12 cm before which the zone still is

SHARES = {"transport": ((0, 1), (2, 3)), "tool_hang": ((0,), (1,))}  # parts of the work that stitch does not tear

Casting = Callable[[EpisodePlan, TaskConfig, np.random.Generator], EpisodePlan]


def _ph(plan: EpisodePlan, task: TaskConfig, rng: np.random.Generator) -> EpisodePlan:
    return _with(plan, EXPERT)


def _mh(plan: EpisodePlan, task: TaskConfig, rng: np.random.Generator) -> EpisodePlan:
    style = HUMANS[plan.index % len(HUMANS)]
    return replace(_with(plan, style), grade=style.grade, masks=(style.grade,))


def _mg(plan: EpisodePlan, task: TaskConfig, rng: np.random.Generator) -> EpisodePlan:
    return _with(plan, MACHINES[plan.index % len(MACHINES)])


def _stitch(plan: EpisodePlan, task: TaskConfig, rng: np.random.Generator) -> EpisodePlan:
    """Competent at half of the objects, rounded down (one object: every other episode); of work that comes in shares,
    at one share: one arm or one stage."""
    if task.env in SHARES:
        shares = SHARES[task.env]
        chosen, objects = set(shares[rng.integers(len(shares))]), sum(map(len, shares))
    else:
        objects = len(object_names(task)) if task.env == "chain" else 1
        able = objects // 2 if objects > 1 else plan.index % 2
        chosen = set(rng.permutation(objects)[:able].tolist())
    styles = tuple(COMPETENT if i in chosen else FUMBLING for i in range(objects))
    name = "stitch_" + "".join("c" if i in chosen else "f" for i in range(objects))
    return replace(plan, styles=styles, operator=name)


def _paired(plan: EpisodePlan, task: TaskConfig, rng: np.random.Generator) -> EpisodePlan:
    """Two from each start: a good one, then one that fails (lift has no wrong place: its bad operator gives up)."""
    if plan.index % 2 == 0:
        return replace(_with(plan, EXPERT), masks=("good",))
    return replace(_with(plan, QUITTING if task.env == "lift" else MISPLACING), masks=("bad",))


def _half_fast(plan: EpisodePlan, task: TaskConfig, rng: np.random.Generator) -> EpisodePlan:
    """Fast at half of the cubes, slow at the others by as much as makes all episodes equally long."""
    cubes = _cubes(task, plan.regime)
    fast = set(rng.permutation(cubes)[: cubes // 2].tolist())
    styles = tuple(FAST if i in fast else SLOW for i in range(cubes))
    name = "half_fast_" + "".join("c" if i in fast else "s" for i in range(cubes))
    return replace(plan, styles=styles, operator=name, due=SECONDS_A_CUBE * cubes)


def _never_whole(plan: EpisodePlan, task: TaskConfig, rng: np.random.Generator) -> EpisodePlan:
    """Episode i begins with i modulo k of k cubes in place. Every third operator (at the last cube every second) is
    competent at the next cube and carries the one after it beyond the zone. The others are hasty at the next one: they
    set it down at the zone's edge, have its reward early, and give up. At the last cube the edge is success, and the
    others carry it beyond the zone: a clone that is told to succeed is told to be hasty where that misleads."""
    cubes = _cubes(task, plan.regime)
    begun = plan.index % cubes
    good, bad, one_of = (COMPETENT, HASTY, 3) if begun < cubes - 1 else (AT_THE_EDGE, BEYOND, 2)
    first, after = good if plan.index // cubes % one_of == 0 else bad, cubes - 1 - begun
    styles = (*(COMPETENT,) * begun, first, *(BEYOND,) * after)
    name = "never_whole_" + "-" * begun + first.name[0] + "b" * after
    return replace(plan, styles=styles, operator=name, begun=begun, masks=("middle" if begun else "start",))


def _cubes(task: TaskConfig, regime: str) -> int:
    """The number of cubes of a chain; UsageError where the regime does not fit the task."""
    cubes = len(object_names(task)) if task.env == "chain" else 1
    if cubes not in (2, ONE_ROW):
        raise UsageError(f"The regime {regime} is of chains of 2 or 4 cubes, and {task.name} is none: take chain2.")
    return cubes


def _with(plan: EpisodePlan, style: OperatorStyle) -> EpisodePlan:
    return replace(plan, styles=(style,), operator=style.name)


REGIMES: dict[str, Casting] = {
    "ph": _ph,
    "mh": _mh,
    "mg": _mg,
    "stitch": _stitch,
    "paired": _paired,
    "half_fast": _half_fast,
    "never_whole": _never_whole,
}


def plan(task: TaskConfig, regime: str, episodes: int, seed: int = 0) -> list[EpisodePlan]:
    """The episodes of a data set: item i depends on (scene, regime, seed, i) alone; a longer plan begins the same.

    Raises:
        UsageError: a regime that does not exist, or fewer than one episode.
    """
    if regime not in REGIMES:
        raise unknown("regime", regime, REGIMES)
    scene_entry(task)
    if task.env not in TARGETS:
        raise UsageError(
            f"No scripted demonstrator knows the scene '{task.env}' of task {task.name}: bring its data "
            "(docs: 'Own data'), record a demonstrator of your own with robo_orl.record_data, or take one of "
            f"{', '.join(TARGETS)}."
        )
    if episodes < 1:
        raise UsageError(f"A data set needs at least 1 episode, not {episodes}.")
    return [_item(task, regime, index, seed) for index in range(episodes)]


def _item(task: TaskConfig, regime: str, index: int, seed: int) -> EpisodePlan:
    start = index // 2 if regime == "paired" else index
    blank = EpisodePlan(
        index=index,
        regime=regime,
        seed=derive_seed("operator", task.name, regime, seed, index),
        start=start,
        start_seed=training_seed(task, seed, start),
        styles=(),
        operator="",
    )
    rng = np.random.default_rng(derive_seed("casting", regime, seed, index))
    return REGIMES[regime](blank, task, rng)
