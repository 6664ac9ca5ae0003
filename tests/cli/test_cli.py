"""The command line as a user meets it: help that teaches, one sentence and an exit code on bad input."""

import json
import re
import signal
import subprocess
import sys

import pytest

from robo_orl.base.errors import Interrupted
from robo_orl.cli.app import main, parser_errors


def robo_orl(*arguments: str, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "robo_orl", *arguments], capture_output=True, text=True, **kwargs)


def test_importing_the_package_is_quick_and_loads_nothing_heavy():
    code = """
import sys, time
start = time.perf_counter()
import robo_orl, robo_orl.cli.app
seconds = time.perf_counter() - start
heavy = {"torch", "mujoco", "robosuite", "robomimic", "deepspeed", "transformers"} & set(sys.modules)
assert not heavy, heavy
assert seconds < 1, seconds
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_names_every_command():
    text = robo_orl("--help").stdout
    for command in ("doctor", "list", "data", "train", "eval", "bench", "report"):
        assert command in text


@pytest.mark.parametrize("command", [("train",), ("eval",), ("bench",), ("report",), ("data", "generate"), ("list",)])
def test_every_command_explains_itself(command):
    done = robo_orl(*command, "--help")
    assert done.returncode == 0 and "--json" in done.stdout
    assert not re.search(r" \.[^.\w]", done.stdout), "a default in square brackets is taken for markup and vanishes"


@pytest.mark.parametrize("kind", ["policies", "tasks", "suites", "sizes", "objectives", "references"])
def test_list_speaks_json(kind):
    done = robo_orl("list", kind, "--json")
    rows = json.loads(done.stdout)[kind]
    assert rows and all("name" in row for row in rows)


TRAIN = ("train", "--task", "chain1", "--data", "missing.hdf5", "--out", "run")
GENERATE = ("data", "generate", "--episodes", "2", "--out", "x.hdf5")


@pytest.mark.parametrize(
    "arguments, code, says",
    [
        ((*TRAIN, "--policy", "bx"), 2, "Unknown policy 'bx'. Did you mean 'bc'"),
        ((*TRAIN, "--policy", "zzzz"), 2, "Unknown policy 'zzzz'. `robo-orl list policies` lists all"),
        ((*TRAIN, "--policy", "bc", "--set", "policy.optim.stpes=3"), 2, "Did you mean 'steps'"),
        ((*TRAIN, "--policy", "bc", "--set", "nonsense"), 2, "KEY=VALUE"),
        ((*TRAIN, "--policy", "bc"), 2, "missing.hdf5"),
        ((*GENERATE, "--task", "chain3", "--regime", "mg"), 2, "Unknown task 'chain3'"),
        ((*GENERATE, "--task", "chain1", "--regime", "mgg"), 2, "Did you mean 'mg'"),
        ((*GENERATE, "--task", "chain1", "--regime", "mg", "--loop", "quick"), 2, "Unknown loop 'quick'"),
        (("eval", "no-such-run"), 2, "There is no trained run in no-such-run"),
        (("eval", "no-such-run", "--starts", "tests"), 2, "Did you mean 'test'? Known: test, tuning"),
        (
            (*GENERATE[:-1], ".", "--task", "lift", "--regime", "mg"),
            2,
            "--out takes the file to write, e.g. lift_mg.hdf5",
        ),
        (("data", "info", "."), 2, ". is a folder; give the HDF5 file in it"),
        (("bench", "--suite", "quik"), 2, "Did you mean 'quick'"),
        (("report", "no-such-folder"), 2, "no-such-folder"),
        (("data", "info", "no-such.hdf5"), 2, "no-such.hdf5"),
        (("list", "policy"), 2, "Did you mean 'policies'"),
        (("--presets", "no-such", "list"), 2, "no-such"),
    ],
)
def test_bad_input_is_one_sentence_and_an_exit_code(tmp_path, arguments, code, says):
    done = robo_orl(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [], "something half-written was left behind"


@pytest.mark.parametrize(
    "arguments, says",
    [
        (("tune", "--suite", "quick", "--trials", "0"), "'--trials': Input should be greater than or equal to 1"),
        (("train", "--policy", "bc"), "Missing option '--task'"),
        (("bench", "--siute", "quick"), "--suite"),
        (("trian",), "Did you mean 'train'? `robo-orl --help`"),
        (("data", "info", "a.hdf5", "b.hdf5"), "b.hdf5"),
    ],
)
def test_a_wrong_command_line_is_one_sentence_too(tmp_path, arguments, says):
    done = robo_orl(*arguments, "--json", cwd=tmp_path)
    assert done.returncode == 2
    sentence = json.loads(done.stdout)["error"]
    assert says in sentence and "--help` lists" in sentence
    assert done.stderr == f"robo-orl: {sentence}\n", "a sentence, and no usage or box around it"


@pytest.mark.parametrize(
    ("command", "example"), [("train", "policy."), ("reference", "train."), ("eval", "selection.")]
)
def test_the_example_of_a_setting_is_one_that_the_command_takes(command, example):
    told = " ".join(robo_orl(command, "--help").stdout.replace("│", " ").split())
    assert f"Change one setting, e.g. {example}" in told


def test_no_command_shows_the_help_and_is_no_fault_to_tell():
    done = robo_orl()
    assert done.returncode == 2 and "doctor" in done.stdout and "robo-orl: " not in done.stderr


def test_faults_are_json_too_when_json_is_asked_for(tmp_path):
    done = robo_orl("data", "info", "no-such.hdf5", "--json", cwd=tmp_path)
    assert done.returncode == 2
    assert "no-such.hdf5" in json.loads(done.stdout)["error"]


@pytest.mark.parametrize("when", ["while it starts", "while it trains"])
def test_a_signal_is_exit_code_130_whenever_it_comes(monkeypatch, capsys, when):
    def train_reference(*_, **__):
        raise Interrupted("Interrupted; the same command goes on from epoch_00003.")

    def load_reference(*_):
        if when == "while it starts":
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("robo_orl.robomimic.algorithms.load_reference", load_reference)
    monkeypatch.setattr("robo_orl.robomimic.train.train_reference", train_reference)
    command = "robo-orl reference --algo iql --task lift --data a --out b --json"
    monkeypatch.setattr(sys, "argv", command.split())
    old = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as end:
            main()
    finally:
        signal.signal(signal.SIGTERM, old)
    told = capsys.readouterr()
    assert end.value.code == 130
    assert json.loads(told.out)["error"].startswith("Interrupted") and told.err.startswith("robo-orl: Interrupted")


@pytest.mark.parametrize("command", ["bench --suite quick", "tune --suite quick --trials 1"])
def test_a_file_where_a_folder_is_needed_is_one_sentence_and_stays_as_it_is(tmp_path, command):
    (tmp_path / "notes").write_text("mine")
    done = robo_orl(*command.split(), "--out", "notes", "--json", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "notes is a file where a folder is needed; choose another --out" in json.loads(done.stdout)["error"]
    assert "Traceback" not in done.stderr and "notes" in done.stderr
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("notes", "mine")]


@pytest.mark.parametrize("library", ["typer", "click"])
def test_the_parser_errors_of_both_clicks_are_found(library):
    """typer carries its own copy of click or takes the installed one, by version."""
    errors = parser_errors(pytest.importorskip(library).BadParameter)
    assert issubclass(errors.UsageError, errors.ClickException) and issubclass(errors.BadParameter, errors.UsageError)
    assert issubclass(errors.NoArgsIsHelpError, errors.ClickException)
