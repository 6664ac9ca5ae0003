"""Curves of learning online in the report: their bands hold another training where there are three."""

from pathlib import Path

from robo_orl.report.online import online_boards
from robo_orl.results.intervals import wilson
from robo_orl.results.store import read_cells

SHIPPED = Path(__file__).parents[2] / "results" / "online"


def trained_again(record, seed, solved):
    """The record of another training, which solves as many starts as `solved` at every point."""
    points = [p.model_copy(update={"solved": solved + p.solved[len(solved) :]}) for p in record.online.points]
    return record.model_copy(update={"seed": seed, "online": record.online.model_copy(update={"points": points})})


def points_of(board, policy):
    return next(one["points"] for one in board.curves if one["policy"] == policy)


def test_bands_are_of_episodes_with_one_training_and_of_trainings_with_three():
    record = next(r for r, _ in read_cells(SHIPPED) if r.online is not None and r.online.method == "bc_continue")
    (one,) = online_boards([record])
    for point in points_of(one, record.policy.name):
        assert (point["low"], point["high"]) == wilson(point["k"], point["n"]) and point["trainings"] == 1
    n = len(record.online.points[0].solved)
    (three,) = online_boards([record, trained_again(record, 1, "1" * n), trained_again(record, 2, "0" * n)])
    for point in points_of(three, record.policy.name):
        low, high = wilson(point["k"], point["n"])
        assert point["trainings"] == 3 and point["low"] < low - 0.1 and point["high"] > high + 0.1
