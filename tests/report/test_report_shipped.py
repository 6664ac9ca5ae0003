"""The shipped records of `methods`, judged by every endpoint: the statements that README and docs make."""

from pathlib import Path

import pytest

from robo_orl.report.contents import load
from robo_orl.report.document import report_of

FREE = {
    "bc",
    "bc_flow",
    "bc_flow_best_of_n_untrained",
    "bc_flow_zero_noise",
    "bc_random",
    "filtered_bc",
    "return_conditioned_flow",
    "return_conditioned_flow_zero_noise",
    "top_bc_top25",
}


@pytest.fixture(scope="module")
def report():
    return report_of(load(Path(__file__).parents[2] / "results" / "methods"))


def test_a_critic_is_ahead_by_the_return_on_the_boards_of_one_cube_and_by_success_on_none(report):
    assert all(set(v.without) == FREE and v.trainings == 1 for v in report.verdicts)
    assert {c.family for c in report.comparisons if c.critic and c.endpoint == "return"} == {4 * 17 * len(FREE)}
    ahead = {(v.task, v.regime): {one.endpoint: set(one.ahead) for one in v.endpoints} for v in report.verdicts}
    assert {place: by["return"] for place, by in ahead.items()} == {
        ("chain1", "mg"): {"bcq", "idql", "sarsa_bon"},
        ("chain1", "stitch"): {"sarsa_bon"},
        ("chain2", "mg"): set(),
        ("chain2", "stitch"): set(),
    }
    assert not any(by["success"] for by in ahead.values())


def test_on_two_cubes_the_best_quarter_by_return_is_the_one_control_that_a_critic_is_not_ahead_of(report):
    """The page docs/results/methods.md says so."""
    for regime, critic in (("mg", "recap"), ("stitch", "sarsa_bon")):
        against = {c.against: c.verdict for c in report.comparisons
                   if (c.task, c.regime, c.policy, c.endpoint) == ("chain2", regime, critic, "return")}  # fmt: skip
        assert against.pop("top_bc_top25") == "undecided"
        assert {name for name, verdict in against.items() if name in FREE and verdict != "better"} == set()


def test_returns_and_successes_within_a_deadline_are_those_of_the_rows(report):
    boards = {(b.task, b.regime): {row.policy: row for row in b.rows} for b in report.boards}
    stitch = boards["chain2", "stitch"]
    means = [stitch[policy].discounted_return.mean for policy in ("sarsa_bon", "bc", "return_conditioned_flow")]
    assert [round(mean, 3) for mean in means] == [0.215, 0.143, 0.105]
    policies = ("bcq", "bc", "filtered_bc", "return_conditioned_flow")
    early = [boards["chain1", "mg"][policy].within[0].k for policy in policies]
    assert early == [25, 0, 0, 6]  # within 80 of 200 decisions
    assert [stitch[policy].within[1].k for policy in policies] == [19, 1, 0, 2]  # within 240 of 400
    assert [d.decisions for d in report.boards[0].deadlines] == [80, 120, 160]


def test_boards_on_which_success_cannot_answer_are_marked(report):
    reasons = {(b.task, b.regime): b.uninformative for b in report.boards}
    assert reasons.pop(("chain1", "mg")) == "cloning is at the ceiling: bc is above 90 %"
    assert set(reasons.values()) == {"no oracle was measured"} and len(reasons) == 3
    assert "Success cannot answer on 4 of 4 boards" in " ".join(report.headline.sentences)


def test_the_demos_flow_without_noise_is_a_policy_that_every_critic_must_be_ahead_of():
    made = report_of(load(Path(__file__).parents[2] / "results" / "quick"))
    boards = {board.task: {row.policy: row for row in board.rows} for board in made.boards}
    for verdict in made.verdicts:
        control = {"chain1": "filtered_bc", "chain2_one_reward": "bc_flow_best_of_n_untrained"}[verdict.task]
        assert set(verdict.without) == {"bc", "bc_flow", "bc_flow_zero_noise", control}
        row = boards[verdict.task]["bc_flow_zero_noise"]
        assert not row.critic and row.topology is None and row.success.n == 50
        against = {(c.policy, c.against) for c in made.comparisons if c.board == verdict.board and c.critic}
        critics = boards[verdict.task].keys() & {"qc", "qc_separate"}
        assert against >= {(critic, "bc_flow_zero_noise") for critic in critics}


def test_the_demo_shows_a_critic_that_pays_by_its_deadline_beside_one_that_does_not():
    made = report_of(load(Path(__file__).parents[2] / "results" / "quick"))
    ahead = {(v.task, e.endpoint): e.ahead for v in made.verdicts for e in v.endpoints if e.endpoint != "return"}
    assert ahead.pop(("chain2_one_reward", "within_60")) == ["qc"]
    assert set(map(tuple, ahead.values())) == {()} and len(ahead) == 3


def test_decoding_costs_no_training_of_its_own():
    made = report_of(load(Path(__file__).parents[2] / "results" / "quick"))
    for board in made.boards:
        rows = {row.policy: row for row in board.rows}
        plain, zero = rows["bc_flow"], rows["bc_flow_zero_noise"]
        assert zero.cost_source == "interleaved"
        assert (zero.time_relative, zero.memory_relative) == (plain.time_relative, plain.memory_relative)
        assert zero.cell_time_relative == plain.cell_time_relative
