"""No tampering that contradicts what the folder holds passes verification; what is not touched does."""

import gzip
import json
import os

import pytest
from cell_examples import CONFIG, CRITIC, SUITE_CONFIG, TASK, example_record, example_rows
from tampering import KINDS, Forgery, ranked

from robo_orl.cli.app import main
from robo_orl.config import SuiteConfig
from robo_orl.config.presets import preset_folders
from robo_orl.envs.start_states import StartBank
from robo_orl.results.container import EPISODES, RECORDS, SUITE, Line, PackedTexts
from robo_orl.results.record import Manifest, PlannedCell, SuiteRef
from robo_orl.results.store import rows_text
from robo_orl.results.verification.folder import suite_of
from robo_orl.results.verification.tasks import START_BANKS
from robo_orl.results.verify import verify

BEST = CRITIC | {"name": "qc4", "selection": {"num_samples": 4}}  # of the run of qc
CELLS = ((0, CONFIG), (1, CONFIG), (0, CRITIC), (1, CRITIC), (0, BEST), (1, BEST))
ROW = {
    "size": "tiny", "step_s_quartiles": [0.09, 0.11], "step_relative_quartiles": [1.0, 1.0],
    "phases_s": {"forward": 0.05, "backward": 0.05}, "memory_kind": "process_rss", "parameters_total": 3, "steps": 20,
}  # fmt: skip
PREDICTED = {
    "parts": {"parameters": 60, "inputs": 40}, "peak_bytes": 100, "peak_phase": "backward", "held_bytes": 60,
    "phase_bytes": {"forward": 80, "backward": 100}, "host_bytes": 0,
}  # fmt: skip
BC_COST = ROW | {
    "policy": "bc", "step_s": 0.1, "step_relative": 1.0, "peak_memory_bytes": 2000, "memory_relative": 1.0,
    "flops_per_sample": 100.0, "flops_relative": 1.0, "parameters": {"backbone": 3, "critic": 0, "total": 3},
    "memory_parts": {"trained": 500, "window": 1500}, "predicted": PREDICTED,
}  # fmt: skip
QC_COST = BC_COST | {
    "policy": "qc", "topology": "shared", "step_s": 0.15, "step_s_quartiles": [0.14, 0.16], "step_relative": 1.5,
    "step_relative_quartiles": [1.4, 1.6], "peak_memory_bytes": 3000, "memory_relative": 1.5, "flops_relative": 1.2,
    "flops_per_sample": 120.0, "parameters": {"backbone": 3, "critic": 2, "total": 5}, "parameters_total": 5,
    "memory_parts": {"trained": 1500, "window": 1500},
    "phases_s": {"forward": 0.07, "backward": 0.08},
}  # fmt: skip


@pytest.fixture(scope="module")
def texts():
    """A container of six cells and a cost measurement that contradicts nothing, in memory."""
    records, episodes, planned = [], {}, []
    for seed, config in CELLS:
        rows = example_rows(20, seed, config)
        record = example_record(rows, seed, config)
        records.append(Line(record.model_dump(mode="json"), "records.jsonl"))
        episodes[record.cell] = rows_text(rows)
        planned.append(PlannedCell(
            cell=record.cell, task="chain2", regime="mg", policy=config["name"], size="tiny", seed=seed, state="done"
        ))  # fmt: skip
    groups = [SUITE_CONFIG["groups"][0] | {"policies": ["bc", "qc", {"use": "qc", "name": "qc4"}]}]
    cost = {"task": "chain2", "policies": ["bc", "qc"], "sizes": ["tiny"], "steps": 20, "cards": ["card"]}
    suite = Manifest(
        suite=SuiteRef(name="quick", version=1), description="", config=SUITE_CONFIG | {"groups": groups, "cost": cost},
        cells=planned, 
        costs=[COST_RECORD["key"], PREDICTED_RECORD["key"], "chain2-tiny-abcdef0123"],
    )  # fmt: skip
    return PackedTexts(suite.model_dump_json(), records, episodes, [Line(COST_RECORD, ""), Line(PREDICTED_RECORD, "")])


COST_RECORD = {
    "schema_version": 2, "key": "chain2-tiny-0123456789", "suite": {"name": "quick", "version": 1}, "base": "bc",
    "task": {"name": "chain2", "digest": TASK.digest(), "version": 1, "horizon": 400, "control_hz": 20, "padding": 0.0,
             "stages": TASK.stages},
    "batch_size": 8, "precision": "fp32", "rows": [BC_COST, QC_COST],
    "calibration": {"device": "a card", "extra_bytes": 10, "created": "2026-01-01T00:00:00+00:00", "rows": [
        {"policy": "bc", "size": "tiny", "precision": "fp32", "predicted": 80, "measured": 100, "error": 0.1}]},
    "versions": {"robo_orl": "1"}, "hardware": {"cpu": "c", "cores": 1, "memory_bytes": 1},
    "code": {"version": "1", "commit": None, "dirty": None}, "created": "2026-01-01T00:00:00+00:00",
}  # fmt: skip


PREDICTED_RECORD = COST_RECORD | {
    "key": "chain2-largest-bc-0123456789", "rows": [], "hardware": None, "calibration": None,
    "largest": [{"policy": "bc", "card": "card", "usable_bytes": 90, "depth": 3, "size": "tiny", "peak_bytes": 80,
                 "backbone_parameters": 3, "parameters": 4}],
}  # fmt: skip


def check(folder):
    """The sentences about a container."""
    return [sentence for sentences in verify(folder).faults.values() for sentence in sentences]


def test_what_nobody_touched_has_no_fault(texts, tmp_path):
    Forgery(texts).write(tmp_path)
    assert check(tmp_path) == []
    checked = verify(tmp_path)
    assert (checked.cells, checked.episodes, checked.costs, checked.horizons) == (6, 120, 2, 120)
    assert (checked.superseded, checked.personal) == ([], [])
    assert any("hardware" in words for words in checked.claimed)


def test_a_consistent_ranking_has_no_fault(texts, tmp_path):
    forgery = Forgery(texts)
    ranked()(forgery)
    forgery.write(tmp_path)
    assert check(tmp_path) == []


def test_a_hundred_kinds_are_tried():
    assert len(KINDS) >= 100


@pytest.mark.parametrize("kind", KINDS)
def test_no_tampering_passes(kind, texts, tmp_path):
    forgery = Forgery(texts)
    KINDS[kind](forgery)
    forgery.write(tmp_path)
    found = check(tmp_path)
    assert found, kind
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in found), found


def test_start_banks_are_those_of_the_files():
    files = {path.stem: path for folder in preset_folders("tasks/starts") for path in folder.glob("*.npz")}
    assert {name: StartBank.load(path).sha256 for name, path in files.items()} == START_BANKS


# ---------------------------------------------------------------------------------------------------- files of others


def endless(path):
    os.remove(path)
    os.mkfifo(path)


def device(path):
    os.remove(path)
    os.symlink("/dev/zero", path)


FILES_OF_OTHERS = {
    "binary": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(range(256))),
    "a pipe": endless,
    "an endless device": device,
    "a folder": lambda path: (os.remove(path), os.mkdir(path)),
    "nested without end": lambda path: path.write_text('{"a":' * 100_000),
    "a number of a million digits": lambda path: path.write_text(f'{{"cell": {"9" * 10**6}}}\n'),
    "no number": lambda path: path.write_text('{"cell": NaN}\n'),
    "a key twice": lambda path: path.write_text('{"cell": "a", "cell": "b"}\n'),
    "a list": lambda path: path.write_text("[]\n"),
    "a page": lambda path: path.write_text("<html>not found</html>"),
}


@pytest.mark.parametrize("name", [RECORDS, SUITE])
@pytest.mark.parametrize("kind", FILES_OF_OTHERS)
def test_a_file_of_others_is_one_sentence(kind, name, texts, tmp_path):
    Forgery(texts).write(tmp_path)
    FILES_OF_OTHERS[kind](tmp_path / name)
    found = check(tmp_path)
    assert len(found) == 1 and "\n" not in found[0] and len(found[0]) < 500, found


@pytest.mark.parametrize(
    "content, sentence",
    [
        (gzip.compress(b"0" * (80 << 20)), "unpacks to more than"),
        (b"", "no complete gzip file"),
        (gzip.compress(b"{}")[:-9], "no complete gzip file"),
        (gzip.compress(b"\xff\xfe"), "no complete gzip file"),
    ],
    ids=["too large", "empty", "cut short", "no text"],
)
def test_rows_that_are_none_are_one_sentence(content, sentence, texts, tmp_path):
    Forgery(texts).write(tmp_path)
    (tmp_path / EPISODES).write_bytes(content)
    assert sentence in check(tmp_path)[0]


def test_the_command_says_what_is_claimed(texts, tmp_path, capsys, monkeypatch):
    Forgery(texts).write(tmp_path)
    monkeypatch.setattr("sys.argv", ["robo-orl", "results", "verify", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
    assert "Claimed, which no check can see" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["robo-orl", "results", "verify", str(tmp_path), "--json"])
    with pytest.raises(SystemExit):
        main()
    assert "versions, hardware, code and dates" in json.loads(capsys.readouterr().out)[str(tmp_path)]["claimed"]


def test_the_configuration_that_a_folder_holds_is_read_as_a_suite():
    suite = SuiteConfig.model_validate(SUITE_CONFIG)
    stored = Manifest(suite=SuiteRef(name="quick", version=1), description="", config=suite.model_dump(), cells=[])
    assert suite_of(stored) == suite
