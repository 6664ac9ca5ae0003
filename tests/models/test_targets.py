from contextlib import contextmanager

import pytest
import torch
import toy_agents as toy
from torch import nn

from robo_orl.base.errors import RunError
from robo_orl.base.rng import Draws
from robo_orl.models.targets import ShardAverage, average_buffers, buffer_copy, frozen_copy


def no_gather(parameters):
    @contextmanager
    def whole():
        yield

    return whole()


def test_head_targets_are_float32_buffers_and_follow_the_rate():
    learner = toy.agent(toy.policy("qc", critic={"tau": 0.25}))
    assert not list(learner.target.parameters())
    expected = {name: p.detach().clone() for name, p in learner.critic.named_parameters()}
    toy.train(learner, 1)
    online = dict(learner.critic.named_parameters())
    slow = dict(learner.target.critic.named_buffers())
    for name, start in expected.items():
        torch.testing.assert_close(slow[name], start + 0.25 * (online[name] - start))
        assert slow[name].dtype == torch.float32


@pytest.mark.parametrize("topology", ["shared", "shared_detached", "separate", "separate_small"])
def test_full_targets_copy_the_backbone_that_the_critic_reads(topology):
    learner = toy.agent(toy.policy("iql", topology=topology, critic={"target": "full_ema", "tau": 0.25}))
    original = learner.critic_backbone or learner.backbone
    start = [p.detach().clone() for p in original.parameters()]
    toy.train(learner, 1)
    for before, now, slow in zip(start, original.parameters(), learner.target.backbone.parameters(), strict=True):
        assert not slow.requires_grad
        torch.testing.assert_close(slow, before + 0.25 * (now - before))


def test_an_average_in_bfloat16_parameters_does_not_stand_still():
    online = nn.Linear(8, 8, bias=False).bfloat16()
    copy = frozen_copy(online)
    with torch.no_grad():
        online.weight.fill_(1.0)
        copy.weight.zero_()
    average = ShardAverage(copy, online)
    for _ in range(1000):
        average.update(0.005)
    assert copy.weight.dtype == torch.bfloat16
    assert copy.weight.float().mean().item() == pytest.approx(1 - 0.995**1000, abs=0.01)


def test_buffers_average_bfloat16_parameters_in_float32():
    online = nn.Linear(8, 8, bias=False).bfloat16()
    copy = buffer_copy(online)
    with torch.no_grad():
        online.weight.fill_(1.0)
        copy.weight.zero_()
    for _ in range(1000):
        average_buffers(copy, online, 0.005, no_gather)
    assert copy.weight.mean().item() == pytest.approx(1 - 0.995**1000, abs=1e-4)


def test_partitioned_parameters_are_averaged_shard_by_shard():
    online = nn.Linear(4, 4, bias=False)
    copy = frozen_copy(online)
    copy.weight.ds_tensor, online.weight.ds_tensor = torch.zeros(8), torch.ones(8)
    whole = copy.weight.detach().clone()
    ShardAverage(copy, online).update(0.5)
    assert copy.weight.ds_tensor.tolist() == [0.5] * 8
    assert torch.equal(copy.weight, whole)
    copy.weight.ds_persist = True
    with pytest.raises(RunError, match="stage3_param_persistence_threshold: 0"):
        ShardAverage(copy, online).update(0.5)


@pytest.mark.parametrize("target", ["head_ema", "full_ema"])
def test_targets_are_saved(target):
    learner = toy.agent(toy.policy("qc", critic={"target": target, "tau": 0.5}))
    toy.train(learner, 2)
    resumed = toy.agent(toy.policy("qc", critic={"target": target, "tau": 0.5}), seed=5)
    resumed.load_state_dict(learner.state_dict())
    for a in (learner, resumed):
        a.q = a(toy.window(), Draws(0, 9))[1]["critic/target"]
    assert torch.equal(learner.q, resumed.q)


def test_parameters_are_gathered_before_they_are_read():
    learner, gathered = toy.agent(toy.policy("iql", optim={"policy_ema": 0.9})), []

    def gather(parameters):
        gathered.extend(parameters)
        return no_gather(parameters)

    learner.update_targets(gather)
    in_target = {id(p) for name, p in learner.named_parameters() if "v_head" not in name}
    assert {id(p) for p in gathered} == in_target
