"""What extending costs: an objective is one class and one registry line, a policy one YAML, a size nothing."""

import pytest
import torch

from robo_orl.agent.agent import build_agent
from robo_orl.base.errors import UsageError
from robo_orl.base.rng import Draws
from robo_orl.config import SIZES
from robo_orl.config.presets import PRESETS_VARIABLE, load_policy, load_task
from robo_orl.cost.synthetic_step import synthetic_window, task_spec
from robo_orl.objectives import OBJECTIVES, Objective


class SteadyCloning(Objective):
    """Cloning on both frames, as a user of the package would write it."""

    routes = {"actor": "policy"}

    def losses(self, step):
        return {"actor": step.policy_loss().mean()}, {}


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A user's folder whose one policy names an objective of the user's own."""
    (tmp_path / "policies").mkdir()
    text = "extends: bc\ndescription: Mine.\nobjective: {name: steady}\nbackbone: {size: tiny}\n"
    (tmp_path / "policies" / "mine.yaml").write_text(text)
    monkeypatch.setenv(PRESETS_VARIABLE, str(tmp_path))
    return "mine"


def test_an_objective_from_outside_needs_a_class_a_registry_line_and_a_yaml(mine, monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "steady", SteadyCloning)
    spec = task_spec(load_task("chain1"))
    agent = build_agent(load_policy(mine), spec, action_dim=7, gamma=0.99, statistics=None, seed=0)
    window = synthetic_window(4, spec, action_dim=7, chunk=10, discount=0.9)
    loss, _ = agent(window, Draws(0, 0))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None for p in agent.parameters() if p.requires_grad)


def test_without_the_registry_line_the_name_is_unknown(mine):
    with pytest.raises(UsageError, match="steady"):
        build_agent(load_policy(mine), task_spec(load_task("chain1")), 7, 0.99, None, 0)


@pytest.mark.parametrize("size", SIZES)
def test_every_size_builds_from_the_dial_alone(size):
    policy = load_policy("bc")
    policy = policy.model_copy(update={"backbone": policy.backbone.model_copy(update={"size": size})})
    with torch.device("meta"):
        agent = build_agent(policy, task_spec(load_task("chain1")), 7, 0.99, None, 0)
    assert agent.parameter_counts()["total"] == sum(p.numel() for p in agent.parameters())
