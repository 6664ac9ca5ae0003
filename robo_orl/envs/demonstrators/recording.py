"""Recording: one planned episode, carried out and kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robo_orl.base.episode import Episode
from robo_orl.base.errors import RunError
from robo_orl.base.seeds import derive_seed
from robo_orl.config import View
from robo_orl.envs.demonstrators.operators import Operator
from robo_orl.envs.demonstrators.styles import OperatorStyle
from robo_orl.envs.start_states import StartState
from robo_orl.envs.task_env import TaskEnv, TimeStep


@dataclass(frozen=True)
class EpisodePlan:
    """One episode to be recorded.

    index: in the data set. seed: of the operator. start_seed: of the start state. start: its index among the data
    set's starts (paired episodes share one). styles: one per object, in order; the last one goes on for the rest.
    operator, grade, masks: as in Episode. due: seconds in which the operator is to be done, 0 for its own pace. begun:
    objects that lie in their places when the episode begins.
    """

    index: int
    regime: str
    seed: int
    start: int
    start_seed: int
    styles: tuple[OperatorStyle, ...]
    operator: str
    grade: str = ""
    masks: tuple[str, ...] = ()
    due: float = 0.0
    begun: int = 0


HELPER = OperatorStyle("helper", speed=0.95, noise=0.1)
TRIES, CLEAR = 10, 4  # CLEAR: decisions in which the fingers open so far that they touch nothing


def draw_start(env: TaskEnv, plan: EpisodePlan) -> StartState:
    """The start state of a planned episode; where it begins in the middle, a clean operator has brought it there.

    The same plan gives the same state. Raises RunError where no try of ten gets as far.
    """
    start = env.draw_start(plan.start_seed)
    if not plan.begun:
        return start
    for attempt in range(TRIES):
        env.reset(start if attempt == 0 else env.draw_start(derive_seed("again", plan.start_seed, attempt)))
        draw = np.random.default_rng(derive_seed("helper", plan.start_seed, attempt))
        if _completes(env, Operator((HELPER,), env.task.control_hz, draw), plan.begun):
            return env.start()
    raise RunError(f"No try of {TRIES} put {plan.begun} objects of {env.task.name} into their places.")


def _completes(env: TaskEnv, operator: Operator, stages: int) -> bool:
    """Work until so many stages are complete and the hand has left the object; whether they are."""
    clear = 0
    while clear < CLEAR:
        step = env.step(operator.act(env).astype(np.float32))
        clear += step.stages.sum() >= stages
        if step.terminated or step.truncated:
            return False
    return bool(step.stages.sum() == stages)


def record(env: TaskEnv, start: StartState, plan: EpisodePlan, view: View | None = None) -> Episode:
    """Let the plan's operator work from `start` until success, time-out, or until it has left; view: with pictures.

    The same plan item from the same start gives the same episode. `start` is usually draw_start(env, plan).
    """
    operator = Operator(plan.styles, env.task.control_hz, np.random.default_rng(plan.seed), plan.due)
    observations, states, actions, steps = [env.reset(start)], [], [], []
    seen = [env.see(view)] if view else []
    while not steps or not (steps[-1].terminated or steps[-1].truncated):
        action = operator.act(env)
        if action is None:
            break
        action = action.astype(np.float32)  # the action that is stored is the one that was carried out
        states.append(env.state())
        steps.append(env.step(action))
        actions.append(action)
        observations.append(steps[-1].obs)
        if view:
            seen.append(env.see(view))
    episode = _episode(env, plan, observations, states, actions, steps)
    for key in seen[0] if view else ():
        episode.images[key] = np.stack([images[key] for images in seen[:-1]])
        episode.last_images[key] = seen[-1][key]
    return episode


def _episode(
    env: TaskEnv,
    plan: EpisodePlan,
    observations: list[dict[str, np.ndarray]],
    states: list[np.ndarray],
    actions: list[np.ndarray],
    steps: list[TimeStep],
) -> Episode:
    stacked = {key: np.stack([obs[key] for obs in observations]) for key in env.spec}  # (T + 1, D)
    return Episode(
        obs={key: values[:-1] for key, values in stacked.items()},
        next_obs={key: values[1:] for key, values in stacked.items()},
        actions=np.array(actions),
        rewards=np.array([step.reward for step in steps], dtype=np.float32),
        dones=np.array([step.terminated for step in steps], dtype=np.uint8),
        states=np.array(states),
        stages=np.array([step.stages for step in steps], dtype=np.uint8),
        success=steps[-1].terminated,
        operator=plan.operator,
        grade=plan.grade,
        start=plan.start,
        model_xml=env.model_xml(),
        seed=plan.seed,
        masks=list(plan.masks),
    )
