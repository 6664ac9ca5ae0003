"""Further episodes are played on start states of their own until the test decides, and no pair is played twice."""

import shutil
from dataclasses import replace

import pytest
import toy_run
from scripted_scene import Bank, LineScene

from robo_orl.base.errors import UsageError
from robo_orl.compare import further
from robo_orl.compare.further import Request, until_decided
from robo_orl.compare.sides import read_side
from robo_orl.evaluate import success
from robo_orl.evaluate.policy import AgentPolicy
from robo_orl.evaluate.success import evaluate


class FurtherScene(LineScene):
    """The line from further start states."""

    def start_states(self):
        return Bank(sha256=("d" if self.bank == "further-0" else "e") * 64, size=50)


@pytest.fixture(scope="module")
def trained_runs(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("trained")
        patch.setenv("ROBO_ORL_CACHE", str(folder / "cache"))
        toy_run.trained(folder)
        patch.setattr(success, "TaskEnvSpec", lambda task, loop, *seen: LineScene(folder))
        evaluate(folder / "run", 4, workers=1, progress=False)
        shutil.copytree(folder / "run", folder / "other")
        return folder


@pytest.fixture
def sides(trained_runs, tmp_path, monkeypatch):
    """The same run twice: `lame` makes the second one stand still."""
    monkeypatch.setattr(
        success, "TaskEnvSpec", lambda task, loop, view, history, bank, keys: FurtherScene(tmp_path, bank=bank)
    )
    return [read_side(str(trained_runs / name)) for name in ("run", "other")]


@pytest.fixture
def lame(monkeypatch):
    own = further.prepare

    def prepare(run, *options, **more):
        ready = own(run, *options, **more)
        act = (
            (lambda queries: 0 * AgentPolicy.__call__(ready.policy, queries) - 1)
            if run.name == "other"
            else (lambda queries: 0 * AgentPolicy.__call__(ready.policy, queries) + 1)
        )
        return replace(ready, policy=act)

    monkeypatch.setattr(further, "prepare", prepare)


def test_what_differs_is_decided_early_and_resumed_without_playing(sides, lame, tmp_path, monkeypatch):
    request = Request(max_episodes=50, workers=1)
    decision = until_decided(*sides, request, tmp_path / "out", progress=False)
    assert decision.decided == "worse" and decision.losses == decision.pairs < 20 and decision.evidence >= 20
    assert decision.high < 0 and decision.starts.startswith("further start states of line")
    rows = (tmp_path / "out" / "A" / "further-0" / "finished.jsonl").read_text()
    assert len(rows.splitlines()) <= 20 and f'"starts_sha256":"{"d" * 64}"' in rows
    monkeypatch.setattr(further.Rollouts, "run", lambda *_: pytest.fail("an episode was played twice"))
    assert until_decided(*sides, request, tmp_path / "out", progress=False) == decision


def test_a_side_plays_as_it_was_judged(sides, trained_runs, tmp_path, monkeypatch):
    judged = shutil.copytree(trained_runs / "run", tmp_path / "judged")
    monkeypatch.setattr(success, "TaskEnvSpec", lambda task, loop, *seen: LineScene(tmp_path))
    evaluate(judged, 4, workers=1, progress=False, overrides=["selection.noise_scale=0"])
    asked = []

    def prepare(run, seed, loop, overrides, *others, **more):
        asked.append([item for item in overrides if item.startswith("selection.noise_scale")])
        raise UsageError("seen")

    monkeypatch.setattr(further, "prepare", prepare)
    for side in (sides[0], read_side(str(judged))):
        with pytest.raises(UsageError, match="seen"):
            until_decided(side, sides[1], Request(), tmp_path / "out", progress=False)
    assert asked == [["selection.noise_scale=1.0"], ["selection.noise_scale=0.0"]]


@pytest.mark.slow
def test_the_same_policy_stays_undecided_to_the_end_of_its_budget(sides, tmp_path):
    decision = until_decided(*sides, Request(max_episodes=53, workers=1), tmp_path / "out", progress=False)
    assert (decision.decided, decision.pairs, decision.ties) == ("undecided", 53, 53) and decision.evidence == 1
    assert sorted(path.name for path in (tmp_path / "out" / "B").iterdir()) == ["further-0", "further-1"]
    with pytest.raises(UsageError, match="begun with another endpoint .success., which is fixed before"):
        until_decided(*sides, Request("return", workers=1), tmp_path / "out", progress=False)
    with pytest.raises(UsageError, match="begun with another alpha .0.05."):
        until_decided(*sides, Request(alpha=0.5, workers=1), tmp_path / "out", progress=False)


def test_requests_that_cannot_be_played_are_refused(sides, tmp_path):
    for request, sentence in (
        (Request("speed"), "Unknown endpoint"),
        (Request(max_episodes=0), "--max-episodes is 1 to"),
    ):
        with pytest.raises(UsageError, match=sentence):
            until_decided(*sides, request, tmp_path / "out", progress=False)
    two = replace(sides[1], trainings=[*sides[1].trainings, *sides[1].trainings])
    with pytest.raises(UsageError, match="has 2 trainings: name one"):
        until_decided(sides[0], two, Request(), tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_a_run_that_was_not_evaluated_is_no_side(trained_runs, tmp_path):
    folder = shutil.copytree(trained_runs / "run", tmp_path / "run")
    shutil.rmtree(folder / "eval")
    with pytest.raises(UsageError, match="was not evaluated yet: run `robo-orl eval"):
        read_side(str(folder))
