"""A vision-language model as backbone: every topology, head and way of training it works as on the native one."""

from dataclasses import replace

import pytest
import tiny_vlms as tiny
import torch
import toy_agents as toy

from robo_orl.base.errors import UsageError
from robo_orl.base.rng import Draws
from robo_orl.base.types import Observation, PairedWindow
from robo_orl.config import deep_merge
from robo_orl.models.backbones import critic_backbone_config
from robo_orl.models.backbones.vlm import VLM
from robo_orl.objectives.step import Step

CAMERAS, SIDE = ["front", "wrist"], 24
SEES = {"cameras": CAMERAS, "image_size": SIDE, "instruction": True, "shift": 0}
QUERIES = {"action_queries": toy.CHUNK}


def policy(learns="bc", head="flow", topology="shared", backbone=None, **over):
    """A toy policy on the debug model."""
    values = {"observation": SEES, "backbone": {"kind": "vlm", "size": "debug", **(backbone or {})}}
    if topology == "separate_small":
        over = deep_merge({"critic": {"small_size": "debug"}}, over)
    return toy.policy(learns, head, topology, **deep_merge(values, over))


def seen(obs: Observation, seed: int) -> Observation:
    """The toy observation with two pictures and a sentence beside it."""
    generator, batch = torch.Generator().manual_seed(seed), len(obs)
    images = {c: torch.randint(0, 256, (batch, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8) for c in CAMERAS}
    sentences = [tiny.SENTENCES[i % 2] for i in range(batch)]
    return Observation(obs.low_dim, images, *VLM.tokeniser(policy().backbone)(sentences))


def window(pairs: int = 4) -> PairedWindow:
    plain = toy.window(pairs)
    return replace(plain, obs=seen(plain.obs, 1), next_obs=seen(plain.next_obs, 2))


def gradients(learner, draws=None) -> dict[str, torch.Tensor]:
    """Name -> gradient of one step's loss, of the parameters that are trained."""
    learner.zero_grad()
    loss, _ = learner(window(), draws or Draws(0, 0))
    loss.backward()
    return {name: p.grad for name, p in learner.named_parameters() if p.requires_grad}


def train(learner, steps: int, lr: float = 1e-3) -> list[float]:
    trained = [p for p in learner.parameters() if p.requires_grad]
    optimiser, losses = torch.optim.AdamW(trained, lr=lr, weight_decay=0.0), []
    for step in range(steps):
        loss, _ = learner(window(2), Draws(0, step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        learner.update_targets()
        losses.append(loss.item())
    return losses


def policy_state(learner) -> dict[str, torch.Tensor]:
    return {k: v for k, v in learner.state_dict().items() if k.startswith(("backbone.", "action_head."))}


@pytest.mark.parametrize(
    ("topology", "target"),
    [*((t, "head_ema") for t in toy.TOPOLOGIES), ("shared", "full_ema"), ("separate", "full_ema")],
)
def test_every_topology_trains_what_it_says_and_all_of_it(topology, target):
    learner = toy.agent(policy("iql", topology=topology, critic={"target": target}))
    by_name = gradients(learner)
    assert all(g is not None for g in by_name.values()), [n for n, g in by_name.items() if g is None]
    backbones = {name.partition(".")[0] for name in by_name} - {"action_head", "critic"}
    expected = {"frozen": set(), "separate": {"backbone", "critic_backbone"}}
    expected["separate_small"] = expected["separate"]
    assert backbones == expected.get(topology, {"backbone"})
    learner.update_targets()
    assert learner.act(window().obs, Draws(0, 0)).shape == (4, toy.CHUNK, toy.ACTION_DIM)


def test_a_detached_critic_leaves_the_vision_language_policy_bit_identical_to_cloning():
    cloned, learner = toy.agent(policy("bc")), toy.agent(policy("qc", topology="shared_detached"))
    train(cloned, 2)
    train(learner, 2)
    for name, expected in policy_state(cloned).items():
        assert torch.equal(policy_state(learner)[name], expected), name


@pytest.mark.parametrize("head", ["parallel_l1", "parallel_bins", "flow_expert"])
def test_heads_made_for_it_learn_the_windows_by_heart(head):
    backbone = QUERIES if head.startswith("parallel") else {"layers": 3}
    over = {"bins": 16} if head == "parallel_bins" else {}
    learner = toy.agent(policy("bc", head, backbone=backbone, action_head=over))
    losses = train(learner, 40, lr=2e-3)
    assert sum(losses[-5:]) < 0.4 * sum(losses[:5]), losses


def test_action_queries_are_decoded_in_parallel_and_see_each_other():
    """The first query's token depends on the last query, and the words' tokens on none."""
    learner = toy.agent(policy("bc", "parallel_l1", backbone=QUERIES))
    obs = learner.normaliser.observation(window().obs)
    with torch.no_grad():
        before = learner.backbone(obs)
        learner.backbone.queries.tokens[-1] += 1.0
        after = learner.backbone(obs)
    moved = (after - before).abs().amax((0, 2))
    assert (moved[-toy.CHUNK :] > 1e-4).all() and (moved[: -toy.CHUNK] == 0).all()


def test_the_expert_reads_another_layer_in_every_block():
    learner = toy.agent(policy("bc", "flow_expert", backbone={"layers": 3}, action_head={"blocks": 3}))
    tokens = learner.backbone(learner.normaliser.observation(window().obs))
    assert tokens.shape[:2] == (4, 3)
    last_only = learner.backbone.layers = 1
    alone = learner.backbone(learner.normaliser.observation(window().obs))
    assert last_only and torch.equal(tokens[:, -1], alone)
    noise = torch.zeros(4, 1, toy.CHUNK, toy.ACTION_DIM)
    chunk = learner.action_head.integrate(tokens, noise)
    for layer in range(3):
        other = tokens.clone()
        other[:, layer] += torch.randn(other[:, layer].shape, generator=torch.Generator().manual_seed(0))
        assert not torch.equal(learner.action_head.integrate(other, noise), chunk), f"layer {layer} is not read"


def test_the_experts_gradient_can_be_stopped_and_then_the_value_alone_trains_the_model():
    stops = {"layers": 2, "stop_expert_gradient": True}
    stopped = toy.agent(policy("iql", "flow_expert", "shared", backbone=stops))
    terms, _ = stopped.objective.losses(Step(stopped, window(), Draws(0, 0)))
    terms["actor"].backward(retain_graph=True)
    assert all(p.grad is None for p in stopped.backbone.parameters())
    assert all(p.grad is not None for p in stopped.action_head.parameters())
    sum(term for name, term in terms.items() if name != "actor").backward()
    assert all(p.grad is not None for p in stopped.backbone.parameters())


def test_lora_trains_adapters_and_what_is_new_and_starts_as_the_model_it_adapts():
    whole, adapted = (toy.agent(policy("bc", backbone=extra)) for extra in ({}, {"lora": {"rank": 2, "alpha": 4}}))
    obs = whole.normaliser.observation(window().obs)
    torch.testing.assert_close(adapted.backbone(obs), whole.backbone(obs))
    trained = {name for name, p in adapted.backbone.named_parameters() if p.requires_grad}
    assert trained and all("lora_" in name or name.startswith("state.") for name in trained)
    assert not any("vision_model" in name for name in trained)
    before = {name: value.clone() for name, value in adapted.backbone.state_dict().items()}
    assert all(g is not None for g in gradients(adapted).values())
    train(adapted, 2)
    moved = {name for name, value in adapted.backbone.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == trained


def test_a_missing_peft_is_one_sentence(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install 'peft"):
        tiny.backbone("debug", lora={"rank": 2})


def test_a_frozen_model_keeps_its_weights_and_proprioception_still_counts():
    learner = toy.agent(policy("iql", "flow_expert", backbone={"frozen": True, "layers": 2}))
    trained = {name for name, p in learner.backbone.named_parameters() if p.requires_grad}
    assert trained and all(name.startswith("state.") for name in trained)
    assert all(g is not None for g in gradients(learner).values())
    obs = learner.normaliser.observation(window().obs)
    moved = Observation({k: v + 1 for k, v in obs.low_dim.items()}, obs.images, obs.instruction, obs.instruction_mask)
    difference = (learner.backbone(moved) - learner.backbone(obs)).abs().amax((0, 1, 3))
    keys = len(toy.SPEC)
    assert (difference[-keys:] > 1e-3).all() and (difference[:-keys] == 0).all()


def test_saving_activations_changes_no_gradient():
    plain, saving = (
        gradients(toy.agent(policy("bc", "flow_expert", backbone={"layers": 3, "checkpointing": on})))
        for on in (False, True)
    )
    for name, gradient in plain.items():
        torch.testing.assert_close(saving[name], gradient, rtol=1e-5, atol=1e-7)


def test_the_acting_policy_can_be_an_average_of_it():
    learner = toy.agent(policy("bc", optim={"policy_ema": 0.9}))
    train(learner, 2)
    assert torch.isfinite(learner.act(window().obs, Draws(0, 0))).all()


def test_the_instruction_is_read():
    learner, obs = toy.agent(policy("bc", "l1")), window().obs
    ids, mask = VLM.tokeniser(policy().backbone)(["throw it away"] * len(obs))
    other = Observation(obs.low_dim, obs.images, ids, mask)
    assert not torch.allclose(learner.act(obs, Draws(0, 0)), learner.act(other, Draws(0, 0)), atol=1e-6)


REFUSED = {
    "no camera": ({"observation": {"cameras": [], "image_size": 84, "shift": 4}}, "reads images"),
    "too many layers": ({"head": "flow_expert", "backbone": {"layers": 9}}, "has 3 layers"),
    "layers that nothing reads": ({"backbone": {"layers": 2}}, "reads the last layer only"),
    "queries that nothing reads": ({"backbone": QUERIES}, "reads no action queries"),
    "too few queries": ({"head": "parallel_l1", "backbone": {"action_queries": 2}}, "action_queries to 4"),
    "frozen and adapted": ({"backbone": {"frozen": True, "lora": {}}}, "leave backbone.lora out"),
    "trained by nothing": ({"backbone": {"stop_expert_gradient": True}}, "only a critic of topology 'shared'"),
    "nothing to download": ({"backbone": {"download": True}}, "does nothing without backbone.weights"),
    "native settings": ({"backbone": {"stem": "patch"}}, "has no 'stem'"),
    "another kind's size": ({"backbone": {"size": "tiny"}}, "Unknown size of a vlm backbone 'tiny'"),
    "a layer that is not there": ({"backbone": {"lora": {"targets": ["qproj"]}}}, "has no 'qproj'"),
}


@pytest.mark.parametrize(("over", "sentence"), REFUSED.values(), ids=REFUSED)
def test_settings_that_contradict_each_other_are_refused_in_one_sentence(over, sentence):
    with pytest.raises(UsageError, match=sentence) as error:
        toy.agent(policy(**over))
    assert "\n" not in str(error.value)


def test_a_smaller_critic_model_must_know_the_words_of_the_policys_tokeniser():
    config = policy().backbone.model_copy(update={"size": "smolvlm2_256m", "weights": "somewhere"})
    with pytest.raises(UsageError, match="fewer words"):
        critic_backbone_config(config, "debug")
    assert critic_backbone_config(config, "smolvlm2_500m").weights is None
    assert critic_backbone_config(config, "smolvlm2_256m").weights == "somewhere"


def test_the_native_backbone_refuses_what_is_a_vlms():
    with pytest.raises(UsageError, match="has no 'lora'"):
        toy.agent(toy.policy("bc", backbone={"lora": {"rank": 2}}))


def test_an_instruction_that_would_be_cut_is_refused():
    with pytest.raises(UsageError, match="tokens, 128 are read"):
        VLM.tokeniser(policy().backbone)(["put it there, " * 20])
