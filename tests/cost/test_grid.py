"""A cost grid is measured cell by cell, can be interrupted, and runs where only torch is installed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from robo_orl.base.errors import RunError, UsageError
from robo_orl.config import SuiteConfig, TaskConfig, parse
from robo_orl.config.presets import preset_values
from robo_orl.cost.measure import grid
from robo_orl.cost.measure.one_process import or_out_of_memory
from robo_orl.report.contents import load
from robo_orl.report.cost_page import build_cost_page, page
from robo_orl.sweep.bench import bench
from robo_orl.sweep.cost_grid import plan_of, run_grid

ROOT = Path(__file__).parents[2]
GRID = {
    "task": "chain2",
    "policies": ["bc_flow", "iql", {"use": "iql", "name": "ten", "set": {"critic": {"ensemble": 10}}}],
    "sizes": ["tiny"],
    "zero": [0, 2],
    "steps": 5,
    "set": {"optim": {"batch_size": 8}},
}
WITHOUT = """
import sys
LACKS = {"pydantic", "yaml", "accelerate", "deepspeed", "transformers", "psutil", "rich", "typer", "robosuite"}
class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in LACKS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Lacking())
from robo_orl.cost.measure.slice import main
sys.exit(main(sys.argv[1:]))
"""


def suite(**changes):
    return SuiteConfig(name="small", grid=GRID | changes)


@pytest.fixture
def quick(monkeypatch):
    """Every measurement takes no time, and says what it was asked for."""
    asked = []

    def table(policies, task, steps):
        asked.append([policy.name for policy in policies])
        return [{"policy": p.name, "step_s": 1.0, "step_relative": 2.0, "peak_memory_bytes": 5} for p in policies]

    monkeypatch.setattr(grid, "cost_table", table)
    monkeypatch.setattr(grid, "_predicted", lambda cell, task: None)
    monkeypatch.setattr(grid, "parameters_of", lambda cell, task: 1)
    monkeypatch.setattr(grid, "lacking", lambda: ["accelerate", "deepspeed"])
    return asked


def test_every_cell_is_measured_beside_the_base_once(quick, tmp_path):
    plan = json.loads(json.dumps(plan_of(suite())))
    first = grid.run(plan, tmp_path, tell=lambda line: None)
    assert quick == [["bc_flow"], ["bc_flow", "iql"], ["bc_flow", "ten"]]
    assert first["measured"] == 3 and len(first["left_out"]) == 6
    assert sum("ZeRO needs accelerate and deepspeed, not installed" in line for line in first["left_out"]) == 3
    assert sum("DDP needs accelerate, not installed" in line for line in first["left_out"]) == 3
    again = grid.run(plan, tmp_path, tell=lambda line: None)
    assert again["measured"] == 0 and again["there_before"] == 3 and len(quick) == 3
    rows = {row["policy"]: row for row in grid.rows(tmp_path)}
    assert rows["ten"]["base"] == "bc_flow" and rows["ten"]["step_relative"] == 2 and rows["ten"]["oom"] is None


def test_a_slice_ends_between_cells(quick, tmp_path):
    plan = plan_of(suite())
    summary = grid.run(plan, tmp_path, minutes=-1, tell=lambda line: None)
    assert summary["measured"] == 0 and any("no time left" in line for line in summary["left_out"])


def test_out_of_memory_is_a_row_and_the_next_cell_runs(quick, tmp_path, monkeypatch):
    def table(policies, task, steps):
        if policies[-1].name == "iql":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return [{"policy": p.name, "step_s": 1.0, "step_relative": 1.0, "peak_memory_bytes": 5} for p in policies]

    monkeypatch.setattr(grid, "cost_table", table)
    lines = []
    assert grid.run(plan_of(suite()), tmp_path, tell=lines.append)["measured"] == 3
    rows = {row["policy"]: row for row in grid.rows(tmp_path)}
    assert "Tried to allocate" in rows["iql"]["oom"] and rows["iql"]["alone"] and rows["ten"]["oom"] is None
    assert any("iql: out of memory" in line for line in lines)


def test_where_two_agents_do_not_fit_together_memory_still_compares_and_times_do_not(quick, tmp_path, monkeypatch):
    peaks = {"bc_flow": 40, "iql": 50, "ten": 60}

    def table(policies, task, steps):
        if len(policies) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        name = policies[0].name
        relative = {"step_relative": 1.0, "memory_relative": 1.0, "step_relative_quartiles": [1.0, 1.0]}
        return [{"policy": name, "step_s": 1.0, "peak_memory_bytes": peaks[name], "flops_per_sample": 1.0} | relative]

    monkeypatch.setattr(grid, "cost_table", table)
    grid.run(plan_of(suite()), tmp_path, tell=lambda line: None)
    rows = {row["policy"]: row for row in grid.rows(tmp_path)}
    assert rows["iql"]["memory_relative"] == 1.25 and rows["ten"]["memory_relative"] == 1.5
    assert rows["iql"]["step_relative"] is None and rows["iql"]["step_relative_quartiles"] is None
    assert rows["iql"]["alone"] and rows["iql"]["oom"] is None and rows["bc_flow"]["step_relative"] == 1


def test_rows_from_another_device_are_not_joined_by_this_ones(quick, tmp_path):
    plan = plan_of(suite())
    grid.run(plan, tmp_path, tell=lambda line: None)
    for path in (tmp_path / grid.ROWS).glob("*ten.json"):
        path.unlink()
    for path in (tmp_path / grid.ROWS).glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"accelerator": "NVIDIA of another machine"}))
    summary = grid.run(plan, tmp_path, tell=lambda line: None)
    assert summary["measured"] == 0 and summary["there_before"] == 2
    assert any("ten: the rows there were measured on NVIDIA of another machine" in line for line in summary["left_out"])


def test_a_launched_job_that_fails_is_told_and_the_others_run(quick, tmp_path, monkeypatch):
    import robo_orl.cost.measure.launch as launching

    def fails(layout, requests):
        names = [request["policy"].name for request in requests]
        assert names[0] == names[2] == "bc_flow"
        if layout.zero == 0:
            raise RunError("DDP failed: no memory of it")
        raise RunError("ZeRO-2 failed: CUDA out of memory" if names[1] == "ten" else "ZeRO-2 failed: no network")

    monkeypatch.setattr(launching, "launch", fails)
    monkeypatch.setattr(grid, "lacking", list)
    summary = grid.run(plan_of(suite()), tmp_path, tell=lambda line: None)
    assert summary["measured"] == 4 and sum("no network" in line for line in summary["left_out"]) == 2
    assert sum("-ddp-" in line and "DDP failed" in line for line in summary["left_out"]) == 3
    assert [row["policy"] for row in grid.rows(tmp_path) if row["oom"]] == ["ten"]


@pytest.mark.parametrize(
    ("asked", "engines"),
    [
        ([0], [(0, False)]),
        ([0, 1, 3], [(0, False), (0, True), (1, True), (3, True)]),
        ([2], [(0, True), (2, True)]),
    ],
)
def test_plain_ddp_stands_beside_every_zero_stage(asked, engines):
    found = grid.cells(plan_of(suite(zero=asked, policies=["bc_flow", "iql"])))
    assert [(cell.zero, cell.launched) for cell in found if cell.policy.name == "iql"] == engines
    assert len({cell.name for cell in found}) == len(found)
    assert all(cell.layout.world == (grid.processes() if cell.launched else 1) for cell in found)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_processes_measure_ddp_and_every_zero_stage(stage, tmp_path):
    """On the CPU, so that the path of every engine is walked on any machine."""
    if stage:
        pytest.importorskip("deepspeed")
    asked = suite(zero=[1, 2, 3], policies=["bc_flow", "qc"])
    plan = plan_of(asked)
    cell = next(c for c in grid.cells(plan) if c.policy.name == "qc" and c.zero == stage)
    row = grid.measured(cell, TaskConfig.model_validate(plan["task"]), plan["steps"])
    assert row["oom"] is None and row["launched"] and row["world"] == grid.processes()
    assert row["engine"]["zero_stage"] == stage and row["step_s"] > 0
    assert row["predicted"]["peak_bytes"] == pytest.approx(row["peak_memory_bytes"], rel=0.05)
    engine = f"ZeRO-{stage}" if stage else "DDP"
    assert f"{engine}, {row['world']} processes" in page([row])


def test_another_fault_is_no_memory_fault():
    def broken():
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        or_out_of_memory(broken)


def test_the_page_shows_what_did_not_fit(tmp_path):
    told = {"policy": "iql", "size": "m", "zero": 2, "base": "bc", "parameters_total": 5, "predicted": None}
    assert "out of memory" in page([told | {"oom": "CUDA out of memory"}])


def test_the_page_sets_zero_beside_plain_ddp_and_leaves_launched_rows_out_of_the_figures():
    row = {
        "policy": "iql", "size": "m", "base": "bc", "parameters_total": 5, "predicted": None, "oom": None, "world": 2,
        "launched": True, "step_relative": 1.0, "memory_relative": 1.0, "sent_bytes_per_step": [5e6],
    }  # fmt: skip
    shown = page([
        row | {"zero": 0, "step_s": 0.1, "peak_memory_bytes": 100},
        row | {"zero": 2, "step_s": 0.15, "peak_memory_bytes": 50},
    ])  # fmt: skip
    assert "1.500, 0.500" in shown and "DDP, 2 processes" in shown and "ZeRO-2, 2 processes" in shown
    assert "beside bc" not in shown and "<rect" not in shown


def test_the_base_of_the_ratios_has_no_critic():
    with pytest.raises(UsageError, match="put plain behaviour cloning there"):
        plan_of(suite(policies=["iql", "bc_flow"]))
    with pytest.raises(UsageError, match="Did you mean 'tiny'"):
        plan_of(suite(sizes=["tinny"]))


@pytest.mark.parametrize(("name", "engines"), [("cost", 5), ("cost_methods", 1)])  # four stages and plain DDP
def test_the_shipped_plans_are_those_of_their_suites(name, engines):
    plan = plan_of(parse(SuiteConfig, preset_values("tasks/suites", name), f"suite {name}"))
    assert len(grid.cells(plan)) == len(plan["policies"]) * len(plan["sizes"]) * engines
    assert json.loads((ROOT / f"benchmarks/{name}_plan.json").read_text()) == json.loads(json.dumps(plan))


def test_a_bench_of_the_grid_leaves_records_for_the_report(tmp_path):
    asked = suite(zero=[0], policies=["bc_flow", "iql"])
    summary = run_grid(asked, tmp_path, tell=lambda line: None)
    assert summary["measured"] == 2 and summary["cost_cells"] == 2
    from robo_orl.results.store import read_costs

    page = build_cost_page(tmp_path, tmp_path).read_text()
    assert "At size tiny, beside bc_flow (n = 5 steps, quartiles): iql" in page and "out of memory" not in page
    assert page.count("<figure>") == 1 and "optimiser: " in page
    (record,) = read_costs(tmp_path)
    assert [row.policy for row in record.rows] == ["bc_flow", "iql"]
    assert record.rows[0].step_relative == 1 and record.rows[1].memory_relative > 1
    for row in grid.rows(tmp_path):
        assert row["predicted"]["peak_bytes"] == pytest.approx(row["peak_memory_bytes"], rel=0.02)


def test_the_report_of_a_grid_holds_its_costs_and_the_machine_of_the_rows(tmp_path):
    folder, path = tmp_path / "results", tmp_path / "small.yaml"
    path.write_text(json.dumps({"grid": GRID | {"zero": [0], "policies": ["bc_flow", "iql"]}}))
    bench(str(path), folder, progress=False)
    for row in (folder / grid.ROWS).glob("*.json"):
        told = json.loads(row.read_text()) | {"accelerator": "NVIDIA of another machine", "cores": 99}
        row.write_text(json.dumps(told))
    assert bench(str(path), folder, progress=False)["measured"] == 0
    (cost,) = load(folder).costs
    assert [row.policy for row in cost.rows] == ["bc_flow", "iql"] and load(folder).superseded == 0
    assert cost.hardware.accelerator == "NVIDIA of another machine" and cost.hardware.cores == 99


def test_the_largest_models_are_predicted_once_and_shown(tmp_path, monkeypatch):
    import robo_orl.sweep.cost_grid as cost_grid

    asked = suite(zero=[0], policies=["bc_flow", "iql"], cards=["rtx4090-24gb", "h100-80gb"])
    answers = []

    def largest(workload, available):
        answers.append((workload.policy.name, available))
        found = {"depth": 40, "size": "d40", "backbone_parameters": 1.5e9, "parameters": 2e9, "peak_bytes": 7e10}
        return found if available > 5e10 else None

    monkeypatch.setattr(cost_grid, "largest", largest)
    for _ in range(2):
        cost_grid.predict_largest(asked, plan_of(asked), tmp_path, tell=lambda line: None)
    assert [name for name, _ in answers] == ["bc_flow"] * 2 + ["iql"] * 2
    path = build_cost_page(tmp_path, tmp_path)
    shown = path.read_text()
    assert "The largest model that fits" in shown and "1.5 B (40)" in shown and "iql none" in shown
    assert "64 observations" not in shown and "8 observations a step, fp32" in shown
    with pytest.raises(UsageError, match="h100-80gb"):
        plan_of(suite(cards=["h100-80g"]))


def test_a_folder_without_rows_has_no_cost_page(tmp_path):
    assert build_cost_page(tmp_path, tmp_path) is None and not (tmp_path / "cost.html").exists()


def test_torch_alone_is_enough_and_what_is_missing_is_named(tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(plan_of(suite(policies=["bc_flow", "iql"]))))
    command = [sys.executable, "-c", WITHOUT, str(plan), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]
    summary = json.loads(done.stdout[done.stdout.index("{") :])
    assert summary["missing"] == ["pydantic", "yaml", "accelerate", "deepspeed"]
    assert summary["measured"] == 2 and len(summary["left_out"]) == 4
    assert {row["policy"] for row in grid.rows(tmp_path / "out")} == {"bc_flow", "iql"}
