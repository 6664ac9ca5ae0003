"""A task behind pipes gives what it gives in this process; the client is that of LeRobot's environment."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from robo_orl.config.presets import load_task
from robo_orl.envs.start_banks import stored_bank
from robo_orl.envs.task_env import TaskEnv

CLIENT = Path(__file__).parents[2] / "integrations/lerobot_env_robo_orl/lerobot_env_robo_orl/client.py"


def _client():
    """The module alone: its package imports LeRobot."""
    spec = importlib.util.spec_from_file_location("lerobot_client", CLIENT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TaskProcess = _client().TaskProcess


def test_an_episode_of_the_other_process_is_this_ones():
    lift = load_task("lift")
    process, env, bank = TaskProcess("lift", sys.executable), TaskEnv(lift), stored_bank(lift, "test")
    about, _ = process.ask("describe")
    assert about["sizes"] == env.spec and about["limit"] == lift.horizon and about["stages"] == lift.stages
    reply, seen = process.ask("reset", index=len(bank) + 3)
    obs, draw = env.reset(bank[3]), np.random.default_rng(0)
    assert reply["start"] == 3
    for _ in range(5):
        for key in obs:
            np.testing.assert_array_equal(seen[key], obs[key])
        action = draw.uniform(-1.5, 1.5, 7)
        reply, seen = process.ask("step", action)
        step = env.step(action)
        obs = step.obs
        assert (reply["reward"], reply["terminated"], reply["truncated"]) == (step.reward, False, False)
    with pytest.raises(RuntimeError, match="The action holds NaN or infinity"):
        process.ask("step", np.full(7, np.nan))
    process.ask("reset", index=0)  # and goes on
    process.close()
    process.close()
    env.close()


def test_what_cannot_be_served_is_one_sentence(monkeypatch):
    monkeypatch.delenv("ROBO_ORL_PYTHON", raising=False)
    with pytest.raises(RuntimeError, match="set ROBO_ORL_PYTHON to the Python of the environment"):
        TaskProcess("lift")
    with pytest.raises(RuntimeError, match="/no/python does not start .*: set ROBO_ORL_PYTHON"):
        TaskProcess("lift", "/no/python")
    with pytest.raises(RuntimeError, match="ended with exit code 1; is robo-orl there"):
        TaskProcess("lift", f"{sys.executable} -c raise(SystemExit(1))").ask("describe")
    with pytest.raises(RuntimeError, match="Unknown task 'lifd'.* Did you mean 'lift'"):
        TaskProcess("lifd", sys.executable).ask("describe")
