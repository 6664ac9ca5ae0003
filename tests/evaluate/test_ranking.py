"""A critic's order of samples against the simulator's: scipy's correlation state by state, in its own episodes."""

import json

import numpy as np
import pytest
from scipy import stats
from scripted_scene import LineScene

from robo_orl.base.errors import UsageError
from robo_orl.cli.app import main
from robo_orl.evaluate import ranking as module
from robo_orl.evaluate import success
from robo_orl.evaluate.ranking import correlations, ranking
from robo_orl.results.record import CriticRanking
from robo_orl.rollout.look_ahead import Proposals, RankedSamples, RankingRollouts

SAMPLES = ["selection.num_samples=5", "selection.untrained_critic=true"]


@pytest.fixture
def on_the_line(monkeypatch, tmp_path):
    monkeypatch.setattr(success, "TaskEnvSpec", lambda task, loop, *seen: LineScene(tmp_path))


def found(seed=0, episodes=3, states=4):
    draw = np.random.default_rng(seed)
    return {
        (e, 8 * s): RankedSamples(s % 2, draw.normal(size=6), np.round(draw.uniform(size=6), 1), 60)
        for e in range(episodes)
        for s in range(states)
    }


def test_the_correlations_are_scipy_s_state_by_state():
    ranked = found()
    overall, (first, second) = correlations(ranked, ["a", "b"])
    for part, states in ((overall, {0, 1}), (first, {0}), (second, {1})):
        for name, statistic in (("kendall", stats.kendalltau), ("spearman", stats.spearmanr)):
            means = [
                np.mean(
                    [statistic(r.values, r.gained)[0] for (i, _), r in ranked.items() if i == e and r.stage in states]
                )
                for e in range(3)
            ]
            assert getattr(part, name) == pytest.approx(np.mean(means))
        assert part.low < part.kendall < part.high
    assert (overall.states, first.states, second.states, overall.tied) == (12, 6, 6, 0)
    assert (first.name, second.name) == ("a", "b")


def test_a_critic_that_knows_has_one_one_that_cannot_tell_has_nought_and_ties_hold_no_order():
    gained = [np.array([0.0, 0.3, 0.1]), np.array([0.2, 0.2, 0.2])]

    def told(value):
        ranked = {(0, i): RankedSamples(0, value(g), g, 9) for i, g in enumerate(gained)}
        return correlations(ranked, ["a"])[0]

    assert told(lambda g: 2 * g).kendall == pytest.approx(1) and told(lambda g: -g).spearman == pytest.approx(-1)
    assert told(np.zeros_like).kendall == 0
    assert (told(np.copy).states, told(np.copy).tied, told(np.copy).low) == (2, 1, None), "one episode has no interval"
    nothing = correlations({(0, 0): RankedSamples(0, gained[0], gained[1], 9)}, ["a"])[0]
    assert (nothing.states, nothing.tied, nothing.kendall) == (1, 1, None)


class Valued:
    """Proposes five pushes; the critic likes the second best most. Goes on standing still."""

    def propose(self, queries):
        pushes = np.array([0.2, 1.0, -0.4, 0.7, 0.1])
        chunks = np.broadcast_to(pushes[None, :, None, None], (len(queries), 5, 8, 1))
        return Proposals(chunks, np.tile([0.1, 0.8, 0.0, 0.9, 0.2], (len(queries), 1)))

    def __call__(self, queries):
        return np.ones((len(queries), 8, 1))


def test_states_are_measured_to_the_end_and_the_episodes_are_the_critic_s_own(tmp_path):
    with RankingRollouts(LineScene(tmp_path), Valued(), 1, 2, 0.9, look_ahead=100, every=2) as rollouts:
        finished = {f.episode: f for f in rollouts.run(range(3))}
    # from -e/3 by pushes of 0.7 / 8 a decision to 1, eight decisions a chunk
    assert [finished[e].outcome.length for e in range(3)] == [int(np.ceil((1 + e / 3) / 0.0875)) for e in range(3)]
    assert sorted(rollouts.ranked) == [(0, 0), (1, 0), (2, 0), (2, 2)]
    by_hand = []
    for push in (0.2, 1.0, -0.4, 0.7, 0.1):
        position, decisions = 0.0, 0
        while position < 1:
            position, decisions = position + (push if decisions < 8 else 1.0) / 8, decisions + 1
        by_hand.append(0.9 ** (decisions - 1))
    assert rollouts.ranked[0, 0].gained == pytest.approx(by_hand)
    assert rollouts.ranked[0, 0].stage == 0 and rollouts.ranked[2, 2].stage == 1
    assert finished[0].simulated == rollouts.ranked[0, 0].simulated


def test_a_run_is_ranked_and_its_record_can_hold_it(trained_run, on_the_line):
    made = ranking(trained_run, 4, every=2, workers=1, overrides=SAMPLES)
    assert made == ranking(trained_run, 4, every=2, workers=2, overrides=SAMPLES)
    assert made.samples == 5 and made.look_ahead == 40 and made.overall.states >= 8
    assert sum(part.states for part in made.stages) == made.overall.states
    assert CriticRanking.model_validate_json(made.model_dump_json()) == made
    assert "decisions" in module.in_words(made)["simulated"] and "Kendall" in module.in_words(made)["all states"]
    assert not (trained_run / "eval").exists(), "no file is written"


def test_without_a_critic_that_ranks_it_is_refused(trained_run, on_the_line):
    with pytest.raises(UsageError, match="No critic ranks samples of the policy 'tiny_flow'"):
        ranking(trained_run, 2)
    with pytest.raises(UsageError, match="The simulator ranks the samples"):
        ranking(trained_run, 2, overrides=["selection.num_samples=3", "selection.look_ahead=5"])


def test_the_command_answers_in_json_and_refuses_what_it_does_not_read(trained_run, on_the_line, monkeypatch, capsys):
    def command(*words):
        samples = [f"--set={item}" for item in SAMPLES]
        monkeypatch.setattr(
            "sys.argv", ["robo-orl", "eval", str(trained_run), "--ranking", "2", "--workers", "1", *samples, *words]
        )
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0, capsys.readouterr().out

    code, out = command("--json")
    assert code == 0 and CriticRanking.model_validate_json(out).episodes == 2
    code, out = command("--paraphrases", "--json")
    assert code == 2 and "--ranking is of a critic of ours" in json.loads(out)["error"]
