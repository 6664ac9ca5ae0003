"""The effect of a critic on the policy, and its cost in backbone passes."""

import pytest
import torch
import toy_agents as toy

from robo_orl.base.rng import Draws

POLICY_PARTS = ("backbone", "action_head")


def policy_state(learner):
    return {k: v for k, v in learner.state_dict().items() if k.startswith(POLICY_PARTS)}


@pytest.mark.parametrize("objective", ["qc"])
@pytest.mark.parametrize("over", [{}, {"target": "full_ema"}, {"loss": "hl_gauss", "ensemble": 3}])
def test_a_detached_critic_leaves_the_policy_bit_identical_to_cloning(objective, over):
    cloned = toy.agent(toy.policy("bc"))
    learner = toy.agent(toy.policy(objective, topology="shared_detached", critic=over))
    toy.train(cloned, 5)
    toy.train(learner, 5)
    for name, expected in policy_state(cloned).items():
        assert torch.equal(policy_state(learner)[name], expected), name


@pytest.mark.parametrize("topology", toy.TOPOLOGIES)
def test_every_topology_starts_from_the_same_policy(topology):
    expected = policy_state(toy.agent(toy.policy("bc")))
    for objective in ("iql", "qc", "mc_awr"):
        started = policy_state(toy.agent(toy.policy(objective, topology=topology)))
        assert all(torch.equal(started[name], value) for name, value in expected.items())


def test_a_shared_critic_changes_the_policy():
    cloned, learner = toy.agent(toy.policy("bc")), toy.agent(toy.policy("qc", topology="shared"))
    toy.train(cloned, 3)
    toy.train(learner, 3)
    name = "backbone.blocks.0.attention.qkv.weight"
    assert not torch.equal(cloned.state_dict()[name], learner.state_dict()[name])


def test_a_frozen_backbone_is_trained_by_nothing():
    learner = toy.agent(toy.policy("iql", topology="frozen"))
    before = {k: v.clone() for k, v in learner.backbone.state_dict().items()}
    toy.train(learner, 2)
    assert all(torch.equal(v, before[k]) for k, v in learner.backbone.state_dict().items())
    assert "backbone" not in learner.parameter_groups()


PASSES = {  # rows through (policy backbone, critic backbone, target backbone) for 8 pairs
    "bc": (toy.policy("bc"), 16, 0, 0),
    "qc_shared": (toy.policy("qc"), 16, 0, 0),
    "iql_shared_detached": (toy.policy("iql", topology="shared_detached"), 16, 0, 0),
    "iql_shared": (toy.policy("iql"), 16, 0, 0),
    "qc_full": (toy.policy("qc", critic={"target": "full_ema"}), 16, 0, 8),
    "iql_separate": (toy.policy("iql", topology="separate"), 16, 16, 0),
    "qc_separate_full": (toy.policy("qc", topology="separate", critic={"target": "full_ema"}), 16, 16, 8),
}


@pytest.mark.parametrize(("config", "policy_rows", "critic_rows", "target_rows"), PASSES.values(), ids=PASSES)
def test_paired_windows_need_one_pass_over_both_frames(config, policy_rows, critic_rows, target_rows):
    learner, rows, calls = toy.agent(config), {}, []
    target = learner.target.backbone if learner.target is not None else None
    for name, part in {"policy": learner.backbone, "critic": learner.critic_backbone, "target": target}.items():
        rows[name] = 0
        if part is not None:

            def count(module, inputs, output, name=name):
                rows[name] += len(output)
                calls.append(name)

            part.register_forward_hook(count)
    learner(toy.window(8), Draws(0, 0))
    assert rows == {"policy": policy_rows, "critic": critic_rows, "target": target_rows}
    assert calls.count("policy") == 1
