"""The report draws what was measured on the way, and nothing where nothing was."""

from cell_examples import CRITIC, VALUE_ERRORS, example_record, example_rows

from robo_orl.report.build import build
from robo_orl.report.contents import load
from robo_orl.report.document import document
from robo_orl.results.intervals import score
from robo_orl.results.record import CurvePoint, LearningCurve
from robo_orl.results.store import write_cell


def curve(k, terms=(), **more):
    points = [
        CurvePoint(
            step=step, wall_s=step / 5, success=score(k + step, 20), losses={"loss": 1 / step, **dict(terms)}, **more
        )
        for step in (5, 10)
    ]
    return LearningCurve(
        every=5, episodes=20, loop="exact", starts_sha256="c" * 64, held_out_sha256="d" * 64, points=points
    )


def write(folder, seed=0, config=None, **values):
    arguments = {"seed": seed} | ({"config": config} if config else {})
    rows = example_rows(**arguments)
    record = example_record(rows, **arguments, **values)
    name = f"chain2-mg-{record.policy.name}-tiny-s{seed}-{record.cell[:10]}"
    write_cell(folder / "cells" / name, record, rows)


def test_trainings_of_a_policy_are_one_line_and_a_critic_has_value_errors(tmp_path):
    write(tmp_path, curve=curve(0))
    write(tmp_path, seed=1, curve=curve(2))
    write(tmp_path, config=CRITIC, curve=curve(4, {"critic/loss": 0.5, "actor/loss": 0.1}, value_errors=VALUE_ERRORS))
    panels = {panel["metric"]: panel for panel in document(load(tmp_path))["learning"]}
    assert list(panels) == ["success", "loss", "critic/loss", "value_error"]
    first = panels["success"]["series"][0]["points"][0]
    assert (first["step"], first["k"], first["n"], first["trainings"], first["wall_s"]) == (5, 12, 40, 2, 1.0)
    assert [series["policy"] for series in panels["value_error"]["series"]] == ["qc"]
    assert [point["value"] for point in panels["loss"]["series"][1]["points"]] == [0.1, 0.1]  # qc's actor alone
    page = (tmp_path / "out" / "report.html").read_text() if build(tmp_path, tmp_path / "out") else ""
    assert page.count("step 5: 12 of 40") >= 2 and "seconds of training" in page and 'href="#learning"' in page


def test_results_without_points_have_no_section(tmp_path):
    write(tmp_path)
    build(tmp_path, tmp_path / "out")
    assert 'id="learning"' not in (tmp_path / "out" / "report.html").read_text()
