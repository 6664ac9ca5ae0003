"""A record's learning curve is checked against its training, its start states and its policy."""

import pytest
from cell_examples import BANK, CRITIC, VALUE_ERRORS, example_record, example_rows

from robo_orl.results.intervals import score
from robo_orl.results.record import CurvePoint, LearningCurve
from robo_orl.results.store import write_cell
from robo_orl.results.verify import verify

POINTS = [
    CurvePoint(step=step, wall_s=step / 10, success=score(k, 20), losses={"loss": 1 / step}, stages_reached=0.6)
    for step, k in ((4, 3), (8, 6), (10, 6))
]
CURVE = LearningCurve(
    every=4, episodes=20, loop="exact", starts_sha256="c" * 64, held_out_sha256="d" * 64, points=POINTS
)


def faults_of(folder, curve, config=None):
    arguments = {"config": config} if config else {}
    rows = example_rows(**arguments)
    record = example_record(rows, curve=curve, **arguments)
    name = f"chain2-mg-{record.policy.name}-tiny-s0-{record.cell[:10]}"
    write_cell(folder / "cells" / name, record, rows)
    return next(iter(verify(folder).faults.values()), [])


def changed(at, **values):
    points = list(POINTS)
    points[at] = points[at].model_copy(update=values)
    return CURVE.model_copy(update={"points": points})


def test_a_consistent_curve_has_no_fault(tmp_path):
    assert faults_of(tmp_path / "a", CURVE) == []
    assert faults_of(tmp_path / "b", changed(0, value_errors=VALUE_ERRORS), CRITIC) == []


@pytest.mark.parametrize(
    "curve, sentence",
    [
        (CURVE.model_copy(update={"starts_sha256": BANK}), "bank of start states that results are reported from"),
        (CURVE.model_copy(update={"starts_sha256": None}), "starts_sha256 and curve.episodes disagree"),
        (CURVE.model_copy(update={"points": []}), "not each of another step"),
        (CURVE.model_copy(update={"points": POINTS[::-1]}), "not each of another step"),
        (CURVE.model_copy(update={"held_out_sha256": None}), "losses and curve.held_out_sha256 disagree"),
        (changed(2, step=12), "step 12: the training has 10 steps"),
        (changed(1, step=9), "step 9: points are 4 steps apart"),
        (changed(0, success=score(3, 10)), "of 10 episodes, curve.episodes is 20"),
        (changed(0, success=score(3, 20).model_copy(update={"k": 9})), "9/20 has another interval"),
        (changed(0, success=None), "success and curve.episodes disagree"),
        (changed(0, stages_reached=0.1), "fewer stages are reached than episodes solved"),
        (changed(0, value_errors=VALUE_ERRORS), "of a policy without a trained critic"),
    ],
)
def test_a_curve_that_contradicts_itself_is_named(tmp_path, curve, sentence):
    found, *_ = faults_of(tmp_path, curve)
    assert sentence in found
