"""An evaluation is a function of checkpoint, task and seed; it continues where it stopped and says what it counted."""

import asyncio
import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from scripted_scene import TASK, LineScene

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.locks import folder_lock
from robo_orl.config import SelectionConfig
from robo_orl.engine import run_folder
from robo_orl.engine.checkpoint import load_agent
from robo_orl.evaluate import success as module
from robo_orl.evaluate.policy import SearchedPolicy
from robo_orl.evaluate.result import EvaluationResult, in_words
from robo_orl.evaluate.scores import EvaluationPlan
from robo_orl.evaluate.success import evaluate
from robo_orl.results.intervals import wilson
from robo_orl.results.record import Evaluation
from robo_orl.results.store import parse_rows, rows_text
from robo_orl.rollout.episodes import PolicyQuery
from robo_orl.rollout.look_ahead import LookAheadRollouts


@pytest.fixture
def on_the_line(monkeypatch, tmp_path):
    """`evaluate` on the scripted scene instead of a simulator; returns a function that breaks the scene."""

    def use(**faults):
        monkeypatch.setattr(module, "TaskEnvSpec", lambda task, loop, *seen: LineScene(tmp_path, **faults))

    use()
    return use


def quick(*arguments, **options):
    """The evaluation by one process, as JSON values."""
    return evaluate(*arguments, **{"workers": 1, "progress": False} | options).to_json()


def fingerprints(folder):
    return [row.fingerprint for row in parse_rows(folder / "eval" / "episodes.jsonl")]


def test_rows_and_scores_agree(run, on_the_line):
    result = quick(run, 6)
    rows = parse_rows(run / "eval" / "episodes.jsonl")
    assert [row.start for row in rows] == list(range(6))
    k = sum(row.success_once for row in rows)
    assert 0 < k < 6, "a test of counting needs both outcomes"
    score = result["success_once"]
    assert (score["k"], score["n"], score["low"], score["high"]) == (k, 6, *wilson(k, 6))
    goal = result["stages"][1]
    assert goal["conditional"]["n"] == sum(row.stages[0] for row in rows) and goal["reached"]["n"] == 6
    for row in rows:
        assert row.discounted_return == pytest.approx(result["gamma"] ** (row.length - 1) if row.success_once else 0)
        assert row.stages == [step is not None for step in row.stage_steps]
        assert row.starts_sha256 == result["starts_sha256"] == "b" * 64
    stored = json.loads((run / "eval" / "eval.json").read_text())
    assert stored == result
    Evaluation.model_validate({name: result[name] for name in Evaluation.model_fields})
    assert result["speed"]["policy_share"] + result["speed"]["simulation_share"] == pytest.approx(1)
    assert result["step"] == 4 and result["training_finished"] and len(result["checkpoint_sha256"]) == 64


def test_a_terminal_shows_every_rate_with_its_k_n_and_interval(run, on_the_line):
    result = quick(run, 6)
    lines = in_words(EvaluationResult.from_json(result))
    assert f"the policy was {100 * result['speed']['policy_share']:.1f} % of the work" in lines["speed"]
    nothing = {**result, "speed": {**result["speed"], "policy_share": None}}
    assert "no episode was run" in in_words(EvaluationResult.from_json(nothing))["speed"]
    k, low, high = result["success_once"]["k"], *(100 * bound for bound in wilson(result["success_once"]["k"], 6))
    assert lines["success"] == f"{k} of 6 ({100 * k / 6:.0f} %, 95 % interval {low:.0f} to {high:.0f})"
    assert lines["  goal"].endswith("of those that reached the stage before")
    assert "not finished" not in lines["policy"] and "run again" not in lines
    result["stages"][-1]["conditional"] |= {"k": 0, "n": 0}
    assert in_words(EvaluationResult.from_json(result))["  goal"] == lines["  goal"].partition(";")[0], (
        "of nobody there is no rate"
    )


def test_episodes_do_not_depend_on_the_number_of_workers(run, on_the_line, tmp_path):
    quick(run, 8)
    quick(run, 8, workers=3, out=tmp_path / "three")
    one, three = parse_rows(run / "eval/episodes.jsonl"), parse_rows(tmp_path / "three/episodes.jsonl")
    assert [row.fingerprint for row in one] == [row.fingerprint for row in three]


def test_another_seed_gives_other_episodes(run, on_the_line):
    quick(run, 3)
    first = fingerprints(run)
    quick(run, 3, seed=1)
    assert all(a != b for a, b in zip(first, fingerprints(run), strict=True))


def test_an_interrupted_evaluation_continues(run, on_the_line, tmp_path):
    whole = quick(run, 6, out=tmp_path / "whole")
    on_the_line(fault_at=("step", 4), kind="raise", times=3)
    with pytest.raises(RunError, match="Episode 4 of line crashed 3 times"):
        quick(run, 6)
    assert not (run / "eval" / "eval.json").exists()
    finished = run / "eval" / "finished.jsonl"
    kept = len(finished.read_text().splitlines())
    assert 0 < kept < 6
    finished.write_text(finished.read_text() + '{"episode": 5, "start"')  # the line that a kill cut short
    on_the_line()
    again = quick(run, 6)
    assert again["speed"]["episodes_reused"] == kept and again["speed"]["episodes_run"] == 6 - kept
    assert fingerprints(run) == [row.fingerprint for row in parse_rows(tmp_path / "whole/episodes.jsonl")]
    assert again["success_once"] == whole["success_once"]


def test_a_second_call_runs_nothing_and_more_episodes_run_only_the_rest(run, on_the_line):
    first = quick(run, 4)
    assert quick(run, 4) == first
    assert quick(run, 6)["speed"]["episodes_run"] == 2


def test_restarts_are_counted(run, on_the_line):
    on_the_line(fault_at=("step", 2), kind="exit")
    result = quick(run, 4)
    assert result["restarts"] >= 1
    assert next(row for row in parse_rows(run / "eval/episodes.jsonl") if row.start == 2).restarts == 1


def test_a_search_in_the_simulator_is_an_override_and_says_what_it_cost(run, on_the_line, tmp_path):
    quick(run, 3)
    plain = fingerprints(run)
    search = ["selection.num_samples=8", "selection.look_ahead=40"]
    result = quick(run, 3, overrides=search)
    rows = parse_rows(run / "eval" / "episodes.jsonl")
    assert [row.fingerprint for row in rows] != plain
    assert all(row.look_ahead_decisions >= 8 * (row.length - 1) for row in rows), "eight branches of each chunk"
    assert result["look_ahead_decisions"] == sum(row.look_ahead_decisions for row in rows)
    assert "decisions simulated beside" in in_words(EvaluationResult.from_json(result))["look-ahead"]
    two = quick(run, 3, overrides=search, workers=2, out=tmp_path / "two")
    assert two["look_ahead_decisions"] == result["look_ahead_decisions"]
    assert [row.fingerprint for row in parse_rows(tmp_path / "two" / "episodes.jsonl")] == fingerprints(run)
    assert "look_ahead_decisions" not in rows_text(
        [row.model_copy(update={"look_ahead_decisions": None}) for row in rows]
    )


def test_a_search_among_one_sample_is_the_policy_itself_bit_by_bit(run, on_the_line, tmp_path):
    quick(run, 4)
    agent, config = load_agent(run)
    policy = SearchedPolicy(agent, SelectionConfig(), config.policy.action_head.execute, 0)
    with LookAheadRollouts(LineScene(tmp_path), policy, 1, 2, look_ahead=10) as rollouts:
        outcomes = {f.episode: f.outcome.fingerprint for f in rollouts.run(range(4))}
    assert [outcomes[i] for i in range(4)] == fingerprints(run)


def test_a_branch_goes_on_by_the_first_of_the_samples_that_its_episode_will_have(run):
    agent, config = load_agent(run)
    agent.select_by(chosen := SelectionConfig(num_samples=3, look_ahead=9))
    policy = SearchedPolicy(agent, chosen, config.policy.action_head.execute, 0)
    queries = [PolicyQuery(e, 4, {"position": np.array([e / 7], np.float32)}) for e in (2, 5)]
    proposed = policy.propose(queries)
    assert proposed.values is None and proposed.chunks.shape == (2, 3, 2, 1)
    assert np.array_equal(policy(queries), proposed.chunks[:, 0])
    assert not np.array_equal(policy([replace(query, decision=5) for query in queries]), policy(queries))


def test_best_of_n_is_an_override_and_changes_the_episodes(run, on_the_line):
    quick(run, 2)
    plain = fingerprints(run)
    result = quick(run, 2, overrides=["selection.num_samples=4", "selection.untrained_critic=true"])
    assert result["selection"] == SelectionConfig(num_samples=4, untrained_critic=True).model_dump()
    assert fingerprints(run) != plain


def test_a_checkpoint_that_exists_is_decoded_without_noise_and_then_no_seed_matters(run, on_the_line):
    quick(run, 2)
    plain, decoded = fingerprints(run), []
    for seed in (0, 1):
        result = quick(run, 2, seed=seed, overrides=["selection.noise_scale=0"])
        decoded.append(fingerprints(run))
    assert result["selection"]["noise_scale"] == 0 and decoded[0] == decoded[1] != plain


def test_videos_are_made_anew_and_leave_the_rows_as_they_are(run, on_the_line, tmp_path):
    quick(run, 5)
    before = fingerprints(run)
    result = quick(run, 5, video=tmp_path / "videos")
    names = sorted(path.name for path in (tmp_path / "videos").iterdir())
    assert names == [f"line-tiny_flow-episode_{i:03d}.mp4" for i in range(4)]
    assert fingerprints(run) == before and result["speed"]["episodes_reused"] == 1


def test_a_crash_leaves_no_half_video(run, on_the_line, tmp_path):
    on_the_line(fault_at=("step", 1), kind="exit", times=3)
    with pytest.raises(RunError, match="Episode 1 of line crashed 3 times"):
        quick(run, 2, video=tmp_path / "videos")
    assert not list((tmp_path / "videos").glob("*episode_001*"))
    assert not list((tmp_path / "videos").glob(".*"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "selection.samples=4",
            "Unknown key in selection 'samples'. Did you mean 'num_samples'",
        ),
        ("optim.steps=4", r"Unknown setting for an evaluation 'optim.steps'.*selection.num_samples"),
        ("selection.num_samples=4", "set selection.untrained_critic"),
    ],
)
def test_what_an_evaluation_cannot_change_is_refused(setting, message, run, on_the_line):
    with pytest.raises(UsageError, match=message):
        quick(run, 2, overrides=[setting])
    assert not (run / "eval").exists()


def test_another_observation_than_in_training_is_named(run, on_the_line, monkeypatch):
    read = run_folder.read_spec
    monkeypatch.setattr(
        "robo_orl.evaluate.success.read_spec", lambda folder: read(folder).model_copy(update={"obs": {"position": 2}})
    )
    with pytest.raises(UsageError, match="'position' has size 2 in the training data and 1 in the simulator"):
        quick(run, 2)


def test_a_folder_that_is_no_run_is_a_bad_request(tmp_path):
    with pytest.raises(UsageError, match="There is no trained run in"):
        quick(tmp_path, 2)


def test_the_return_is_discounted_per_second_of_simulated_time():
    def gamma(hz):
        return EvaluationPlan(None, TASK.model_copy(update={"control_hz": hz}), "", 0, 0).gamma

    assert gamma(40) ** 40 == pytest.approx(gamma(20) ** 20) == pytest.approx(gamma(10) ** 10)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b""])
@pytest.mark.parametrize("name", ["eval.json", "episodes.jsonl", "finished.jsonl"])
def test_damaged_files_of_an_evaluation_are_made_anew(run, on_the_line, name, content):
    whole = quick(run, 4)
    (run / "eval" / name).write_bytes(content)
    result = quick(run, 4)
    assert result["success_once"] == whole["success_once"] and json.loads((run / "eval" / "eval.json").read_text())
    assert result["speed"]["episodes_run"] == (0 if name != "finished.jsonl" else 4)


def test_one_evaluation_at_a_time_writes_into_a_folder(run, on_the_line, monkeypatch):
    monkeypatch.setattr("robo_orl.base.locks.time.monotonic", itertools.count(0, 10).__next__)
    with folder_lock(run / "eval", "evaluating"), pytest.raises(UsageError, match="Another process is evaluating in"):
        quick(run, 4)


def test_an_evaluation_runs_inside_an_event_loop_and_in_a_thread_of_it(run, on_the_line):
    async def cell():
        in_loop = quick(run, 3, out=run / "loop")
        return in_loop, await asyncio.to_thread(quick, run, 3, out=run / "thread")

    in_loop, in_thread = asyncio.run(cell())
    assert in_loop["success_once"] == in_thread["success_once"] and in_loop["success_once"]["n"] == 3
