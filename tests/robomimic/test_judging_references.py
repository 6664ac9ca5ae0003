"""References are judged as policies are: each episode alone, from the same start states, one row each."""

import json
import sys

import numpy as np
import pytest
import torch
from cell_examples import example_record, example_rows
from scripted_scene import TASK, LineScene

from robo_orl.base.errors import UsageError
from robo_orl.evaluate.rerun import replay
from robo_orl.results.record import Evaluation, PolicyRef, TaskRef
from robo_orl.results.store import parse_rows, write_cell
from robo_orl.robomimic.algorithms import ALGORITHMS
from robo_orl.robomimic.evaluation import evaluate_reference, load_run, make_actor, reference_player
from robo_orl.robomimic.run_folder import checkpoints
from robo_orl.robomimic.weights import read_weights
from robo_orl.rollout.episodes import PolicyQuery

pytest.importorskip("robomimic", reason="robomimic is not installed")


def queries(decision, *episodes):
    draw = np.random.default_rng(decision)
    return [PolicyQuery(e, decision, {"position": draw.normal(size=1).astype(np.float32) + e}) for e in episodes]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_episode_does_not_depend_on_its_neighbours(name, trained):
    """Hidden states, subgoals, stacked frames and random draws belong to one episode."""
    judged = load_run(trained(name), None)
    crowd, alone = make_actor(judged, seed=0), make_actor(judged, seed=0)
    together = [crowd([*queries(t, 0), *queries(t, 1)]) for t in range(12)]
    lonely = [alone(queries(t, 1)) for t in range(12)]
    for both, one in zip(together, lonely, strict=True):
        np.testing.assert_array_equal(both[1], one[0])
    assert together[0].shape == (2, 1, 1)


def test_a_restarted_episode_forgets(trained):
    actor = make_actor(load_run(trained("bc_rnn_gmm"), None), seed=0)
    first = [actor(queries(t, 0)) for t in range(4)]
    np.testing.assert_array_equal([actor(queries(t, 0)) for t in range(4)], first)


def test_draws_are_new_in_every_decision_and_episode_and_the_same_again(trained):
    """BCQ chooses among samples and remembers nothing: on one observation only its draws differ."""
    judged = load_run(trained("bcq"), None)
    obs = {"position": np.zeros(1, np.float32)}

    def acted(seed, episode):
        actor = make_actor(judged, seed=seed)
        return [float(actor([PolicyQuery(episode, decision, obs)]).item()) for decision in range(4)]

    first = acted(0, 0)
    assert first == acted(0, 0)
    assert len({*first, *acted(0, 1), *acted(1, 0)}) == 12


def test_past_frames_are_stacked_as_robomimic_stacks_them():
    """Its FrameStackWrapper repeats the first frame until there are enough."""
    from robomimic.algo import RolloutPolicy
    from robomimic.envs.env_base import EnvBase
    from robomimic.envs.wrappers import FrameStackWrapper

    from robo_orl.robomimic.algo import ReferenceActor

    EnvBase.register(Playback)

    seen = []
    actor = ReferenceActor(RolloutPolicy(Spy(seen)), ["position"], frame_stack=10, seed=0)
    frames = [queries(t, 0)[0] for t in range(4)]
    for query in frames:
        actor([query])
    wrapper = FrameStackWrapper(Playback([query.obs for query in frames]), num_frames=10)
    expected = [wrapper.reset()] + [wrapper.step(np.zeros(1))[0] for _ in frames[1:]]
    for got, want in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(got["position"], want["position"])


class Spy:
    """An algorithm that notes what it is shown."""

    device = "cpu"

    def __init__(self, seen):
        self.seen = seen

    def get_action(self, obs_dict, goal_dict=None):
        self.seen.append({key: value[0].numpy() for key, value in obs_dict.items()})
        return torch.zeros(1, 1)

    def set_eval(self): ...

    def reset(self): ...


class Playback:
    """An environment that plays observations back."""

    action_dimension = 1

    def __init__(self, frames):
        self.frames = iter([dict(frame) for frame in frames])

    def reset(self):
        return next(self.frames)

    def step(self, action):
        return next(self.frames), 0.0, False, {}


def test_the_run_is_evaluated_row_by_row(trained, scene):
    run = trained("iql")
    result = evaluate_reference(run, 3, workers=1, progress=False)
    rows = [json.loads(line) for line in (run / "eval" / "episodes.jsonl").read_text().splitlines()]
    assert [row["episode"] for row in rows] == [row["start"] for row in rows] == [0, 1, 2]
    assert (result.policy, result.step, result.training_finished) == ("robomimic_iql", 2, True)
    assert evaluate_reference(run, 3, workers=1, progress=False) == result, "a second call repeats nothing"


def test_a_checkpoint_of_its_own_trainer_is_evaluated_like_the_run(trained, scene, tmp_path):
    run = trained("td3_bc")
    ours = evaluate_reference(run, 2, workers=1, progress=False).to_json()
    file = tmp_path / "model_epoch_2.pth"
    file.write_bytes((checkpoints(run)[-1] / "model.pth").read_bytes())
    theirs = evaluate_reference(file, 2, task=TASK, workers=1, progress=False).to_json()
    assert theirs["step"] == 2
    for name in ("episodes", "discounted_return", "success_once"):
        assert theirs[name] == ours[name]
    prints = [
        [json.loads(line)["fingerprint"] for line in (folder / "episodes.jsonl").read_text().splitlines()]
        for folder in (run / "eval", tmp_path / "model_epoch_2" / "eval")
    ]
    assert prints[0] == prints[1], "the same observations and actions, bit by bit"


def test_an_algorithm_that_this_robomimic_lacks_is_named(trained, scene, tmp_path):
    values = read_weights(checkpoints(trained("iql"))[-1] / "model.pth")
    torch.save(values | {"algo_name": "diffusion_policy"}, tmp_path / "newer.pth")
    with pytest.raises(UsageError, match="Unknown algorithm of robomimic 0.3.0 'diffusion_policy'"):
        evaluate_reference(tmp_path / "newer.pth", 2, task=TASK)


def test_a_checkpoint_needs_a_task_and_a_run_no_trust(trained):
    run = trained("iql")
    with pytest.raises(UsageError, match="--task"):
        evaluate_reference(checkpoints(run)[-1] / "model.pth", 2)
    with pytest.raises(UsageError, match="--trust-pickle is for"):
        evaluate_reference(run, 2, trust_pickle=True)


def test_observations_that_the_task_does_not_give_are_refused(trained, scene, monkeypatch):
    run = trained("iql")
    monkeypatch.setattr(LineScene, "make_env", lambda self: pytest.fail("never in this process"), raising=False)
    path = checkpoints(run)[-1] / "model.pth"
    values = torch.load(path, weights_only=True)
    values["shape_metadata"]["all_shapes"] = {"position": [2]}
    torch.save(values, path)
    with pytest.raises(UsageError, match="cannot build the policy|other observations"):
        evaluate_reference(run, 2, workers=1, progress=False)


def test_a_checkpoint_is_what_its_own_trainer_would_write(trained, line, tmp_path):
    """Its tools read ours: the same keys, configuration and descriptions; only the networks were trained here."""
    from robomimic.config import config_factory
    from robomimic.utils.file_utils import get_env_metadata_from_dataset, get_shape_metadata_from_dataset
    from robomimic.utils.train_utils import save_model

    run = trained("td3_bc")
    actor, ours = make_actor(load_run(run, None), seed=0), read_weights(checkpoints(run)[-1] / "model.pth")
    config = config_factory("td3_bc", dic=json.loads(ours["config"]))
    described = get_env_metadata_from_dataset(str(line)), get_shape_metadata_from_dataset(str(line))
    stats = actor.policy.obs_normalization_stats
    save_model(actor.policy.policy, config, *described, str(tmp_path / "theirs.pth"), stats)
    theirs = read_weights(tmp_path / "theirs.pth")
    assert ours.keys() == theirs.keys()
    assert all(ours[key] == theirs[key] for key in ours if key != "model")
    assert all(torch.equal(ours["model"][name], theirs["model"][name]) for name in theirs["model"])


def test_a_stored_reference_is_played_again_from_its_checkpoint(trained, scene, tmp_path, monkeypatch):
    """As `robo-orl results verify --rerun` does; another task, and a machine without robomimic, are one sentence."""
    run = trained("bcq", folder="results/runs/toy")
    evaluate_reference(run, 6, workers=1, progress=False)
    stored, reference = json.loads((run / "eval" / "eval.json").read_text()), load_run(run, None).reference
    record = example_record(
        example_rows(6),
        kind="reference",
        evaluation=Evaluation.model_validate({key: stored[key] for key in Evaluation.model_fields if key in stored}),
        policy=PolicyRef(name=reference.name, digest=reference.digest(), config=reference.model_dump(mode="json")),
        task=TaskRef(name=TASK.name, digest=TASK.digest(), version=1, horizon=TASK.horizon, control_hz=TASK.control_hz,
                     padding=0, stages=TASK.stages),
    )  # fmt: skip
    cell, rows = tmp_path / "results" / "cells" / "toy", parse_rows(run / "eval" / "episodes.jsonl")
    write_cell(cell, record, rows)
    (played,) = replay(tmp_path / "results", 4, workers=1, references=reference_player)
    assert len(played.rerun.episodes) == 4 and played.differing == []
    write_cell(cell, record, [row.model_copy(update={"length": row.length + 1}) for row in rows])
    (played,) = replay(tmp_path / "results", 4, workers=1, references=reference_player)
    assert played.differing == played.rerun.episodes
    (left,) = replay(tmp_path / "results", 4, workers=1)
    assert left.rerun is None and "reference of another library" in left.reason
    other = record.model_copy(update={"task": record.task.model_copy(update={"digest": "0" * 64})})
    with pytest.raises(UsageError, match="their digests differ"):
        reference_player(other, run)
    monkeypatch.setitem(sys.modules, "robomimic", None)
    (left,) = replay(tmp_path / "results", 4, workers=1, references=reference_player)
    assert left.rerun is None and "robomimic" in left.reason
