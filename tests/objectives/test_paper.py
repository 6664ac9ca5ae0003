"""Every term of every critic-based objective against its equation, computed by numpy in float64 on given arrays."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import toy_agents as toy
from paper_step import ACTION_DIM, CHUNK, PAIRS, PaperStep
from scipy.special import logsumexp, softmax

from robo_orl.base.rng import Draws
from robo_orl.objectives import OBJECTIVES
from robo_orl.objectives.conditioned import Threshold
from robo_orl.objectives.cql import Temperature

NOW, NEXT = slice(0, PAIRS), slice(PAIRS, None)


def check(name: str, step: PaperStep, expected: dict[str, float], **params) -> None:
    over = {"objective": {"params": params}} if params else {}
    terms, _ = OBJECTIVES[name](toy.shipped(name, **over)).losses(step)
    assert {k: v.item() for k, v in terms.items()} == pytest.approx(expected, rel=1e-6)  # random numbers are float32


def given(step: PaperStep) -> SimpleNamespace:
    """The window as numpy arrays in float64, and the data's chunks that Q values."""
    w = step.window
    return SimpleNamespace(
        r=w.reward.numpy(),
        d=w.discount.numpy(),
        ok=w.td_valid.numpy().astype(float),
        g=np.concatenate((w.return_to_go.numpy(), w.next_return_to_go.numpy())),
        a=step.actions.numpy()[:, : step.c],
        valid=step.valid.numpy(),
    )


def td(step: PaperStep, next_value: np.ndarray) -> float:
    """E[ mask ( r + discount next_value - Q(s, a) )^2 ], the mean over the ensemble."""
    x = given(step)
    error = x.r + x.d * next_value - step.value("online", NOW, x.a[NOW])
    return float((x.ok * (error**2).mean(0)).mean())


def fold(step: PaperStep, values: np.ndarray) -> np.ndarray:
    return values.mean(0) if step.fold == "mean" else values.min(0)


@pytest.fixture(params=["mean", "min"])
def step(request) -> PaperStep:
    return PaperStep(request.param)


def test_the_window_holds_a_timeout_and_a_terminal(step):
    x = given(step)
    assert 0 in x.ok and 1 in x.ok and 0 in x.d and (x.d > 0).any()


def test_sarsa_backs_up_the_action_that_was_taken(step):
    x = given(step)
    known = np.maximum(x.valid[NEXT], x.d == 0)
    error = x.r + x.d * fold(step, step.value("slow", NEXT, x.a[NEXT])) - step.value("online", NOW, x.a[NOW])
    critic = (x.ok * known * (error**2).mean(0)).mean()
    check("sarsa_bon", step, {"actor": step.losses.mean(), "critic": critic})


def test_bcq_backs_up_the_best_soft_minimum(step):
    q = step.value("slow", NEXT, step.pool[0, NEXT, :5])  # (E, B, N)
    best = (0.75 * q.min(0) + 0.25 * q.max(0)).max(-1)
    check("bcq", step, {"actor": step.losses.mean(), "critic": td(step, best)}, num_samples=5)


def test_idql_is_iql_with_an_unweighted_policy(step):
    x = given(step)
    u = fold(step, step.value("slow", NOW, x.a[NOW])) - step.v_of[NOW]
    value = (x.ok * np.where(u < 0, 1 - 0.7, 0.7) * u**2).mean()
    expected = {"actor": step.losses.mean(), "value": value, "critic": td(step, step.v_of[NEXT])}
    check("idql", step, expected, expectile=0.7)


@pytest.mark.parametrize("samples", [1, 3])
def test_awac_weighs_by_the_advantage_over_its_own_samples(step, samples):
    x, own = given(step), step.pool[0][:, :samples]
    critic = td(step, fold(step, step.value("slow", NEXT, own[NEXT])).mean(-1))
    both = slice(None)
    advantage = fold(step, step.value("online", both, x.a)) - fold(step, step.value("online", both, own)).mean(-1)
    weight = np.minimum(np.exp(advantage / 0.5), 3.0) * x.valid
    assert (weight == 3.0).any() and ((weight > 0) & (weight < 3)).any()
    expected = {"actor": (weight * step.losses).mean(), "critic": critic}
    check("awac", step, expected, temperature=0.5, max_weight=3.0, num_samples=samples)


@pytest.mark.parametrize("weight", ["exp", "binary"])
def test_crr_filters_by_the_advantage_and_backs_up_the_slow_policy(step, weight):
    x, both = given(step), slice(None)
    critic = td(step, fold(step, step.value("slow", NEXT, step.pool[1, NEXT, :1])).squeeze(-1))
    own = step.pool[0][:, :4]
    advantage = fold(step, step.value("online", both, x.a)) - fold(step, step.value("online", both, own)).mean(-1)
    f = np.minimum(np.exp(advantage / 2.0), 4.0) if weight == "exp" else (advantage > 0).astype(float)
    params = {"weight": weight} | ({"beta": 2.0, "max_weight": 4.0} if weight == "exp" else {"beta": None})
    check("crr", step, {"actor": (f * x.valid * step.losses).mean(), "critic": critic}, **params)


def test_td3_bc_smooths_its_target_and_normalises_q(step):
    noise = 0.3 * Draws(0, 0).normal("smoothing", PAIRS, CHUNK, ACTION_DIM).double().numpy()
    chunk = np.clip(0.5 * step.chunk[NEXT] + np.clip(noise, -0.4, 0.4), -1, 1)
    critic = td(step, fold(step, step.value("slow", NEXT, chunk)))
    q = step.value("online", slice(None), step.chunk)[0]
    squared = ((step.chunk - step.actions.numpy()) ** 2).mean(-1)
    mask = step.mask.numpy()
    distance = (squared * mask).sum(-1) / mask.sum(-1)
    actor = (distance - 1.5 / np.abs(q).mean() * q).mean()
    check("td3_bc", step, {"actor": actor, "critic": critic}, alpha=1.5, policy_noise=0.3, noise_clip=0.4)


@pytest.mark.parametrize(("name", "calibrated"), [("cql", False), ("cal_ql", True)])
@pytest.mark.parametrize(
    ("max_backup", "importance", "bc_steps"), [(False, True, 0), (True, True, 5), (False, False, 0)]
)
def test_cql_pushes_down_a_soft_maximum_and_cal_ql_not_below_the_return(
    step, name, calibrated, max_backup, importance, bc_steps
):
    x, n, kappa = given(step), 3, 0.5
    step.modules["temperature"] = Temperature(kappa).double()
    samples, log_pi, numbers = step.pool[0][:, :n], step.log_pi[:, :n], CHUNK * ACTION_DIM
    backed_up = fold(step, step.value("slow", NEXT, samples[NEXT] if max_backup else samples[NEXT][:, :1])).max(-1)

    uniform = 2 * Draws(0, 0).uniform("uniform", PAIRS, n, CHUNK, ACTION_DIM).double().numpy() - 1
    q_uniform = step.value("online", NOW, uniform)
    q_own = [step.value("online", NOW, samples[rows]) for rows in (NOW, NEXT)]
    if calibrated:
        assert any((q < x.g[NOW, None]).any() for q in q_own)
        q_own = [np.maximum(q, x.g[NOW, None]) for q in q_own]
    q_data = step.value("online", NOW, x.a[NOW])
    if importance:
        scores = [q_uniform / 2 - numbers * np.log(0.5)]
        scores += [q / 2 - log_pi[r] for q, r in zip(q_own, (NOW, NEXT), strict=True)]
    else:
        scores = [q / 2 for q in (q_uniform, *q_own, q_data[..., None])]
    high = 2.0 * logsumexp(np.concatenate(scores, -1), axis=-1)  # (E, B)
    gap = (high - q_data).mean(0)
    climbed = fold(step, step.value("online", slice(None), samples[:, 0]))
    expected = {
        "critic": td(step, backed_up),
        "conservative": 0.7 * (x.ok * gap).mean(),
        "actor": (kappa * log_pi[:, 0] + (step.losses if bc_steps else -climbed)).mean(),
        "temperature": -(np.log(kappa) * (log_pi[:, 0] - numbers)).mean() / numbers / Temperature.SPEED**2,
    }
    params = {"min_q_weight": 0.7, "cql_temperature": 2.0, "num_actions": n, "max_backup": max_backup}
    check(name, step, expected, **params, importance_sample=importance, bc_steps=bc_steps)


def test_fql_distils_the_flow_and_climbs(step):
    step.modules["one_step"] = lambda tokens, noise: 1.5 * torch.tanh(2 * noise.double())
    z = np.concatenate([Draws(0, 0).normal("one_step", 2 * PAIRS, 1, CHUNK, ACTION_DIM).double().numpy()])
    mu, flow = 1.5 * np.tanh(2 * z), np.clip(np.tanh(z) + 0.5, -1, 1)
    climbed = fold(step, step.value("online", slice(None), np.clip(mu[:, 0], -1, 1)))
    z_next = Draws(0, 0).normal("critic", PAIRS, 1, CHUNK, ACTION_DIM).double().numpy()
    backed_up = fold(step, step.value("slow", NEXT, np.clip(1.5 * np.tanh(2 * z_next[:, 0]), -1, 1)))
    expected = {
        "actor": step.losses.mean(),
        "one_step": ((mu - flow) ** 2).mean() - climbed.mean() / 7.0,
        "critic": td(step, backed_up),
    }
    for name in ("fql", "qc_fql"):
        step.draws = Draws(0, 0)
        check(name, step, expected, alpha=7.0)


def test_dqc_distils_the_chunk_critic_and_backs_up_a_quantile():
    step = PaperStep("min", valued_actions=2)
    x = given(step)
    whole = step.actions.numpy()[NOW]
    step.modules["critic_chunk"] = SimpleNamespace(
        readout=lambda tokens: tokens, q=lambda features, actions: step._estimate("chunk", "now", actions)
    )
    q_h, q = step.value("chunk", NOW, whole), step.value("online", NOW, x.a[NOW])
    chunk_critic = (x.ok * ((x.r + x.d * step.v_of[NEXT] - q_h) ** 2).mean(0)).mean()
    u = q_h - q
    critic = (x.ok * np.where(u < 0, 1 - 0.8, 0.8) * u**2).mean()
    u = step.value("slow", NOW, x.a[NOW]).min(0) - step.v_of[NOW]
    value = (x.ok * np.where(u < 0, 1 - 0.9, 0.9) * np.abs(u)).mean()
    expected = {"actor": step.losses.mean(), "value": value, "critic": critic, "chunk_critic": chunk_critic}
    check("dqc", step, expected, kappa_b=0.9, kappa_d=0.8)


def test_mpo_reweights_samples_of_the_slow_policy(step):
    samples = step.pool[1][:, :3]
    q = fold(step, step.value("slow", slice(None), samples))  # (2B, M)
    improve = (softmax(q / 0.4, axis=-1) * (samples**2).sum((-2, -1))).sum(-1)
    actor = 0.8 * improve.mean() + 0.2 * step.losses.mean()
    expected = {"actor": actor, "critic": 3.0 * td(step, q[NEXT].mean(-1))}
    check("mpo", step, expected, alpha=0.2, eta=0.4, num_samples=3, critic_weight=3.0)


@pytest.mark.parametrize("advantage", ["return", "n_step"])
def test_recap_tells_the_policy_whether_an_action_was_good(advantage):
    step, level = PaperStep(), 0.1
    x = given(step)
    step.modules["critic_threshold"] = threshold = Threshold(0.4).double()
    torch.nn.init.constant_(threshold.level, level)
    a, known = x.g - step.v_of, np.ones(2 * PAIRS)
    if advantage == "n_step":
        a = np.concatenate((x.r + x.d * step.v_of[NEXT] - step.v_of[NOW], np.zeros(PAIRS)))
        known = np.concatenate((x.ok, np.zeros(PAIRS)))
    kept = Draws(0, 0).uniform("condition", 2 * PAIRS).double().numpy() >= 0.3
    indicator = known * kept * np.where(a > level, 1, -1)
    assert {-1, 0, 1} == set(indicator)
    pinball = np.where(a > level, 0.6 * (a - level), 0.4 * (level - a))
    expected = {
        "value": ((step.v_of - x.g) ** 2).mean(),
        "actor": (step.losses + step.slope * indicator).mean(),
        "threshold": (known * pinball).mean(),
    }
    check("recap", step, expected, advantage=advantage, positive_fraction=0.4, dropout=0.3)


def test_sharsa_values_subgoals_and_never_maximises():
    step = PaperStep("min")
    x = given(step)
    obs = np.concatenate([v.numpy()[NEXT] for v in step.obs.low_dim.values()], -1)
    ended = x.d == 0
    w = np.concatenate((np.where(ended[:, None], 0.0, obs), np.where(ended, 1.0, -1.0)[:, None]), -1)  # (B, G)
    step.modules["subgoals"] = SimpleNamespace(loss=lambda tokens, w, mask, draws, streams: w.square().sum((-2, -1)))
    q_bar = step.value("slow", NOW, w[:, None]).min(0)
    error = x.r + x.d * step.v_of[NEXT] - step.value("online", NOW, w[:, None])
    expected = {
        "value": (x.ok * (step.v_of[NOW] - q_bar) ** 2).mean(),
        "critic": (x.ok * (error**2).mean(0)).mean(),
        "high": (x.ok * (w**2).sum(-1)).mean(),
        "low": (x.ok * (step.losses[NOW] + step.slope[NOW] * w.sum(-1))).mean(),
    }
    check("sharsa", step, expected)


@pytest.mark.parametrize("outcome", ["success", "return"])
def test_return_conditioning_tells_the_outcome(outcome):
    step = PaperStep()
    outcomes = given(step).g if outcome == "return" else np.tile(step.window.success.numpy(), 2).astype(float)
    check("return_conditioned", step, {"actor": (step.losses + step.slope * outcomes).mean()}, outcome=outcome)


# --------------------------------------------------------------------------------------------------------- extractions


def extracted(kind: str, step: PaperStep, **params) -> dict[str, float]:
    """IQL's policy terms under an extraction."""
    section = {"extraction": {"kind": kind, "params": params}}
    terms, _ = OBJECTIVES["iql"](toy.shipped("iql", objective=section)).losses(step)
    return {k: v.item() for k, v in terms.items() if k not in ("value", "critic")}


def test_ddpg_bc_climbs_a_normalised_q(step):
    q = fold(step, step.value("online", slice(None), step.chunk))
    expected = -q.mean() / np.abs(q).mean() + 0.3 * step.losses.mean()
    assert extracted("ddpg_bc", step, alpha=0.3) == pytest.approx({"actor": expected}, rel=1e-9)


def test_advantage_conditioning_leaves_the_indicator_out_where_a_timeout_hides_the_advantage(step):
    x = given(step)
    step.modules["critic_threshold"] = Threshold(0.4).double()
    advantage = fold(step, step.value("slow", slice(None), x.a)) - step.v_of
    kept = Draws(0, 0).uniform("condition", 2 * PAIRS).double().numpy() >= 0.3
    indicator = x.valid * kept * np.where(advantage > 0, 1, -1)
    policy_terms = extracted("advantage_condition", step)
    assert policy_terms["actor"] == pytest.approx((step.losses + step.slope * indicator).mean(), rel=1e-9)


def test_best_of_n_clones(step):
    assert extracted("best_of_n", step) == pytest.approx({"actor": step.losses.mean()})
