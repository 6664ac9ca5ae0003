import pytest
import torch
import torch.nn.functional as F

from robo_orl.config import CriticConfig
from robo_orl.models.critics import Critic, Estimate, StackedLinear

B, N, C_ACTIONS, A = 5, 3, 4, 2


def critic(**over) -> Critic:
    torch.manual_seed(0)
    return Critic(96, C_ACTIONS * A, ("q", "v"), CriticConfig(**over))


def tokens() -> torch.Tensor:
    return torch.randn(B, 4, 96, generator=torch.Generator().manual_seed(1))


def actions() -> torch.Tensor:
    return torch.randn(B, N, C_ACTIONS, A, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("loss", ["mse", "hl_gauss"])
def test_shapes(loss):
    model = critic(loss=loss, ensemble=3)
    features = model.readout(tokens())
    assert features.shape[:2] == (B, 4)  # three members and V
    assert model.q(features, actions()).value.shape == (3, B, N)
    assert model.q(features, actions()[:, 0]).value.shape == (3, B)
    assert model.v(features).value.shape == (1, B)
    assert model.q(features, actions()).loss(torch.rand(B, N)).shape == (3, B, N)


def test_candidates_are_valued_one_by_one():
    model = critic()
    features = model.readout(tokens())
    together = model.q(features, actions()).value
    for n in range(N):
        torch.testing.assert_close(together[:, :, n], model.q(features, actions()[:, n]).value, rtol=1e-5, atol=1e-6)


def test_an_ensemble_is_its_members_side_by_side():
    layer = StackedLinear(4, 6, 5)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(4, 7, 6)
    for e in range(4):
        torch.testing.assert_close(layer(x)[e], F.linear(x[e], layer.weight[e].T, layer.bias[e, 0]))


def test_members_share_no_weights_and_differ():
    model = critic(ensemble=2)
    features = model.readout(tokens())
    q = model.q(features, actions()[:, 0]).value
    assert (q[0] - q[1]).abs().min() > 1e-4
    parameters = list(model.q_heads.parameters())
    for p, g in zip(parameters, torch.autograd.grad(q[0].sum(), parameters), strict=True):
        assert g[0].abs().sum() > 0, f"{tuple(p.shape)}: its own weights get a gradient"
        assert g[1].abs().sum() == 0, f"{tuple(p.shape)}: those of the other member do not"


def test_every_parameter_has_an_axis():
    assert all(p.dim() > 0 for p in critic(loss="hl_gauss").parameters())


def test_the_mse_loss_does_not_reach_its_target():
    raw, target = torch.randn(2, B, 1, requires_grad=True), torch.randn(B, requires_grad=True)
    loss = Estimate(raw, None).loss(target)
    torch.testing.assert_close(loss, (raw.squeeze(-1) - target).square())
    assert torch.autograd.grad(loss.sum(), [raw, target], allow_unused=True)[1] is None


def test_v_has_a_readout_of_its_own():
    model = critic(ensemble=2)
    features = model.readout(tokens())
    for estimate, own in ((model.v(features), [2]), (model.q(features, actions()), [0, 1])):
        (gradient,) = torch.autograd.grad(estimate.value.sum(), features, retain_graph=True)
        reads = gradient.abs().sum((0, 2)).nonzero().flatten().tolist()
        assert reads == own
