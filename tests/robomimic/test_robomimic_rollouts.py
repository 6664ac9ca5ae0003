"""On a real simulator robomimic's own rollout function and our pool play the same episodes, whoever's policy it is."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

pytest.importorskip("robosuite", reason="needs the simulator")
pytest.importorskip("robomimic", reason="robomimic is not installed")

import synthetic  # noqa: E402
from tiny_references import settings  # noqa: E402

from robo_orl.base.errors import UsageError  # noqa: E402
from robo_orl.config import PolicyConfig, RunConfig, deep_merge  # noqa: E402
from robo_orl.config.presets import load_task  # noqa: E402
from robo_orl.cost.synthetic_step import task_spec  # noqa: E402
from robo_orl.engine.run_folder import read_spec  # noqa: E402
from robo_orl.engine.train import train  # noqa: E402
from robo_orl.evaluate.success import evaluate  # noqa: E402
from robo_orl.results.store import parse_rows  # noqa: E402
from robo_orl.robomimic.algorithms import resolve  # noqa: E402
from robo_orl.robomimic.evaluation import evaluate_reference  # noqa: E402
from robo_orl.robomimic.run_folder import checkpoints  # noqa: E402
from robo_orl.robomimic.train import train_reference  # noqa: E402

pytestmark = pytest.mark.slow
TASK = load_task("lift").model_copy(update={"max_seconds": 0.6})
EPISODES = 2
FLOW = PolicyConfig.model_validate(
    {
        "name": "tiny_flow",
        "action_head": {"kind": "flow", "chunk": 4, "execute": 3, "flow_steps": 2},
        "optim": {"steps": 2, "batch_size": 8, "warmup_steps": 1},
    }
)


@pytest.fixture
def data(tmp_path):
    """Noise in the shape of the task's observations."""

    def episode(index):
        draw = np.random.default_rng(index)
        seen = {k: draw.normal(size=(21, d)).astype(np.float32) for k, d in task_spec(TASK).items()}
        first, then = ({k: v[part] for k, v in seen.items()} for part in (slice(0, 20), slice(1, 21)))
        stages = np.zeros((20, 2), np.uint8)
        stages[-1] = 1  # an episode of the data ends at its first success
        return synthetic.episode(20, True, index, obs=first, next_obs=then, stages=stages)

    return synthetic.write(tmp_path / "lift.hdf5", [episode(i) for i in range(3)], next_obs=True, task=TASK)


def fingerprints(policy):
    """Of the episodes that robomimic's run_rollout plays with `policy`: hashes as `evaluate` takes them."""
    from robomimic.utils.train_utils import run_rollout

    from robo_orl.robomimic.rollout import RobomimicEnv

    class Hashing(RobomimicEnv):
        def reset(self):
            self.trace = hashlib.blake2b(digest_size=8)
            return super().reset()

        def step(self, action):
            result = super().step(action)
            for values in (np.asarray(action, np.float64), *result[0].values()):
                self.trace.update(np.ascontiguousarray(values).tobytes())
            return result

    env, found = Hashing(TASK, loop="exact"), []
    for _ in range(EPISODES):
        run_rollout(policy, env, horizon=TASK.horizon, terminate_on_success=True)
        found.append(env.trace.hexdigest())
    return found


@pytest.mark.parametrize("history", [1, 3])
def test_our_policy_acts_in_its_rollouts_as_in_ours(data, tmp_path, history):
    from robo_orl.robomimic.rollout import rollout_policy

    policy = PolicyConfig.model_validate(deep_merge(FLOW.model_dump(), {"observation": {"history": history}}))
    train(RunConfig(policy=policy, task=TASK, data=str(data), tracker="none"), tmp_path / "run", progress=False)
    evaluate(tmp_path / "run", EPISODES, workers=1, progress=False)
    ours = [row.fingerprint for row in parse_rows(tmp_path / "run" / "eval" / "episodes.jsonl")]
    assert fingerprints(rollout_policy(tmp_path / "run")) == ours
    assert len(set(ours)) == EPISODES


def test_a_policy_that_sees_more_than_vectors_is_refused(monkeypatch):
    from robo_orl.robomimic import rollout

    policy = PolicyConfig.model_validate(deep_merge(FLOW.model_dump(), {"observation": {"instruction": True}}))
    run = RunConfig(policy=policy, task=TASK, data="lift.hdf5")
    monkeypatch.setattr(rollout, "load_agent", lambda folder: (None, run))
    with pytest.raises(UsageError, match="runs/seeing sees pictures or reads an instruction"):
        rollout.rollout_policy("runs/seeing")


def test_its_checkpoint_acts_in_our_pool_as_in_its_rollouts(data, tmp_path):
    from robomimic.utils.file_utils import policy_from_checkpoint

    from robo_orl.robomimic.weights import read_weights

    train_reference(resolve("td3_bc", settings("td3_bc")), TASK, data, tmp_path / "run", progress=False)
    evaluate_reference(tmp_path / "run", EPISODES, workers=1, progress=False)
    ours = [row.fingerprint for row in parse_rows(tmp_path / "run" / "eval" / "episodes.jsonl")]
    policy, _ = policy_from_checkpoint(ckpt_dict=read_weights(checkpoints(tmp_path / "run")[-1] / "model.pth"))
    assert fingerprints(policy) == ours


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_the_action_error_is_the_distance_that_its_rollout_policy_has_from_the_data(data, tmp_path, whose):
    from robomimic.utils.file_utils import policy_from_checkpoint

    from robo_orl.robomimic.rollout import rollout_policy
    from robo_orl.robomimic.weights import read_weights

    run = tmp_path / "run"
    if whose == "ours":
        short = {"action_head": {"execute": 1}, "observation": {"history": 3}}
        policy = PolicyConfig.model_validate(deep_merge(FLOW.model_dump(), short))
        train(RunConfig(policy=policy, task=TASK, data=str(data), tracker="none"), run, progress=False)
        acting = rollout_policy(run)
    else:
        train_reference(resolve("td3_bc", settings("td3_bc")), TASK, data, run, progress=False)
        acting, _ = policy_from_checkpoint(ckpt_dict=read_weights(checkpoints(run)[-1] / "model.pth"))
    errors = []
    with h5py.File(data) as file:
        for demo in list(file["data"].values())[:2]:
            acting.start_episode()
            seen = [{key: values[at] for key, values in demo["obs"].items()} for at in range(len(demo["actions"]))]
            errors += [np.clip(acting(obs), -1, 1) - told for obs, told in zip(seen, demo["actions"], strict=True)]
    script = Path(__file__).parents[2] / "benchmarks" / "action_error.py"
    command = [sys.executable, str(script), str(run), "--data", str(data), "--episodes", "2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["frames"] == len(errors) == 40
    np.testing.assert_allclose(found["rows"][0]["rmse"], np.sqrt(np.square(errors).mean(0)), rtol=1e-6)


def test_the_benchmark_of_raw_observations_trains_on_them_and_our_evaluation_takes_its_run(data, tmp_path):
    policy = tmp_path / "short.yaml"
    policy.write_text(yaml.safe_dump(FLOW.model_dump(mode="json", exclude_none=True)))
    script = Path(__file__).parents[2] / "benchmarks" / "raw_observations.py"
    asked = ["--policy", policy, "--task", "lift", "--data", data, "--out", tmp_path / "raw", "--json"]
    asked += ["--set", "task.max_seconds=0.6"]
    subprocess.run([sys.executable, script, "train", *asked], capture_output=True, text=True, check=True)
    found = read_spec(tmp_path / "raw").statistics
    assert all(set(m.mean) == {0.0} and set(m.std) == {1.0} for m in found.obs.values())
    with h5py.File(data) as file:
        actions = np.concatenate([demo["actions"] for demo in file["data"].values()])
    np.testing.assert_array_equal(found.action_low, actions.min(0))
    assert evaluate(tmp_path / "raw", 1, workers=1, progress=False).scores.episodes == 1
