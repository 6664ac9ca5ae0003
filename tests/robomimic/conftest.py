"""Made-up data on the scripted scene, and runs of robomimic's algorithms on them."""

import pytest
import synthetic  # noqa: E402
from scripted_scene import TASK, LineScene  # noqa: E402
from tiny_references import settings  # noqa: E402
from toy_run import episode  # noqa: E402

from robo_orl.robomimic.algorithms import resolve  # noqa: E402
from robo_orl.robomimic.train import train_reference  # noqa: E402


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def line(tmp_path):
    """Six episodes of the scripted scene, next_obs included."""
    return synthetic.write(tmp_path / "line.hdf5", [episode(i) for i in range(6)], next_obs=True, task=TASK)


@pytest.fixture
def trained(line, tmp_path):
    """A function that trains an algorithm for two steps: (algorithm, more settings, folder) -> the run's folder."""

    def train(name, *more, folder="run", **options):
        train_reference(resolve(name, settings(name, *more)), TASK, line, tmp_path / folder, progress=False, **options)
        return tmp_path / folder

    return train


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """Evaluations run on the scripted scene."""
    monkeypatch.setattr("robo_orl.robomimic.evaluation.TaskEnvSpec", lambda task, loop, keys=(): LineScene(tmp_path))
