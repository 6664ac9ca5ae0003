"""A critic is compared with the discounted return that the episode really had from each frame on."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "engine"))
import tiny  # noqa: E402

from robo_orl.base.errors import UsageError  # noqa: E402
from robo_orl.cli.app import main  # noqa: E402
from robo_orl.engine.train import train  # noqa: E402
from robo_orl.evaluate import value_error as module  # noqa: E402
from robo_orl.evaluate.value_error import error_statistics, value_error  # noqa: E402

GAMMA = 0.9
POLICY = {"gamma": {"fixed": GAMMA}, "optim": {"steps": 2}}


def telling_episode(index):
    """An episode whose first object number is the return-to-go of its frame."""
    made = tiny.synthetic.episode(14 + index, success=index % 3 != 0, seed=index)
    steps_to_go = np.arange(len(made))[::-1]
    made.obs["object"][:, 0] = GAMMA**steps_to_go * made.success
    return made


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("value")
    return tiny.synthetic.write(folder / "toy.hdf5", [telling_episode(i) for i in range(6)])


@pytest.fixture
def run(data, tmp_path, monkeypatch):
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "cache"))
    train(tiny.run_of(data, tiny.CASES["iql_shared"] | POLICY), tmp_path / "run", progress=False)
    return tmp_path / "run"


@pytest.fixture
def with_value(run, monkeypatch):
    """`value_error` of the run, its critic replaced by a function of the return-to-go."""

    def compare(value, **arguments):
        agent, config = module.load_agent(run)
        agent.value = lambda obs, actions: value(obs.low_dim["object"][:, 0])
        monkeypatch.setattr(module, "load_agent", lambda *_: (agent, config))
        return value_error(run, **arguments).to_json()

    return compare


def test_a_perfect_critic_has_no_error(with_value):
    found = with_value(lambda returned: returned)
    assert found["gamma"] == GAMMA and found["mean_absolute"] < 1e-6 and found["rmse"] < 1e-6
    assert found["correlation"] == pytest.approx(1) and found["kendall_tau"] == pytest.approx(1)
    assert found["by_success"]["success"]["n"] + found["by_success"]["failure"]["n"] == found["n"]
    assert sum(part["n"] for part in found["by_position"]) == found["n"]


def test_an_overestimate_is_a_positive_bias_and_leaves_the_order(with_value):
    found = with_value(lambda returned: returned + 0.25)
    assert found["bias"] == pytest.approx(0.25) == found["rmse"] and found["correlation"] == pytest.approx(1)


def test_a_critic_upside_down_is_told_from_the_right_one(with_value):
    assert with_value(lambda returned: -returned)["correlation"] == pytest.approx(-1)


def test_a_constant_critic_has_no_correlation(with_value):
    found = with_value(lambda returned: 0 * returned)
    assert found["correlation"] is None and found["kendall_tau"] is None and found["bias"] < 0


def test_frames_whose_return_a_timeout_cut_are_left_out(with_value):
    found = with_value(lambda returned: returned)
    lengths = [14 + i for i in range(6)]
    cut = 4 * sum(1 for i in range(6) if i % 3 == 0)  # the last n = 4 frames of the two failures
    assert found["n"] == sum(lengths) - cut


def test_at_most_the_asked_number_of_frames_spread_over_all(with_value):
    found = with_value(lambda returned: returned, frames=20)
    assert 15 <= found["n"] <= 20 and all(part["n"] > 0 for part in found["by_position"])


def test_the_real_critic_of_a_run_is_compared(run):
    found = value_error(run).to_json()
    assert found["n"] > 80 and -1 <= found["correlation"] <= 1 and found["rmse"] >= found["mean_absolute"] > 0


def test_a_policy_without_a_critic_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "cache"))
    train(tiny.run_of(data, POLICY), tmp_path / "bc", progress=False)
    with pytest.raises(UsageError, match="'tiny', which has no critic"):
        value_error(tmp_path / "bc")


def test_no_frames_are_no_errors():
    assert error_statistics(np.empty(0), np.empty(0)).to_json() == {"n": 0}


def test_the_command_says_what_the_function_does_and_takes_no_option_of_a_rollout(run, data, monkeypatch, capsys):
    def command(*words):
        monkeypatch.setattr("sys.argv", ["robo-orl", "eval", str(run), "--value-error", str(data), *words])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0, capsys.readouterr().out

    code, out = command("--json")
    assert code == 0 and json.loads(out) == value_error(run).to_json()
    code, out = command()
    assert code == 0 and "mean_absolute" in out
    code, out = command("--starts", "tuning", "--json")
    assert code == 2 and "--value-error evaluates no start states" in json.loads(out)["error"]
