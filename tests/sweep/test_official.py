"""Official files as the data of a suite: where they are downloaded, named in records, apart from scripted ones."""

import hashlib
import json

import pytest
import yaml

from robo_orl.base.errors import UsageError
from robo_orl.config.presets import load_task
from robo_orl.data.download import MANIFEST, path_of
from robo_orl.report.published import published_for
from robo_orl.results.store import read_cells
from robo_orl.results.verify import verify
from robo_orl.sweep.bench import bench, suite_to_run
from robo_orl.sweep.cells import expand, load_suite
from robo_orl.sweep.collect import task_ref
from robo_orl.sweep.official import DOWNLOADS

LIFT = path_of("lift", "ph")
TASK = {"env": "lift", "stages": ["first", "second"], "max_seconds": 10, "params": {"of": "a fake"}}  # with its bank
GROUP = {"tasks": ["lifting"], "regimes": ["ph", "mg"], "policies": ["bc", "critic"]}


@pytest.fixture
def suite(presets, tmp_path, monkeypatch):
    """A suite on a scene of robomimic that takes official files; the working folder has none."""
    monkeypatch.chdir(tmp_path)
    for name, changes in {"lifting": {}, "lifting_slowly": {"control_hz": 10}}.items():
        (tmp_path / "presets" / "tasks" / f"{name}.yaml").write_text(yaml.safe_dump(TASK | changes))
    return lambda **changes: presets(official=True, **{"groups": [GROUP]} | changes)


def downloads(folder, text="official 7", listed=None):
    """A folder as `data download` leaves it; listed: the bytes that its manifest is of."""
    (folder / LIFT).parent.mkdir(parents=True)
    (folder / LIFT).write_text(text)
    one = {"size": len(text), "sha256": hashlib.sha256((listed or text).encode()).hexdigest()}
    (folder / MANIFEST).write_text(json.dumps({"files": {LIFT: one, path_of("can", "ph"): one}}))
    return folder


def test_an_official_file_is_the_data_where_it_is_downloaded_and_the_record_says_so(suite, fakes, tmp_path, capsys):
    summary = bench(suite(), tmp_path / "out", progress=False, official=downloads(tmp_path / "files"))
    assert (summary.done, summary.failed) == (4, [])
    assert "Official files of lift/ph from" in capsys.readouterr().err
    data = {record.regime: record.data for record, _ in read_cells(tmp_path / "out")}
    assert (data["ph"].official.path, data["ph"].episodes, data["ph"].requested) == (LIFT, 7, 5)
    assert data["ph"].official.sha256 == data["ph"].sha256 == hashlib.sha256(b"official 7").hexdigest()
    assert data["mg"].official is None and data["mg"].episodes == 5  # nobody hosts it on this folder's manifest
    assert verify(tmp_path / "out").faults == {}
    again = bench(suite(), tmp_path / "out", progress=False, official=tmp_path / "files")
    assert (again.computed, again.unchanged) == (0, True)
    path = next(path for path in (tmp_path / "out/cells").glob("*-ph-bc-*/record.json"))
    record = json.loads(path.read_text())
    record["data"]["sha256"] = "a" * 64  # other bytes than those of the file which they are said to be
    path.write_text(json.dumps(record))
    assert "not that of the official file" in str(verify(tmp_path / "out").faults)


def test_the_default_folder_is_that_of_the_download_and_may_be_missing(suite, tmp_path, capsys):
    assert suite_to_run(suite()).downloads == {}
    assert "all data are scripted" in capsys.readouterr().err
    downloads(tmp_path / DOWNLOADS)
    assert list(suite_to_run(suite()).downloads) == ["lift/ph"]


def test_official_and_scripted_data_have_addresses_of_their_own_and_other_cells_keep_theirs(suite, tmp_path):
    groups = [GROUP | {"tasks": ["lifting", "lifting_slowly", "toy"], "regimes": ["ph", "ph+ended", "mg"]}]
    scripted = {_row(cell): cell for cell in expand(load_suite(suite(groups=groups)))}
    official = {_row(c): c for c in expand(suite_to_run(suite(groups=groups), None, downloads(tmp_path / "files")))}
    moved = {row for row, cell in official.items() if cell.data_key != scripted[row].data_key}
    assert moved == {
        ("lifting", "ph", policy) for policy in ("bc", "critic")
    }  # of this rate, and no edit of a recording
    assert {row for row, cell in official.items() if cell.key != scripted[row].key} == moved


def _row(cell):
    return cell.task.name, cell.regime, cell.policy.name


def test_bytes_that_the_manifest_does_not_list_are_refused_before_anything_runs(suite, fakes, tmp_path):
    with pytest.raises(UsageError, match="has other bytes than its manifest lists: delete it, and download it again"):
        bench(suite(), tmp_path / "out", progress=False, official=downloads(tmp_path / "files", listed="official 8"))
    assert fakes.calls() == []


def test_a_folder_of_something_else_and_a_suite_without_official_files_are_one_sentence(suite, presets, tmp_path):
    with pytest.raises(
        UsageError, match="is no folder of downloads: it has no manifest.json; `robo-orl data download`"
    ):
        suite_to_run(suite(), None, tmp_path)
    with pytest.raises(UsageError, match="takes no official files: its file does not say official: true"):
        suite_to_run(presets("scripted"), None, downloads(tmp_path / "files"))


def test_published_numbers_are_of_the_scene_whatever_the_time_limit(monkeypatch):
    monkeypatch.delenv("ROBO_ORL_PRESETS")
    for task in ("tool_hang", "tool_hang+robomimic_ph"):
        found = {(p.method, p.value) for p in published_for(task_ref(load_task(task)), "ph") if p.kind == "paper"}
        assert {("BC", 29.3), ("BC-RNN", 19.3), ("DP-T", 87.0)} <= found
    assert published_for(task_ref(load_task("tool_hang")), "mh") == []
    assert published_for(task_ref(load_task("chain2"))) == []
