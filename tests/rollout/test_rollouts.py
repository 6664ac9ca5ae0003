"""Many episodes at once give the rows that one at a time gives, whatever dies on the way."""

import numpy as np
import pytest
from scripted_scene import BareScene, LineScene

from robo_orl.base.errors import RunError, UsageError
from robo_orl.rollout.episodes import Rollouts


def shuffling_policy(queries):
    """Two actions an episode that depend on (episode, decision, observation) only."""
    rows = []
    for query in queries:
        rng = np.random.default_rng((query.episode, query.decision))
        rows.append(np.clip(rng.normal(0.25, 0.6, (2, 1)) - 0.1 * query.obs["position"][0], -1, 1))
    return np.stack(rows)


def run(scene, episodes, policy=shuffling_policy, **settings):
    settings = {"workers": 2, "slots": 2, "gamma": 0.9} | settings
    with Rollouts(scene, policy, **settings) as rollouts:
        return {f.episode: f for f in rollouts.run(episodes)}, rollouts


def outcomes(finished):
    return {episode: f.outcome for episode, f in finished.items()}


@pytest.fixture(scope="module")
def one_at_a_time(tmp_path_factory):
    return outcomes(run(LineScene(tmp_path_factory.mktemp("calm")), range(12), workers=1, slots=1)[0])


def test_the_result_does_not_depend_on_processes_or_slots(one_at_a_time, tmp_path):
    finished, rollouts = run(LineScene(tmp_path), range(12), workers=2, slots=3)
    assert outcomes(finished) == one_at_a_time
    assert {o.success_once for o in one_at_a_time.values()} == {True, False}
    assert rollouts.policy_calls < rollouts.decisions  # some calls answered several episodes


def test_the_policy_answers_all_waiting_episodes_at_once_when_a_process_would_run_dry(tmp_path):
    sizes = []

    def counting(queries):
        sizes.append(len(queries))
        return np.zeros((len(queries), 5, 1))  # nobody arrives: eight chunks each

    run(LineScene(tmp_path), range(3), counting, workers=1, slots=3)
    assert sizes == [3] * 8


def test_an_outcome_counts_decisions_stages_and_the_discounted_return(tmp_path):
    def full_speed(queries):
        return np.ones((len(queries), 3, 1))

    finished, _ = run(LineScene(tmp_path), [0], full_speed, workers=1)
    outcome = finished[0].outcome
    assert outcome.length == 8 and outcome.stage_steps == [4, 8]  # not 9: the chunk is cut at success
    assert outcome.success_once and outcome.success_at_end
    assert outcome.discounted_return == pytest.approx(0.9**7)


def test_a_time_out_is_no_success(tmp_path):
    finished, _ = run(LineScene(tmp_path), [3], lambda queries: np.zeros((len(queries), 7, 1)), workers=1)
    assert finished[3].outcome.length == 40
    assert finished[3].outcome.stage_steps == [None, None] and not finished[3].outcome.success_once


@pytest.mark.parametrize("kind", ["exit", "raise", "hang"])
def test_a_dead_process_is_replaced_and_its_episodes_run_again(kind, one_at_a_time, tmp_path):
    scene = LineScene(tmp_path, fault_at=("step", 5), kind=kind)
    finished, _ = run(scene, range(12), patience_s=4 if kind == "hang" else 180)
    assert outcomes(finished) == one_at_a_time
    assert finished[5].restarts == 1
    assert sum(f.restarts for f in finished.values()) in (1, 2)  # the other slot of that process, if it was in use


def test_an_episode_that_crashes_three_times_fails_the_evaluation(tmp_path):
    scene = LineScene(tmp_path, fault_at=("step", 1), kind="raise", times=99)
    with pytest.raises(RunError, match=r"Episode 1 of line crashed 3 times.*the cube fell through the table"):
        run(scene, range(4))


def test_what_the_simulator_refuses_is_told_in_its_own_words(tmp_path):
    with pytest.raises(RunError, match=r"^No renderer here\.$"):
        run(LineScene(tmp_path, fault_at=("reset", 0), kind="refuse"), [0], workers=1)


def test_spent_processes_are_recycled(one_at_a_time, tmp_path):
    processes = set()

    def watching(queries):
        processes.update(p.process.pid for p in rollouts.pool.processes)
        return shuffling_policy(queries)

    with Rollouts(LineScene(tmp_path), watching, workers=1, slots=2, gamma=0.9, recycle_after=5) as rollouts:
        finished = {f.episode: f for f in rollouts.run(range(12))}
    assert outcomes(finished) == one_at_a_time
    assert len(processes) == 3 and sum(f.restarts for f in finished.values()) == 0


def test_no_process_outlives_the_pool(tmp_path):
    with Rollouts(LineScene(tmp_path), shuffling_policy, workers=2) as rollouts:
        rollouts.info()
    assert all(p.process.returncode is not None for p in rollouts.pool.processes)


def test_more_episodes_than_start_states_is_a_bad_request(tmp_path):
    with pytest.raises(UsageError, match="line has 40 start states; ask for at most 40 episodes, not 41"):
        run(LineScene(tmp_path), range(41), workers=1)


def test_a_simulator_process_loads_no_torch_and_uses_one_thread():
    with Rollouts(BareScene(), shuffling_policy, workers=1) as rollouts:
        assert rollouts.info().starts_sha256 == "|1"
