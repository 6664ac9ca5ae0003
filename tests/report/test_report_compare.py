"""Paired comparisons: against published examples, and honest where the data says little."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import binomtest

from robo_orl.report.compare import Outcomes, Pairs, compare, paired_by_seed, verdict
from robo_orl.report.contents import Cells, load
from robo_orl.report.document import document
from robo_orl.report.scores import success
from robo_orl.results.endpoints import Endpoint
from robo_orl.results.intervals import holm, median_interval, newcombe_paired
from robo_orl.results.trainings import DesignEffect


def table(both: int, only_second: int, only_first: int, neither: int) -> list[tuple[bool, bool]]:
    cells = ((True, True, both), (False, True, only_second), (True, False, only_first), (False, False, neither))
    return [(a, b) for a, b, count in cells for _ in range(count)]


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [((36, 12, 2, 0), 0.0569, 0.3404), ((20, 12, 2, 16), 0.0562, 0.3292), ((54, 0, 0, 0), -0.0664, 0.0664)],
)
def test_the_paired_interval_is_that_of_newcombes_examples(counts, low, high):
    assert newcombe_paired(table(*counts)) == pytest.approx((low, high), abs=2e-4)


def test_two_perfect_policies_keep_an_interval_with_a_width():
    low, high = newcombe_paired(table(50, 0, 0, 0))
    assert low < -0.05 and high > 0.05


def test_holm_steps_down_and_never_lets_a_larger_p_overtake():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_a_verdict_needs_both_the_p_value_and_an_interval_without_zero():
    row = {"difference": 0.2, "low": 0.1, "high": 0.3, "mean": None}
    assert verdict(0.01, SimpleNamespace(**row)) == "better"
    assert verdict(0.06, SimpleNamespace(**row)) == "undecided"
    assert verdict(0.01, SimpleNamespace(**row | {"low": -0.01})) == "undecided"
    assert verdict(0.01, SimpleNamespace(**row | {"difference": -0.2, "low": -0.3, "high": -0.1})) == "worse"


def test_a_policy_that_wins_most_starts_and_has_the_lower_mean_is_not_ahead():
    fast_but_fails = Pairs(np.arange(40), {"return": np.full(40, 0.40)}, {"return": np.array([0.41] * 34 + [0.0] * 6)})
    row = compare([fast_but_fails], Endpoint("return"))
    assert (row.wins, row.losses) == (34, 6) and row.p < 1e-4 and row.low > 0 and row.mean.mean < 0
    assert verdict(row.p, row) == "undecided"


def test_the_interval_of_a_difference_covers_other_trainings_where_their_spread_is_known():
    pairs = [Pairs(np.arange(50), {"success": np.zeros(50)}, {"success": np.repeat([1.0, 0.0], [15, 35])})]
    alone = compare(pairs, Endpoint("success"))
    beside = compare(pairs, Endpoint("success"), DesignEffect(7.1, 40))
    assert alone.low > 0 > beside.low and alone.p == beside.p  # the same starts; one training says less
    assert verdict(alone.p, alone) == "better" and verdict(beside.p, beside) == "undecided"


def test_seeds_that_disagree_widen_the_interval_beyond_that_of_the_pooled_count():
    agree, disagree = [[True, False] * 50] * 3, [[True] * 100, [False] * 100, [True, False] * 50]
    assert success(agree).k == success(disagree).k == 150
    width = [success(seeds).high - success(seeds).low for seeds in (agree, disagree)]
    assert width[1] > 3 * width[0]
    assert success([[True] * 40] * 3).low < 1.0


def test_the_median_of_lengths_has_the_order_statistics_that_tables_give():
    assert median_interval(list(range(1, 31))) == (10.0, 21.0)
    assert median_interval([3, 1, 2]) == (None, None)


def test_only_episodes_from_the_same_start_states_are_paired(quick_results):
    cells = load(quick_results)
    first, second = (r for r in cells.records if r.task.name == "synthetic1" and r.policy.name in ("bc", "bc_flow"))
    outcomes = Outcomes(cells)
    (pairs,) = paired_by_seed(outcomes, [first], [second])
    for record, values in ((first, pairs.opponent), (second, pairs.policy)):
        by_start = {row.start: row for row in cells.rows[record.cell]}
        assert values["return"].tolist() == [by_start[start].discounted_return for start in pairs.starts]
        assert values["success"].tolist() == [by_start[start].success_once for start in pairs.starts]
    moved = second.evaluation.model_copy(update={"starts_sha256": "another bank"})
    assert paired_by_seed(outcomes, [first], [second.model_copy(update={"evaluation": moved})]) == []
    some = cells.rows[second.cell][:20][::-1]  # fewer, in another order
    seeds = paired_by_seed(Outcomes(Cells(cells.records, cells.rows | {second.cell: some})), [first], [second])
    assert compare(seeds, Endpoint("success")).n == 20
    assert seeds[0].policy["return"].tolist() == [row.discounted_return for row in some[::-1]]


def test_holm_runs_over_all_comparisons_of_a_critic_with_a_policy_without_one_by_an_endpoint(quick_results):
    rows = document(load(quick_results))["comparisons"]
    assert {row["endpoint"] for row in rows} == {"return", "success", "within_40", "within_60", "within_80"}
    for kind, deadlines in (("return", 1), ("success", 1), ("within", 3)):
        own = [row for row in rows if row["endpoint"].startswith(kind)]
        critics, others = ([row for row in own if row["critic"] is critic] for critic in (True, False))
        assert {row["family"] for row in critics} == {len(critics)} == {2 * 2 * 4 * deadlines}
        assert {row["family"] for row in others} == {len(others)} == {2 * 3 * deadlines}
        adjusted = holm([row["p"] for row in critics])
        assert [row["p_holm"] for row in critics] == pytest.approx(adjusted, rel=1e-4)
    assert all(row["against_control"] for row in rows if not row["critic"])
    assert all(row["p_holm"] >= row["p"] for row in rows)
    assert not any(row["against"] == "qc_shared" for row in rows), "a critic is nobody's control"


def test_every_p_is_scipys_on_the_episode_rows_and_wins_losses_and_ties_are_all_starts(quick_results):
    cells = load(quick_results)
    rows = {(r.task.name, r.policy.name): cells.rows[r.cell] for r in cells.records}
    limits = {r.task.name: r.task.horizon for r in cells.records}
    values = {
        "return": lambda row, _: row.discounted_return,
        "success": lambda row, _: row.success_once,
        **{f"within_{share}": lambda row, limit, share=share: row.success_once and row.length <= limit * share / 100
           for share in (40, 60, 80)},
    }  # fmt: skip
    for made in document(cells)["comparisons"]:
        of, limit = values[made["endpoint"]], limits[made["task"]]
        own, other = ([of(row, limit) for row in rows[made["task"], made[side]]] for side in ("policy", "against"))
        wins, losses = (sum(a * sign > b * sign for a, b in zip(own, other, strict=True)) for sign in (1, -1))
        assert (made["wins"], made["losses"], made["ties"]) == (wins, losses, made["n"] - wins - losses)
        expected = binomtest(wins, wins + losses, 0.5).pvalue if wins + losses else 1.0
        assert made["p"] == pytest.approx(expected, rel=1e-4)
