"""The budget of a curve follows from its points by a stated rule, and a curve that ends while it gains has none."""

import json
import sys

import pytest
from cell_examples import example_record, example_rows

from robo_orl.base.errors import UsageError
from robo_orl.cli.app import main
from robo_orl.results.budgets import budget_of, read_budgets
from robo_orl.results.curves import StoredPoint, add_point
from robo_orl.results.intervals import score
from robo_orl.results.record import CurvePoint, LearningCurve
from robo_orl.results.store import write_cell


def curve_of(losses=(), successes=(), every=2, n=50):
    count = max(len(losses), len(successes))
    points = [
        CurvePoint(
            step=every * (i + 1),
            wall_s=i,
            losses={"loss": 9.0, "actor/loss": losses[i]} if losses else None,
            success=score(successes[i], n) if successes else None,
        )
        for i in range(count)
    ]
    bank = "c" * 64 if successes else None
    return LearningCurve(
        every=every, episodes=n if successes else 0, loop="exact", starts_sha256=bank,
        held_out_sha256="d" * 64 if losses else None, points=points,
    )  # fmt: skip


@pytest.mark.parametrize(
    "losses, step",
    [
        ((1.0, 0.5, 0.40, 0.396, 0.395), 6),  # the fall is 0.605: less than 0.006 counts as nothing
        ((1.0, 0.5, 0.40, 0.39, 0.30), None),  # it falls to the end
        ((1.0, 0.5, 0.40, 0.396), None),  # one later point is too few
        ((1.0, 0.3, 0.5, 0.6), 4),  # overfitted
        ((-1.0, -2.0, -3.0, -3.0, -3.0), 6),  # a log-likelihood
    ],
)
def test_a_loss_has_stopped_falling_where_no_later_point_is_lower_by_a_hundredth_of_the_fall(losses, step):
    found = budget_of(curve_of(losses), "chain1")
    assert (found.by_loss, found.budget, found.by_success) == (step, step, None)
    assert ("train longer" in found.sentence) == (step is None)


@pytest.mark.parametrize(
    "successes, step",
    [
        ((5, 20, 40, 44, 43), 6),  # 40 of 50 reaches to 89 %: 44 lies within
        ((5, 20, 30, 44, 50), None),
        ((0, 0, 0, 0), 2),
    ],
)
def test_success_has_stopped_growing_where_no_later_point_lies_above_its_interval(successes, step):
    assert budget_of(curve_of((), successes), "chain1").by_success == step


def test_the_budget_is_the_later_of_both_and_none_while_one_gains():
    both = budget_of(curve_of((1.0, 0.4, 0.4, 0.4, 0.4), (5, 20, 40, 44, 43)), "chain1")
    assert (both.by_loss, both.by_success, both.budget) == (4, 6, 6) and both.sentence == "gains nothing after step 6"
    first = budget_of(curve_of((0.4, 0.4, 0.5, 0.6)), "chain1")
    assert first.budget == 2 and "after its first point, step 2: closer points" in first.sentence
    one = budget_of(curve_of((1.0, 0.8, 0.6, 0.4), (40, 40, 40, 40)), "chain1")
    assert one.budget is None and one.sentence == "still gains at step 8, by held-out loss: train longer"


@pytest.fixture
def places(tmp_path):
    """A results folder with one curve, and the folder of a run with points."""
    rows = example_rows()
    record = example_record(rows, curve=curve_of((1.0, 0.4, 0.4, 0.4, 0.4)))
    write_cell(tmp_path / "results" / "cells" / f"chain2-mg-bc-tiny-s0-{record.cell[:10]}", record, rows)
    for step, loss in ((2, 1.0), (4, 0.5), (6, 0.5), (8, 0.5)):
        point = CurvePoint(step=step, wall_s=1, losses={"loss": loss})
        common = {"every": 2, "episodes": 0, "loop": "exact", "held_out_sha256": "d" * 64}
        add_point(tmp_path / "run", StoredPoint(step=step, task="lift", point=point, **common))
    return [tmp_path / "results", tmp_path / "run"]


def test_records_and_runs_are_read(places):
    record, run = read_budgets(places)
    assert (record.task, record.regime, record.policy, record.seed, record.budget) == ("chain2", "mg", "bc", 0, 4)
    assert (run.task, run.policy, run.budget) == ("lift", "run", 4)


def test_the_command_prints_a_table_or_json(places, monkeypatch, capsys):
    for words in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["robo-orl", "results", "budgets", *map(str, places), *words])
        with pytest.raises(SystemExit):
            main()
    shown, last = capsys.readouterr().out.rsplit("\n", 2)[0:2]
    assert "chain2 mg bc tiny" in shown and [b["budget"] for b in json.loads(last)["budgets"]] == [4, 4]


def test_results_without_a_curve_are_one_sentence(tmp_path):
    rows = example_rows()
    record = example_record(rows)
    write_cell(tmp_path / "cells" / f"chain2-mg-bc-tiny-s0-{record.cell[:10]}", record, rows)
    with pytest.raises(UsageError, match="no learning curve; a suite with the key `curve`"):
        read_budgets([tmp_path])
