"""Experts recover, operators fail in the way that their style says, regimes cast them as promised."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from robo_orl.base.errors import UsageError
from robo_orl.config.presets import available, load_task
from robo_orl.envs.chain_layout import HALF, TABLE_Z
from robo_orl.envs.demonstrators.operators import Operator, OperatorStyle
from robo_orl.envs.demonstrators.regimes import REGIMES, EpisodePlan, plan, record
from robo_orl.envs.stages import STAGES
from robo_orl.envs.task_env import TaskEnv

CLEAN = OperatorStyle("clean", noise=0.0)


@pytest.fixture(scope="module")
def chain1() -> TaskEnv:
    env = TaskEnv(load_task("chain1"))
    yield env
    env.close()


def episode_of(env: TaskEnv, *styles: OperatorStyle, seed: int = 0, start: int = 1):
    item = EpisodePlan(0, "ph", seed, 0, start, styles, styles[0].name)
    return record(env, env.draw_start(start), item)


LONG = [pytest.param(name, marks=pytest.mark.slow) for name in ("transport", "tool_hang")]


@pytest.mark.parametrize("name", ["lift", "can", "square", "stack", "chain2", *LONG])
def test_a_clean_expert_succeeds_and_completes_every_stage_in_order(name):
    env = TaskEnv(load_task(name))
    episode = episode_of(env, CLEAN)
    assert episode.success and episode.stages[-1].all()
    reached = episode.stages.argmax(axis=0)
    assert (np.diff(reached) >= 0).all()
    assert episode.rewards.sum() == pytest.approx(1.0) and episode.actions.shape[1] == env.action_dim
    assert episode.dones.tolist() == [0] * (len(episode) - 1) + [1]
    env.close()


@pytest.mark.parametrize("hz", [10, 40])
def test_the_expert_needs_no_tuning_for_another_decision_rate(hz):
    env = TaskEnv(load_task("chain1").model_copy(update={"control_hz": hz}))
    assert episode_of(env, CLEAN).success
    env.close()


def test_the_expert_fetches_a_cube_that_is_knocked_away(chain1):
    chain1.reset(chain1.draw_start(1))
    operator = Operator((CLEAN,), 20, np.random.default_rng(0))
    moved = False
    for _ in range(200):
        step = chain1.step(operator.act(chain1))
        if chain1.scene.held()[0] and chain1.scene.grip_position[2] > TABLE_Z + 0.1 and not moved:
            simulator = chain1.scene.env
            joint = simulator.cube_models[0].joints[0]
            simulator.sim.data.set_joint_qpos(joint, np.array([0.05, -0.2, TABLE_Z + HALF, 1, 0, 0, 0]))
            moved = True
        if step.terminated:
            break
    assert moved and step.terminated


def test_the_same_plan_item_gives_the_same_episode_and_another_one_another(chain1):
    item, other = plan(chain1.task, "mg", 2, seed=3)
    first = record(chain1, chain1.draw_start(item.start_seed), item)
    record(chain1, chain1.draw_start(other.start_seed), other)
    second = record(chain1, chain1.draw_start(item.start_seed), item)
    for name in ("actions", "rewards", "states", "stages"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert item.seed != other.seed and item.start_seed != other.start_seed


def test_recorded_actions_replay_to_the_recorded_states(chain1):
    item = plan(chain1.task, "mg", 1, seed=1)[0]
    start = chain1.draw_start(item.start_seed)
    episode = record(chain1, start, item)
    assert episode.actions.dtype == np.float32 and np.abs(episode.actions).max() <= 1
    observation = chain1.reset(start)
    for t, action in enumerate(episode.actions):
        np.testing.assert_array_equal(chain1.state(), episode.states[t])
        np.testing.assert_array_equal(observation["object"], episode.obs["object"][t])
        observation = chain1.step(action).obs
        np.testing.assert_array_equal(observation["object"], episode.next_obs["object"][t])


def grips(episode) -> int:
    """How often the gripper was told to close."""
    return int((np.diff(episode.actions[:, 6]) > 0).sum())


def test_faults_show_in_the_episode(chain1):
    clean = episode_of(chain1, CLEAN)
    slow = episode_of(chain1, OperatorStyle("slow", noise=0.0, speed=0.5))
    assert slow.success and len(slow) > 1.3 * len(clean)
    dropping = episode_of(chain1, OperatorStyle("dropping", noise=0.0, drop=1.0))
    assert grips(dropping) > grips(clean)
    pausing = episode_of(chain1, OperatorStyle("pausing", noise=0.0, pause=1.0))
    assert (np.abs(pausing.actions).sum(axis=1) == 0).sum() >= 0.3 * 20 > (clean.actions[:, :6] == 0).all(axis=1).sum()
    missing = episode_of(chain1, OperatorStyle("missing", noise=0.0, miss=1.0))
    assert not missing.success and grips(missing) >= 2
    assert np.ptp(missing.obs["object"][:, 2]) < 0.005, "a miss passes the cube and leaves it on the table"
    quitting = episode_of(chain1, OperatorStyle("quitting", noise=0.0, speed=0.4, give_up=1.0))
    assert not quitting.success and len(quitting) < 200 and not quitting.dones.any()
    misplacing = episode_of(chain1, OperatorStyle("misplacing", noise=0.0, misplace=1.0))
    assert not misplacing.success and np.ptp(misplacing.obs["object"][:, 2]) > 0.05


def test_misses_go_to_the_same_side(chain1):
    sides = []
    for start in (1, 2):
        episode = episode_of(chain1, OperatorStyle("missing", noise=0.0, miss=1.0), start=start)
        closing = np.flatnonzero(np.diff(episode.actions[:, 6]) > 0)[0] + 1
        cube = episode.obs["object"][closing]
        sides.append(cube[3:5])  # relative to the gripper
    np.testing.assert_allclose(sides, [[-0.036, 0.0]] * 2, atol=0.013)


@pytest.mark.parametrize("regime", REGIMES)
def test_a_longer_plan_begins_with_the_shorter_one(regime):
    task = load_task("chain4")
    assert plan(task, regime, 30, 0)[:7] == plan(task, regime, 7, 0)
    assert plan(task, regime, 7, 0) != plan(task, regime, 7, 1)


def test_regimes_cast_operators_and_masks_as_they_promise():
    task = load_task("chain4")
    humans = plan(task, "mh", 60, 0)
    assert Counter(item.masks for item in humans) == {("better",): 20, ("okay",): 20, ("worse",): 20}
    assert all(item.masks == (item.grade,) for item in humans)
    assert {item.operator for item in plan(task, "ph", 5, 0)} == {"expert"}
    machines = Counter(item.operator for item in plan(task, "mg", 60, 0))
    assert len(machines) >= 5 and len(set(machines.values())) == 1, "equal shares of several habits"
    assert all(sorted(item.operator[7:]) == list("ccff") for item in plan(task, "stitch", 40, 0))
    assert len({item.operator for item in plan(task, "stitch", 40, 0)}) == 6, "every half of four"
    pairs = plan(task, "paired", 10, 0)
    assert [item.masks for item in pairs] == [("good",), ("bad",)] * 5
    assert all(a.start_seed == b.start_seed and a.seed != b.seed for a, b in zip(pairs[::2], pairs[1::2], strict=True))
    assert len({item.start_seed for item in pairs}) == 5


@pytest.mark.parametrize(
    ("name", "able"), [("transport", {"stitch_ccff", "stitch_ffcc"}), ("tool_hang", {"stitch_cf", "stitch_fc"})]
)
def test_stitch_is_competent_with_one_arm_or_in_one_stage(name, able):
    items = plan(load_task(name), "stitch", 40, 0)
    assert {item.operator for item in items} == able
    for item in items:
        fumbles = ["f" if style.name == "fumbling" else "c" for style in item.styles]
        assert item.operator == "stitch_" + "".join(fumbles)


def test_masks_and_grades_reach_the_episode(chain1):
    item = plan(chain1.task, "mh", 1, 0)[0]
    episode = record(chain1, chain1.draw_start(item.start_seed), item)
    assert (episode.operator, episode.grade, episode.masks) == ("better_1", "better", ["better"])


def test_unknown_regimes_and_empty_plans_are_refused():
    with pytest.raises(UsageError, match="Did you mean 'stitch'"):
        plan(load_task("chain1"), "stich", 3, 0)
    with pytest.raises(UsageError, match="at least 1"):
        plan(load_task("chain1"), "ph", 0, 0)


@pytest.mark.parametrize("name", sorted(available("tasks")))
def test_every_shipped_task_names_stages_of_its_scene(name):
    task = load_task(name)
    assert set(task.stages) <= set(STAGES[task.env]) and task.name == name


LIMITS = {"lift": 0.98, "stack": 0.98, "chain1": 0.98, "chain2": 0.98, "transport": 0.8, "tool_hang": 0.6}


def test_the_stored_counts_meet_the_limits():
    rows = json.loads((Path(__file__).parents[2] / "benchmarks" / "experts.json").read_text())
    share = {(row["task"], row["regime"]): row["k"] / row["n"] for row in rows if row["n"] >= 100}
    for task in available("tasks"):
        assert share[task, "ph"] >= LIMITS.get(task, 0.95), task
    for task in ("chain1", "chain2"):
        assert 0.3 <= share[task, "mg"] <= 0.7, task
    assert share["chain4", "stitch"] < 0.1


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["lift", "stack", "chain1", "chain2"])
def test_clean_experts_succeed_in_98_of_100(name):
    env = TaskEnv(load_task(name))
    items = plan(env.task, "ph", 200, seed=1)
    successes = sum(record(env, env.draw_start(item.start_seed), item).success for item in items)
    env.close()
    assert successes >= 196
