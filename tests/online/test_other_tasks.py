"""A start that learned several tasks goes on in one of them, and the others are judged at every point."""

import json
import signal

import pytest
import synthetic
import toy_run
from scripted_scene import TASK, LineScene
from toy_online import METHOD, go, killed, learned, start_of

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig, RunConfig, deep_merge
from robo_orl.engine.checkpoint import load_agent
from robo_orl.engine.train import train
from robo_orl.evaluate.policy import AgentPolicy, instruction_of
from robo_orl.online.start import resolve_start
from robo_orl.rollout.episodes import Rollouts

NEAR = TASK.model_copy(update={"instruction": "stop at one"})
FAR = TASK.model_copy(update={"name": "far", "instruction": "stop at one, from afar", "max_seconds": 3.0})
TOLD = {"observation": {"instruction": True}}
STEPS = 200


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A policy that learned both tasks by their sentences."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("both")
        patch.setenv("ROBO_ORL_CACHE", str(folder / "cache"))
        tasks = []
        for number, task in enumerate((NEAR, FAR)):
            episodes = [toy_run.episode(i + number) for i in range(6)]
            data = synthetic.write(folder / f"{task.name}.hdf5", episodes, task=task)
            tasks.append({"task": task, "data": str(data), "weight": 1.0 + number})
        policy = PolicyConfig.model_validate(deep_merge(toy_run.FLOW, TOLD))
        run = RunConfig(policy=policy, tasks=tasks, tracker="none", checkpoint_every=4)
        train(run, folder / "run", progress=False)
        yield folder / "run"


def starts(run, folder, *settings, task="line"):
    return start_of(run, folder, *settings, method=METHOD, task=task)


@pytest.fixture(scope="module")
def whole(both, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    start = starts(both, folder)
    return folder / "out", go(start, folder / "out", STEPS, other_specs={"far": LineScene(folder, task=FAR)})


def rows_of(out):
    rows = [json.loads(line) for line in (out / "online.jsonl").read_text().splitlines()]
    (start,) = [row for row in rows if row["kind"] == "start"]
    return start, [row for row in rows if row["kind"] == "point"]


def test_every_point_says_what_is_kept_of_the_other_task(whole):
    out, account = whole
    start, points = rows_of(out)
    before = set(start["others"]["far"]["solved"])
    assert [point["at"] for point in points] == [0, 200] and start["others"].keys() == {"far"}
    for point in points:
        other = point["others"]["far"]
        now = set(other["solved"])
        assert (other["success"]["k"], other["success"]["n"]) == (len(now), 3)
        assert (other["lost"], other["won"]) == (len(before - now), len(now - before))
        rows = (out / f"points/step_{point['at']:08d}/others/far/episodes.jsonl").read_text().splitlines()
        assert {json.loads(row)["horizon"] for row in rows} == {FAR.horizon} and len(rows) == 3
    assert account["points"][-1]["others"] == points[-1]["others"]


def test_the_start_acts_there_by_that_tasks_sentence(both, whole, tmp_path):
    """Its episodes are those of the run itself, told what the other task is; with the own sentence they are others."""
    agent, run = load_agent(both)
    played = []
    for task in (FAR, NEAR):
        actor = AgentPolicy(agent, run.policy.action_head.execute, 0, instructions=instruction_of(run, task))
        with Rollouts(LineScene(tmp_path, task=FAR), actor, workers=1) as rollouts:
            played.append({finished.episode: finished.outcome.fingerprint for finished in rollouts.run(range(3))})
    rows = (whole[0] / "points/start/others/far/episodes.jsonl").read_text().splitlines()
    found = {row["episode"]: row["fingerprint"] for row in map(json.loads, rows)}
    assert found == played[0] != played[1]


def test_a_task_is_named_and_has_its_own_data_and_discount(both, tmp_path):
    with pytest.raises(UsageError, match="name the one to go on in with --task, one of line, far"):
        starts(both, tmp_path, task=None)
    with pytest.raises(UsageError, match="Unknown task of this run 'fat'.*far"):
        starts(both, tmp_path, task="fat")
    start = starts(both, tmp_path, task="far")
    assert start.run.task == FAR and start.others == (NEAR,) and start.run.tasks[0].data.endswith("far.hdf5")
    assert start.spec.sentences == [["stop at one, from afar"]]
    data = synthetic.write(tmp_path / "others.hdf5", [toy_run.episode(i + 9) for i in range(6)], task=NEAR)
    other = resolve_start(both, None, 3, data, policy=start.run.policy, task="line")
    with pytest.raises(UsageError, match="is not what .* was trained on"):
        go(other, tmp_path / "out", steps=1)


@pytest.mark.slow
@pytest.mark.parametrize("place, count", [("told", 4), ("told", 11), ("update", 5)])
def test_a_kill_while_the_other_task_is_judged_changes_nothing(both, whole, tmp_path, place, count):
    assert killed(both, tmp_path, tmp_path / "out", place, count, STEPS, task="line") == -signal.SIGKILL
    go(starts(both, tmp_path), tmp_path / "out", STEPS, other_specs={"far": LineScene(tmp_path, task=FAR)})
    assert learned(tmp_path / "out") == learned(whole[0])
    ours, theirs = (rows_of(out)[1] for out in (tmp_path / "out", whole[0]))
    assert [point["others"] for point in ours] == [point["others"] for point in theirs]
