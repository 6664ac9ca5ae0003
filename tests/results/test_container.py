"""A container gives back what it was made of, and names in one sentence what is wrong with it."""

import gzip
import json
import shutil

import pytest
from cell_examples import SUITE_CONFIG, TASK, example_key, example_record, example_rows

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.files import write_text
from robo_orl.cli.app import main
from robo_orl.results.container import COSTS, EPISODES, FILES, RECORDS, SUITE
from robo_orl.results.pack import pack, unpack
from robo_orl.results.record import Manifest, PlannedCell, SuiteRef
from robo_orl.results.store import open_results, read_cells, write_cell, write_manifest
from robo_orl.results.verify import verify

KEYS = (example_key(0), example_key(1))
COST_KEYS = ("chain2-tiny-zero0-bc-0123456789", "chain2-tiny-zero0-bc-9876543210")
COST_RECORD = {
    "schema_version": 2, "suite": {"name": "quick", "version": 1}, "base": "bc", "batch_size": 8, "precision": "fp32",
    "task": {"name": "chain2", "digest": TASK.digest(), "version": 1, "horizon": 400, "control_hz": 20, "padding": 0.0,
             "stages": TASK.stages},
    "rows": [{"policy": "bc", "size": "tiny", "step_s": 1e-05, "peak_memory_bytes": None}], "versions": {},
    "hardware": {"cpu": "c", "cores": 1, "memory_bytes": 1}, "code": {"version": "1", "commit": None, "dirty": None},
    "created": "now",
}  # fmt: skip


@pytest.fixture
def working(tmp_path):
    """Two cells, a manifest that names them, and two cost records."""
    folder = tmp_path / "working"
    for seed, key in enumerate(KEYS):
        rows = example_rows(20, seed)
        record = example_record(rows, seed)
        write_cell(folder / "cells" / f"chain2-mg-bc-tiny-s{seed}-{key[:10]}", record, rows)
    planned = [
        PlannedCell(cell=key, task="chain2", regime="mg", policy="bc", size="tiny", seed=seed, state="done")
        for seed, key in enumerate(KEYS)
    ]
    write_manifest(
        folder, Manifest(suite=SuiteRef(name="quick", version=1), description="", config=SUITE_CONFIG, cells=planned)
    )
    for key in COST_KEYS:
        write_text(folder / "cost" / f"{key}.json", json.dumps(COST_RECORD | {"key": key}))
    return folder


@pytest.fixture
def container(working, tmp_path):
    pack(working, tmp_path / "packed")
    return tmp_path / "packed"


def contents(folder):
    return {path.relative_to(folder): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_packing_and_unpacking_gives_back_every_text(working, container, tmp_path):
    unpack(container, tmp_path / "again")
    first, second = contents(working), contents(tmp_path / "again")
    costs = [path for path in first if path.parts[0].startswith("cost")]
    assert len(costs) == 2 and all(json.loads(first.pop(p)) == json.loads(second.pop(p)) for p in costs)
    assert first == second and len(first) == 5


def test_both_forms_read_alike(working, container):
    assert read_cells(container) == read_cells(working)
    first, second = open_results(working), open_results(container)
    assert (first.manifest, first.costs) == (second.manifest, second.costs)
    assert [cell.name for cell in first.cells] == [cell.name for cell in second.cells]
    assert verify(container) == verify(working)


def test_equal_results_are_equal_bytes(working, container, tmp_path):
    pack(working, tmp_path / "other")
    pack(working, tmp_path / "other")  # and a container that is there is replaced
    assert all((container / name).read_bytes() == (tmp_path / "other" / name).read_bytes() for name in FILES)
    assert not list(tmp_path.glob(".*"))


def test_floats_and_text_of_any_language_survive(working, tmp_path):
    record = working / "cells" / f"chain2-mg-bc-tiny-s0-{KEYS[0][:10]}" / "record.json"
    values = json.loads(record.read_text())
    values["train"]["wall_s"] = 0.1 + 0.2
    values["train"]["peak_memory_kind"] = "put the cube away\u2028 – über 立方体"
    record.write_text(json.dumps(values))
    pack(working, tmp_path / "packed")
    stored = read_cells(tmp_path / "packed")[0][0]
    assert stored.train.wall_s == 0.30000000000000004
    assert stored.train.peak_memory_kind == "put the cube away\u2028 – über 立方体"


def tamper(container, change):
    path = container / RECORDS
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    change(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def cut(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-40])


def replace(name, content):
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    "damage, sentence",
    [
        (cut(RECORDS), "line 2 is not JSON"),
        (cut(EPISODES), "no complete gzip file"),
        (replace(EPISODES, b"\x89HDF\r\n\x1a\n"), "no complete gzip file"),
        (replace(EPISODES, gzip.compress(b'{"episode":0}\n')), "line 1 is no episode row"),
        (replace(RECORDS, b"\xff\xfe\x00"), "is damaged: it is no complete text"),
        (replace(RECORDS, b"[1, 2]\n"), "line 1 is no JSON object"),
        (replace(RECORDS, b'{"policy": "bc"}\n'), "it names no cell"),
        (replace(COSTS, b'{"kind": "cost"}\n'), "is no cost record: it has no key"),
        (replace(SUITE, b"{"), "suite.json is not JSON"),
        (lambda folder: tamper(folder, lambda lines: lines.append(lines[0])), "more than once"),
        (lambda folder: tamper(folder, lambda lines: lines.pop()), "no record beside it"),
        (lambda folder: tamper(folder, lambda lines: lines[0].update(surprise=1)), "surprise"),
        (lambda folder: tamper(folder, lambda lines: lines[1]["evaluation"].update(gamma=7)), "gamma"),
        (lambda folder: tamper(folder, lambda lines: lines[1]["policy"]["config"].update(name="qc")), "policy.digest"),
        (lambda folder: (folder / EPISODES).unlink(), "sha256"),
    ],
)
def test_a_damaged_container_is_one_sentence_and_exit_1(container, damage, sentence, capsys, monkeypatch):
    damage(container)
    found = [fault for faults in verify(container).faults.values() for fault in faults]
    assert any(sentence in fault for fault in found)
    monkeypatch.setattr("sys.argv", ["robo-orl", "results", "verify", str(container)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1 and sentence in capsys.readouterr().err


def test_records_that_are_cut_with_their_rows_are_noticed(container):
    tamper(container, lambda lines: lines.pop())
    rows = gzip.decompress((container / EPISODES).read_bytes()).decode().splitlines()
    kept = "".join(f"{row}\n" for row in rows if KEYS[0] in row)
    (container / EPISODES).write_bytes(gzip.compress(kept.encode()))
    assert "1 cell(s) done that have no record" in verify(container).faults[RECORDS][0]


def test_a_changed_episode_is_noticed(container):
    text = gzip.decompress((container / EPISODES).read_bytes()).decode()
    (container / EPISODES).write_bytes(gzip.compress(text.replace('"length":43', '"length":44', 1).encode()))
    assert any("its sha256 is not the record's" in fault for fault in verify(container).faults.popitem()[1])


def test_a_folder_with_faults_is_not_packed(working, tmp_path):
    record = working / "cells" / f"chain2-mg-bc-tiny-s0-{KEYS[0][:10]}" / "record.json"
    record.write_text(record.read_text().replace('"discounted_return": 0.', '"discounted_return": 0.9', 1))
    with pytest.raises(RunError, match="the rows give"):
        pack(working, tmp_path / "packed")
    assert [path.name for path in tmp_path.iterdir()] == ["working"]


def test_a_broken_write_leaves_the_container_that_was_there(working, container, monkeypatch):
    before = {name: (container / name).read_bytes() for name in FILES}

    def broken(folder):
        raise RuntimeError("broken")

    monkeypatch.setattr("robo_orl.results.pack.read_container", broken)
    with pytest.raises(RuntimeError, match="broken"):
        pack(working, container)
    assert {name: (container / name).read_bytes() for name in FILES} == before
    assert sorted(path.name for path in container.parent.iterdir()) == ["packed", "working"]


def test_a_symbolic_link_to_a_container_stays_one_and_its_target_is_replaced(working, container, tmp_path):
    (tmp_path / "link").symlink_to(container)
    (container / FILES[0]).unlink()
    pack(working, tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and {path.name for path in container.iterdir()} == set(FILES)


def test_what_cannot_be_packed_is_refused(working, container, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no records"):
        pack(tmp_path / "empty", tmp_path / "packed")
    with pytest.raises(UsageError, match="There is no results folder"):
        pack(tmp_path / "nowhere", tmp_path / "packed")
    with pytest.raises(UsageError, match="is packed already"):
        pack(container, tmp_path / "other")
    with pytest.raises(UsageError, match="is no container of results"):
        pack(working, working)
    with pytest.raises(UsageError, match="is no container of results"):
        unpack(working, tmp_path / "other")
    with pytest.raises(UsageError, match="is not empty"):
        unpack(container, working)


def test_the_commands_pack_verify_and_report(working, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(working / "cost")

    def run(*words):
        monkeypatch.setattr("sys.argv", ["robo-orl", *words, "--json"])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    written = run("results", "pack", str(working))
    assert (written["folder"], written["cells"], written["episodes"], written["files"]) == ("results/quick", 2, 40, 3)
    assert run("results", "verify", str(working), "results/quick")["results/quick"]["faults"] == {}
    made = run("report", "results/quick")
    assert made["html"] == "runs/report-quick/report.html" and made["faults"] == {}
    assert sorted(path.name for path in (tmp_path / "results" / "quick").iterdir()) == [EPISODES, RECORDS, SUITE]
