"""Results are from the test start states, and choices from the tuning start states: what is asked for is played."""

import pytest
from scripted_scene import TASK, LineScene

from robo_orl.base.errors import UsageError
from robo_orl.cli.app import app
from robo_orl.evaluate import success as module
from robo_orl.evaluate.success import evaluate
from robo_orl.results.store import parse_rows
from robo_orl.rollout.env_spec import TaskEnvSpec

HASHES = {"test": "b" * 64, "tuning": "c" * 64}


@pytest.fixture
def scenes(monkeypatch, tmp_path):
    """The scenes that evaluations ask for; what is played is the scripted one with that bank."""
    asked = []

    def play(*told):
        asked.append(TaskEnvSpec(*told))
        return LineScene(tmp_path, bank=asked[-1].bank)

    monkeypatch.setattr(module, "TaskEnvSpec", play)
    return asked


def rows(run):
    return parse_rows(run / "eval" / "episodes.jsonl")


@pytest.mark.parametrize(
    ("options", "bank"), [({}, "test"), ({"starts": "test"}, "test"), ({"starts": "tuning"}, "tuning")]
)
def test_an_evaluation_plays_the_start_states_that_it_was_asked_for(options, bank, run, scenes):
    result = evaluate(run, 2, workers=1, progress=False, **options).to_json()
    assert [scene.bank for scene in scenes] == [bank]
    assert result["starts_sha256"] == HASHES[bank]
    assert {row.starts_sha256 for row in rows(run)} == {HASHES[bank]}


def test_episodes_from_tuning_starts_are_never_taken_for_results(run, scenes):
    """In one folder: the second evaluation plays its own episodes and keeps none of the first's."""
    first = evaluate(run, 2, workers=1, progress=False, starts="tuning").to_json()
    tuned = [row.fingerprint for row in rows(run)]
    second = evaluate(run, 2, workers=1, progress=False).to_json()
    assert (first["speed"]["episodes_run"], second["speed"]["episodes_run"]) == (2, 2)
    assert second["starts_sha256"] == HASHES["test"]
    assert all(row.fingerprint != other for row, other in zip(rows(run), tuned, strict=True))


@pytest.mark.parametrize(("words", "bank"), [([], "test"), (["--starts", "tuning"], "tuning")])
def test_the_command_hands_its_start_states_on(words, bank, run, scenes, capsys):
    app(["eval", str(run), "--episodes", "1", "--workers", "1", "--json", *words], standalone_mode=False)
    assert [scene.bank for scene in scenes] == [bank]
    assert HASHES[bank] in capsys.readouterr().out


@pytest.mark.parametrize("bank", ["test", "tuning"])
def test_a_scene_hands_out_its_own_bank(bank, monkeypatch):
    monkeypatch.setattr("robo_orl.envs.start_banks.stored_bank", lambda task, name: (task.name, name))
    assert TaskEnvSpec(TASK, bank=bank).start_states() == ("line", bank)


def test_start_states_that_do_not_exist_are_one_sentence():
    with pytest.raises(UsageError, match="Did you mean 'tuning'"):
        TaskEnvSpec(TASK, bank="tunning").start_states()
