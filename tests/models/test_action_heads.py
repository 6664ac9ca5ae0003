import math

import pytest
import torch
import toy_agents as toy
from torch import Tensor, nn

from robo_orl.base.rng import Draws
from robo_orl.config import ActionHeadConfig
from robo_orl.cost.flops import count_flops
from robo_orl.models.action_heads import ACTION_HEADS
from robo_orl.models.action_heads.flow import AnyExpert, FlowHead

WIDTH, H, A = 96, 5, 3


def head_of(kind: str, **over) -> nn.Module:
    torch.manual_seed(0)
    return ACTION_HEADS[kind](WIDTH, 3, A, ActionHeadConfig(kind=kind, chunk=H, **over))


def tokens(batch: int) -> Tensor:
    return torch.randn(batch, H + 1, WIDTH, generator=torch.Generator().manual_seed(1))


def chunks(batch: int) -> Tensor:
    return torch.rand(batch, H, A, generator=torch.Generator().manual_seed(2)) * 2 - 1


@pytest.mark.parametrize("kind", ACTION_HEADS)
def test_shapes_and_range(kind):
    head, mask = head_of(kind), torch.ones(6, H, dtype=torch.bool)
    assert head.loss(tokens(6), chunks(6), mask, Draws(0, 0), ("a", "b")).shape == (6,)
    samples = head.sample(tokens(6), 3, Draws(0, 0), "act")
    assert samples.shape == (6, 3, H, A)
    assert samples.dtype == torch.float32
    assert samples.abs().max() <= 1
    assert bool((samples[:, 0] != samples[:, 1]).any()) == head.stochastic


@pytest.mark.parametrize("kind", ACTION_HEADS)
def test_masked_steps_neither_cost_nor_teach(kind):
    head, mask = head_of(kind), torch.ones(4, H, dtype=torch.bool)
    mask[:, 2:] = False
    outputs = []
    for error in (0.0, 5.0):
        wrong = chunks(4)
        wrong[:, 2:] += error * ("flow" not in kind)  # a flow reads its noisy chunk, the padded steps included
        loss = head.loss(tokens(4), wrong, mask, Draws(0, 0), ("a",)).sum()
        outputs.append((loss, *torch.autograd.grad(loss, list(head.parameters()))))
    for first, second in zip(*outputs, strict=True):
        assert torch.equal(first, second)
    assert (head.loss(tokens(4), chunks(4), torch.zeros_like(mask), Draws(0, 0), ("a",)) == 0).all()


def test_the_l1_loss_is_the_mean_absolute_error_of_the_valid_steps():
    head, mask = head_of("l1"), torch.ones(2, H, dtype=torch.bool)
    mask[1, 3:] = False
    error = (head.predict(tokens(2)) - chunks(2)).abs().double()
    expected = torch.stack((error[0].mean(), error[1, :3].mean()))
    torch.testing.assert_close(head.loss(tokens(2), chunks(2), mask, Draws(0, 0), ("a",)).double(), expected)


@pytest.mark.parametrize("kind", ACTION_HEADS)
def test_bf16_autocast_leaves_losses_and_samples_in_float32_and_in_range(kind):
    head, mask = head_of(kind), torch.ones(6, H, dtype=torch.bool)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.mul_(3.0)  # outputs far from zero: bounds are tried
    precise = head.act(tokens(6), 1, Draws(0, 0), "act")
    with torch.autocast("cpu", torch.bfloat16):
        loss = head.loss(tokens(6), chunks(6), mask, Draws(0, 0), ("a", "b"))
        samples, acted = head.sample(tokens(6), 3, Draws(0, 0), "act"), head.act(tokens(6), 1, Draws(0, 0), "act")
    assert loss.dtype == samples.dtype == acted.dtype == torch.float32
    assert samples.shape == (6, 3, H, A) and acted.shape == (6, 1, H, A)
    assert samples.isfinite().all() and samples.abs().max() <= 1
    assert loss.isfinite().all()
    assert (acted - precise).abs().median() < 0.1


@pytest.mark.parametrize("kind", ACTION_HEADS)
def test_two_processes_draw_what_one_would(kind):
    head, mask, half = head_of(kind), torch.ones(8, H, dtype=torch.bool), (slice(0, 4), slice(4, 8))
    one = head.sample(tokens(8), 3, Draws(0, 5), "act")
    loss = head.loss(tokens(8), chunks(8), mask, Draws(0, 5), ("a",))
    for rank, part in enumerate(half):
        draws = Draws(0, 5, rank, world=2)
        torch.testing.assert_close(head.sample(tokens(8)[part], 3, draws, "act"), one[part])
        torch.testing.assert_close(head.loss(tokens(8)[part], chunks(8)[part], mask[part], draws, ("a",)), loss[part])


@pytest.mark.parametrize("kind", [k for k, head in ACTION_HEADS.items() if head.stochastic])
def test_another_step_draws_other_numbers_and_another_stream_too(kind):
    head = head_of(kind)
    one, same, step, stream = (
        head.sample(tokens(4), 2, draws, name)
        for draws, name in ((Draws(0, 1), "a"), (Draws(0, 1), "a"), (Draws(0, 2), "a"), (Draws(0, 1), "b"))
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, step) and not torch.equal(one, stream)


@pytest.mark.parametrize("kind", [k for k, head in ACTION_HEADS.items() if not head.reads_queries])
def test_many_samples_cost_one_backbone_pass_and_one_reading_of_the_tokens(kind):
    learner, obs = toy.agent(toy.policy("bc", head=kind)), toy.observation(2)
    normalised = learner.normaliser.observation(obs)

    def cost(num_samples: int) -> int:
        with torch.no_grad():
            return count_flops(
                lambda: learner.action_head.sample(learner.backbone(normalised), num_samples, Draws(0, 0), "act")
            )

    with torch.no_grad():
        backbone = count_flops(lambda: learner.backbone(normalised))
    one, two, five = (cost(n) for n in (1, 2, 5))
    assert one > backbone > 0
    assert five - one == 4 * (two - one)  # every further sample costs the same ...
    if "flow" in kind:
        assert 0 < two - one < one - backbone  # ... and none reads the tokens again: keys and values serve all
    else:
        assert two == one  # ... nothing, where the tokens are read into a distribution


def test_a_half_of_the_batch_draws_what_it_would_draw_alone():
    head, mask = head_of("flow"), torch.ones(8, H, dtype=torch.bool)
    both = head.loss(tokens(8), chunks(8), mask, Draws(0, 3), ("policy", "policy_next"))
    first = head.loss(tokens(8)[:4], chunks(8)[:4], mask[:4], Draws(0, 3), ("policy",))
    second = head.loss(tokens(8)[4:], chunks(8)[4:], mask[4:], Draws(0, 3), ("policy_next",))
    torch.testing.assert_close(both, torch.cat((first, second)))


def test_samples_do_not_see_each_other():
    head = head_of("flow")
    memory, x = head.expert.memory(tokens(2)), torch.randn(2, 3, H * A)
    t = torch.full((2, 3), 0.5)
    torch.testing.assert_close(head.expert(x, t, memory)[:, :1], head.expert(x[:, :1], t[:, :1], memory))


def test_keys_get_their_unit_scale_once_and_not_again_in_every_euler_step(monkeypatch):
    head, real = head_of("flow"), torch.nn.functional.rms_norm
    keys = head.expert.memory(tokens(2))[0][0]  # (B, H, S, d)
    torch.testing.assert_close(keys.square().mean(-1), torch.ones(keys.shape[:-1]))
    scaled = []
    monkeypatch.setattr(
        "torch.nn.functional.rms_norm", lambda x, *rest, **more: scaled.append(x) or real(x, *rest, **more)
    )
    head.sample(tokens(2), 4, Draws(0, 0), "policy", steps=3)
    of_keys = [x for x in scaled if x.shape == keys.shape]
    assert len(of_keys) == len(head.expert.blocks)


class GaussianOracle(AnyExpert):
    """E[x1 | x_t, t] for x1 ~ N(mean, std^2) and x0 ~ N(0, 1), in closed form."""

    def __init__(self, mean: float, std: float, offset: float = 0.0):
        super().__init__()
        self.mean, self.std, self.offset = mean, std, offset

    def memory(self, tokens: Tensor) -> None:
        return None

    def time(self, t: Tensor) -> Tensor:
        return t

    def at(self, x: Tensor, t: Tensor, memory: None) -> Tensor:
        t = t.unsqueeze(-1)
        gain = t * self.std**2 / (t**2 * self.std**2 + (1 - t) ** 2)
        return self.mean + gain * (x - t * self.mean) + self.offset


def flow_with(oracle: nn.Module) -> FlowHead:
    head = head_of("flow", flow_steps=500)
    head.expert = oracle
    return head


def test_the_flow_loss_is_least_at_the_posterior_mean():
    batch = 4096
    x1 = 0.2 + 0.1 * torch.randn(batch, H, A, generator=torch.Generator().manual_seed(4))
    mask = torch.ones(batch, H, dtype=torch.bool)

    def loss(offset: float) -> float:
        head = flow_with(GaussianOracle(0.2, 0.1, offset))
        return head.loss(tokens(batch), x1, mask, Draws(0, 0), ("a",)).mean().item()

    for offset in (-0.02, 0.02):
        assert loss(offset) - loss(0.0) == pytest.approx(offset**2, rel=0.2)


def test_euler_steps_from_noise_end_in_the_data_distribution():
    samples = flow_with(GaussianOracle(0.2, 0.1)).sample(tokens(512), 4, Draws(0, 0), "act")
    assert samples.mean().item() == pytest.approx(0.2, abs=2e-3)
    assert samples.std().item() == pytest.approx(0.1, rel=0.03)


NEAR_ZERO = {  # per number: errors, or what a likelihood has with the right answer and 0.05 of doubt
    "l1": 0.05,
    "flow": 0.05,
    "gaussian": math.log(0.05 * math.sqrt(2 * math.pi * math.e)),
    "gmm": math.log(0.05 * math.sqrt(2 * math.pi * math.e)),
    "bins": 0.05,
}


@pytest.mark.parametrize("kind", NEAR_ZERO)  # heads made for a vlm: test_vlm_agent.py
def test_an_agent_overfits_32_windows(kind):
    learner = toy.agent(toy.policy("bc", head=kind, action_head={"bins": 32} if kind == "bins" else {}))
    window, optimiser = toy.window(16), torch.optim.AdamW(learner.parameters(), lr=2e-3, weight_decay=0.0, fused=True)
    steps = 350 if kind == "gmm" else 250  # the weights of a mixture are learnt last
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        loss, _ = learner(window, Draws(0, step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    assert loss < NEAR_ZERO[kind]
    acted = learner.act(window.obs, Draws(0, 0))
    error = ((acted - window.actions).abs().mean(-1) * window.action_mask).sum() / window.action_mask.sum()
    assert error < 0.05
