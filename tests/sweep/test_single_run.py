"""A run that `train` made and `eval` judged is submitted to the board of a suite, or refused in one sentence."""

import json
import shutil

import h5py
import pytest
import toy_run
import yaml
from scripted_scene import TASK, LineScene

from robo_orl.base.errors import UsageError
from robo_orl.base.files import file_sha256
from robo_orl.cli.app import main
from robo_orl.evaluate import success as module
from robo_orl.evaluate.success import evaluate
from robo_orl.report.leaderboard.site import gather
from robo_orl.results.store import read_cells, read_manifest
from robo_orl.results.submission import check_submission
from robo_orl.results.verify import verify
from robo_orl.sweep.single_run import submit_run

EPISODES = 6  # that the suite asks for


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("trained")
        patch.setenv("ROBO_ORL_CACHE", str(folder / "cache"))
        return toy_run.trained(folder)


@pytest.fixture
def run(trained_run, tmp_path, monkeypatch):
    """A run folder of this test's own, and a data file that it may change."""
    monkeypatch.setattr(module, "TaskEnvSpec", lambda task, loop, *seen: LineScene(tmp_path, loop=loop))
    run = shutil.copytree(trained_run, tmp_path / "run")
    data = shutil.copy(trained_run.parent / "line.hdf5", tmp_path / "line.hdf5")
    values = json.loads((run / "config.json").read_text())
    values["run"]["tasks"][0]["data"] = str(data)
    (run / "config.json").write_text(json.dumps(values))
    return run


@pytest.fixture
def suite(presets, tmp_path):
    """A function that writes a suite of the toy task."""
    values = TASK.model_dump(mode="json")
    (tmp_path / "presets" / "tasks" / "line.yaml").write_text(yaml.safe_dump(values))

    def write(**changes):
        group = {"tasks": ["line"], "regimes": ["mh"], "policies": ["bc"]}
        common = {"groups": [group], "data": {"episodes": 6}, "evaluation": {"episodes": EPISODES}, "version": 3}
        return presets("lines", **(common | changes))

    return write


def test_a_run_becomes_a_row_of_the_suite_whose_data_and_starts_it_has(run, suite, tmp_path):
    evaluate(run, EPISODES, workers=1, progress=False)
    name = suite(set={"optim": {"steps": 99, "batch_size": 16}})
    made, notes = submit_run(run, name, "my_flow", tmp_path / "out")
    assert (made.suite, made.cells, made.episodes, made.policies) == ("lines", 1, EPISODES, {"my_flow": 1})
    assert notes == ["optim.steps is 4, the suite's policies have 99"] and "pull request" in made.next_step
    check_submission(tmp_path / "out")
    ((record, rows),) = read_cells(tmp_path / "out")
    assert record.policy.name == "my_flow" and record.regime == "mh" and record.train.steps == 4
    assert record.data.sha256 == file_sha256(tmp_path / "line.hdf5") and len(rows) == EPISODES
    ref = read_manifest(tmp_path / "out").suite
    assert (ref.name, ref.version) == ("lines", 3)
    ((standing,),) = [r.standings for d in gather([tmp_path / "out"]).divisions for r in d.rankings]
    assert (standing.tier, standing.episodes, standing.reason) == ("self", EPISODES, "")


def test_of_a_longer_evaluation_the_first_episodes_are_taken(run, suite, tmp_path):
    evaluate(run, EPISODES, workers=1, progress=False)
    submit_run(run, suite(), out=tmp_path / "short")
    evaluate(run, 2 * EPISODES, workers=1, progress=False)
    made, _ = submit_run(run, suite(), out=tmp_path / "long")
    assert made.episodes == EPISODES and verify(tmp_path / "long").faults == {}
    (short,), (long,) = read_cells(tmp_path / "short"), read_cells(tmp_path / "long")
    assert short[1] == long[1] and short[0].cell == long[0].cell


def test_what_cannot_be_ranked_is_one_sentence_with_the_remedy(run, suite, tmp_path):
    with pytest.raises(UsageError, match="say with --suite whose data"):
        submit_run(run, None)
    with pytest.raises(UsageError, match="was not evaluated: `robo-orl eval .* --episodes N`"):
        submit_run(run, suite())
    evaluate(run, 3, workers=1, progress=False)
    with pytest.raises(UsageError, match=f"has 3 episodes, too few for a board of 6: .*--episodes {EPISODES}"):
        submit_run(run, suite())
    evaluate(run, EPISODES, workers=1, progress=False)
    refused = {
        "has the seed 0, the suite 5": {"evaluation": {"episodes": EPISODES, "seed": 5}},
        "holds 6 episodes of seed 0, the suite asks for 7 of seed 0": {"data": {"episodes": 7}},
        "has no board of line mh, .*: it has toy mg": {"groups": [{"tasks": ["toy"], "regimes": ["mg"],
                                                                  "policies": ["bc"]}]},
    }  # fmt: skip
    for words, changes in refused.items():
        with pytest.raises(UsageError, match=words):
            submit_run(run, suite(**changes))
    (run / "train.json").unlink()
    with pytest.raises(UsageError, match="is not finished"):
        submit_run(run, suite())
    assert not (tmp_path / "runs").exists()


def test_other_data_and_another_checkpoint_are_found(run, suite, tmp_path):
    evaluate(run, EPISODES, workers=1, progress=False)
    with h5py.File(tmp_path / "line.hdf5", "a") as file:
        file["data/demo_0"].attrs["grade"] = "other"
    with pytest.raises(UsageError, match="has changed since"):
        submit_run(run, suite())
    with h5py.File(tmp_path / "line.hdf5", "a") as file:
        file["data"].attrs["edit"] = "{}"
    with pytest.raises(UsageError, match="is edited: a board ranks policies that learned from the suite's own data"):
        submit_run(run, suite())
    scores = run / "eval" / "eval.json"
    scores.write_text(json.dumps(json.loads(scores.read_text()) | {"checkpoint_sha256": "0" * 64}))
    with pytest.raises(UsageError, match="is not of the last checkpoint"):
        submit_run(run, suite())


def test_trainings_that_no_suite_asks_for_are_refused(run, suite):
    config = run / "config.json"
    values = json.loads(config.read_text())
    for changes, words in (
        ({"init": "elsewhere"}, "began from the weights of elsewhere"),
        ({"extended_at": [2]}, "was extended"),
    ):
        config.write_text(json.dumps(values | {"run": values["run"] | changes}))
        with pytest.raises(UsageError, match=words):
            submit_run(run, suite())
    config.rename(run / "reference.json")
    with pytest.raises(UsageError, match="is a reference of another library"):
        submit_run(run, suite())


def test_the_command_says_what_the_run_has_of_its_own(run, suite, tmp_path, monkeypatch, capsys):
    evaluate(run, EPISODES, workers=1, progress=False)
    words = ["submit", str(run), "--suite", suite(set={"optim": {"steps": 5}}), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["robo-orl", "leaderboard", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr().out
    assert ended.value.code in (0, None)
    assert "Its own: optim.steps is 4, the suite's policies have 5." in shown and "Next: Copy" in shown
    monkeypatch.setattr("sys.argv", ["robo-orl", "leaderboard", "submit", str(tmp_path / "out"), "--suite", "lines"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and "--suite and --name are for one run" in capsys.readouterr().err
