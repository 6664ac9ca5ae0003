"""Every task steps as robosuite steps it, to the last bit: states, controls, observations, reward, success, pictures.

The versions that this holds for are named by the first test of test_stepper.py.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from twins import differing, random_actions, simulator, start_alike

from robo_orl.base.errors import RunError
from robo_orl.config import TaskConfig
from robo_orl.config.presets import available, load_task
from robo_orl.envs.demonstrators.operators import Operator
from robo_orl.envs.demonstrators.recording import record
from robo_orl.envs.demonstrators.regimes import plan
from robo_orl.envs.native.stepper import Stepper, make_stepper
from robo_orl.envs.registry import object_names, scene_entry, scene_params
from robo_orl.envs.rendering import renderer as shared_renderer
from robo_orl.envs.rendering.renderer import OffscreenRenderer
from robo_orl.envs.scene import Scene
from robo_orl.envs.snapshot import capture, restore
from robo_orl.envs.start_banks import make_bank
from robo_orl.envs.task_env import TaskEnv

TASKS = sorted(available("tasks"))
EPISODES = 3  # of each kind
STEPS = 12  # decisions of each that are compared in the quick test; the slow ones compare whole episodes
SHARED = 80  # pixels, a size that no other test draws
CAMERAS = ("agentview", "robot0_eye_in_hand")


def task_simulator(task: TaskConfig, **params):
    """The task's scene with all of robosuite's sensors and its own reward."""
    return simulator(scene_entry(task).robosuite_name, task.control_hz, **scene_params(task) | params)


def grasp(ours: Stepper, task: TaskConfig, seed: int) -> tuple[dict, list[np.ndarray]]:
    """Let an expert work until it has grasped: (the state a few decisions before, the actions from there on)."""
    view = SimpleNamespace(task=task, dead=False, scene=Scene(ours.env, object_names(task)))
    expert = Operator(plan(task, "ph", 1, seed)[0].styles, task.control_hz, np.random.default_rng(seed))
    states, actions, held = [], [], 0
    while held < STEPS // 2:
        states.append(capture(ours.env))
        actions.append(expert.act(view))
        ours.step(actions[-1])
        held += bool(view.scene.held()[0])
        assert len(actions) < 12 * task.control_hz, "the expert grasps nothing"
    return states[-STEPS], actions[-STEPS:]


@pytest.mark.parametrize("name", TASKS)
def test_random_and_expert_actions_lead_to_what_robosuite_makes_of_them(name):
    task = load_task(name)
    stock, ours = task_simulator(task), make_stepper(task_simulator(task), "exact")
    assert ours.loop == "exact"
    for seed in range(EPISODES):
        start_alike(stock, ours.env)
        assert differing(stock, ours, random_actions(stock, STEPS, seed)) == {}
    for seed in range(EPISODES):
        start_alike(stock, ours.env)
        state, actions = grasp(ours, task, seed)
        for env in (stock, ours.env):
            restore(env, state)
        assert differing(stock, ours, actions) == {}


def compare_pictures(name: str, steps: int) -> None:
    """Ours beside robosuite's own camera observations, at the start and after every decision."""
    task = load_task(name)
    cameras = {"camera_names": list(CAMERAS), "camera_heights": 84, "camera_widths": 84}
    ours = TaskEnv(task)
    start = ours.draw_start(0)
    ours.reset(start)
    try:
        ours.render(CAMERAS[0], 84)
    except RunError as error:
        pytest.skip(f"no renderer on this machine: {error}")
    stock = task_simulator(task, use_camera_obs=True, has_offscreen_renderer=True, **cameras)
    restore(stock, start.entry)
    theirs = stock._get_observations()
    drifts = task.control_hz == 40  # a decision lasts 24 ms and its cameras sample every 25: they are asked at its end
    for action in [*random_actions(stock, steps), None]:
        for camera in CAMERAS:
            upright = theirs[f"{camera}_image"][::-1]  # robosuite's first row is the lowest
            np.testing.assert_array_equal(ours.render(camera, 84), upright)
        if action is not None:
            theirs, _, _, _ = stock.step(action)
            theirs = stock._get_observations(force_update=True) if drifts else theirs
            ours.step(action)
    stock.close()
    ours.close()


@pytest.mark.parametrize("name", ["lift", "chain2"])
def test_pictures_are_robosuites_camera_observations_pixel_for_pixel(name):
    compare_pictures(name, steps=2)


def test_environments_of_a_process_share_one_renderer_and_each_sees_its_own_scene():
    """Lift's cube has another size, and its model is another one, at every start."""
    envs = [TaskEnv(load_task("lift")) for _ in range(2)]
    for seed, env in enumerate(envs):
        env.reset(env.draw_start(seed))
    try:
        pictures = [own_picture(env) for env in envs]
    except RunError as error:
        pytest.skip(f"no renderer on this machine: {error}")
    assert not np.array_equal(*pictures)
    for env, picture in zip(envs * 2, pictures * 2, strict=True):
        np.testing.assert_array_equal(env.render("agentview", SHARED), picture)
    (shared,) = (renderer for renderer in shared_renderer._borrowed if renderer.size == SHARED)
    envs[0].draw_start(2)
    np.testing.assert_array_equal(envs[0].render("agentview", SHARED), own_picture(envs[0]))
    assert shared in shared_renderer._borrowed
    for env in envs:
        env.close()
    assert shared not in shared_renderer._borrowed


def own_picture(env: TaskEnv) -> np.ndarray:
    """By a renderer of this environment alone."""
    simulation = env.scene.env.sim
    renderer = OffscreenRenderer(simulation.model._model, SHARED)
    try:
        return renderer.image_as_stepped(simulation.data._data, "agentview")
    finally:
        renderer.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_pictures_of_every_task_are_equal_over_many_steps(name):
    compare_pictures(name, steps=12)


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_operators_episodes_are_equal_from_start_to_end(name):
    """Closed loop: an operator that reads the simulation acts on it, so that any difference would grow."""
    task = load_task(name)
    bank, items = make_bank(task, EPISODES, seed=1), plan(task, "mg", EPISODES, seed=1)
    stock, exact = (
        [record(env, bank[i], items[i]) for i in range(EPISODES)]
        for env in (TaskEnv(task, "stock"), TaskEnv(task, "exact"))
    )
    for one, other in zip(stock, exact, strict=True):
        assert np.array_equal(one.states, other.states)
        assert np.array_equal(one.actions, other.actions)
        assert np.array_equal(one.rewards, other.rewards)
        assert all(np.array_equal(one.next_obs[key], other.next_obs[key]) for key in one.next_obs)
        assert one.success == other.success
