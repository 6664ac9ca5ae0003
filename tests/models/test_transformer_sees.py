"""The native backbone on pictures, instructions and histories."""

from contextlib import nullcontext

import pytest
import torch
import toy_agents as toy

from robo_orl.agent.agent import build_agent
from robo_orl.base.errors import UsageError
from robo_orl.base.rng import Draws
from robo_orl.base.types import Observation
from robo_orl.config import BackboneConfig, ObservationConfig
from robo_orl.cost.launches import LaunchCounter
from robo_orl.cost.synthetic_step import synthetic_window
from robo_orl.models.backbones import check_backbone
from robo_orl.models.backbones.embedding import (
    MAX_BYTES,
    InstructionTokens,
    byte_tokens,
    different_rows,
    expect_sentences,
)
from robo_orl.models.backbones.transformer import Transformer, parameters_of
from robo_orl.models.cpu_kernels import as_on_a_gpu

CAMERAS = ["agentview", "robot0_eye_in_hand"]
SEES = ObservationConfig(cameras=CAMERAS, image_size=32, instruction=True)
SMALL = BackboneConfig(size="tiny", patch=16)


def observation(batch: int, expected: ObservationConfig = SEES, sentence: str = "lift the cube") -> Observation:
    g = torch.Generator().manual_seed(batch)
    frames = (batch, expected.history) if expected.history > 1 else (batch,)
    low_dim = {key: torch.randn(*frames, size, generator=g) for key, size in toy.SPEC.items()}
    picture = (*frames, 3, expected.image_size, expected.image_size)
    images = {c: torch.randint(0, 256, picture, generator=g, dtype=torch.uint8) for c in expected.cameras}
    if not expected.instruction:
        return Observation(low_dim, images)
    ids, mask = byte_tokens([sentence])
    return Observation(low_dim, images, ids.expand(batch, -1), mask.expand(batch, -1))


def built(config: BackboneConfig = SMALL, expected: ObservationConfig = SEES) -> Transformer:
    torch.manual_seed(0)
    return Transformer(toy.SPEC, config, expected)


@pytest.mark.parametrize("stem", ["conv", "patch"])
@pytest.mark.parametrize("history", [1, 3])
def test_tokens_and_parameters_are_as_counted(stem, history):
    expected = SEES.model_copy(update={"history": history})
    config = BackboneConfig(size="xs", stem=stem, patch=16)
    model = built(config, expected)
    tokens = model(observation(2, expected))
    assert tokens.shape == (2, history * (len(toy.SPEC) + 2 * 4) + 4, 128)
    assert sum(p.numel() for p in model.parameters()) == parameters_of(config, toy.SPEC, expected)


@pytest.mark.parametrize("known", [None, 3, 8])
def test_a_gpu_reads_each_sentence_once_without_waiting_for_their_number(known):
    model = InstructionTokens(64)
    ids, mask = byte_tokens(["lift the cube", "stack", "lift the can"])
    rows = torch.tensor([1, 0, 1, 2, 0, 0])
    expect_sentences(model, known)
    results = []
    for way in (nullcontext(), as_on_a_gpu()):
        model.zero_grad()
        with way, LaunchCounter() as count:
            tokens = model(ids[rows], mask[rows])
        tokens.square().sum().backward()
        results.append((tokens.detach(), [p.grad.clone() for p in model.parameters()], count.synchronisations))
    (usual, gradients, waits), (ours, own, none) = results
    torch.testing.assert_close(ours, usual, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(own, gradients, rtol=1e-3, atol=1e-4)
    assert waits and not none
    different, place = different_rows(ids[rows], known or len(rows))
    assert torch.equal(different[place], ids[rows]) and len(different) == (known or len(rows))


def test_84_pixels_are_nine_tokens_by_default():
    model = built(BackboneConfig(), ObservationConfig(cameras=["agentview"]))
    assert model(observation(1, ObservationConfig(cameras=["agentview"]))).shape == (1, len(toy.SPEC) + 9, 96)


def test_every_token_sees_every_camera_the_instruction_and_the_vectors():
    model, obs = built(), observation(2)
    tokens = model(obs)
    moved = {
        "camera": Observation(obs.low_dim, obs.images | {CAMERAS[1]: 255 - obs.images[CAMERAS[1]]},
                              obs.instruction, obs.instruction_mask),
        "sentence": Observation(obs.low_dim, obs.images, *(t.expand(2, -1) for t in byte_tokens(["lift the cup!"]))),
    }  # fmt: skip
    for name, other in moved.items():
        assert ((model(other) - tokens).abs().amax(-1) > 1e-5).all(), f"a token does not see the {name}"


def test_the_padding_of_a_sentence_changes_nothing():
    model, obs = built(), observation(2)
    ids, mask = byte_tokens(["lift the cube", "a much longer sentence than that one"])
    padded = Observation(obs.low_dim, obs.images, ids[:1].expand(2, -1), mask[:1].expand(2, -1))
    torch.testing.assert_close(model(padded), model(obs), rtol=1e-4, atol=1e-5)


def test_each_row_reads_its_own_sentence():
    model, obs = built(), observation(3)
    sentences = ["lift the cube", "stack it", "lift the cube"]
    ids, mask = byte_tokens(sentences)
    together = model(Observation(obs.low_dim, obs.images, ids, mask))
    for row, sentence in enumerate(sentences):
        ids, mask = byte_tokens([sentence])
        alone = obs.map(lambda t, row=row: t[row : row + 1])
        torch.testing.assert_close(
            model(Observation(alone.low_dim, alone.images, ids, mask))[0], together[row], rtol=1e-4, atol=1e-5
        )


def test_the_order_of_frames_matters():
    expected = ObservationConfig(history=3)
    model, obs = built(BackboneConfig(), expected), observation(2, expected)
    assert (model(obs) - model(obs.map(lambda t: t.flip(1)))).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda o: Observation(o.low_dim, {CAMERAS[0]: o.images[CAMERAS[0]]}), "lacks the camera 'robot0_eye_in_hand'"),
        (lambda o: Observation(o.low_dim, {c: i[..., :16, :16] for c, i in o.images.items()}), "16 x 16 pixels"),
        (lambda o: Observation(o.low_dim, o.images), "lacks the instruction"),
    ],
)
def test_an_observation_that_does_not_fit_is_one_sentence(change, says):
    with pytest.raises(UsageError, match=says):
        built()(change(observation(2)))


@pytest.mark.parametrize(("sentence", "says"), [("x" * (MAX_BYTES + 1), "129 bytes"), ("", "has no instruction")])
def test_a_sentence_that_would_be_cut_is_refused(sentence, says):
    with pytest.raises(UsageError, match=says):
        byte_tokens([sentence])
    assert byte_tokens(["x" * MAX_BYTES])[1].all()


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"stem": "patch", "patch": 15}, "do not divide into patches of 15"),
        ({"stem": "conv", "patch": 12}, "power of two"),
    ],
)
def test_a_patch_that_does_not_fit_is_refused(config, says):
    with pytest.raises(UsageError, match=says):
        built(BackboneConfig(**config))


def test_pixel_settings_without_a_camera_are_refused():
    with pytest.raises(UsageError, match="backbone.patch does nothing without cameras"):
        built(BackboneConfig(patch=16), ObservationConfig())
    with pytest.raises(ValueError, match="jitter does nothing without cameras"):
        ObservationConfig(jitter=0.1)


def test_an_unknown_kind_of_backbone_names_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'transformer'"):
        check_backbone(BackboneConfig(kind="transfomer"))


def test_checkpointing_changes_memory_only():
    plain, frugal = built(), built(SMALL.model_copy(update={"checkpointing": True}))
    obs, kept = observation(2), []
    gradients = []
    for model in (plain, frugal):
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, saved=saved: saved.append(t.numel()) or t, lambda t: t):
            loss = model(obs).square().mean()
        loss.backward()
        kept.append(sum(saved))
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert kept[1] < 0.5 * kept[0]


@pytest.mark.slow
def test_a_compiled_backbone_gives_the_same_tokens_in_training():
    plain, compiled = built(), built(SMALL.model_copy(update={"compile": True}))
    torch.testing.assert_close(plain(observation(2)), compiled(observation(2)), rtol=1e-4, atol=1e-4)


def test_a_7b_that_sees_is_built_on_the_meta_device():
    with torch.device("meta"):
        model = built(BackboneConfig(size="7b"), ObservationConfig(cameras=CAMERAS, instruction=True))
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_an_s_with_two_84_pixel_cameras_trains_on_the_cpu():
    """Four steps on one small window: its loss falls, and every trained parameter has had a gradient."""
    sees = ObservationConfig(cameras=CAMERAS, low_dim=list(toy.SPEC), instruction=True)
    policy = toy.policy("iql", backbone={"size": "s"}, observation=sees.model_dump())
    agent = build_agent(policy, toy.SPEC, toy.ACTION_DIM, 0.9, None, seed=0)
    window = synthetic_window(2, toy.SPEC, toy.ACTION_DIM, toy.CHUNK, 0.9, sees=sees)
    optimizer = torch.optim.AdamW([p for group in agent.parameter_groups().values() for p in group], lr=1e-3)
    losses = []
    for _ in range(4):
        loss, _ = agent(window, Draws(0, 0))
        loss.backward()
        missing = [name for name, p in agent.named_parameters() if p.requires_grad and p.grad is None]
        assert not missing
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
