"""The small processes of benchmarks/horizon_rungs.py: its thresholds against noisy backups, ours among them.

What the benchmark sums in closed form is found here by repeating backups on every state and action of a short process.
"""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import table_agents as tables
import tabular_mdps as mdps

PATH = Path(__file__).parents[2] / "benchmarks" / "horizon_rungs.py"
H, DRAWS = 9, 40


@pytest.fixture(scope="module")
def rungs():
    """The benchmark as a module."""
    spec = importlib.util.spec_from_file_location("horizon_rungs_benchmark", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["horizon_rungs_benchmark"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["horizon_rungs_benchmark"]


def noise_of(rungs, draws):
    """(own, other): the errors of the right and of the wrong action that `errors` draws from the same generator."""
    rng = np.random.default_rng(5)
    return [rng.normal(size=(draws, H)) for _ in range(2)]


def after_wrong(process, i, n):
    """The state from which a backup of n steps goes on whose first action, at i, was the wrong one."""
    return (i if process == "stay" else 0) + n - 1


def learned(process, n, gamma, own, other, eps):
    """Q (H, 2) as noisy backups leave it: every target has its error, at every sweep the same."""
    q = np.zeros((H, 2))
    for _ in range(600):
        v = q.max(1)
        new = np.zeros_like(q)
        for i in range(H):
            for a, (at, error) in enumerate(((after_wrong(process, i, n), other), (i + n, own))):
                if at < H:
                    new[i, a] = gamma**n * v[at] + eps * error[i]
                else:  # the end is reached within the backup, one decision later after a wrong one that stayed
                    paid = gamma ** (H - 1 - i) if a else gamma * gamma ** (H - 1 - (i if process == "stay" else 0))
                    new[i, a] = paid + eps * error[i]
        if np.abs(new - q).max() < 1e-13:
            break
        q = new
    return q


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("process", ["stay", "lock"])
def test_the_tolerated_error_is_where_noisy_backups_begin_to_prefer_a_wrong_action(rungs, process, n):
    arm = rungs.Arm(process, n=n)
    gamma, (own, other) = arm.gamma(H), noise_of(rungs, DRAWS)
    tolerated = rungs.errors(arm, H, DRAWS, np.random.default_rng(5)).tolerated()
    finite = [d for d in range(DRAWS) if tolerated[d] < 1]
    assert len(finite) > DRAWS / 2
    for d in finite[:12]:
        for factor, succeeds in ((0.98, True), (1.02, False)):
            q = learned(process, n, gamma, own[d], other[d], factor * tolerated[d])
            assert (q[:, 1] > q[:, 0]).all() == succeeds, f"draw {d} at {factor} x eps*"


def test_our_own_objective_fails_at_the_tolerated_error_too(rungs):
    """qc on tables, with the package's windows, losses and targets; an error of a target is one of its reward."""
    arm, mdp = rungs.Arm("stay"), mdps.chain(H + 1, slip=0.0)
    own, other = noise_of(rungs, DRAWS)
    tolerated = rungs.errors(arm, H, DRAWS, np.random.default_rng(5)).tolerated()
    draw = int(np.argsort(tolerated)[DRAWS // 2])
    episodes = mdp.record(0.5, 60, limit=60)
    for factor, succeeds in ((0.9, True), (1.1, False)):
        error = factor * tolerated[draw] * np.stack((other[draw], own[draw]), 1)
        noisy = [
            mdps.Episode(e.states, e.actions, e.rewards + error[e.states, e.actions], e.terminal) for e in episodes
        ]
        window = tables.window_of(noisy, H + 1, 1, 1, arm.gamma(H))
        learner = tables.table_agent(
            "qc", H + 1, gamma=arm.gamma(H), right=0.5, objective={"params": {"num_samples": 2}}
        )
        tables.relax(learner, window, sweeps=60)
        assert (tables.greedy(learner, H + 1)[:H] == 1).all() == succeeds


@pytest.mark.parametrize(("kind", "n"), [("noise", 1), ("noise", 3), ("bias", 1), ("bias", 3)])
def test_the_error_of_a_detour_is_the_sum_over_its_backups(rungs, kind, n):
    arm, draws = rungs.Arm("detour", kind, n), 20_000
    drawn = rungs.errors(arm, H, draws, np.random.default_rng(0)).wrong
    gamma, rng = arm.gamma(H), np.random.default_rng(1)
    for i in (0, 4, H - 1):
        left, total, discount = H - i + 1, np.zeros(draws), 1.0
        while left > 0:  # one error a backup of n decisions, until the end is reached
            total += discount * (1 + 0.5 * rng.normal(size=draws) if kind == "bias" else rng.normal(size=draws))
            left, discount = left - n, discount * gamma**n
        assert drawn[:, i].mean() == pytest.approx(total.mean(), abs=0.06)
        assert drawn[:, i].std() == pytest.approx(total.std(), rel=0.03)


def test_the_gap_is_one_decision_of_waiting_or_the_way_back_to_the_start(rungs):
    gamma = 1 - 1 / H
    value = gamma ** (H - 1.0 - np.arange(H))
    for process, other in (("stay", gamma * value), ("detour", gamma * value), ("lock", np.full(H, gamma**H))):
        gap = rungs.errors(rungs.Arm(process), H, 1, np.random.default_rng(0)).gap
        np.testing.assert_allclose(gap, value - other)


def test_cloning_tolerates_the_error_at_which_half_of_its_runs_meet_none(rungs):
    row = rungs.measured(rungs.CLONING, 64, seeds=8, draws=4000)
    assert np.mean(row.tolerated) == pytest.approx(1 - 0.5 ** (1 / 64), rel=0.05)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_backups_over_the_data_find_the_value_of_a_risk_that_the_benchmark_gives(rungs, n):
    """A corridor whose wrong decisions end: the fixed point of n uncorrected steps, from episodes of half the decisions
    right."""
    ends = np.zeros((10, 2, 10))
    for s in range(8):
        ends[s, 1, s + 1], ends[s, 0, 9] = 1.0, 1.0
    ends[8:, :, 8:] = np.eye(2)[:, None]
    pay = np.zeros_like(ends)
    pay[7, 1, 8] = 1.0
    corridor = mdps.MDP(ends, pay, np.arange(10) >= 8)
    rows = mdps.rows(_from_everywhere(corridor, 400), n, 1, 1.0)
    q = mdps.of_choice(rows, (10, 2), lambda q: q.max(1))
    assert q[0, 1] == pytest.approx(rungs.value_of_risk(n, 0.5), rel=0.25, abs=0.01)
    assert rungs.value_of_risk(1, 0.5) == 1 and rungs.value_of_risk(n, 0.5, chunk=True) == 1


def _from_everywhere(corridor, each):
    """Episodes that begin at every decision: the last ones of a corridor are seldom reached from its start."""
    draw, made = np.random.default_rng(0), []
    for first in range(8):
        for _ in range(each):
            states, actions = [first], []
            while states[-1] < 8:
                actions.append(int(draw.random() < 0.5))
                states.append(states[-1] + 1 if actions[-1] else 9)
            rewards = np.zeros(len(actions))
            rewards[-1] = float(states[-1] == 8)
            made.append(mdps.Episode(np.array(states[:-1]), np.array(actions), rewards, True))
    return made


def test_the_command_writes_the_prediction_of_the_largest_horizon_before_it_runs_it(rungs, tmp_path, monkeypatch):
    out = tmp_path / "rungs.json"
    options = ["--horizons", "16", "32", "64", "128", "256", "--draws", "50", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["horizon_rungs.py", *options])
    before, run = {}, rungs.measured

    def watched(arm, horizon, seeds, draws):
        if horizon == 256 and not before:
            before.update(json.loads(out.read_text()))
        return run(arm, horizon, seeds, draws)

    monkeypatch.setattr(rungs, "measured", watched)
    rungs.main()
    after = json.loads(out.read_text())
    assert set(after["arms"]) == {arm.name for arm in rungs.EXPECTED}
    for name, arm in after["arms"].items():
        assert [row["horizon"] for row in arm["rows"]] == [16, 32, 64, 128, 256]
        assert all(len(row["tolerated"]) == 8 for row in arm["rows"])
        early = before["arms"][name]["prediction"]
        assert early["measured"] is None and early["value"] == arm["prediction"]["value"]
        assert arm["prediction"]["inside"] in (True, False)
        assert arm["fits"]["tolerated"]["slope"]["low"] < arm["fits"]["tolerated"]["slope"]["high"]
    assert after["arms"]["detour, bias"]["fits"]["tolerated"]["slope"]["value"] == pytest.approx(-2, abs=0.05)
