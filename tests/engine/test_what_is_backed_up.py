"""gamma, n_step and the way of timeouts are those of the policy file in the windows that training really sees."""

import numpy as np
import pytest
import synthetic
import tiny

from robo_orl.agent.agent import Agent
from robo_orl.config import TaskData, deep_merge
from robo_orl.engine.run_folder import build_run_agent, make_spec, read_spec
from robo_orl.engine.task_data import make_windows, open_data
from robo_orl.engine.train import train

CHUNK, HORIZON = 4, 40  # tiny.POLICY; 2 seconds at 20 decisions a second
LENGTHS, SUCCESS = [14, 15, 16, 17, 18, 19], [False, True, True, False, True, True]
# By hand: settings -> gamma, n, whether a timeout cuts a backup short instead of dropping it.
QC = {"critic": {"topology": "shared"}, "objective": {"name": "qc"}, "action_head": {"kind": "flow"}}
QC |= {"selection": {"num_samples": 2}}
SHARSA = deep_merge(tiny.shipped()["sharsa"], {"critic": {"value_range": [0, 20]}})  # a reward in every frame
SETTINGS = {
    "defaults": (QC, 0.99, CHUNK, False),
    "one step": (QC | {"n_step": 1}, 0.99, 1, False),
    "more than a chunk": (QC | {"n_step": 7}, 0.99, 7, False),
    "fixed": (QC | {"gamma": {"fixed": 0.8}}, 0.8, CHUNK, False),
    "matched": (QC | {"gamma": {"fixed": None, "matched": 8.0}}, 0.8, CHUNK, False),  # 1 - 8 / 40
    "matched, three steps": (QC | {"gamma": {"fixed": None, "matched": 4.0}, "n_step": 3}, 0.9, 3, False),
    "cut short": (SHARSA | {"gamma": {"fixed": 0.9}, "n_step": 3}, 0.9, 3, True),
}
every_setting = pytest.mark.parametrize(("policy", "gamma", "n", "cut_short"), SETTINGS.values(), ids=SETTINGS)


@pytest.fixture
def rewarded(tmp_path):
    """Six episodes with a reward in every frame; those that fail are ended by a timeout."""
    episodes = [
        synthetic.episode(length, won, seed=i) for i, (length, won) in enumerate(zip(LENGTHS, SUCCESS, strict=True))
    ]
    for index, item in enumerate(episodes):
        item.rewards = np.random.default_rng(index).uniform(0, 1, len(item)).astype(np.float32)
    return synthetic.write(tmp_path / "rewarded.hdf5", episodes)


def rewards_of(episode):
    return np.random.default_rng(episode).uniform(0, 1, LENGTHS[episode]).astype(np.float32).astype(float)


def backed_up(episode: int, t: int, gamma: float, n: int, cut_short: bool) -> tuple[float, float, bool]:
    """Reward, discount and whether it counts, of the transition from frame t; one reward at a time."""
    length, left, rewards = LENGTHS[episode], LENGTHS[episode] - 1 - t, rewards_of(episode)
    if cut_short and not SUCCESS[episode] and 0 < left < n:
        n = left
    exists = t + n < length
    total = sum(gamma**i * rewards[t + i] for i in range(n) if t + i < length)
    return total, gamma**n if exists else 0.0, exists or SUCCESS[episode]


def assert_backed_up(windows, gamma, n, cut_short):
    """Every row of the windows is what the loops above say; some are close to a timeout, or nothing would tell them."""
    close = 0
    for window in windows:
        for row, (episode, t) in enumerate(zip(window.episode.tolist(), window.frame.tolist(), strict=True)):
            reward, discount, valid = backed_up(episode, t, gamma, n, cut_short)
            to_go = sum(gamma**i * r for i, r in enumerate(rewards_of(episode)[t:]))
            found = [getattr(window, name)[row].item() for name in ("reward", "discount", "td_valid", "return_to_go")]
            assert found == pytest.approx([reward, discount, valid, to_go], rel=1e-4), f"episode {episode}, frame {t}"
            close += not SUCCESS[episode] and LENGTHS[episode] - 1 - t < n
    assert close


@every_setting
def test_the_windows_of_a_run_back_up_as_its_policy_file_says(policy, gamma, n, cut_short, rewarded):
    run = tiny.run_of(rewarded, policy)
    windows = make_windows(run, open_data(run))
    assert_backed_up([windows.gather(windows.frames)], gamma, n, cut_short)


@pytest.mark.parametrize("name", ["matched, three steps", "cut short"])
def test_training_learns_from_the_windows_of_its_own_policy_file(name, rewarded, tmp_path, monkeypatch):
    policy, gamma, n, cut_short = SETTINGS[name]
    seen, real = [], Agent.forward

    def forward(self, window, draws):
        seen.append(window)
        return real(self, window, draws)

    monkeypatch.setattr(Agent, "forward", forward)
    run = tiny.run_of(rewarded, policy, seed=3)
    train(run, tmp_path / "run", progress=False, stop_at=4)
    assert len(seen) == 4 and all(len(window) == 8 for window in seen)  # 16 observations are 8 pairs
    assert {window.actions.shape[1] for window in seen} == {CHUNK}
    assert len({tuple(window.frame.tolist()) for window in seen}) == 4  # other frames in every step
    assert_backed_up(seen, gamma, n, cut_short)
    assert read_spec(tmp_path / "run").gamma == pytest.approx(gamma)


@every_setting
def test_an_agent_is_told_the_discount_of_its_policy_file(policy, gamma, n, cut_short, rewarded):
    run = tiny.run_of(rewarded, policy)
    assert build_run_agent(run, make_spec(run, open_data(run))).gamma == pytest.approx(gamma)


def test_a_matched_discount_is_matched_to_every_tasks_own_horizon(rewarded, tmp_path):
    slow = synthetic.TASK.model_copy(update={"name": "slow", "max_seconds": 8.0})
    other = synthetic.write(tmp_path / "slow.hdf5", [synthetic.episode(12, True, seed=9)], task=slow)
    policy = QC | {"gamma": {"fixed": None, "matched": 4.0}}
    run = tiny.run_of(rewarded, policy, more=[TaskData(task=slow, data=str(other))])
    mixture = make_windows(run, open_data(run))
    assert [part.gamma for part in mixture.tasks] == pytest.approx([1 - 4 / 40, 1 - 4 / 160])


def test_a_run_learns_from_the_episodes_of_its_filter_alone(rewarded):
    run = tiny.run_of(rewarded, QC, filter="success")
    windows = make_windows(run, open_data(run))
    seen = windows.gather(windows.frames)
    assert sorted(set(seen.episode.tolist())) == [i for i, won in enumerate(SUCCESS) if won]
