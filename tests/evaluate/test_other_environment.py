"""What a policy was trained on travels with it: another environment's keys, sizes and actions are refused in words."""

import json
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import toy_run

from robo_orl.api import resolve_run
from robo_orl.base.errors import UsageError
from robo_orl.data.new_task import task_of
from robo_orl.engine.checkpoint import load_agent
from robo_orl.evaluate.policy import AgentPolicy
from robo_orl.evaluate.success import check_actions, check_observations, prepare
from robo_orl.rollout.simulator import SimulatorInfo


def simulator(spec: dict[str, int], actions: int = 7) -> SimulatorInfo:
    return SimulatorInfo(200, "a" * 64, spec, actions, ["success"], "exact")


READ = {"robot0_eef_pos": 3, "object": 10}


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (
            {"robot0_eef_pos": 3},
            r"reads 'object', which the environment of door does not give .it has robot0_eef_pos",
        ),
        (
            {"state": 3},
            "reads 'robot0_eef_pos', which .* none of the others either.: train without it, by",
        ),
        (READ | {"object": 14}, "'object' has size 10 in the training data and 14 in the simulator"),
    ],
)
def test_other_observations_are_refused(spec, sentence):
    check_observations(READ, simulator(READ | {"more": 1}), "door")
    with pytest.raises(UsageError, match=sentence):
        check_observations(READ, simulator(spec), "door")


def test_other_actions_are_refused_and_the_environment_is_asked_for_the_keys_of_the_data(run):
    agent, _ = load_agent(run)
    actor = AgentPolicy(agent, 2, 0)
    check_actions(actor, simulator({}, actions=1), "line")
    with pytest.raises(UsageError, match="trained on actions of 1 numbers, and line takes 8: its data are of"):
        check_actions(actor, simulator({}, actions=8), "line")
    check_actions(SimpleNamespace(), simulator({}), "line")
    ready = prepare(run)
    assert ready.env_spec.keys == ("position",) and ready.observations == {"position": 1}


def test_a_policy_reads_the_pictures_that_its_task_names(tmp_path):
    policy = {"extends": "bc+pixels", "name": "seen"}
    task = toy_run.TASK.model_dump(mode="json") | {"view": {"cameras": ["side", "wrist"], "size": 64}}
    own = ["policy.observation.cameras=[task]"]
    seen = resolve_run(policy, task, "a.hdf5", own).policy.observation
    assert (seen.cameras, seen.image_size) == (["side", "wrist"], 64)
    assert resolve_run(policy, task, "a.hdf5").policy.observation.cameras == ["agentview", "robot0_eye_in_hand"]
    with pytest.raises(UsageError, match="reads the pictures of its task, and line has no `view`"):
        resolve_run(policy, toy_run.TASK, "a.hdf5", own)
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["data/demo_0/actions"] = np.zeros((30, 7))
        for camera in ("side", "wrist"):
            file[f"data/demo_0/obs/{camera}_image"] = np.zeros((30, 64, 64, 3), np.uint8)
        file["data"].attrs["env_args"] = json.dumps({"env_name": "our_cell"})
    assert task_of(tmp_path / "a.hdf5", "mine")[0]["view"] == {"cameras": ["side", "wrist"], "size": 64}
