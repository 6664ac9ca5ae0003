"""A regime with variants of its outcomes: recorded once, edited into a file of its own, and a board of its own."""

import pytest

from robo_orl.base.errors import UsageError
from robo_orl.config import DataRequest, split_regime
from robo_orl.results.record import Record
from robo_orl.results.store import CELLS, RECORD
from robo_orl.sweep.bench import bench
from robo_orl.sweep.cells import expand, load_suite
from robo_orl.sweep.job import DATA, EDIT, TRAIN
from robo_orl.sweep.jobs import jobs_of_cell

VARIANTS = ["mg", "mg+permuted", "mg+ended"]
GROUP = {"tasks": ["toy"], "regimes": VARIANTS, "policies": ["bc"]}


def test_the_variants_of_a_regime_share_its_recording_and_train_on_files_of_their_own(presets, tmp_path):
    cells = expand(load_suite(presets(groups=[GROUP], data={"episodes": 5, "seed": 3})))
    own = {cell.regime: jobs_of_cell(cell, tmp_path, False) for cell in cells}
    recordings = {job for jobs in own.values() for job in jobs if job.kind == DATA}
    assert len(recordings) == 1 and len({cell.data_key for cell in cells}) == 3
    (recording,) = recordings
    assert not [job for job in own["mg"] if job.kind == EDIT]
    for regime, words in (("mg+permuted", ("--permute-outcomes", "3")), ("mg+ended", ("--end-failures",))):
        edit, train = (next(job for job in own[regime] if job.kind == kind) for kind in (EDIT, TRAIN))
        assert edit.needs == (recording.key,) and train.needs == (edit.key,)
        assert str(recording.output) in edit.command and set(words) <= set(edit.command)
        assert str(edit.output) in train.command and edit.output != recording.output
        assert not edit.elastic


def test_the_regime_that_a_suite_has_had_keeps_its_address(presets):
    plain, *variants = expand(load_suite(presets(groups=[GROUP])))
    assert plain.recorded == plain and {cell.recorded.data_key for cell in variants} == {plain.data_key}
    assert DataRequest(episodes=5).identity() == plain.data.identity()


def test_a_record_of_a_variant_holds_the_file_that_it_was_trained_on(presets, fakes, tmp_path):
    summary = bench(presets(groups=[GROUP]), tmp_path / "out", workers=1, progress=False)
    assert summary.done == summary.computed == 3
    files = [path / RECORD for path in sorted((tmp_path / "out" / CELLS).iterdir())]
    records = [Record.model_validate_json(file.read_text()) for file in files]
    assert {record.regime for record in records} == set(VARIANTS)
    assert len({record.data.sha256 for record in records}) == 3
    assert bench(presets(groups=[GROUP]), tmp_path / "out", workers=1, progress=False).computed == 0


def test_an_amount_of_data_is_a_recording_of_so_many_and_a_board_of_its_own(presets, tmp_path):
    group = GROUP | {"regimes": ["mg", "mg+3demos", "mg+3demos+ended"]}
    suite = load_suite(presets(groups=[group], data={"episodes": 5}))
    plain, few, ended = expand(suite)
    assert [cell.data.episodes for cell in (plain, few, ended)] == [5, 3, 3]
    assert len({cell.key for cell in (plain, few, ended)}) == 3
    jobs = jobs_of_cell(few, tmp_path, False)
    (recording,) = (job for job in jobs if job.kind in (DATA, EDIT))
    assert recording.command[recording.command.index("--regime") + 1] == "mg" and "3" in recording.command
    assert recording in jobs_of_cell(ended, tmp_path, False), "the same recording, edited"
    assert [request.episodes for request in suite.data_requests("toy", "mg+3demos")] == [3]


@pytest.mark.parametrize("name", ["mg+0demos", "mg+demos", "mg+3demos+3demos", "mg+3demos+5demos"])
def test_an_amount_is_given_once_as_a_number(name):
    with pytest.raises(UsageError, match="25demos|twice"):
        split_regime(name)
