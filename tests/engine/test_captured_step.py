"""A recorded step: windows, draws and learning rates in their places. A CPU has no recording: the twin runs again what
was recorded, on the memory that was recorded, and gives out the tensors of its first run."""

import pytest
import tiny
import torch
from safetensors.torch import load_file

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.rng import DrawPlan, Draws, PlannedDraws
from robo_orl.base.types import Observation
from robo_orl.config import ObservationConfig, PolicyConfig
from robo_orl.cost.synthetic_step import synthetic_window
from robo_orl.engine import captured_step, training_step
from robo_orl.engine.captured_step import WARM_UP, PlacedDraws, captures, why_not_captured
from robo_orl.engine.checkpoint import checkpoints
from robo_orl.engine.optimizer import make_optimizer
from robo_orl.engine.packed import PackedWindow, tensors_of, to_device
from robo_orl.engine.train import train
from robo_orl.engine.training_step import PHASES, TrainingStep

SEES = ObservationConfig(cameras=["agentview"], instruction=True, history=2)


def window(pairs=4, seed=0, sees=SEES):
    made = synthetic_window(pairs, {"a": 3, "b": 5}, 7, 4, 0.9, seed, sees)
    return made.map(lambda t: t.movedim(-3, -1).contiguous().movedim(-1, -3) if t.dtype == torch.uint8 else t)


def policy(**optim):
    return PolicyConfig.model_validate({"name": "p", "optim": optim})


# ----------------------------------------------------------------------------------------------------------- windows


@pytest.mark.parametrize("static", [False, True])
def test_a_window_travels_in_one_piece_with_types_and_layouts_of_its_pictures(static):
    places = PackedWindow.of(window())
    for seed in (1, 2):
        sent, original = places.send(window(seed=seed), torch.device("cpu"), static), window(seed=seed)
        for ours, theirs in zip(tensors_of(sent), tensors_of(original), strict=True):
            assert torch.equal(ours, theirs) and ours.dtype == theirs.dtype
            assert ours.dtype != torch.uint8 or ours.stride() == theirs.stride()
    assert len({t.untyped_storage()._cdata for t in tensors_of(sent)}) == 1


def test_static_windows_are_in_the_memory_of_those_before():
    places, device = PackedWindow.of(window()), torch.device("cpu")
    first, second = (places.send(window(seed=seed), device, static=True) for seed in (1, 2))
    assert all(map(torch.equal, tensors_of(first), tensors_of(second)))
    assert not places.fits(window(pairs=2))


def test_a_window_that_is_there_stays_as_it_is():
    original = window(sees=None)
    assert to_device(original, torch.device("cpu")) is original
    assert isinstance(to_device(original, torch.device("meta")).obs, Observation)


# ------------------------------------------------------------------------------------------------------------- draws


def test_draws_of_a_recording_are_those_of_the_step_and_refuse_another_one():
    plan = DrawPlan()
    PlannedDraws(plan, 3, 0).normal("a", 2, 2)
    placed = None
    for step in (1, 2):
        planned = PlannedDraws(plan, 3, step)
        placed = placed or PlacedDraws.of(planned)
        placed.load(planned)
        assert torch.equal(placed.restart().normal("a", 2, 2), Draws(3, step).normal("a", 2, 2))
    with pytest.raises(RunError, match="set optim.capture to off"):
        placed.uniform("a", 2)


# ---------------------------------------------------------------------------------------------------------- the step


def twin(body):
    """In place of a CUDA graph."""
    kept = {}

    def replay():
        for name, value in body().items():
            kept.setdefault(name, torch.empty_like(value)).copy_(value)
        return kept

    return replay


@pytest.fixture
def recorded(monkeypatch):
    """Steps on this CPU are recorded by the twin; the calls that replayed one are counted."""
    replays = []
    monkeypatch.setattr(training_step, "captures", lambda *_: True)
    monkeypatch.setattr(training_step, "as_cuda_graph", lambda body: replays.append(body) or twin(body))
    return replays


def finished(run, out, **options):
    train(run, out, progress=False, **options)
    return load_file(checkpoints(out)[-1] / "agent.safetensors")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_recorded_training_is_that_of_the_usual_step_also_when_it_resumes(data, tmp_path, monkeypatch, precision):
    run = tiny.run_of(data, tiny.CASES["iql_shared"] | {"optim": {"steps": 12, "precision": precision}})
    usual = finished(run, tmp_path / "usual")
    with monkeypatch.context() as patch:
        patch.setattr(training_step, "captures", lambda *_: True)
        patch.setattr(training_step, "as_cuda_graph", twin)
        whole = finished(run, tmp_path / "whole")
        finished(run, tmp_path / "parts", stop_at=7)
        parts = finished(run, tmp_path / "parts")
    for name, tensor in usual.items():
        torch.testing.assert_close(whole[name], tensor, rtol=1e-4, atol=1e-5)
        assert torch.equal(parts[name], whole[name])


def test_a_replayed_step_has_all_phases_and_metrics_of_its_own(data, tmp_path, recorded):
    seen, run_step = [], TrainingStep.run

    def kept(self, step, read, phase=training_step.unmeasured):
        seen.append(run_step(self, step, read, phase))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingStep, "run", kept)
        finished(tiny.run_of(data, {"optim": {"steps": WARM_UP + 4}}), tmp_path / "run")
    assert len(recorded) == 1
    losses = [float(metrics["loss"]) for metrics in seen]
    assert len(set(losses)) == len(losses), "a step's metrics are those of a later one"
    assert set(PHASES) == {"forward", "backward", "optimizer", "target"}


# ----------------------------------------------------------------------------------------------------------- choices


@pytest.mark.parametrize(
    ("over", "reason"),
    [
        ({"optim": {"accumulation": 2}}, "accumulation"),
        ({"optim": {"policy_ema": 0.9}}, "policy_ema"),
        ({"backbone": {"compile": True}}, "compile"),
    ],
)
def test_what_cannot_be_recorded_says_why(over, reason):
    assert reason in why_not_captured(PolicyConfig.model_validate({"name": "p"} | over), alone=True)
    assert "DeepSpeed" in why_not_captured(policy(), alone=False)
    assert why_not_captured(policy(), alone=True) is None


def test_a_recording_is_refused_on_a_cpu_and_automatic_where_it_was_measured(monkeypatch):
    gpu = torch.device("cuda", 0)
    with pytest.raises(UsageError, match="there is no GPU: set optim.capture to off"):
        captures(policy(capture="on"), torch.device("cpu"), alone=True)
    assert not captures(policy(), torch.device("cpu"), alone=True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "measured card")
    assert captures(policy(capture="on"), gpu, alone=True)
    assert not captures(policy(), gpu, alone=True)
    monkeypatch.setattr(captured_step, "EVIDENCE", frozenset({("measured card", "single")}))
    assert captures(policy(), gpu, alone=True)
    assert not captures(policy(), gpu, alone=False)
    assert not captures(policy(capture="off"), gpu, alone=True)


def test_steps_that_differ_from_each_other_are_not_recorded(monkeypatch):
    monkeypatch.setattr(training_step, "captures", lambda *_: True)
    engine, agent = training_step.OneProcess(torch.device("cpu")), tiny.ForgetfulAgent()
    optim = agent.policy.optim
    steps = [
        TrainingStep(engine, agent, agent, make_optimizer(agent, optim), optim, 0, records=r) for r in (True, False)
    ]
    assert steps[0].recording is not None and steps[1].recording is None


def test_the_choice_is_no_part_of_what_a_run_is():
    assert policy(capture="auto").digest() == policy().digest()
