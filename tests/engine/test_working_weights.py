"""bf16 copies of the weights, made once per step, give the numbers that autocast gives with a cast at every use."""

import pytest
import torch

from robo_orl.base.rng import DrawPlan, Draws, PlannedDraws
from robo_orl.config import PolicyConfig, deep_merge
from robo_orl.config.presets import load_task, preset_values
from robo_orl.cost.synthetic_step import SyntheticStep, action_size, policy_spec
from robo_orl.engine import working_weights
from robo_orl.engine.training_step import TrainingStep
from robo_orl.models.action_heads.flow import Expert

TASK = load_task("chain2")
POLICIES = {
    "bc": {},
    "qc": {},
    "iql": {"backbone": {"checkpointing": True}},
    "qc+separate": {},
    "fql": {"observation": {"cameras": ["agentview"], "instruction": True, "image_size": 64}},
}


def made(name, precision="bf16", **over):
    options = deep_merge({"optim": {"batch_size": 8, "precision": precision}}, over)
    policy = PolicyConfig.model_validate(deep_merge(preset_values("policies", name), options))
    return SyntheticStep(policy, policy_spec(policy, TASK), action_size(TASK), policy.gamma.value(TASK.horizon))


def gradients(step):
    loss = step.gradients()
    return loss, {name: p.grad for name, p in step.agent.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", POLICIES)
def test_loss_and_gradients_are_those_of_a_cast_at_every_use(name, monkeypatch):
    """To the bit; a product of all blocks' keys at once, which sums in another order, is switched off for it."""
    monkeypatch.setattr(working_weights, "Expert", type("None", (Expert,), {}))
    copied, cast = made(name, **POLICIES[name]), made(name, **POLICIES[name])
    monkeypatch.setattr(cast.training_step, "working", None, raising=False)
    assert copied.training_step.working is not None
    (loss, own), (expected, others) = gradients(copied), gradients(cast)
    assert loss == expected
    assert own.keys() == others.keys()
    assert all(torch.equal(own[key], others[key]) for key in own)
    assert all(gradient.dtype == torch.float32 for gradient in own.values())


def test_keys_of_all_blocks_by_one_product_are_within_rounding():
    packed, cast = made("bc+flow"), made("bc+flow")
    cast.training_step.__dict__["working"] = None
    (loss, own), (expected, others) = gradients(packed), gradients(cast)
    assert loss == expected
    for key, gradient in own.items():
        torch.testing.assert_close(gradient, others[key], rtol=0.05, atol=0.02 * float(others[key].abs().max()))


def test_weights_are_back_in_their_places_after_a_step_and_after_a_fault():
    step = made("qc")
    weights = dict(step.agent.named_parameters()) | dict(step.agent.named_buffers())
    step.run()
    with pytest.raises(ZeroDivisionError), step.training_step.working.in_place():
        assert step.agent.backbone.blocks[0].mlp.down.weight.dtype == torch.bfloat16
        raise ZeroDivisionError
    after = dict(step.agent.named_parameters()) | dict(step.agent.named_buffers())
    assert all(after[name] is tensor for name, tensor in weights.items())
    assert step.agent.action_head.expert.key_values is None


def test_full_precision_and_compiled_blocks_have_no_copies():
    assert made("bc", precision="fp32").training_step.working is None
    assert made("bc", backbone={"compile": True}).training_step.working is None


def test_groups_bound_what_waits_for_its_cast(monkeypatch):
    whole = made("bc").training_step.working
    monkeypatch.setattr(working_weights, "GROUP", 50_000)
    step = made("bc")
    some = step.training_step.working
    assert len(whole.groups) == 1 < len(some.groups)
    assert all(len(group) == 1 or sum(place.numbers for place in group) <= 50_000 for group in some.groups)
    (loss, own), (expected, others) = gradients(step), gradients(made("bc"))
    assert loss == expected
    assert all(torch.equal(own[key], others[key]) for key in own)


# ------------------------------------------------------------------------------------------------------------- draws


def asked(draws, last=("uniform", "a", (2, 3))):
    kind, stream, shape = last
    return [draws.normal("a", 4, 5), draws.uniform("b", 4), draws.normal("a", 4), getattr(draws, kind)(stream, *shape)]


@pytest.mark.parametrize(("rank", "world"), [(0, 1), (1, 2)])
def test_planned_draws_are_the_same_numbers_in_every_step(rank, world):
    plan = DrawPlan()
    for step in range(3):
        planned = asked(PlannedDraws(plan, 7, step, rank, world))
        assert all(map(torch.equal, planned, asked(Draws(7, step, rank, world))))


def test_a_step_that_draws_something_else_gets_its_own_numbers_and_is_the_next_plan():
    plan, other = DrawPlan(), ("normal", "b", (3,))
    asked(PlannedDraws(plan, 7, 0))
    for step in (1, 2):
        changed = asked(PlannedDraws(plan, 7, step), other)
        assert all(map(torch.equal, changed, asked(Draws(7, step), other)))
    shorter = PlannedDraws(plan, 7, 3)
    assert torch.equal(shorter.normal("a", 4, 5), Draws(7, 3).normal("a", 4, 5))


def test_a_step_on_another_device_plans_its_draws():
    step = made("bc", precision="fp32").training_step
    assert type(step._draws(0, 0, 1)) is Draws
    step.accelerator.device = torch.device("meta")
    assert isinstance(step._draws(0, 0, 1), PlannedDraws)
    assert isinstance(step, TrainingStep)


@pytest.mark.parametrize("name", ["qc", "qc+separate", "iql"])
def test_what_is_read_by_one_product_in_a_compiled_or_recorded_step_gives_the_same(name, monkeypatch):
    """Both critics, or Q and V together: the ensemble's products are those of each member, so that rounding is all."""
    together, apart = made(name, optim={"capture": "compile"}), made(name)
    monkeypatch.setattr(together.training_step, "compiled", False, raising=False)
    pair, calls = together.agent.target.pair, []
    used = "slow_q_and_v" if name == "iql" else "q"
    own_call = getattr(pair, used)
    monkeypatch.setattr(pair, used, lambda *args: calls.append(used) or own_call(*args))
    (loss, own), (expected, others) = gradients(together), gradients(apart)
    assert len(calls) == 1 and not pair.ready and not together.agent.critic.joint.ready
    torch.testing.assert_close(loss, expected, rtol=1e-3, atol=0)
    assert own.keys() == others.keys()
    for key, gradient in own.items():
        torch.testing.assert_close(gradient, others[key], rtol=0.05, atol=0.02 * float(others[key].abs().max()))
