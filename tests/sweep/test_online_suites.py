"""Suites that go online: their cells, their jobs and their records, with commands that answer at once."""

import json

import pytest
import yaml

from robo_orl.base.errors import UsageError
from robo_orl.report.online import online_boards
from robo_orl.results.record import Record
from robo_orl.results.store import read_cells
from robo_orl.results.verify import verify
from robo_orl.sweep.bench import bench
from robo_orl.sweep.cells import expand, load_suite
from robo_orl.sweep.forecast import FRAME_BYTES, _disk_bytes
from robo_orl.sweep.job import ONLINE
from robo_orl.sweep.jobs import jobs_of_cell
from robo_orl.sweep.live_view import progress_of

METHOD = {
    "objective": {"name": "qc"}, "critic": {"topology": "shared_detached"}, "selection": {"num_samples": 2},
    "optim": {"schedule": "constant", "lr": 0.001},
    "online": {"evaluation": {"points": [0], "every": 50, "episodes": 6}},
}  # fmt: skip
GROUP = {"tasks": ["toy"], "regimes": ["mg"], "policies": ["flow"]}


@pytest.fixture
def method(tmp_path):
    (tmp_path / "method.yaml").write_text(yaml.safe_dump(METHOD | {"description": "a method"}))
    return str(tmp_path / "method.yaml")


def test_a_policy_goes_on_by_every_method_from_one_training(presets, fakes, method, tmp_path):
    methods = [method, {"use": method, "name": "lower", "set": {"optim": {"lr": 0.0001}}, "pilot_steps": 70}]
    suite = presets(groups=[GROUP | {"online": methods}], env_steps=100)
    summary = bench(suite, tmp_path / "out", progress=False)
    assert (summary.cells, summary.done, summary.failed) == (3, 3, [])
    assert fakes.kinds() == ["data", "eval", "online", "online", "train", "value-error", "value-error"]
    assert verify(tmp_path / "out").faults == {}
    records = {record.policy.name: record for record, _ in read_cells(tmp_path / "out")}
    assert set(records) == {"flow", "flow_method", "flow_lower"} and records["flow"].online is None
    online = records["flow_lower"].online
    assert online.start.run == records["flow"].train.run != records["flow_lower"].train.run
    assert [point.at for point in online.points] == [0, 50, 100] and online.account.pilot_steps == 70
    assert online.points[0].solved == "100010" and online.start.judged.solved == "101010"
    (board,) = online_boards(list(records.values()))
    assert [(c.step, c.lost) for c in board.rows[0].changes] == [(0, 1), (50, 1), (100, 0)]
    fakes(fail="online")
    assert bench(suite, tmp_path / "out", progress=False).unchanged


CONTRADICTIONS = [
    (lambda online: online["points"][1].update(solved="111110"), "its starts say 5 of 6"),
    (lambda online: online["points"][2].update(solved="010101"), "is not of the episodes of this record"),
    (lambda online: online["points"].pop(1), "not at the steps that policy.config names"),
    (lambda online: online.update(env_steps=120), "is not the address"),
    (lambda online: online["account"].update(env_steps=60), "below that of the last point"),
    (lambda online: online["start"]["config"].update(description="other", optim={"steps": 9}), "online.start"),
    (lambda online: online["start"].update(policy="bc"), "online.start.config"),
]


def test_a_record_that_contradicts_itself_is_named(presets, fakes, method, tmp_path):
    bench(presets(groups=[GROUP | {"online": [method]}], env_steps=100), tmp_path / "out", progress=False)
    path = next((tmp_path / "out/cells").glob("*flow_method*/record.json"))
    original = path.read_text()
    for change, words in CONTRADICTIONS:
        record = json.loads(original)
        change(record["online"])
        path.write_text(Record.model_validate(record).model_dump_json())
        found = verify(tmp_path / "out").faults
        assert words in " ".join(sentence for own in found.values() for sentence in own)


def test_a_budget_of_a_group_is_another_row_and_another_address(presets, method):
    groups = [GROUP | {"online": [method], "env_steps": steps} for steps in (100, 2000)]
    cells = expand(load_suite(presets(groups=groups)))
    assert [cell.policy.name for cell in cells] == ["flow", "flow_method_0.1k", "flow_method_2k"]
    assert cells[1].run_key != cells[2].run_key and cells[1].trained.run_key == cells[0].run_key


def test_points_have_the_episodes_of_the_suites_evaluation_and_no_others(presets, method):
    group = GROUP | {"online": [{"use": method, "name": "own", "set": {"optim": {"lr": 0.1}}}]}
    suite = load_suite(presets(groups=[group], env_steps=100, evaluation={"episodes": 9}))
    assert [cell.policy.online.evaluation.episodes for cell in expand(suite) if cell.online] == [9]
    group["online"][0]["set"] = {"online": {"evaluation": {"episodes": 8}}}
    with pytest.raises(UsageError, match=r"sets online.evaluation.episodes to 8.*which has evaluation.episodes 9"):
        expand(load_suite(presets(groups=[group], env_steps=100, evaluation={"episodes": 9})))


def test_a_start_that_learned_several_tasks_goes_on_in_each_and_its_others_are_in_the_record(
    presets, fakes, method, tmp_path
):
    several = {"tasks": ["toy", "toy_long"], "together": {"toy": 1, "toy_long": 2}}
    several["set"] = {"observation": {"instruction": True}}
    suite = presets(groups=[GROUP | several | {"online": [method]}], env_steps=100)
    cells = [cell for cell in expand(load_suite(suite)) if cell.online is not None]
    assert len({cell.trained.run_key for cell in cells}) == 1 and len({cell.run_key for cell in cells}) == 2
    for cell in cells:
        job = next(job for job in jobs_of_cell(cell, tmp_path, False) if job.kind == "online")
        asked = dict(zip(job.command, job.command[1:], strict=False))
        assert asked["--task"] == cell.task.name and f"/{cell.task.name}-mg" in asked["--data"]
    assert bench(suite, tmp_path / "out", progress=False).failed == []
    assert verify(tmp_path / "out").faults == {}
    records = [record for record, _ in read_cells(tmp_path / "out") if record.online is not None]
    assert {record.online.start.judged.others["another"].solved for record in records} == {"101010"}
    for board in online_boards(records):
        changes = board.rows[0].others["another"]
        assert [(c.step, c.lost, c.won, c.solved_before) for c in changes] == [(s, 2, 0, 3) for s in (0, 50, 100)]
    path = next((tmp_path / "out/cells").glob("*flow_method*/record.json"))
    stored = json.loads(path.read_text())
    stored["online"]["points"][1]["others"]["another"]["solved"] = "111110"
    path.write_text(Record.model_validate(stored).model_dump_json())
    (faults,) = verify(tmp_path / "out").faults.values()
    assert "online point 50 in another is 1 of 6, its starts say 5 of 6" in " ".join(faults)


def test_a_group_of_sources_of_rewards_does_not_go_online(presets, method):
    with pytest.raises(UsageError, match="the simulator gives rewards"):
        load_suite(presets(groups=[GROUP | {"online": [method], "rewards": ["stages"]}]))


def test_progress_is_that_of_the_last_row_that_says_steps(presets, method, tmp_path):
    cell = expand(load_suite(presets(groups=[GROUP | {"online": [method]}], env_steps=100)))[1]
    job = next(job for job in jobs_of_cell(cell, tmp_path, False) if job.kind == "online")
    assert progress_of(job) == (0.0, "")
    job.output.mkdir(parents=True)
    (job.output / "online.jsonl").write_text('{"kind": "start", "solved": []}\n')
    assert progress_of(job) == (0.0, "0 of 100 steps")
    rows = [{"kind": "point", "solved": list(range(2000))}, {"kind": "round", "env_steps": 40}]
    (job.output / "online.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert progress_of(job) == (0.4, "40 of 100 steps")


def test_a_plan_counts_the_frames_that_will_be_collected_with_their_pictures(presets, method, tmp_path):
    seeing = {"observation": {"cameras": ["front", "side"], "image_size": 32}}
    suite = presets(
        groups=[GROUP | {"online": [method, {"use": method, "name": "seen", "set": seeing}]}], env_steps=100
    )
    jobs = {cell.policy.name: jobs_of_cell(cell, tmp_path, False) for cell in expand(load_suite(suite))}
    plain, seen = (
        _disk_bytes([job for job in jobs[name] if job.kind == ONLINE]) for name in ("flow_method", "flow_seen")
    )
    assert plain == 100 * FRAME_BYTES and seen == plain + 100 * 2 * 3 * 32**2
