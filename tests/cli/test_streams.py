"""Output that others close or cannot print does not end a command."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import foreign
import pytest
from cell_examples import example_record, example_rows

from robo_orl.base.text import as_label, notice, print_line, printable
from robo_orl.results.record import Manifest, PlannedCell, SuiteRef
from robo_orl.results.store import write_cell, write_manifest

WORK = """
import sys, time
from rich.console import Console
from rich.progress import Progress
from robo_orl.cli.app import protect_streams
protect_streams()
with Progress(console=Console(file=sys.stderr)) as progress:
    task = progress.add_task("train", total=50)
    for step in range(50):
        print("step", step, flush=True)
        print("warning", step, file=sys.stderr)
        progress.advance(task)
        time.sleep(0.01)
open("finished", "w").close()
"""


@pytest.mark.parametrize("pipe", ["2>&1 | head -1", "| head -1", "2>&1 >/dev/null | head -1"])
def test_work_goes_on_when_its_reader_leaves(tmp_path, pipe):
    (tmp_path / "work.py").write_text(WORK)
    command = f"set -o pipefail; {sys.executable} work.py {pipe}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert (tmp_path / "finished").exists() and done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "ascii:strict"])
def test_list_and_help_print_in_every_encoding(encoding):
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    for arguments in (["list"], ["train", "--help"], ["list", "nönsense"]):
        command = [sys.executable, "-m", "robo_orl", *arguments]
        done = subprocess.run(command, capture_output=True, env=environment)
        assert b"Traceback" not in done.stderr, done.stderr
        assert done.returncode == (2 if "nönsense" in arguments else 0)


def test_an_escape_sequence_in_a_name_is_shown_and_not_carried_out(tmp_path):
    name = "lift\x1b[2J\x9b31m\x07"
    assert printable(name) == "lift\\x1b[2J\\x9b31m\\x07" and printable("näme 1\n") == "näme 1\n"
    done = subprocess.run([sys.executable, "-m", "robo_orl", "list", name], capture_output=True, text=True)
    assert "\x1b" not in done.stderr and "lift\\x1b[2J" in done.stderr


PACKAGE = Path(__file__).parents[2] / "robo_orl"


def test_lines_are_printed_in_one_place():
    """Everything else that calls print prints JSON, which spells control characters out."""
    raw = []
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
            if called and not ast.unparse(node).startswith("print(json.dumps("):
                raw.append(f"{file.relative_to(PACKAGE)}: {ast.unparse(node)}")
    assert [line.split(":")[0] for line in raw] == ["base/text.py"] * 2, raw


def test_an_escape_sequence_in_a_path_or_a_message_is_shown(capsys):
    notice("waiting for /tmp/a\x1b[2Jb")
    print_line("/tmp/a\x1b[2Jb: no fault found.")
    shown = capsys.readouterr()
    assert shown.err == "robo-orl: waiting for /tmp/a\\x1b[2Jb\n" and shown.out == "/tmp/a\\x1b[2Jb: no fault found.\n"


def test_an_escape_sequence_in_the_name_of_a_data_file_is_shown(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "robo_orl", "data", "validate", str(foreign.lift_file(tmp_path / "a\x1b[31m.hdf5"))],
        capture_output=True,
        text=True,
    )
    assert "\x1b" not in done.stdout and "a\\x1b[31m.hdf5: no fault found" in done.stdout, done.stderr


def test_an_escape_sequence_in_a_description_does_not_reach_the_terminal(tmp_path):
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "odd.yaml").write_text('extends: bc\nname: odd\ndescription: "a\\eb[red]c"\n')
    command = [sys.executable, "-m", "robo_orl", "--presets", str(tmp_path), "list", "policies"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"})
    assert "\x1b" not in done.stdout and "a\\x1bb[red]c" in done.stdout, done.stderr


def results_of(folder, policy):
    """One cell of a policy with this name."""
    rows = example_rows(20)
    record = example_record(rows)
    key = record.cell
    named = record.policy.model_copy(update={"name": policy})
    write_cell(folder / "cells" / f"cell-{key[:10]}", record.model_copy(update={"policy": named}), rows)
    plan = PlannedCell(cell=key, task="chain2", regime="mg", policy=policy, size="tiny", seed=0, state="done")
    suite = SuiteRef(name="quick", version=1)
    write_manifest(folder, Manifest(suite=suite, description="", config={}, cells=[plan]))
    return folder


QUICK = Path(__file__).parents[2] / "results" / "quick"
ASCII = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_a_report_is_written_and_its_table_printed_in_an_ascii_locale(tmp_path):
    command = [sys.executable, "-m", "robo_orl", "report", str(QUICK), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, env=os.environ | ASCII)
    assert b"Traceback" not in done.stderr and b"43/50" in done.stdout, done.stderr
    assert (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_stored_name_with_an_escape_sequence_is_refused_and_does_not_reach_the_terminal(tmp_path):
    command = [sys.executable, "-m", "robo_orl", "report", str(results_of(tmp_path / "results", "b\x1b[2J[red]"))]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"})
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_the_label_of_a_progress_bar_is_text():
    from rich.console import Console

    console = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(as_label("evaluating \x1b[2J[red]x"))
    assert console.export_text().strip() == "evaluating \\x1b[2J[red]x"


@pytest.mark.parametrize(
    "words",
    [
        ("bench", "--minutes", "nan"),
        ("bench", "--minutes", "inf"),
        ("profile", "--host-memory", "inf"),
        ("profile", "--host-memory", "nan"),
    ],
)
def test_a_number_without_bounds_is_refused_by_its_option(words, tmp_path):
    command = [sys.executable, "-m", "robo_orl", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert f"Invalid value for '{words[1]}': " in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
