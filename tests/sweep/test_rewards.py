"""Rewards as an axis of suites: recorded once, relabelled for every source, and no address of before changes."""

import pytest

from robo_orl.base.errors import UsageError
from robo_orl.config import DataRequest
from robo_orl.results.pack import pack
from robo_orl.results.record import Record
from robo_orl.results.store import CELLS, RECORD
from robo_orl.results.verification.personal import personal_faults
from robo_orl.results.verify import verify
from robo_orl.sweep.bench import bench
from robo_orl.sweep.cells import expand, load_suite
from robo_orl.sweep.job import DATA, EDIT, REWARD, TRAIN
from robo_orl.sweep.jobs import jobs_of_cell

REWARDS = [
    "success",
    {"use": ["success", "stages"], "labels": [5, 25]},
    {"use": "stages", "name": "late", "set": {"noise": {"late": 5}}},
]
GROUP = {"tasks": ["toy"], "regimes": ["mg"], "policies": ["bc"]}
NAMES = ["success", "success_5", "success_25", "stages_5", "stages_25", "late"]


def test_every_source_is_a_data_set_of_the_same_recording(presets, tmp_path):
    cells = expand(load_suite(presets(groups=[GROUP | {"rewards": REWARDS}])))
    assert [cell.regime for cell in cells] == [f"mg@{name}" for name in NAMES]
    own = [jobs_of_cell(cell, tmp_path, False) for cell in cells]
    recordings = {job for jobs in own for job in jobs if job.kind == DATA}
    assert len(recordings) == 1 and len({cell.data_key for cell in cells}) == len({c.key for c in cells}) == 6
    for cell, jobs in zip(cells, own, strict=True):
        relabel, train = (next(job for job in jobs if job.kind == kind) for kind in (REWARD, TRAIN))
        (recording,) = recordings
        assert relabel.needs == (recording.key,) and train.needs == (relabel.key,)
        assert str(recording.output) in relabel.command and str(relabel.output) in train.command
        assert not relabel.elastic and [file.config for file in relabel.inputs] == [cell.data.reward]
    assert cells[2].data.reward.labels == 25 and cells[5].data.reward.noise.late == 5


def test_a_regime_with_variants_is_edited_first(presets, tmp_path):
    group = GROUP | {"regimes": ["mg+permuted+3demos"], "rewards": ["stages"]}
    (cell,) = expand(load_suite(presets(groups=[group])))
    recording, edit, relabel, *_ = jobs_of_cell(cell, tmp_path, False)
    assert [job.kind for job in (recording, edit, relabel)] == [DATA, EDIT, REWARD]
    assert str(edit.output) in relabel.command and cell.data.episodes == 3


def test_cells_without_a_source_keep_their_addresses(presets):
    (plain,) = expand(load_suite(presets(groups=[GROUP])))
    (rewarded,) = expand(load_suite(presets(groups=[GROUP | {"rewards": ["success"]}])))
    assert rewarded.recorded == plain == plain.recorded and rewarded.key != plain.key
    assert "reward" not in plain.data.identity() and DataRequest(episodes=5).identity() == plain.data.identity()


def test_records_hold_their_source_and_are_verified_with_their_suite_and_without(presets, fakes, tmp_path):
    suite = presets(groups=[GROUP | {"rewards": ["stages", {"use": "stages", "labels": 2, "set": {"rest": "drop"}}]}])
    out = tmp_path / "out"
    summary = bench(suite, out, workers=1, progress=False)
    assert summary.done == summary.computed == 2
    records = [Record.model_validate_json((p / RECORD).read_text()) for p in sorted((out / CELLS).iterdir())]
    assert {(r.regime, r.data.reward.labels) for r in records} == {("mg@stages", None), ("mg@stages_2", 2)}
    prices = {r.regime: (r.data.annotation.kind, r.data.annotation.labels, r.data.quality) for r in records}
    assert prices["mg@stages"][0] == "stages" and prices["mg@stages"][2] is None, (
        "where all are labelled, none is held out"
    )
    assert prices["mg@stages_2"][:2] == ("stages", 2) and prices["mg@stages_2"][2].hacked.n == 1
    assert len({record.data.sha256 for record in records}) == 2
    assert bench(suite, out, workers=1, progress=False).computed == 0
    assert verify(out).faults == {}
    pack(out, tmp_path / "packed")
    assert verify(tmp_path / "packed").faults == {}
    (out / "suite.json").unlink()
    assert verify(out).faults == {}


@pytest.mark.parametrize("name, held", [
    ("stitch@progress_25", 0), ("mg+ended@stages", 0), ("chain2-stitch@nearest_5-bc-tiny-s0-32f7a20ba2", 0),
    ("ann@stages", 1), ("stitch@lab.example.org", 1), ("mhx@stages", 1),
])  # fmt: skip
def test_data_with_the_rewards_of_a_source_is_no_address_of_a_person(name, held):
    assert len(list(personal_faults({"regime": name}))) == held


@pytest.mark.parametrize(
    "rewards, sentence",
    [
        (["sucess"], "Unknown reward 'sucess'. Did you mean 'success'"),
        ([{"use": ["success", "stages"], "labels": [5], "name": "x"}], "cannot be the name of several rows"),
        ([{"use": "success", "set": {"noise": {"flop": 1}}}], "flop"),
    ],
)
def test_sources_that_do_not_exist_are_refused(rewards, sentence, presets):
    with pytest.raises(UsageError, match=sentence):
        expand(load_suite(presets(groups=[GROUP | {"rewards": rewards}])))


def test_held_out_losses_beside_sources_are_refused(presets):
    suite = presets(groups=[GROUP | {"rewards": ["success"]}], curve={"every": 5, "held_out": 3})
    with pytest.raises(UsageError, match="curve.held_out has no rewards of the sources"):
        load_suite(suite)
