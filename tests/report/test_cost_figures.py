"""The sections of costs say what their rows say: what did not fit, what has no base, ZeRO beside plain DDP."""

import json
from pathlib import Path

import pytest

from robo_orl.report import cost_figures
from robo_orl.report.build import build, page_environment
from robo_orl.report.costs import cost_cells, cost_groups, cost_tables
from robo_orl.results.cost_record import CostRecord
from robo_orl.results.store import open_results

ROOT = Path(__file__).parents[2]
ROW = {
    "policy": "iql", "size": "m", "base": "bc", "parameters_total": 5, "predicted": None, "oom": None, "world": 2,
    "launched": True, "step_relative": 1.0, "step_relative_quartiles": None, "memory_relative": 1.0, "steps": 20,
    "sent_bytes_per_step": [5e6], "peak_memory_bytes": None,
}  # fmt: skip


def section(cells, largest=()) -> str:
    page = {"cost_cells": cells, "cost_largest": largest}
    return page_environment().get_template("cost.html.j2").render(d=page, cost=cost_figures).strip()


def test_what_did_not_fit_is_shown():
    assert "out of memory" in section([ROW | {"zero": 2, "oom": "CUDA out of memory"}])


def test_zero_stands_beside_plain_ddp_and_launched_rows_are_left_out_of_the_figures():
    shown = section([
        ROW | {"zero": 0, "step_s": 0.1, "peak_memory_bytes": 100},
        ROW | {"zero": 2, "step_s": 0.15, "peak_memory_bytes": 50},
    ])  # fmt: skip
    assert "1.500, 0.500" in shown and "DDP, 2 processes" in shown and "ZeRO-2, 2 processes" in shown
    assert "beside bc" not in shown and "<svg" not in shown


def test_without_rows_there_is_no_section():
    assert section([]) == ""


def test_bars_of_memory_carry_their_bytes_and_the_largest_models_their_depth():
    parts = {part: 1e6 * place for place, own in enumerate(cost_figures.PARTS.values()) for part in own}
    cell = ROW | {"launched": False, "zero": 0, "step_s": 0.1, "peak_memory_bytes": 23e6,
                  "predicted": {"peak_bytes": 2e7, "parts": parts}}  # fmt: skip
    ((size, figure),) = cost_figures.cell_figures([cell])
    assert size == "m" and "23 MB, 100 ms" in figure and "<title>optimiser: 4 MB</title>" in figure
    assert all(colour in figure for colour in cost_figures.COLOURS[1:]) and cost_figures.COLOURS[0] not in figure
    models = [{"policy": name, "card": "a card", "usable_bytes": 8e10, "backbone_parameters": count, "depth": depth,
               "peak_bytes": 7e10} for name, count, depth in (("bc", 3e9, 20), ("iql", None, None))]  # fmt: skip
    ((card, usable, figure),) = cost_figures.largest_figures(models)
    assert (card, usable) == ("a card", 8e10) and "3 B (20)" in figure and ">none<" in figure
    assert "bc: depth 20, 70 GB at the peak" in figure and 'aria-label="Largest model on a card: bc 3 B' in figure


def test_every_number_of_a_shipped_cost_suite_is_on_its_page(tmp_path):
    build(ROOT / "results" / "cost", tmp_path)
    page, document = (tmp_path / "report.html").read_text(), json.loads((tmp_path / "report.json").read_text())
    records = open_results(ROOT / "results" / "cost").cost_records
    assert len(document["cost_cells"]) == sum(len(record.rows) for record in records) == 77
    assert len(document["cost_largest"]) == 40 and page.count("out of memory") >= 3
    assert document["origin"]["hardware"] == [
        {"cpu": "x86_64", "cores": 16, "memory_bytes": None, "accelerator": "NVIDIA H100 80GB HBM3"}
    ]
    assert [table["sizes"] for table in document["cost"]] == [["s"], ["m"], ["l"], ["xl"], ["1b"], ["3b"]]
    assert "measured alone" in page and "The largest model that fits" in page


def record(key, rows, **changes):
    about = {
        "key": key, "suite": {"name": "s", "version": 1}, "base": "bc", "batch_size": 8, "precision": "fp32",
        "task": {"name": "t", "digest": "d", "version": 1, "horizon": 9, "control_hz": 20, "padding": 0, "stages": []},
        "versions": {}, "hardware": {"cpu": "c", "cores": 1, "memory_bytes": 1},
        "code": {"version": "1", "commit": None, "dirty": None}, "created": "now",
    }  # fmt: skip
    made = [{"policy": name, "size": "m", "step_s": s, "step_relative": r, "steps": 5} for name, s, r in rows]
    return CostRecord.model_validate(about | {"rows": made} | changes)


def test_pairs_of_one_base_are_one_table_with_the_base_once():
    pairs = [
        record("a", [("bc", 1.0, 1.0), ("iql", 2.2, 2.0)]),
        record("b", [("bc", 1.1, 1.0)]),
        record("c", [("bc", 1.2, 1.0), ("qc", 3.0, 2.5)]),
        record("d", [("bc", 1.0, 1.0)], launched=True, world=2),
    ]
    one, launched = cost_groups(pairs)
    assert [(row.policy, row.step_s) for row in one.rows] == [("bc", 1.1), ("iql", 2.2), ("qc", 3.0)]
    assert launched.launched and not one.turns
    (table,) = cost_tables(pairs)
    assert [row.step_relative for row in table.rows] == [1.0, 2.0, 2.5] and cost_cells(pairs) == []


def test_a_record_holds_something_and_what_was_measured_was_measured_somewhere():
    with pytest.raises(ValueError, match="needs rows, or the largest models"):
        record("a", [])
    with pytest.raises(ValueError, match="need the hardware"):
        record("a", [("bc", 1.0, 1.0)], hardware=None)
