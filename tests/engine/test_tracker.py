"""A tracker that cannot work is one sentence before anything is written; wandb offline writes under --out."""

import importlib
import json
import os
import socket
import sys

import pytest
import tiny
from accelerate.utils import LoggerType

from robo_orl.base.errors import RunError, UsageError
from robo_orl.engine import tracker as module
from robo_orl.engine.tracker import FOLDERS, KEYS, PROXIES, check_tracker
from robo_orl.engine.train import train

WANDB = """
import json, os
from pathlib import Path

class Run:
    def __init__(self):
        if os.environ.get("WANDB_FAILS"):
            raise ValueError("the run id is taken.")
        folder = Path(os.environ["WANDB_DIR"])
        assert folder.is_dir()
        self.file = folder / "wandb" / "offline-run.jsonl"
        self.file.parent.mkdir()
    def log(self, values, step=None, **_):
        with open(self.file, "a") as stream:
            stream.write(json.dumps({"step": step} | values) + chr(10))
    def finish(self):
        pass

class config:
    update = staticmethod(lambda values, **_: None)

def init(**_):
    return Run()
"""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """No key, proxy, folder or netrc of the user."""
    for variable in (*FOLDERS, *KEYS, *PROXIES, "WANDB_MODE", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.setenv(variable, "")  # so that what a test sets is undone
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def wandb(monkeypatch, tmp_path):
    """A package named wandb that writes where WANDB_DIR says."""
    site = tmp_path / "site"
    (site / "wandb").mkdir(parents=True)
    (site / "wandb" / "__init__.py").write_text(WANDB)
    (site / "wandb-1.0.dist-info").mkdir()
    (site / "wandb-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: wandb\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    monkeypatch.setattr("accelerate.tracking._available_trackers", [LoggerType.WANDB])  # listed when it is imported
    yield
    sys.modules.pop("wandb", None)


def run_with(data, tracker):
    return tiny.run_of(data, {"optim": {"steps": 10}}).model_copy(update={"tracker": tracker})


@pytest.mark.parametrize("tracker", ["wandb", "trackio", "tensorboard"])
def test_a_missing_package_is_a_sentence_before_data_are_opened(tracker, data, tmp_path, monkeypatch):
    (tmp_path / tracker).mkdir()  # a folder of that name is not the package
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(module, "package_version", lambda name: None)
    monkeypatch.setattr("robo_orl.engine.train.open_data", None)
    with pytest.raises(UsageError, match=f"{tracker} is not installed: `pip install {tracker}`, or --tracker none"):
        train(run_with(data, tracker), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_wandb_without_a_key_is_a_sentence_before_data_are_opened(data, tmp_path, wandb, monkeypatch):
    monkeypatch.setattr("robo_orl.engine.train.open_data", None)
    with pytest.raises(UsageError, match="no key for api.wandb.ai: run `wandb login` .* WANDB_MODE=offline"):
        train(run_with(data, "wandb"), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_wandb_without_a_network_is_a_sentence(wandb, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        environment = {"WANDB_API_KEY": "x", "WANDB_BASE_URL": f"http://127.0.0.1:{port}"}
        assert check_tracker("wandb", True, environment) == "wandb"
    with pytest.raises(UsageError, match=f"does not reach 127.0.0.1:{port} .*WANDB_MODE=offline keeps the run under"):
        check_tracker("wandb", True, environment)
    assert check_tracker("wandb", False, environment) == "wandb"  # only the first process reports
    assert check_tracker("wandb", True, environment | {"HTTPS_PROXY": "http://proxy:3128"}) == "wandb"


def test_a_key_in_netrc_is_a_key(wandb, tmp_path, monkeypatch):
    (tmp_path / "keys").write_text("machine 127.0.0.1 login user password secret\n")
    environment = {"NETRC": str(tmp_path / "keys"), "WANDB_BASE_URL": "http://127.0.0.1:1"}
    with pytest.raises(UsageError, match="does not reach"):
        check_tracker("wandb", True, environment)


def test_wandb_offline_writes_under_out(data, tmp_path, wandb, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(run_with(data, "wandb"), tmp_path / "run", progress=False)
    rows = (tmp_path / "run" / "tracker" / "wandb" / "offline-run.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [10]
    for folder in FOLDERS:
        os.environ.pop(folder)


def test_a_tracker_that_does_not_start_is_a_sentence(data, tmp_path, wandb, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_FAILS", "1")
    with pytest.raises(RunError, match="wandb did not start: the run id is taken; --tracker none"):
        train(run_with(data, "wandb"), tmp_path / "run", progress=False)


@pytest.mark.skipif(module.package_version("wandb") is None, reason="the real wandb is not installed")
def test_the_real_wandb_keeps_an_offline_run_under_out(data, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(run_with(data, "wandb"), tmp_path / "run", progress=False)
    assert list((tmp_path / "run" / "tracker").rglob("*.wandb"))
    assert not any("wandb" in path.name for path in tmp_path.iterdir())
