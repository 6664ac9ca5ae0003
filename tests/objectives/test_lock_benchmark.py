"""The combination lock of benchmarks/lock.py: its numbers against value iteration in numpy, and its command line.

Both are small here: 8 states, exact backups on a table instead of a network, a few steps of the real one.
"""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

PATH = Path(__file__).parents[2] / "benchmarks" / "lock.py"
H = 8


@pytest.fixture(scope="module")
def lock():
    """The benchmark as a module."""
    spec = importlib.util.spec_from_file_location("lock_benchmark", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["lock_benchmark"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["lock_benchmark"]


def step(position: int, action: int) -> tuple[float, int]:
    """One step of the lock in words: right goes on, wrong goes back; every step costs 1 but the one that opens."""
    after = position + 1 if action == 1 else 0
    return (0.0 if after == H else -1.0), after


def value_iteration() -> np.ndarray:
    """Q* (H, 2) with gamma 1."""
    q = np.zeros((H, 2))
    for _ in range(4 * H):
        values = np.append(q.max(1), 0.0)
        q = np.array([[r + values[after] for r, after in (step(s, a) for a in (0, 1))] for s in range(H)])
    return q


def test_the_optimal_values_are_those_of_value_iteration(lock):
    np.testing.assert_array_equal(lock.made(H, 0).q_star().numpy(), value_iteration())


@pytest.mark.parametrize("n", [1, 2, 3, H, 2 * H])
def test_n_steps_ahead_are_n_steps_of_the_lock_and_leave_its_values_as_they_are(lock, n):
    rewards, after = lock.made(H, 0).ahead(n)
    values = np.append(value_iteration().max(1), 0.0)
    for start in range(H):
        for first in (0, 1):
            total, position = step(start, first)
            for _ in range(n - 1):
                if position < H:
                    reward, position = step(position, 1)
                    total += reward
            assert (rewards[start, first].item(), after[start, first].item()) == (total, position)
            assert total + values[position] == value_iteration()[start, first]


def test_no_two_states_look_alike_and_another_seed_is_another_order(lock):
    codes = lock.made(H, 0).codes
    assert codes.shape == (H, 3) and set(codes.unique().tolist()) == {-1.0, 1.0}
    assert len(codes.unique(dim=0)) == H
    assert torch.equal(codes, lock.made(H, 0).codes) and not torch.equal(codes, lock.made(H, 1).codes)


class Table(nn.Module):
    """Q of every position, looked up by its code."""

    def __init__(self, codes, values):
        super().__init__()
        self.codes, self.values = codes, values  # (H + 1, bits), (H + 1, 2)

    def forward(self, x):
        """(E, M, bits) -> (E, M, 2)."""
        return self.values[torch.cdist(x, self.codes.expand(len(x), -1, -1)).argmin(-1)]


def on_a_table(lock, n, values=None):
    """A learner of one seed whose networks are tables; n None: regression to Q*."""
    made = lock.made(H, 0)
    codes = torch.cat((made.codes, torch.zeros(1, 3)))
    values = torch.full((H, 2), -0.5) if values is None else values  # what no sum of rewards is
    held = torch.cat((values, torch.zeros(1, 2)))
    online, slow = Table(codes, held.clone()), Table(codes, held.clone())
    return lock.Learner(online, slow, codes.unsqueeze(0), made.ahead(n) if n else None, made.q_star())


@pytest.mark.parametrize("n", [1, 2, 4, H, 2 * H, None])
def test_exact_backups_need_the_horizon_over_n_of_them(lock, n):
    """Every backup brings the opening n positions nearer to the start, and the wrong action is one step before it."""
    learner, exact = on_a_table(lock, n), torch.from_numpy(value_iteration()).float()
    needed = -(-(H + 1) // n) if n else 1
    for sweep in range(1, needed + 1):
        new = learner.target(torch.arange(H).unsqueeze(0))[0]
        for table in (learner.online, learner.slow):
            table.values[:H] = new
        known = H if n is None else min(H, sweep * n)
        assert torch.equal(new[H - known :, 1], exact[H - known :, 1])
        assert torch.equal(new, exact) == (sweep == needed), f"after {sweep} backups"


def test_what_is_judged_is_the_distance_to_the_optimum_and_to_the_own_target(lock):
    exact = torch.from_numpy(value_iteration()).float()
    perfect = lock.errors_of(on_a_table(lock, 1, exact.clone()))
    assert perfect["q_error"] == perfect["common_error"] == perfect["difference_error"] == perfect["td_error"] == [0.0]
    assert (perfect["opened"], perfect["of"]) == (1, 1)
    assert perfect["by_position"] == {"q_error": [0.0] * H, "td_error": [0.0] * H}
    wrong = exact.clone()
    wrong[5, 1] -= 4.0  # the right action at position 5 looks worse than the wrong one now
    wrong[5, 0] += 4.0
    found = lock.errors_of(on_a_table(lock, 1, wrong))
    assert found["opened"] == 0
    assert found["q_error"] == [pytest.approx(8.0 / (2 * H))] and found["difference_error"] == [8.0 / H]
    assert found["common_error"] == [0.0], "what one action has too much the other has too little"
    assert found["by_position"]["q_error"] == [0.0] * 5 + [4.0] + [0.0] * (H - 6)


def test_a_target_is_chosen_by_the_online_network_and_valued_by_the_slow_one(lock):
    learner = on_a_table(lock, 1)
    learner.online.values[3] = torch.tensor([1.0, 0.0])  # prefers the wrong action at 3
    learner.slow.values[3] = torch.tensor([-2.0, -7.0])
    assert learner.target(torch.tensor([[2]]))[0, 0, 1].item() == -1.0 + -2.0
    learner.slow.values[3] = torch.tensor([5.0, -7.0])  # no return is above 0 ...
    assert learner.target(torch.tensor([[2]]))[0, 0, 1].item() == -1.0
    learner.slow.values[3] = torch.tensor([-50.0, -7.0])  # ... or below -H
    assert learner.target(torch.tensor([[2]]))[0, 0, 1].item() == -1.0 - H


@pytest.fixture
def threads():
    """The benchmark takes one core; the tests after it get theirs back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_command_trains_every_arm_on_every_lock_and_draws_what_it_found(lock, threads, tmp_path, monkeypatch):
    out = tmp_path / "lock.json"
    options = [
        "--horizons",
        "4",
        "8",
        "--n",
        "4",
        "--steps",
        "60",
        "--propagation",
        "3",
        "--seeds",
        "2",
        "--width",
        "32",
        "--out",
        str(out),
    ]
    monkeypatch.setattr(sys, "argv", ["lock.py", *options, "--rate", "0.03"])
    lock.main()
    held = json.loads(out.read_text())
    assert held["settings"] | {"n": 4, "steps": 60, "seeds": 2, "width": 32, "rate": 0.03} == held["settings"]
    rows = [(row["horizon"], row["arm"], row["n"]) for row in held["rows"]]
    arms = (("1-step", 1), ("n-step", 4), ("regression to Q*", None))
    assert rows == [(horizon, arm, n) for horizon in (4, 8) for arm, n in arms]
    for row in held["rows"]:
        assert all(len(row[name]) == row["of"] == 2 for name in ("q_error", "difference_error", "td_error"))
        assert row["steps"] == max(60, 3 * row["horizon"] / 0.2), "longer locks are trained longer"
        assert ("by_position" in row) == (row["horizon"] == 8), "curves are kept of the longest lock"
        assert max(row["q_error"]) < 0.3 * row["horizon"], f"{row['arm']} has learned nothing"  # 0.7 at the start
    pytest.importorskip("matplotlib", reason="the plot needs matplotlib")
    for row in held["rows"][3:]:
        assert all(len(values) == 8 for values in row["by_position"].values())
        row["by_position"] = {k: v * 2 for k, v in row["by_position"].items()}
    out.write_text(json.dumps(held))  # the running mean of the plot is over 9 positions
    monkeypatch.setattr(sys, "argv", ["lock.py", "--plot", str(tmp_path / "lock.svg"), "--out", str(out)])
    lock.main()
    assert "</svg>" in (tmp_path / "lock.svg").read_text()
