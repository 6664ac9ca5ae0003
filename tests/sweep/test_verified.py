"""A bench reads and verifies a record once, and again only where a file has changed."""

import os

import pytest

from robo_orl.sweep import bench as module
from robo_orl.sweep import verified
from robo_orl.sweep.bench import bench

GROUP = {"tasks": ["toy"], "regimes": ["mg"], "policies": ["flow", "bc"], "seeds": [0, 1]}


@pytest.fixture
def reads(monkeypatch):
    """The folders of the records that were read and of those that were verified, in order."""
    read, checked = [], []
    own_read, own_check = module.read_record, module.faults
    monkeypatch.setattr(module, "read_record", lambda folder: read.append(folder.name) or own_read(folder))
    monkeypatch.setattr(module, "faults", lambda cell: checked.append(cell.name) or own_check(cell))

    def count():
        counts = len(read), len(checked)
        read.clear()
        checked.clear()
        return counts

    return count


@pytest.fixture
def done(presets, fakes, reads, tmp_path):
    """A suite of four cells and its finished folder; returns a function that runs the same command again."""
    suite, out = presets(groups=[GROUP]), tmp_path / "out"
    again = lambda: bench(suite, out, workers=2, progress=False)  # noqa: E731
    assert again().done == 4
    assert reads() == (4, 4)  # once each, when they were written
    again.out = out
    return again


def test_a_second_call_reads_no_record_and_says_that_nothing_changed(done, reads):
    summary = done()
    assert (summary.done, summary.unchanged) == (4, True) and reads() == (0, 0)


def test_the_report_of_an_unchanged_folder_stays(done, presets, monkeypatch):
    from robo_orl.cli import report

    made = []
    monkeypatch.setattr("robo_orl.report.build.render", lambda document: made.append(1) or "<html></html>")
    for _ in range(2):
        report.write_report(done.out, done.out, as_json=True, unchanged=done().unchanged)
    assert len(made) == 1  # there was none before
    (done.out / "report.json").write_text("{")
    report.write_report(done.out, done.out, as_json=True, unchanged=True)
    assert len(made) == 2
    suite = presets(groups=[GROUP | {"seeds": [0]}])
    assert not bench(suite, done.out, workers=2, progress=False).unchanged  # other cells belong to the suite now


def test_a_new_time_is_reason_enough_to_verify_again(done, reads):
    folder = next(done.out.glob("cells/*"))
    (folder / "episodes.jsonl").touch()
    summary = done()
    assert (summary.done, summary.unchanged) == (4, False) and reads() == (1, 1)
    assert done().done == 4 and reads() == (0, 0)


def test_a_changed_file_of_the_same_size_and_time_is_found(done, capsys):
    """Whoever sets the time back leaves the time of the change."""
    record = next(done.out.glob("cells/*/record.json"))
    before, text = record.stat(), record.read_text()
    record.write_text(text.replace('"steps": 10,\n  "batch_size"', '"steps": 99,\n  "batch_size"'))
    os.utime(record, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert record.stat().st_size == before.st_size and record.stat().st_mtime_ns == before.st_mtime_ns
    assert done().computed == 1 and "train.steps is 99" in capsys.readouterr().err


def test_a_clock_that_moved_changes_nothing(done, reads):
    """Files of tomorrow, or of 1970, are verified once under their new times, and nothing is computed again."""
    for when in (2**33, 0):
        for path in done.out.glob("cells/*/*"):
            os.utime(path, (when, when))
        summary = done()
        assert (summary.done, summary.computed, summary.failed) == (4, 0, []) and reads() == (4, 4)
        assert done().unchanged and reads() == (0, 0)


def test_other_rules_of_verification_verify_every_record_again(done, reads, monkeypatch):
    monkeypatch.setattr(verified, "rules", lambda: "others")
    assert done().done == 4 and reads() == (4, 4)


def test_a_damaged_note_is_no_note(done, reads):
    notes = done.out / verified.FILE
    lines = notes.read_text().splitlines()
    notes.write_text(f"{lines[0]}\n{lines[1][:50]}")
    assert done().done == 4 and reads() == (3, 3)


def test_every_job_looks_at_its_own_cells(done, presets, tmp_path, monkeypatch):
    """Eight cells of one policy: a training of one seed completes one cell, not eight looks at all of them."""
    looks = []
    own = module.Bench._store_if_complete
    monkeypatch.setattr(module.Bench, "_store_if_complete", lambda s, cell: looks.append(cell.seed) or own(s, cell))
    suite = presets("wide", groups=[GROUP | {"policies": ["bc"], "seeds": list(range(2, 10))}])
    assert bench(suite, done.out, workers=2, progress=False).computed == 8
    before = 8  # of a kill between a cell's last job and its record
    assert len(looks) == before + 2 * 8  # a training and an evaluation a cell; the data were there
