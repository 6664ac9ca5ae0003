"""A suite with the real commands: simulator, training, evaluation, value error and cost, minutes on two cores."""

import pytest
import yaml

from robo_orl.results.store import read_cells, read_costs
from robo_orl.results.verify import verify
from robo_orl.sweep.bench import bench

SUITE = {
    "groups": [
        {
            "tasks": ["chain1"],
            "regimes": ["mg"],
            "policies": ["bc", "bc_flow", "bc_flow_best_of_n_untrained", "qc"],
            "sizes": ["tiny"],
        }
    ],
    "data": {"episodes": 6},
    "evaluation": {"episodes": 4},
    "set": {"optim": {"steps": 20, "batch_size": 16}},
    "cost": {"task": "chain1", "policies": ["bc_flow", "qc"], "steps": 5, "set": {"optim": {"batch_size": 16}}},
}


@pytest.mark.slow
def test_a_small_suite_runs_verifies_and_is_not_run_again(tmp_path, monkeypatch):
    monkeypatch.delenv("ROBO_ORL_PRESETS")
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "cache"))
    suite = tmp_path / "tiny.yaml"
    suite.write_text(yaml.safe_dump(SUITE))
    first = bench(str(suite), tmp_path / "out", progress=False)
    assert first.failed == [] and first.computed == 4
    found = verify(tmp_path / "out")
    assert (found.cells, found.faults, found.missing) == (4, {}, [])
    records = {record.policy.name: record for record, _ in read_cells(tmp_path / "out")}
    assert records["qc"].value_errors is not None and records["bc"].value_errors is None
    flow, control = records["bc_flow"], records["bc_flow_best_of_n_untrained"]
    assert flow.train == control.train
    assert len({(record.data.sha256, record.evaluation.starts_sha256) for record in records.values()}) == 1
    assert [row.policy for row in read_costs(tmp_path / "out")[0].rows] == ["bc_flow", "qc"]
    assert bench(str(suite), tmp_path / "out", progress=False).computed == 0
