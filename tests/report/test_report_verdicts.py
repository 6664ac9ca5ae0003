"""Verdicts by endpoint: what "ahead" needs, and which boards cannot answer."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from robo_orl.report.contents import load
from robo_orl.report.document import report_of
from robo_orl.report.verdicts import EndpointVerdict, Leader, agreement, ahead, not_informative, uninformative
from robo_orl.results.endpoints import Endpoint
from robo_orl.results.record import Manifest

SUCCESS, RETURN, EARLY = Endpoint("success"), Endpoint("return"), Endpoint("deadline", 0.4)


def board(control: float, best: float, early: float = 0.5, oracle: float | None = None) -> SimpleNamespace:
    """oracle: the success of one, None: none was measured."""
    rows = [
        SimpleNamespace(policy=name, oracle=name == "oracle", success=SimpleNamespace(rate=rate),
                        within=[SimpleNamespace(endpoint="within_40", rate=early)])
        for name, rate in (("bc", control), ("qc", best), ("oracle", oracle)) if rate is not None
    ]  # fmt: skip
    return SimpleNamespace(control="bc", rows=rows)


FLOOR, CEILING = "cloning is at the floor: bc is below 10 %", "cloning is at the ceiling: bc is above 90 %"
NO_ROOM = "no oracle is 15 points above bc"


@pytest.mark.parametrize(
    ("control", "oracle", "reason"),
    [(0.96, 1.0, CEILING), (0.04, 0.5, FLOOR), (0.04, None, FLOOR), (0.8, 0.94, NO_ROOM), (0.8, 0.96, ""),
     (0.5, 0.65, ""), (0.10, 0.30, ""), (0.90, 1.0, NO_ROOM), (0.5, None, "no oracle was measured")],
)  # fmt: skip
def test_success_answers_where_cloning_is_off_floor_and_ceiling_and_an_oracle_is_above_it(control, oracle, reason):
    made = board(control, best=1.0, oracle=oracle)  # a policy at 100 % is no oracle
    assert uninformative(made, SUCCESS) == not_informative(made.rows, "bc") == reason


def test_a_board_without_cloning_says_so():
    assert not_informative(board(0.5, 0.9, oracle=1.0).rows, None) == "no cloning was run"


def test_speed_tells_policies_apart_at_the_ceiling_of_success_but_not_at_the_floor():
    assert uninformative(board(1.0, 1.0), RETURN) == uninformative(board(1.0, 1.0), EARLY) == ""
    assert uninformative(board(0.0, 0.04), RETURN) == "no row reaches 10 %"
    assert uninformative(board(1.0, 1.0, early=0.02), EARLY) == "no row reaches 10 %"


def test_ahead_is_better_than_each_and_not_only_than_some():
    rows = [SimpleNamespace(policy=policy, verdict=verdict)
            for policy, verdict in (("a", "better"), ("a", "better"), ("b", "better"), ("b", "undecided"))]  # fmt: skip
    assert ahead(rows, ["b", "a", "never_compared"]) == ["a"]


def verdict(endpoint: Endpoint, names: list[str], reason: str = "") -> EndpointVerdict:
    return EndpointVerdict(endpoint.name, names, Leader("qc", 1.0), Leader("bc", 0.5), reason)


def test_where_endpoints_differ_it_is_said():
    both = [RETURN, SUCCESS]
    assert agreement([verdict(RETURN, []), verdict(SUCCESS, [])], both) == "no critic is ahead by any endpoint"
    differ = [verdict(RETURN, ["qc"]), verdict(SUCCESS, [])]
    assert agreement(differ, both) == "a critic is ahead by return only"
    cannot = [verdict(RETURN, ["qc"]), verdict(SUCCESS, [], "bc is above 90 %")]
    assert agreement(cannot, both) == "a critic is ahead by return; the others cannot answer"
    assert agreement([verdict(RETURN, ["qc", "iql"]), verdict(SUCCESS, ["qc"])], both) == "qc by every endpoint"
    assert agreement([verdict(RETURN, ["iql"]), verdict(SUCCESS, ["qc"])], both) == "another critic by each endpoint"


def test_a_report_is_judged_by_the_endpoints_that_its_suite_declares(quick_results):
    cells = load(quick_results)
    assert not cells.endpoints_declared and report_of(cells).endpoints_declared is False
    manifest = Manifest.model_validate(
        cells.manifest.model_dump() | {"config": {"endpoints": ["success", "deadline"], "deadlines": [0.75]}}
    )
    made = report_of(replace(cells, manifest=manifest))
    assert made.endpoints_declared and [e.name for e in made.endpoints] == ["success", "within_75"]
    assert {c.endpoint for c in made.comparisons} == {"success", "within_75"}
    assert [deadline.decisions for deadline in made.boards[0].deadlines] == [150]
    rates = [row.success.rate for row in made.boards[0].rows]
    assert rates == sorted(rates, reverse=True), "the first endpoint orders the board"


def test_no_verdict_compares_with_a_ceiling(make_results, results_plan, tmp_path):
    policies = results_plan().policies
    ceiling = replace(policies[0], name="oracle_competent", stage_rate=1.0, objective="oracle_competent")
    plan = results_plan(tasks=["synthetic1"], policies=[*policies, ceiling])
    made, without = (
        report_of(load(make_results(tmp_path / name, given)))
        for name, given in (("with", plan), ("without", replace(plan, policies=policies)))
    )
    row = made.boards[0].rows[0]
    assert (row.policy, row.oracle, row.critic) == ("oracle_competent", True, False)
    assert not any(c.against == "oracle_competent" for c in made.comparisons)
    assert [v.without for v in made.verdicts] == [v.without for v in without.verdicts]
    assert [c for c in made.comparisons if c.critic] == [c for c in without.comparisons if c.critic]
    assert made.headline.short == without.headline.short


def test_the_curve_of_a_board_ends_at_its_success_and_is_recounted_from_the_rows(quick_results):
    cells = load(quick_results)
    made = report_of(cells).boards[0]
    rows = {record.policy.name: cells.rows[record.cell] for record in cells.records if record.task.name == made.task}
    successes = {row.policy: row.success.k for row in made.rows}
    assert made.curve.decisions[-1] == made.horizon
    for curve in made.curve.rows:
        assert curve.k[-1] == successes[curve.policy]
        assert curve.k == [sum(r.success_once and r.length <= d for r in rows[curve.policy])
                           for d in made.curve.decisions]  # fmt: skip
    assert "bc" in [curve.policy for curve in made.curve.rows if curve.low] and curve.n == 50
