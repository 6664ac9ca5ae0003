"""An environment with the interface of gymnasium is a task: its seeds, stages, actions, pictures, and its mistakes."""

import json
import os
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

import robo_orl
from robo_orl.base import plugins
from robo_orl.base.errors import RunError, UsageError
from robo_orl.config import TaskConfig, View
from robo_orl.config.presets import load_task
from robo_orl.data.validate import examine
from robo_orl.envs import start_banks
from robo_orl.envs.gym_env import GymEnv
from robo_orl.envs.making import make_env
from robo_orl.envs.start_banks import draw_bank, eval_bank
from robo_orl.envs.task_env import TaskEnv
from robo_orl.rollout.env_spec import TaskEnvSpec
from robo_orl.rollout.simulator import Act, Begin, EpisodeServer

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "reach_task"
sys.path.append(str(EXAMPLE))
from reach_task import Box, Reach  # noqa: E402

TASK = load_task(str(EXAMPLE / "tasks" / "reach.yaml"))


@pytest.fixture
def registered(monkeypatch):
    """A function that registers classes for this test alone."""
    from robo_orl.envs.registry import SCENES

    names = []

    def register(name, own):
        names.append(name)
        robo_orl.register("environments", name, own)

    yield register
    for name in names:
        SCENES.pop(name, None)
        SCENES.registered.discard(name)
        plugins._registered["environments"].pop(name, None)


@pytest.fixture
def reach(registered):
    registered("reach", Reach)
    return TASK


def test_a_seed_decides_an_episode_and_stages_count_in_order(reach):
    env = make_env(reach)
    assert isinstance(env, GymEnv) and env.spec == {"place": 2, "target": 2} and env.action_dim == 2
    start = env.draw_start(7)
    first = env.reset(start)
    np.testing.assert_array_equal(first["target"], env.reset(start)["target"])
    assert not np.array_equal(first["target"], env.reset(env.draw_start(8))["target"])
    env.reset(start)
    steps = []
    while not steps or not (steps[-1].terminated or steps[-1].truncated):
        way = env.environment.target - env.environment.place
        steps.append(env.step(np.clip(way / 3 / 0.1, -1, 1)))  # an action of 1 is the 0.1 of the action space
    assert steps[-1].terminated and steps[-1].stages.tolist() == [True, True] and steps[-1].reward == 1.0
    touched = [step.stages[0] for step in steps]
    assert touched == sorted(touched) and not any(step.stages[1] for step in steps[:-1])


def test_actions_are_stretched_and_clipped_and_the_time_limit_is_the_tasks(reach):
    env = make_env(reach)
    env.reset(env.draw_start(3))
    env.environment.place = np.zeros(2)
    env.step(np.array([0.5, -9.0]))
    np.testing.assert_allclose(env.environment.place, [0.05, -0.1], atol=1e-7)
    env.environment.target = np.array([0.9, 0.9])
    steps = [env.step(np.zeros(2)) for _ in range(reach.horizon - 1)]
    assert [step.truncated for step in steps] == [False] * (reach.horizon - 2) + [True] and steps[-1].reward == 0
    with pytest.raises(RunError, match="NaN or infinity"):
        env.step(np.array([np.nan, 0.0]))


def test_an_instant_goes_on_as_it_did(reach):
    env = make_env(reach)
    env.reset(env.draw_start(1))
    instant, actions = env.snapshot(), np.random.default_rng(0).uniform(-1, 1, (5, 2))
    once = [env.step(action).obs["place"] for action in actions]
    env.resume(instant)
    np.testing.assert_array_equal([env.step(action).obs["place"] for action in actions], once)


def test_start_states_are_seeds_and_pictures_are_those_of_the_observation(reach, tmp_path, monkeypatch):
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path))
    bank, env = eval_bank(reach), make_env(reach)
    assert len(bank) == 200 and bank.sha256 == eval_bank(reach).sha256
    assert len({int(bank[i].entry["seed"][0]) for i in range(200)}) == 200
    env.reset(bank[0])
    picture = env.see(View(cameras=("camera",), size=16))["camera_image"]
    np.testing.assert_array_equal(picture, env.environment.render())
    assert env.render("agentview", 32).shape == (32, 32, 3)
    with pytest.raises(UsageError, match="gives no camera_image of 84 x 84 pixels .it has camera_image"):
        env.see(View(cameras=("camera",), size=84))


def test_simulators_that_begin_together_draw_start_states_once_and_it_is_said_before(reach, tmp_path, monkeypatch):
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path))
    drawn, spec = [], TaskEnvSpec(reach)

    def slowly(env, seeds):
        drawn.append(len(seeds))
        time.sleep(0.2)
        return draw_bank(env, seeds)

    monkeypatch.setattr(start_banks, "draw_bank", slowly)
    assert str(tmp_path) in spec.first_work() and TaskEnvSpec(load_task("lift")).first_work() == ""
    with ThreadPoolExecutor(3) as pool:
        banks = list(pool.map(lambda _: eval_bank(reach), range(3)))
    assert drawn == [200] and len({bank.sha256 for bank in banks}) == 1
    assert spec.first_work() == ""


def test_an_evaluation_plays_it_in_a_simulators_process_with_pictures_and_a_video(reach, tmp_path, monkeypatch):
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path))
    server = EpisodeServer(TaskEnvSpec(reach, view=View(cameras=("camera",), size=16), keys=("place",)))
    info = server.info()
    assert (info.starts, info.action_dim, info.loop) == (200, 2, "stock") and info.render["renderer"].endswith("Reach")
    reply = server(Begin(0, 5, 0.9, tmp_path / "a.mp4"))
    assert reply.obs["camera_image"].shape == (16, 16, 3)
    while reply.outcome is None:
        way = reply.obs["target"] - reply.obs["place"]
        reply = server(Act(0, np.clip(way[None] / 3 / 0.1, -1, 1)))
    assert reply.outcome.success_at_end and reply.outcome.stage_steps[0] <= reply.outcome.length
    assert reply.outcome.discounted_return == pytest.approx(0.9 ** (reply.outcome.length - 1))
    assert (tmp_path / "a.mp4").stat().st_size > 0


def test_a_demonstrator_of_ones_own_is_recorded_with_pictures_and_true_ends(reach, tmp_path):
    def walks(observation, environment):
        assert isinstance(environment, Reach)
        return np.clip((observation["target"] - observation["place"]) / 3 / 0.1, -1, 1)

    out = tmp_path / "a.hdf5"
    view = View(cameras=("camera",), size=16)
    made = robo_orl.record_data(TASK, walks, 3, out, view=view)
    assert made["all"]["success_k"] == 3 and made["images"] == {"camera_image": [16, 16, 3]}
    assert examine(out).trains == [] and "the dataset states is missing" in examine(out).replays[0]
    with h5py.File(out) as file:
        demo = file["data/demo_1"]
        assert demo["dones"][-1] == 1 and demo["rewards"][:].sum() == 1 and demo["stages"][-1].all()
        env = make_env(TASK)
        env.reset(env.draw_start(0))  # another episode, then the recorded one again
        from robo_orl.envs.start_states import StartState

        seen = [env.reset(StartState({"seed": demo["start/seed"][:].astype(int)}))["place"]]
        seen += [env.step(action).obs["place"] for action in demo["actions"][:-1]]
        np.testing.assert_array_equal(demo["obs/place"][:], seen)
    with pytest.raises(UsageError, match="exists; choose another file"):
        robo_orl.record_data(TASK, walks, 3, out)
    with pytest.raises(RunError, match=r"action of shape \(3,\): give 2 finite numbers"):
        robo_orl.record_data(TASK, lambda *_: np.zeros(3), 1, tmp_path / "b.hdf5")


class Falls(Reach):
    """It ends without success after three decisions."""

    def step(self, action):
        observation, reward, _, _, info = super().step(action)
        self.steps = getattr(self, "steps", 0) + 1
        return observation, reward, self.steps % 3 == 0, False, info


def test_an_end_without_success_is_a_terminal_of_the_data(registered, tmp_path, monkeypatch):
    from robo_orl.data.cache import open_cache

    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "cache"))
    registered("falls", Falls)
    task = TASK.model_copy(update={"env": "falls", "name": "falls"})
    robo_orl.record_data(task, lambda *_: np.zeros(2), 2, tmp_path / "a.hdf5")
    arrays = open_cache(tmp_path / "a.hdf5")
    assert not arrays.success.any() and arrays.terminal.all() and arrays.lengths.tolist() == [3, 3]


class Unseeded(Reach):
    def reset(self, seed=None):
        return super().reset(seed=None)


class Four(Reach):
    def step(self, action):
        return super().step(action)[:4]


class Mute(Reach):
    def step(self, action):
        return *super().step(action)[:4], {"speed": 1.0}


class Matrix(Reach):
    def _observation(self):
        return {"map": np.zeros((4, 4))}


class Discrete(Reach):
    action_space = type("Discrete", (), {"n": 4, "shape": ()})()


class Unbounded(Reach):
    action_space = type("Wide", (Box,), {"high": np.array([np.inf, 1.0])})()


class Slow(Reach):
    control_hz = 5


@pytest.mark.parametrize(
    ("own", "values", "sentence"),
    [
        (Unseeded, {}, "begins otherwise when it is reset with the same seed"),
        (Four, {}, "step returns observation, reward, terminated, truncated and info"),
        (Mute, {}, "does not say in info whether the stage 'touched' of task reach holds .it says speed"),
        (Matrix, {}, "'map' of its observation is neither numbers .* nor a picture called CAMERA_image"),
        (Discrete, {}, "its action_space has no shape"),
        (Unbounded, {}, "its action_space has no finite low and high"),
        (Slow, {}, "decides at 5 Hz, and task reach at 10"),
        (Reach, {"params": {"arenas": 1}}, "cannot be made with the params of task reach: .*arenas"),
        (Reach, {"controller": "IK_POSE"}, "controller is for scenes of robosuite, and 'own' is an environment of its"),
        (Reach, {"padding": 1.0}, "padding is for scenes of robosuite"),
    ],
)
def test_what_breaks_the_contract_is_one_sentence(registered, own, values, sentence):
    registered("own", own)
    with pytest.raises(UsageError, match=sentence):
        env = make_env(TASK.model_copy(update={"env": "own"} | values))
        env.reset(env.draw_start(0))
        env.step(np.zeros(2))


def test_what_needs_a_scene_of_robosuite_or_an_installed_package_says_so(reach, tmp_path):
    with pytest.raises(UsageError, match="'reach' of task reach is no scene of robosuite: there are no stored states"):
        TaskEnv(TASK)
    with pytest.raises(UsageError, match="Unknown env 'reech'. Did you mean 'reach'.* installed package"):
        make_env(TaskConfig(name="t", env="reech", stages=["success"], max_seconds=1))
    with pytest.raises(UsageError, match="record a demonstrator of your own with robo_orl.record_data"):
        robo_orl.generate_data(str(EXAMPLE / "tasks" / "reach.yaml"), "ph", 1, tmp_path / "a.hdf5", progress=False)


# ------------------------------------------------------------------------------------------------- the executed example


def installed(folder: Path) -> dict[str, str]:
    """The example as an installed package: its entry points, as pip writes them; the environment that finds it."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = folder / "reach_task-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = [line for group, own in groups for line in (f"[{group}]", *(f"{k} = {v}" for k, v in own.items()))]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    paths = os.pathsep.join([str(folder), str(EXAMPLE), str(ROOT)])
    return os.environ | {"PYTHONPATH": paths, "ROBO_ORL_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_the_example_records_trains_and_succeeds(tmp_path):
    """The commands of the page 'Own task', with the example's package installed."""
    environment = installed(tmp_path)
    (tmp_path / "tasks").symlink_to(EXAMPLE / "tasks")

    def run(*command):
        done = subprocess.run([sys.executable, *command], env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "'success_k': 40" in run(str(EXAMPLE / "record.py"))
    small = ["--set", "policy.backbone.size=tiny", "--set", "policy.optim.steps=200", "--tracker", "none"]
    small += ["--set", "policy.optim.batch_size=32"]
    task = ["--task", "tasks/reach.yaml", "--data", "reach.hdf5"]
    run("-m", "robo_orl", "train", "--policy", "bc", *task, "--out", "runs/reach", *small)
    result = json.loads(run("-m", "robo_orl", "eval", "runs/reach", "--episodes", "20", "--json"))
    assert result["success_once"]["n"] == 20 and result["success_once"]["k"] >= 15, result["success_once"]
    assert [stage["name"] for stage in result["stages"]] == ["touched", "success"]
