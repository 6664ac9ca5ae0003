"""The best of N chunks by what follows them in the simulator: the choice of a search by hand, and no trace of it."""

from dataclasses import dataclass

import numpy as np
import pytest
from scripted_scene import Line, LineScene

from robo_orl.rollout.episodes import Rollouts
from robo_orl.rollout.look_ahead import LookAheadRollouts, Proposals

GAMMA, CHUNK = 0.9, 3


def noise(episode, decision, count):
    """(count, 3, 1) chunks that are a function of episode and decision."""
    rng = np.random.default_rng((episode, decision))
    return np.clip(rng.normal(0.15, 0.7, (count, CHUNK, 1)), -1, 1)


@dataclass
class Proposing:
    """Proposes `samples` noisy chunks, and goes on by one slow one, back and forth on the way."""

    samples: int

    def propose(self, queries):
        return Proposals(np.stack([noise(q.episode, q.decision, self.samples) for q in queries]))

    def __call__(self, queries):
        return np.stack([self.going_on(q.obs["position"][0]) for q in queries])

    @staticmethod
    def going_on(position):
        """(3, 1): in a valley that it does not leave, and quick from half way on."""
        return np.full((CHUNK, 1), 0.9 if position > 0.1 else -0.1)


def searched(scene, episodes, samples=4, look_ahead=8, **settings):
    settings = {"workers": 2, "slots": 2, "gamma": GAMMA, "look_ahead": look_ahead} | settings
    with LookAheadRollouts(scene, Proposing(samples), **settings) as rollouts:
        return {f.episode: f for f in rollouts.run(episodes)}


def outcomes(finished):
    return {episode: f.outcome for episode, f in finished.items()}


class ByHand:
    """The same search by plain recursion on an environment of its own for each branch."""

    def __init__(self, scene, samples, look_ahead, every=1):
        self.scene, self.samples, self.look_ahead, self.every = scene, samples, look_ahead, every

    def play(self, episode):
        """(actions carried out, decisions simulated)."""
        done, taken, simulated, decision = False, [], 0, 0
        while not done:
            chunks = noise(episode, decision, self.samples)
            tried = chunks if decision % self.every == 0 else []
            gains = [self.gain(episode, taken, chunk) for chunk in tried]
            simulated += sum(count for _, count in gains)
            best = max(range(len(gains)), key=lambda j: (gains[j][0], -j), default=0)
            taken, done, _ = self.replay(episode, taken, chunks[best])
            decision += 1
        return taken, simulated

    def replay(self, episode, taken, chunk):
        """(all actions so far, whether the episode has ended, the environment)."""
        env = Line(self.scene)
        env.reset(episode)
        for action in taken:
            env.step(action)
        for action in chunk:
            step, taken = env.step(action), [*taken, action]
            if step.terminated or step.truncated:
                return taken, True, env
        return taken, False, env

    def gain(self, episode, taken, chunk):
        """(the discounted reward within the look-ahead, decisions)."""
        _, _, env = self.replay(episode, taken, [])
        gained, count, ended = 0.0, 0, False
        while not ended and count < self.look_ahead:
            for action in chunk[: self.look_ahead - count]:
                step = env.step(action)
                gained, count = gained + GAMMA**count * step.reward, count + 1
                ended = step.terminated or step.truncated
                if ended:
                    break
            else:
                chunk = Proposing.going_on(step.obs["position"][0])
        return gained, count


@pytest.mark.parametrize(("look_ahead", "every"), [(1, 1), (4, 1), (8, 1), (100, 1), (100, 3)])
def test_the_choice_is_that_of_a_search_by_hand(look_ahead, every, tmp_path):
    scene = LineScene(tmp_path)
    finished = searched(scene, range(5), look_ahead=look_ahead, every=every)
    for episode, done in finished.items():
        taken, simulated = ByHand(scene, 4, look_ahead, every).play(episode)
        assert done.outcome.length == len(taken)
        env, trace = Line(scene), []
        env.reset(episode)
        trace = [env.step(action) for action in taken]
        assert done.outcome.success_once == trace[-1].terminated
        assert done.outcome.discounted_return == sum(GAMMA**t * step.reward for t, step in enumerate(trace))
        assert 0 < done.simulated <= simulated  # hopeless branches are left


def test_a_search_among_one_is_the_policy_itself_bit_by_bit(tmp_path):
    scene = LineScene(tmp_path)
    with Rollouts(scene, lambda queries: Proposing(1).propose(queries).chunks[:, 0], 2, 2, GAMMA) as rollouts:
        plain = {f.episode: f for f in rollouts.run(range(8))}
    alone = searched(scene, range(8), samples=1)
    assert outcomes(alone) == outcomes(plain)  # fingerprints of every action and observation among them
    assert all(f.simulated > 0 for f in alone.values()) and all(f.simulated == 0 for f in plain.values())
    assert outcomes(searched(scene, range(8))) != outcomes(plain)


def test_looking_further_wins_more(tmp_path):
    runs = [searched(LineScene(tmp_path), range(8), look_ahead=n) for n in (1, 8, 40)]
    gains = [np.mean([f.outcome.discounted_return for f in finished.values()]) for finished in runs]
    assert gains[0] < gains[1] <= gains[2]


class Following(Proposing):
    """Goes on by the first of the chunks that it would propose, which most often arrive in time."""

    def propose(self, queries):
        return Proposals(np.clip(super().propose(queries).chunks + 0.35, -1, 1))

    def __call__(self, queries):
        return self.propose(queries).chunks[:, 0]


def test_where_branches_go_on_by_the_first_proposal_a_search_never_loses_against_it(tmp_path):
    """Its first branch is the whole episode of the first proposals, and what was found can be found again."""
    scene, policy = LineScene(tmp_path), Following(4)
    with Rollouts(scene, policy, 1, 2, GAMMA) as rollouts:
        first = {f.episode: f.outcome.discounted_return for f in rollouts.run(range(8))}
    with LookAheadRollouts(scene, policy, 1, 2, GAMMA, look_ahead=40) as rollouts:
        best = {f.episode: f.outcome.discounted_return for f in rollouts.run(range(8))}
    assert all(best[e] >= first[e] for e in first) and sum(best[e] > first[e] for e in first) >= 3


def test_the_result_does_not_depend_on_processes_or_slots(tmp_path):
    one = searched(LineScene(tmp_path), range(7), workers=1, slots=1)
    many = searched(LineScene(tmp_path), range(7), workers=2, slots=3)
    assert outcomes(one) == outcomes(many)
    assert {e: f.simulated for e, f in one.items()} == {e: f.simulated for e, f in many.items()}


def test_hopeless_branches_are_left_and_the_choice_is_the_same(tmp_path, monkeypatch):
    pruned = searched(LineScene(tmp_path), range(6), look_ahead=30)
    monkeypatch.setattr(LookAheadRollouts, "complete", True)
    complete = searched(LineScene(tmp_path), range(6), look_ahead=30)
    assert outcomes(pruned) == outcomes(complete)
    assert sum(f.simulated for f in pruned.values()) < sum(f.simulated for f in complete.values())
    assert {e: f.simulated for e, f in complete.items()} == {
        e: ByHand(LineScene(tmp_path), 4, 30).play(e)[1] for e in complete
    }


def test_a_dead_process_changes_neither_the_choice_nor_the_count(tmp_path):
    calm = searched(LineScene(tmp_path / "calm"), range(6))
    broken = searched(LineScene(tmp_path, fault_at=("step", 3), kind="exit"), range(6))
    assert outcomes(broken) == outcomes(calm) and broken[3].restarts == 1
    assert {e: f.simulated for e, f in broken.items()} == {e: f.simulated for e, f in calm.items()}
