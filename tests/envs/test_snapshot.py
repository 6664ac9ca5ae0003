"""A snapshot put back into any environment of the task replays bit-equal."""

import subprocess
import sys

import mujoco
import numpy as np
import pytest

from robo_orl.base.errors import RunError
from robo_orl.envs.registry import env_kwargs, make_simulator
from robo_orl.envs.snapshot import capture, restore, size_of

SCENES = {"Lift": {}, "Stack": {}, "PickPlaceCan": {}, "NutAssemblySquare": {}, "Door": {}, "Chain": {"cubes": 4}}
# offsets of cameras and lights that follow the scene's centre of mass; robosuite has none that do
UNHELD = {"cam_poscom0", "light_poscom0"}


def simulator(scene: str, **params):
    env = make_simulator(scene, env_kwargs(20, {}) | SCENES.get(scene, {}) | params)
    env.reset()
    return env


def replay(env, actions) -> list[np.ndarray]:
    """Per step: positions, velocities, controls, observations and reward, in one vector."""
    steps = []
    for action in actions:
        observations, reward, _, _ = env.step(action)
        data = env.sim.data
        steps.append(np.concatenate([data.qpos, data.qvel, data.ctrl, *map(np.ravel, observations.values()), [reward]]))
    return steps


def actions_for(env, count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (count, env.action_dim))


def arrays_of(model) -> dict[str, np.ndarray]:
    names = [name for name in dir(model) if not name.startswith("_")]
    return {n: getattr(model, n) for n in names if isinstance(getattr(model, n), np.ndarray)}


@pytest.mark.parametrize("scene", SCENES)
def test_another_environment_replays_an_episode_bit_equal(scene):
    first, second = simulator(scene, hard_reset=True), simulator(scene, hard_reset=True)
    start, observed, actions = capture(first), first._get_observations(), actions_for(first, 30)
    expected = replay(first, actions)
    replay(second, actions[:5])
    for _ in range(2):  # a used simulation serves as well as a new one
        restore(second, start)
        assert all(np.array_equal(observed[key], value) for key, value in second._get_observations().items())
        assert np.array_equal(expected, replay(second, actions))


@pytest.mark.parametrize("scene", ["Lift", "PickPlaceCan"])
def test_a_state_inside_an_episode_is_put_back_with_its_observation(scene):
    first, second = simulator(scene), simulator(scene)
    actions = actions_for(first, 12)
    replay(first, actions[:6])
    middle, observed = capture(first), first._get_observations()
    expected = replay(first, actions[6:])
    restore(second, middle)
    assert (second.timestep, second.cur_time) == (6, pytest.approx(0.3))
    assert all(np.array_equal(observed[key], value) for key, value in second._get_observations().items())
    assert np.array_equal(expected, replay(second, actions[6:]))


@pytest.mark.parametrize("scene", ["Lift", "Door"])
def test_the_model_itself_is_put_back(scene):
    """Lift draws the cube's size and Door its place at every reset; no other field may stay behind."""
    first, second = simulator(scene, hard_reset=True), simulator(scene, hard_reset=True)
    one, other = (arrays_of(env.sim.model._model) for env in (first, second))
    before = {name for name in one if not np.array_equal(one[name], other[name])}
    assert before & {"geom_size", "body_pos"}
    restore(second, capture(first))
    assert {name for name in one if not np.array_equal(one[name], other[name])} <= UNHELD
    assert first.sim.model._model.stat.meaninertia == second.sim.model._model.stat.meaninertia


def test_the_hammer_of_transport_is_put_back():
    from robosuite.controllers import load_composite_controller_config

    configs = [load_composite_controller_config(robot="Panda") for _ in range(2)]
    first, second = (
        simulator("TwoArmTransport", robots=["Panda", "Panda"], controller_configs=configs) for _ in range(2)
    )
    start, actions = capture(first), actions_for(first, 8)
    restore(second, start)
    assert np.array_equal(replay(first, actions), replay(second, actions))


ANOTHER_PROCESS = """
import sys
import numpy as np
from robo_orl.envs.registry import env_kwargs, make_simulator
from robo_orl.envs.snapshot import restore
env = make_simulator("Lift", env_kwargs(20, {}))
env.reset()
with np.load(sys.argv[1], allow_pickle=False) as file:
    restore(env, dict(file))
for action in np.random.default_rng(0).uniform(-1, 1, (10, 7)):
    env.step(action)
sys.stdout.write(np.concatenate((env.sim.data.qpos, env.sim.data.qvel)).tobytes().hex())
"""


def test_another_process_replays_it_from_a_file(tmp_path):
    env = simulator("Lift")
    np.savez(tmp_path / "start.npz", **capture(env))
    replay(env, actions_for(env, 10))
    here = np.concatenate((env.sim.data.qpos, env.sim.data.qvel)).tobytes().hex()
    command = [sys.executable, "-c", ANOTHER_PROCESS, str(tmp_path / "start.npz")]
    there = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert there.endswith(here)


def test_entries_are_small_flat_and_alike():
    env = simulator("Lift", hard_reset=True)
    entries = []
    for _ in range(2):
        env.reset()
        entries.append(capture(env))
    assert {key: value.shape for key, value in entries[0].items()} == {k: v.shape for k, v in entries[1].items()}
    assert all(value.dtype == np.float64 and value.ndim == 1 for value in entries[0].values())
    assert size_of(entries[0]) < 3072


def test_restoring_is_repeatable_to_the_last_entry():
    env = simulator("Stack")
    replay(env, actions_for(env, 3))
    entry = capture(env)
    restore(env, entry)
    again = capture(env)
    assert all(np.array_equal(entry[key], again[key]) for key in entry)


def test_a_state_of_another_scene_is_refused_and_nothing_is_touched():
    lift, stack = simulator("Lift"), simulator("Stack")
    before = capture(stack)
    with pytest.raises(RunError, match="another scene"):
        restore(stack, capture(lift))
    lift.sim.model.geom_solref[0] += 0.01
    with pytest.raises(RunError, match="another scene.*geom_solref"):
        restore(simulator("Lift"), capture(lift))
    after = capture(stack)
    assert all(np.array_equal(before[key], after[key]) for key in before)


def test_outside_forces_and_warnings_do_not_survive_a_restore():
    env = simulator("Stack")
    start = capture(env)
    env.sim.data.xfrc_applied[-1] = 1.0
    with pytest.raises(RunError, match="external forces"):
        capture(env)
    env.sim.data._data.warning.number[:] = 3
    restore(env, start)
    assert not env.sim.data.xfrc_applied.any()
    assert env.sim.data._data.warning[int(mujoco.mjtWarning.mjWARN_BADQACC)].number == 0
