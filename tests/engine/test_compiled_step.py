"""Both passes of a step compiled whole train as the usual step does."""

import pytest
import tiny
import torch

from robo_orl.base.errors import RunError, UsageError
from robo_orl.config import PolicyConfig, deep_merge
from robo_orl.config.presets import load_task, preset_values
from robo_orl.cost.synthetic_step import SyntheticStep, action_size, policy_spec
from robo_orl.engine import training_step
from robo_orl.engine.compiled_step import compiles, why_not_compiled
from robo_orl.engine.train import train

TASK = load_task("chain2")


def made(name, capture, precision):
    options = {"optim": {"batch_size": 8, "precision": precision, "capture": capture}}
    policy = PolicyConfig.model_validate(deep_merge(preset_values("policies", name), options))
    return SyntheticStep(policy, policy_spec(policy, TASK), action_size(TASK), policy.gamma.value(TASK.horizon))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "precision"), [("qc", "fp32"), ("iql", "bf16")])
def test_compiled_steps_are_the_usual_ones_within_rounding(name, precision):
    usual, compiled = made(name, "off", precision), made(name, "compile", precision)
    losses = [[float(step.run()) for _ in range(4)] for step in (usual, compiled)]
    assert compiled.training_step.forward.graph is not None
    assert losses[1] == pytest.approx(losses[0], rel=0.02 if precision == "bf16" else 1e-4)
    for (key, ours), theirs in zip(compiled.agent.state_dict().items(), usual.agent.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=4 * 4 * 1e-3 if precision == "bf16" else 1e-4, msg=key)


def test_the_first_step_is_the_usual_one_and_the_others_draw_what_they_would_have_drawn(data, tmp_path, monkeypatch):
    """Compiling by the identity is training as usual, to the bit."""
    compiled = []
    with monkeypatch.context() as patch:
        patch.setattr(training_step, "by_inductor", lambda f: compiled.append(f) or f)
        over = tiny.CASES["iql_shared"] | {"action_head": {"kind": "flow"}}
        for capture in ("off", "compile"):
            case = deep_merge(over, {"optim": {"steps": 5, "capture": capture}})
            train(tiny.run_of(data, case), tmp_path / capture, progress=False)
    assert len(compiled) == 1
    rows = [(tmp_path / capture / "metrics.jsonl").read_text().splitlines() for capture in ("off", "compile")]
    assert len(rows[0]) == len(rows[1]) > 0
    weights = [tiny_weights(tmp_path / capture) for capture in ("off", "compile")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def tiny_weights(run):
    from safetensors.torch import load_file

    from robo_orl.engine.checkpoint import checkpoints

    return load_file(checkpoints(run)[-1] / "agent.safetensors")


@pytest.mark.parametrize(
    ("over", "alone", "reason"),
    [
        ({}, False, "DeepSpeed"),
        ({"backbone": {"checkpointing": True}}, True, "checkpointing"),
        ({"backbone": {"compile": True}}, True, "compile"),
    ],
)
def test_what_cannot_be_compiled_says_why(over, alone, reason):
    policy = PolicyConfig.model_validate(deep_merge({"name": "p", "optim": {"capture": "compile"}}, over))
    assert reason in why_not_compiled(policy, alone)
    with pytest.raises(UsageError, match="set optim.capture to off"):
        compiles(policy, alone)
    assert not compiles(PolicyConfig.model_validate({"name": "p"} | over), alone)


def test_a_step_that_the_compiler_refuses_ends_in_one_sentence(monkeypatch):
    from torch._dynamo.exc import Unsupported

    def refusing(forward):
        def graph(window, draws):
            raise Unsupported("a loop over values\nand much more")

        return graph

    monkeypatch.setattr(training_step, "by_inductor", refusing)
    step = made("bc", "compile", "fp32")
    step.run()
    with pytest.raises(RunError, match=r"cannot be compiled \(a loop over values\): set optim.capture to off"):
        step.run()
