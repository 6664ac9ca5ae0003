"""half_fast and never_whole, recorded: the properties by which nothing but values can tell their episodes apart."""

import numpy as np
import pytest

from robo_orl.base.errors import UsageError
from robo_orl.config import REGIMES as NAMES
from robo_orl.config.presets import load_task
from robo_orl.envs.demonstrators.regimes import REGIMES, draw_start, plan, record
from robo_orl.envs.task_env import TaskEnv
from robo_orl.results.addresses import evaluation_gamma

FAST, SLOW = 140, 150  # decisions: at most, at least


@pytest.fixture(scope="module")
def chain2():
    env = TaskEnv(load_task("chain2+one_reward"), "fast")
    yield env
    env.close()


def recorded(env, regime, episodes):
    items = plan(env.task, regime, episodes)
    return items, [record(env, draw_start(env, item), item) for item in items]


def returns(episodes, gamma):
    return np.array([episode.rewards @ gamma ** np.arange(len(episode)) for episode in episodes])


@pytest.fixture(scope="module")
def half_fast(chain2):
    return recorded(chain2, "half_fast", 6)


def test_every_half_fast_episode_succeeds_with_the_same_return(half_fast):
    _, episodes = half_fast
    assert all(episode.success for episode in episodes)
    gained = returns(episodes, evaluation_gamma(20))
    assert np.ptp(gained) < 0.1 * gained.mean()


def test_every_half_fast_episode_is_fast_at_one_cube_and_slow_at_the_other(half_fast):
    items, episodes = half_fast
    assert {item.operator for item in items} == {"half_fast_cs", "half_fast_sc"}
    for item, episode in zip(items, episodes, strict=True):
        first = int(episode.stages[:, 0].argmax())
        spent = dict(zip(item.operator[-2:], (first, len(episode) - first), strict=True))
        assert spent["c"] < FAST and spent["s"] > SLOW, item.operator
        assert len(episode) > 0.6 * load_task("chain2").horizon, "no episode of the data meets the second deadline"


@pytest.fixture(scope="module")
def never_whole(chain2):
    return recorded(chain2, "never_whole", 6)


def test_no_episode_of_never_whole_goes_from_a_start_to_success(never_whole):
    items, episodes = never_whole
    assert [item.masks[0] for item in items] == ["start", "middle"] * 3
    assert not any(episode.success for item, episode in zip(items, episodes, strict=True) if not item.begun)


def test_each_cube_of_never_whole_is_placed_by_the_competent_alone_from_a_state_that_occurs(never_whole):
    items, episodes = never_whole
    names = [item.operator.removeprefix("never_whole_") for item in items]
    assert names == ["cb", "-c", "hb", "-b", "hb", "-c"]
    assert [bool(episode.stages[-1, item.begun]) for item, episode in zip(items, episodes, strict=True)] == [
        True, True, True, False, True, True,
    ]  # fmt: skip


def test_the_hasty_have_their_reward_earlier_and_never_come_back(never_whole):
    _, (competent, _, hasty, _, other, _) = never_whole
    reward = competent.stages[:, 0].argmax()
    for episode in (hasty, other):
        placed = episode.stages[:, 0].argmax()
        assert placed < reward
        cubes = episode.obs["object"][placed:, [8, 9, 10]]
        assert np.ptp(cubes, axis=0).max() < 0.005, "the second cube is never touched"
    assert competent.obs["object"][-1, 1] > 0.17 > hasty.obs["object"][-1, 1] > 0.05  # within the zone, at its edge


def test_an_episode_that_begins_in_the_middle_begins_there_bit_for_bit_and_is_not_paid_for_it(chain2, never_whole):
    items, episodes = never_whole
    again = record(chain2, draw_start(chain2, items[1]), items[1])
    np.testing.assert_array_equal(again.states, episodes[1].states)
    assert episodes[1].stages[0].tolist() == [1, 0] and episodes[1].rewards.sum() == 1.0
    assert episodes[1].obs["object"][0, 64:67].tolist() == [0, 1, 0]  # one cube is in place


def test_the_control_regimes_are_of_several_cubes():
    for regime in ("half_fast", "never_whole"):
        for task in ("chain1", "chain8", "lift"):
            with pytest.raises(UsageError, match=f"regime {regime} is of chains of 2 or 4 cubes, and {task}"):
                plan(load_task(task), regime, 2)
    assert all(sorted(item.operator[-4:]) == list("ccss") for item in plan(load_task("chain4"), "half_fast", 5))
    assert {item.begun for item in plan(load_task("chain4"), "never_whole", 8)} == {0, 1, 2, 3}


def test_the_names_that_a_suite_knows_are_those_that_can_be_recorded():
    assert set(NAMES) == set(REGIMES)
