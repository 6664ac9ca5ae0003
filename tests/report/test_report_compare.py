"""Paired comparisons: against published examples, and honest where the data says little."""

import pytest

from robo_orl.report.boards import success
from robo_orl.report.compare import compare, paired_by_seed, verdict
from robo_orl.report.contents import Cells, load
from robo_orl.report.document import document
from robo_orl.results.intervals import holm, median_interval, newcombe_paired


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
    row = {"p_holm": 0.01, "difference": 0.2, "low": 0.1, "high": 0.3}
    assert verdict(**row) == "better"
    assert verdict(**row | {"p_holm": 0.06}) == "undecided"
    assert verdict(**row | {"low": -0.01}) == "undecided"
    assert verdict(**row | {"difference": -0.2, "low": -0.3, "high": -0.1}) == "worse"


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
    seeds = paired_by_seed(cells, [first], [second])
    assert len(seeds) == 1 and all(a.start == b.start for a, b in seeds[0])
    moved = second.evaluation.model_copy(update={"starts_sha256": "another bank"})
    assert paired_by_seed(cells, [first], [second.model_copy(update={"evaluation": moved})]) == []
    shorter = Cells(cells.records, cells.rows | {second.cell: cells.rows[second.cell][:20]})
    assert compare(paired_by_seed(shorter, [first], [second])).n == 20


def test_holm_runs_over_the_comparisons_with_the_same_opponent(quick_results):
    rows = document(load(quick_results))["comparisons"]
    against = [row for row in rows if row["against"] == "bc"]
    assert {row["family"] for row in against} == {len(against)} == {10}
    assert all(row["p_holm"] >= row["p"] for row in rows)
    assert not any(row["against"] == "qc_shared" for row in rows), "a critic is nobody's control"
