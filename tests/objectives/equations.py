"""The terms of every objective as its paper has them, in numpy, where the parts with a gradient are kept apart.

Each function takes the numbers of the agent twice: `x` of the parameters that are moved, and `at` of those where the
gradient is taken. What a paper holds fixed (targets, weights, advantages, the critic that is climbed) is read from
`at`, everything else from `x`: at one agent twice these are the terms, and their differences in x are the gradient.
p: the objective's parameters. e: those of its extraction.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import toy_agents as toy
from agent_numbers import BOTH, NEXT, NOW, PAIRS, Numbers
from scipy.special import logsumexp, softmax

Terms = dict[str, float]
P = SimpleNamespace
SHAPE = (toy.CHUNK, toy.ACTION_DIM)


def td(x: Numbers, at: Numbers, following: np.ndarray) -> float:
    """D( Q(s, a), r + gamma^n following ), the mean over members and the transitions that no timeout cuts."""
    return (at.ok * x.q(NOW).loss(at.r + at.d * following).mean(0)).mean()


def below(u: np.ndarray, tau: float) -> np.ndarray:
    """|tau - 1(u < 0)|, of which a test sees something only where both sides occur."""
    assert (u < 0).any() and (u > 0).any()
    return np.where(u < 0, 1 - tau, tau)


def capped(weight: np.ndarray, most: float) -> np.ndarray:
    """The weight, cut at `most`; some are cut and some are not."""
    assert (weight > most).any() and (weight < most).any()
    return np.minimum(weight, most)


# --------------------------------------------------------------------------------------------------------- extractions


def awr(x: Numbers, at: Numbers, advantage: np.ndarray, known: np.ndarray, e: P) -> Terms:
    weight = capped(np.exp(e.beta * advantage), e.max_weight) * known
    return {"actor": (weight * x.cloning()).mean()}


def advantage_condition(x: Numbers, at: Numbers, advantage: np.ndarray, known: np.ndarray, e: P) -> Terms:
    level, good = x.parameter("critic_threshold", "level"), advantage > at.parameter("critic_threshold", "level")
    kept = np.concatenate((at.uniform("condition"), at.uniform("condition_next"))) >= e.dropout
    condition = known * kept * np.where(good, 1.0, -1.0)
    above = advantage - level
    pinball = np.where(good, 1 - e.positive_fraction, -e.positive_fraction) * above
    return {"actor": x.cloning(condition=condition[:, None]).mean(), "threshold": (known * pinball).mean()}


def best_of_n(x: Numbers, at: Numbers, advantage: np.ndarray, known: np.ndarray, e: P) -> Terms:
    return {"actor": x.cloning().mean()}


def ddpg_bc(x: Numbers, at: Numbers, advantage: np.ndarray, known: np.ndarray, e: P) -> Terms:
    climbed, scale = (at.fold(at.q(BOTH, np.clip(y.chunk(BOTH), -1, 1)).height) for y in (x, at))
    return {"actor": -climbed.mean() / np.abs(scale).mean() + e.alpha * x.cloning().mean()}


def distil(x: Numbers, at: Numbers, advantage: np.ndarray, known: np.ndarray, e: P) -> Terms:
    z = np.concatenate((at.normal("one_step", 1, *SHAPE), at.normal("one_step_next", 1, *SHAPE)))
    mu, flow = x.one_step(BOTH, z), np.clip(at.flow(z), -1, 1)
    climbed = at.fold(at.q(BOTH, np.clip(mu[:, 0], -1, 1)).height).mean()
    one_step = (e.alpha * ((mu - flow) ** 2).mean() - climbed) / max(e.alpha, 1)
    return {"actor": x.cloning().mean(), "one_step": one_step}


EXTRACTIONS = {f.__name__: f for f in (awr, advantage_condition, best_of_n, ddpg_bc, distil)}


def extracted(x: Numbers, at: Numbers, p: P, advantage: np.ndarray | None = None, known: object = None) -> Terms:
    return EXTRACTIONS[p.extraction](x, at, advantage, known, p)


# ------------------------------------------------------------------------------------------------ cloning, and returns


def bc(x: Numbers, at: Numbers, p: P) -> Terms:
    return {"actor": x.cloning().mean()}


def filtered_bc(x: Numbers, at: Numbers, p: P) -> Terms:
    return {"actor": (at.success * x.cloning()).mean()}


def top_bc(x: Numbers, at: Numbers, p: P) -> Terms:
    return bc(x, at, p)  # of other frames: test_cloning.py


def oracle_competent(x: Numbers, at: Numbers, p: P) -> Terms:
    return bc(x, at, p)  # of other frames: tests/data/test_competence.py


def return_conditioned(x: Numbers, at: Numbers, p: P) -> Terms:
    condition = at.g if p.outcome == "return" else at.success
    return {"actor": x.cloning(condition=condition[:, None]).mean()}


def mc_awr(x: Numbers, at: Numbers, p: P) -> Terms:
    terms, estimate = {"value": x.v(BOTH).loss(at.g).mean()}, at.g
    if p.advantage == "q":
        terms["critic"], estimate = x.q(BOTH).loss(at.g).mean(), at.fold(at.q(BOTH).value)
    return terms | extracted(x, at, p, estimate - at.v(BOTH).value, np.ones(2 * PAIRS))


def recap(x: Numbers, at: Numbers, p: P) -> Terms:
    v, known = at.v(BOTH).value, np.ones(2 * PAIRS)
    advantage = at.g - v
    if p.advantage == "n_step":
        advantage = np.concatenate((at.r + at.d * v[NEXT] - v[NOW], np.zeros(PAIRS)))
        known = np.concatenate((at.ok, np.zeros(PAIRS)))
    return {"value": x.v(BOTH).loss(at.g).mean()} | extracted(x, at, p, advantage, known)


# ------------------------------------------------------------------------------------------------- values of behaviour


def sarsa_bon(x: Numbers, at: Numbers, p: P) -> Terms:
    known = at.ok * np.maximum(at.valid[NEXT], at.d == 0)
    target = at.r + at.d * at.fold(at.q(NEXT, slow=True).value)
    return {"critic": (known * x.q(NOW).loss(target).mean(0)).mean()} | extracted(x, at, p)


def sharsa(x: Numbers, at: Numbers, p: P) -> Terms:
    obs, ended = np.concatenate([o[NEXT] for o in at.obs.values()], -1), at.d == 0
    w = np.concatenate((np.where(ended[:, None], 0, obs), np.where(ended, 1, -1)[:, None]), -1)  # (B, G)
    q_bar = at.fold(at.q(NOW, w[:, None], slow=True).value)
    target = at.r + at.d * at.v(NEXT).value
    return {
        "value": (at.ok * x.v(NOW).loss(q_bar)).mean(),
        "critic": (at.ok * x.q(NOW, w[:, None]).loss(target).mean(0)).mean(),
        "high": (at.ok * x.cloning_of_subgoals(w[:, None])).mean(),
        "low": (at.ok * x.cloning(NOW, condition=w)).mean(),
    }


# -------------------------------------------------------------------------------------------------- values of a choice


def iql(x: Numbers, at: Numbers, p: P) -> Terms:
    q_bar, v = at.fold(at.q(BOTH, slow=True).value), at.v(BOTH).value
    weight = below(q_bar[NOW] - v[NOW], p.expectile)
    value = (at.ok * weight * x.v(NOW).loss(q_bar[NOW])).mean()
    terms = {"value": value, "critic": td(x, at, v[NEXT])}
    return terms | extracted(x, at, p, q_bar - v, at.valid)


def dqc(x: Numbers, at: Numbers, p: P) -> Terms:
    q_bar, v = at.fold(at.q(BOTH, slow=True).value), at.v(BOTH).value
    chunk_critic = (at.ok * x.q_of_chunks().loss(at.r + at.d * v[NEXT]).mean(0)).mean()
    teacher = at.q_of_chunks().value
    critic = (at.ok * below(teacher - at.q(NOW).value, p.kappa_d) * x.q(NOW).loss(teacher)).mean()
    distance = np.abs(x.v(NOW).height - x.v(NOW).height_of(q_bar[NOW]))
    value = (at.ok * below(q_bar[NOW] - v[NOW], p.kappa_b) * distance).mean()
    terms = {"value": value, "critic": critic, "chunk_critic": chunk_critic}
    return terms | extracted(x, at, p, q_bar - v, at.valid)


def qc(x: Numbers, at: Numbers, p: P) -> Terms:
    chunks = at.sample(NEXT, p.num_samples, steps=vars(p).get("flow_steps"))
    chosen = chunks[np.arange(PAIRS), at.fold(at.q(NEXT, chunks).value).argmax(-1)]
    return {"critic": td(x, at, at.fold(at.q(NEXT, chosen, slow=True).value))} | extracted(x, at, p)


def bcq(x: Numbers, at: Numbers, p: P) -> Terms:
    q = at.q(NEXT, at.sample(NEXT, p.num_samples, steps=p.flow_steps), slow=True).value
    best = (p.min_weight * q.min(0) + (1 - p.min_weight) * q.max(0)).max(-1)
    return {"critic": td(x, at, best)} | extracted(x, at, p)


# -------------------------------------------------------------------------------------------------- values of a policy


def fql(x: Numbers, at: Numbers, p: P) -> Terms:
    chunk = np.clip(at.one_step(NEXT, at.normal("critic", 1, *SHAPE)), -1, 1)[:, 0]
    return {"critic": td(x, at, at.fold(at.q(NEXT, chunk, slow=True).value))} | extracted(x, at, p)


def td3_bc(x: Numbers, at: Numbers, p: P) -> Terms:
    noise = np.clip(p.policy_noise * at.normal("smoothing", at.c, toy.ACTION_DIM), -p.noise_clip, p.noise_clip)
    chunk = np.clip(np.clip(at.chunk(NEXT, slow=True)[:, : at.c], -1, 1) + noise, -1, 1)
    critic = td(x, at, at.fold(at.q(NEXT, chunk, slow=True).value))
    climbed, scale = (at.q(BOTH, np.clip(y.chunk(BOTH), -1, 1)).height[0] for y in (x, at))
    distance = (((x.chunk(BOTH) - at.actions) ** 2).mean(-1) * at.mask).sum(-1) / at.mask.sum(-1)
    return {"critic": critic, "actor": (distance - p.alpha / np.abs(scale).mean() * climbed).mean()}


def over_own(at: Numbers, own: np.ndarray) -> np.ndarray:
    """Q of the data's chunk over the mean of the policy's."""
    return at.fold(at.q(BOTH).value) - at.fold(at.q(BOTH, own).value).mean(-1)


def awac(x: Numbers, at: Numbers, p: P) -> Terms:
    own = np.concatenate([at.sample(rows, p.num_samples) for rows in (NOW, NEXT)])
    critic = td(x, at, at.fold(at.q(NEXT, own[NEXT], slow=True).value).mean(-1))
    weight = capped(np.exp(over_own(at, own) / p.temperature), p.max_weight)
    return {"critic": critic, "actor": (weight * at.valid * x.cloning()).mean()}


def crr(x: Numbers, at: Numbers, p: P) -> Terms:
    slow = at.sample(NEXT, 1, slow=True)
    critic = td(x, at, at.fold(at.q(NEXT, slow, slow=True).value)[:, 0])
    advantage = over_own(at, np.concatenate([at.sample(rows, p.num_samples) for rows in (NOW, NEXT)]))
    weight = advantage > 0 if p.weight == "binary" else capped(np.exp(advantage / p.beta), p.max_weight)
    return {"critic": critic, "actor": (weight * at.valid * x.cloning()).mean()}


def mpo(x: Numbers, at: Numbers, p: P) -> Terms:
    own = np.concatenate([at.sample(rows, p.num_samples, slow=True) for rows in (NOW, NEXT)])
    q = at.fold(at.q(BOTH, own, slow=True).value)
    improve = (softmax(q / p.eta, axis=-1) * x.cloning_of(own)).sum(-1).mean()
    actor = (1 - p.alpha) * improve + p.alpha * x.cloning().mean()
    return {"critic": p.critic_weight * td(x, at, q[NEXT].mean(-1)), "actor": actor}


def lowest(at: Numbers, q: np.ndarray, subset: int) -> np.ndarray:
    """(E, B) -> (B,): of each row the lowest of the members with the smallest of E random numbers."""
    order = np.argsort(at.uniform("members", len(q)), -1)[:, :subset]
    return np.array([q[members, row].min() for row, members in enumerate(order)])


def entropy(x: Numbers, at: Numbers, log_pi: np.ndarray, numbers: int, p: P) -> tuple[float, float]:
    """kappa, held fixed, and the loss of the temperature."""
    log_kappa, still = (10 * y.parameter("temperature", "log") for y in (x, at))
    return np.exp(still), -(log_kappa * (log_pi / numbers + p.target_entropy)).mean() / 100


def sac(x: Numbers, at: Numbers, p: P) -> Terms:
    moved, own = ([y.sample_with_log_prob(rows, 1) for rows in (NOW, NEXT)] for y in (x, at))
    chunk, log_pi = (np.concatenate([part[i][:, 0] for part in moved]) for i in (0, 1))
    still = np.concatenate([part[1][:, 0] for part in own])
    kappa, temperature = entropy(x, at, still, toy.CHUNK * toy.ACTION_DIM, p)
    following = lowest(at, at.q(NEXT, own[1][0][:, 0], slow=True).value, p.subset)
    following = following - kappa * still[NEXT] * p.backup_entropy
    actor = (kappa * log_pi - at.fold(at.q(BOTH, chunk).height)).mean()
    return {"critic": td(x, at, following), "actor": actor, "temperature": temperature}


def cql(x: Numbers, at: Numbers, p: P, calibrated: bool = False) -> Terms:
    n, t, numbers = p.num_actions, p.cql_temperature, toy.CHUNK * toy.ACTION_DIM
    moved, own = ([y.sample_with_log_prob(rows, n) for rows in (NOW, NEXT)] for y in (x, at))
    best = at.fold(at.q(NEXT, own[1][0] if p.max_backup else own[1][0][:, :1], slow=True).value).max(-1)
    of_data = x.q(NOW).value
    scores = [x.q(NOW, 2 * at.uniform("uniform", n, *SHAPE) - 1).value / t]
    for chunks, _ in own:
        q = x.q(NOW, chunks).value
        scores.append((np.maximum(q, at.g[NOW, None]) if calibrated else q) / t)
    if p.importance_sample:
        density = [np.full((PAIRS, n), -numbers * np.log(2)), own[0][1], own[1][1]]
        scores = [score - d for score, d in zip(scores, density, strict=True)]
    else:
        scores.append(of_data[..., None] / t)
    gap = t * logsumexp(np.concatenate(scores, -1), axis=-1) - of_data
    first, density = (np.concatenate([part[i][:, 0] for part in moved]) for i in (0, 1))
    aim = x.cloning() if p.bc_steps else -at.fold(at.q(BOTH, first).height)  # the first step is one of bc_steps
    log_kappa, still = (10 * y.parameter("temperature", "log") for y in (x, at))
    surplus = np.concatenate([d[:, 0] for _, d in own]) / numbers - 1
    return {
        "critic": td(x, at, best),
        "conservative": p.min_q_weight * (at.ok * gap.mean(0)).mean(),
        "actor": (np.exp(still) * density + aim).mean(),
        "temperature": -(log_kappa * surplus).mean() / 100,
    }


def cal_ql(x: Numbers, at: Numbers, p: P) -> Terms:
    return cql(x, at, p, calibrated=True)


# --------------------------------------------------------------------------------- values of a policy that is added to


def cut(x: np.ndarray, at: np.ndarray) -> np.ndarray:
    """x cut to [-1, 1] at `at`, where the cut is held fixed: its gradient is that of x."""
    return x + np.clip(at, -1, 1) - at


def residual(x: Numbers, at: Numbers, p: P) -> Terms:
    base = np.concatenate((at.sample(NOW, 1), at.sample(NEXT, 1)))[:, :, : at.c]
    moved, still = (base + p.alpha * y.correction(base) for y in (x, at))
    assert (np.abs(still) > 1).any() and (np.abs(still) < 1).any()
    noise = np.clip(p.policy_noise * at.normal("smoothing", at.c, toy.ACTION_DIM), -p.noise_clip, p.noise_clip)
    following = np.clip(np.clip(still[NEXT, 0], -1, 1) + noise, -1, 1)
    critic = td(x, at, lowest(at, at.q(NEXT, following, slow=True).value, p.subset))
    return {"critic": critic, "residual": -at.fold(at.q(BOTH, cut(moved, still)[:, 0]).height).mean()}


def edit(x: Numbers, at: Numbers, p: P) -> Terms:
    base = at.sample(NEXT, p.num_samples)[:, :, : at.c]
    edits, _ = at.edits(at.tokens[NEXT], base, at.uniform("edit_of_backup", *base.shape[1:]))
    chunks = np.concatenate((base, np.clip(base + p.beta * edits, -1, 1)), 1)
    best = chunks[np.arange(PAIRS), at.fold(at.q(NEXT, chunks).value).argmax(-1)]
    critic = td(x, at, lowest(at, at.q(NEXT, best, slow=True).value, p.subset))

    base = np.concatenate((at.sample(NOW, 1), at.sample(NEXT, 1)))[:, :, : at.c]
    uniform = np.concatenate([at.uniform(stream, *base.shape[1:]) for stream in ("edit", "edit_next")])
    (moved, log_pi), (still, density) = (y.edits(at.tokens, base, uniform) for y in (x, at))
    kappa, temperature = entropy(x, at, density[:, 0], base[0].size, p)
    q = at.fold(at.q(BOTH, cut(base + p.beta * moved, base + p.beta * still)[:, 0]).height)
    of_edit = (kappa * log_pi[:, 0] - q).mean()
    return {"actor": x.cloning().mean(), "critic": critic, "edit": of_edit, "temperature": temperature}


def dsrl(x: Numbers, at: Numbers, p: P) -> Terms:
    (moved, log_pi), (still, density) = (y.noises() for y in (x, at))
    kappa, temperature = entropy(x, at, density, still[0].size, p)
    flow = at.flow(p.box * still)
    chunks = np.clip(flow, -1, 1)[:, :, : at.c]
    following = lowest(at, at.q(NEXT, chunks[NEXT, 0], slow=True).value, p.subset)
    terms = {"critic": td(x, at, following - kappa * density[NEXT] * p.backup_entropy), "temperature": temperature}
    if p.climbs == "actions":
        q = at.fold(at.q(BOTH, cut(x.flow(p.box * moved), flow)[:, 0]).height)
        return terms | {"noise": (kappa * log_pi - q).mean()}
    normal = np.concatenate([at.normal(stream, p.num_noises, *SHAPE) for stream in ("of_noise", "of_noise_next")])
    of_normal = np.clip(at.flow(normal), -1, 1)[:, :, : at.c]
    teacher = at.fold(at.q(BOTH, np.concatenate((chunks, of_normal), 1)).value)
    q = at.fold(at.q_of_noises(p.box * moved).height)[:, 0]
    of_noise = x.q_of_noises(np.concatenate((p.box * still, normal), 1)).loss(teacher).mean()
    return terms | {"noise": (kappa * log_pi - q).mean(), "critic_noise": of_noise}


OF = {
    "bc": bc, "filtered_bc": filtered_bc, "top_bc": top_bc, "oracle_competent": oracle_competent,
    "return_conditioned": return_conditioned, "mc_awr": mc_awr, "recap": recap,
    "sarsa_bon": sarsa_bon, "sharsa": sharsa, "iql": iql, "idql": iql, "dqc": dqc, "qc": qc, "bcq": bcq, "fql": fql,
    "qc_fql": fql, "td3_bc": td3_bc, "awac": awac, "crr": crr, "mpo": mpo, "sac": sac, "cql": cql, "cal_ql": cal_ql,
    "residual": residual, "edit": edit, "dsrl": dsrl,
}  # fmt: skip
