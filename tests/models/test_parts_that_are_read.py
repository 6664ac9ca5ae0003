"""Every part of a network reads what it was built to read: the time of a flow, the action queries, the slow copy's own
tokens, and a critic of its own has the size that it was given."""

from dataclasses import replace

import pytest
import torch
import toy_agents as toy

from robo_orl.base.rng import Draws
from robo_orl.config import ActionHeadConfig
from robo_orl.models.action_heads import ACTION_HEADS
from robo_orl.objectives.step import Step

WIDTH, H, A = 96, 5, 3


def head_of(kind: str):
    torch.manual_seed(0)
    return ACTION_HEADS[kind](WIDTH, 3, A, ActionHeadConfig(kind=kind, chunk=H))


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


FLOWS = [kind for kind, head in ACTION_HEADS.items() if head.integrates]
PARALLEL = [kind for kind, head in ACTION_HEADS.items() if head.reads_queries]


@pytest.mark.parametrize("kind", FLOWS)
def test_the_expert_of_a_flow_reads_the_time_and_each_sample_its_own(kind):
    """A chunk does not show its noise: the expert could not separate half of the noise from a chunk."""
    expert, times = head_of(kind).expert, torch.tensor([[0.0, 0.1, 0.5, 0.9]])
    x = normal(1, 1, H * A).expand(1, 4, -1)
    memory = expert.memory(normal(1, 7, WIDTH))
    with torch.no_grad():
        outputs = expert(x, times, memory)[0]
        turned = expert(x, times.flip(1), memory)[0]
    apart = torch.cdist(outputs, outputs) + torch.eye(4)
    assert apart.min() > 1e-3, "two times give one answer"
    torch.testing.assert_close(turned, outputs.flip(0))


@pytest.mark.parametrize("kind", PARALLEL)
def test_step_i_of_a_chunk_is_what_action_query_i_says(kind):
    """The queries are the backbone's last h tokens; the words before them reach a head through the queries alone."""
    head = head_of(kind)
    read = head.predict if kind == "parallel_l1" else head.logits
    tokens = normal(2, H + 4, WIDTH)
    with torch.no_grad():
        before = read(tokens).flatten(2)  # (B, h, ...)
        for place in range(H + 4):
            other = tokens.clone()
            other[:, place] = normal(2, WIDTH, seed=2)
            moved = (read(other).flatten(2) - before).abs().amax((0, 2)) > 1e-4
            assert moved.tolist() == [place == 4 + step for step in range(H)], f"token {place}"


# ------------------------------------------------------------------------------------------- a critic's own backbone

OWN_SIZES = {  # topology -> width and depth of the critic's own backbone beside a policy of size xs
    "separate": (128, 4),
    "separate_small": (96, 3),
}


@pytest.mark.parametrize("topology", OWN_SIZES)
def test_a_critics_own_backbone_has_the_size_that_its_topology_says(topology):
    learner = toy.agent(toy.policy("qc", topology=topology, backbone={"size": "xs"}, critic={"small_size": "tiny"}))
    own = learner.critic_backbone
    assert (learner.backbone.width, len(learner.backbone.blocks)) == (128, 4)
    assert (own.width, len(own.blocks)) == OWN_SIZES[topology]


def test_the_size_of_a_small_critic_is_the_one_in_the_policy_file():
    config = toy.policy("qc", topology="separate_small", backbone={"size": "tiny"}, critic={"small_size": "xs"})
    assert toy.agent(config).critic_backbone.width == 128


# --------------------------------------------------------------------------------------------------------- slow copies


def put(slow: torch.nn.Module, online: torch.nn.Module) -> None:
    """The numbers of one module into a slow copy of another, be they its buffers or its parameters."""
    numbers = dict(online.named_parameters())
    for name, tensor in (*slow.named_parameters(), *slow.named_buffers()):
        tensor.data.copy_(numbers[name])


@pytest.mark.parametrize("topology", ["shared", "shared_detached", "separate", "separate_small"])
@pytest.mark.parametrize("target", ["full_ema", "head_ema"])
def test_a_slow_critic_reads_the_tokens_of_its_own_kind(target, topology):
    """full_ema: what its slow backbone makes of the observation; head_ema: what the online backbone makes of it."""
    config = toy.policy("qc", topology=topology, critic={"target": target})
    learner, other, window = toy.agent(config), toy.agent(config, seed=7), toy.window(4)
    trunk, others_trunk = learner.critic_backbone or learner.backbone, other.critic_backbone or other.backbone
    put(learner.target.critic, other.critic)
    if target == "full_ema":
        put(learner.target.backbone, others_trunk)
    chunks = window.next_actions
    with torch.no_grad():
        outputs = Step(learner, window, Draws(0, 0)).q_target("next", chunks).value
        seen = learner.normaliser.observation(window.next_obs)
        reads = {"full_ema": others_trunk, "head_ema": trunk}
        values = {kind: other.critic.q(other.critic.readout(reads[kind](seen)), chunks).value for kind in reads}
    torch.testing.assert_close(outputs, values[target])
    assert (values["full_ema"] - values["head_ema"]).abs().max() > 1e-2  # else the test shows nothing


@pytest.mark.parametrize("objective", ["td3_bc", "crr", "mpo"])
def test_a_slow_policy_is_its_slow_head_on_the_online_tokens(objective):
    """The average is of the head alone: there is one backbone pass for both."""
    config = toy.shipped(objective)
    learner, other, window = toy.agent(config), toy.agent(config, seed=7), toy.window(4)
    put(learner.slow_head, other.action_head)
    slow, fast = (Step(learner, window, Draws(0, 0)).sample("next", 3, slow=kind) for kind in (True, False))
    with torch.no_grad():
        tokens = learner.backbone(learner.normaliser.observation(window.next_obs))
        expected = other.action_head.sample(tokens, 3, Draws(0, 0), "critic")
        online = learner.action_head.sample(tokens, 3, Draws(0, 0), "critic")
    torch.testing.assert_close(slow, expected)
    torch.testing.assert_close(fast, online)
    assert (expected - online).abs().max() > 1e-3


def test_a_target_is_of_the_next_frame_and_an_estimate_of_this_one():
    """Another s_t moves Q(s_t, a) and no target; another s_{t+n} moves the target and nothing of Q(s_t, a)."""
    learner, window = toy.agent(toy.policy("qc", critic={"target": "full_ema"})), toy.window(4)
    changed = {"now": replace(window, obs=toy.observation(4, seed=50)), "none": window}
    changed["next"] = replace(window, next_obs=toy.observation(4, seed=51))
    read = {name: Step(learner, w, Draws(0, 0)) for name, w in changed.items()}
    with torch.no_grad():
        q = {name: step.q("now").value for name, step in read.items()}
        target = {name: step.q_target("next", window.next_actions).value for name, step in read.items()}
    assert torch.equal(target["now"], target["none"]) and torch.equal(q["next"], q["none"])
    assert (target["next"] != target["none"]).all() and (q["now"] != q["none"]).all()
