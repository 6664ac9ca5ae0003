"""Training on pictures, instructions and several tasks, on synthetic files."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "data"))  # for `import seeing`
import seeing

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig, RunConfig, TaskData, deep_merge
from robo_orl.config.presets import preset_values
from robo_orl.engine.checkpoint import load_agent
from robo_orl.engine.run_folder import read_spec
from robo_orl.engine.train import train
from robo_orl.evaluate.value_error import value_error

SEEN = {"cameras": list(seeing.CAMERAS), "image_size": seeing.SIZE, "instruction": True, "history": 2, "jitter": 0.1}
SMALL = {
    "observation": SEEN | {"low_dim": ["robot0_eef_pos"]},
    "backbone": {"patch": 8},
    "optim": {"steps": 4, "batch_size": 16, "warmup_steps": 0},
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "cache"))


def run_of(name, file, over=None, **fields):
    values = deep_merge(deep_merge(preset_values("policies", name), SMALL), over or {})
    policy = PolicyConfig.model_validate(values)
    return RunConfig(policy=policy, task=seeing.TASK, data=str(file), tracker="none", **fields)


def weights(folder):
    return load_agent(folder)[0].state_dict()


@pytest.mark.parametrize("name", ["bc", "iql"])
def test_a_run_on_pictures_resumes_to_the_same_weights(name, tmp_path):
    file = seeing.write(tmp_path / "a.hdf5")
    run = run_of(name, file, checkpoint_every=2)
    summary = train(run, tmp_path / "whole", progress=False)
    assert summary.finished
    train(run, tmp_path / "parts", progress=False, stop_at=2)
    train(run, tmp_path / "parts", progress=False)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    spec = read_spec(tmp_path / "whole")
    assert spec.render == [seeing.RENDER] and spec.sentences[0][0] == seeing.TASK.instruction
    if name == "iql":
        assert value_error(tmp_path / "whole").overall.n > 0


def test_one_policy_learns_several_tasks(tmp_path):
    files = [seeing.write(tmp_path / "a.hdf5"), seeing.write(tmp_path / "b.hdf5", task=seeing.OTHER)]
    more = [TaskData(task=seeing.OTHER, data=str(files[1]), weight=3)]
    train(run_of("bc", files[0], more=more), tmp_path / "run", progress=False)
    spec = read_spec(tmp_path / "run")
    assert [sentences[0] for sentences in spec.sentences] == [seeing.TASK.instruction, seeing.OTHER.instruction]
    assert len(spec.render) == 2 and spec.statistics.frames == 2 * sum(seeing.LENGTHS)


@pytest.mark.parametrize(
    ("over", "says"),
    [
        ({"observation": {"cameras": ["frontview"]}}, "no pictures of the camera 'frontview'"),
        ({"observation": {"image_size": 32}}, "16 x 16 pixels of the camera 'agentview', and the policy takes 32 x 32"),
        ({"observation": {"low_dim": ["objects"]}}, "Did you mean 'object'"),
    ],
)
def test_data_that_do_not_show_what_the_policy_sees_are_refused(over, says, tmp_path):
    with pytest.raises(UsageError, match=says):
        train(run_of("bc", seeing.write(tmp_path / "a.hdf5"), over), tmp_path / "run", progress=False)


def test_an_instruction_too_long_for_the_tokeniser_is_refused(tmp_path):
    task = seeing.TASK.model_copy(update={"instruction": "x" * 200})
    run = run_of("bc", seeing.write(tmp_path / "a.hdf5", task=task))
    run = run.model_copy(update={"tasks": [run.tasks[0].model_copy(update={"task": task})]})
    with pytest.raises(UsageError, match="200 bytes"):
        train(run, tmp_path / "run", progress=False)
