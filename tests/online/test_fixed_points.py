"""Learning online on tables: through replay, mixture and learner every method comes to the fixed point of the mixture
of data and episodes that it is said to draw from. Both come from worlds that slip differently often, so that each
mixture has its own."""

import numpy as np
import pytest
import table_agents as tables
import tabular_mdps as mdps
import torch
import toy_agents as toy
import toy_online  # noqa: F401 (it puts the folders of other helpers on the path)
from bowls import OneToken
from scripted_scene import TASK

from robo_orl.config import RunConfig
from robo_orl.config.policies import GammaConfig
from robo_orl.engine import training_step
from robo_orl.engine.task_data import make_windows
from robo_orl.online.experience import Experience, collected_windows
from robo_orl.online.learner import Learner
from robo_orl.online.replay import open_replay
from robo_orl.online.replay_request import request_of
from robo_orl.online.team import Team
from robo_orl.rollout.episodes import FinishedEpisode
from robo_orl.rollout.simulator import Outcome, SimulatorInfo, Trajectory

S, GAMMA, KAPPA = 4, 0.8, 0.1
INFO = SimulatorInfo(40, "b" * 64, {"state": S}, 1, ["goal"], "exact")
OF_DATA = mdps.chain(S, slip=0.7).record(0.5, 30, limit=14, seed=0)
COLLECTED = mdps.chain(S, slip=0.1).record(0.5, 15, limit=14, seed=1)
MIXES = ("append", "half", "online", "data")


def agent_of(name, mix, **over):
    online = {"replay": {"mix": mix}} | over.pop("online", {})
    optim = {"schedule": "constant", "warmup_steps": 0, "lr": 0.02}
    optim |= {"batch_size": 512, "clip_norm": 0, "weight_decay": 0}
    agent = tables.table_agent(name, S, gamma=GAMMA, online=online, optim=optim, **over)
    agent.policy = agent.policy.model_copy(update={"gamma": GammaConfig(fixed=GAMMA)})
    return agent


def finished(number, episode):
    length = len(episode.states)
    trajectory = Trajectory(
        {"state": np.eye(S, dtype=np.float32)[episode.states]},
        (2 * episode.actions - 1)[:, None].astype(np.float32),
        episode.rewards.astype(np.float32),
        np.zeros((length, 1), np.uint8),
        episode.terminal,
    )
    outcome = Outcome(episode.terminal, episode.terminal, [None], length, 0.0, str(number))
    return FinishedEpisode(number, outcome, 1.0, 0, trajectory=trajectory)


def experience_of(run, folder, data=OF_DATA, collected=COLLECTED):
    """The package's own way from episodes on the disk to what an update draws."""
    arrays = toy.arrays(
        {"state": S},
        [len(e.states) for e in data],
        [e.terminal for e in data],
        np.eye(S)[np.concatenate([e.states for e in data])],
        np.concatenate([2 * e.actions - 1 for e in data])[:, None],
        np.concatenate([e.rewards for e in data]),
    )
    replay = open_replay(folder, request_of("me", INFO))
    for number, episode in enumerate(collected):
        replay.add(finished(number, episode), start_seed=number)
    mix = run.policy.online.replay.mix
    of_data = None if mix == "online" else make_windows(run, [arrays])
    return Experience(of_data, collected_windows(run, replay, ["state"], len(collected)), mix)


def learned(agent, folder, updates):
    """Q (S, 2) of every member, averaged over the second half of the updates; the learner."""
    run = RunConfig(policy=agent.policy, task=TASK, data="data.hdf5")
    learner, experience = Learner(run, agent, Team(torch.device("cpu"))), experience_of(run, folder)
    total, count = 0.0, 0
    for update in range(updates):
        learner.update(experience, critic_only=False)
        if update >= updates // 2:
            total, count = total + agent.critic.q_table.detach().squeeze(-1).clone(), count + 1
    return (total / count).numpy(), learner


def rows_of(mix):
    """Every frame as often as its share of the mixture: a half each means as often as the other has frames."""
    data, collected = (mdps.rows(episodes, 1, 1, GAMMA) for episodes in (OF_DATA, COLLECTED))
    times = {
        "append": (1, 1),
        "half": (len(collected.s), len(data.s)),
        "online": (0, 1),
        "data": (1, 0),
    }[mix]
    parts = [np.tile(np.arange(len(rows.s)), n) for rows, n in zip((data, collected), times, strict=True)]
    both = [rows.only(part) for rows, part in zip((data, collected), parts, strict=True)]
    return mdps.Rows(*(np.concatenate([getattr(r, f) for r in both]) for f in mdps.Rows.__dataclass_fields__))


def best(mix):
    return mdps.of_choice(rows_of(mix), (S, 2), lambda q: q.max(1))


def test_the_mixtures_have_fixed_points_of_their_own():
    found = {mix: best(mix) for mix in MIXES}
    for one in MIXES:
        for other in MIXES:
            assert one == other or np.abs(found[one] - found[other]).max() > 0.06, (one, other)


@pytest.mark.parametrize(
    "mix", ["half", *(pytest.param(mix, marks=pytest.mark.slow) for mix in MIXES if mix != "half")]
)
def test_q_chunking_comes_to_the_fixed_point_of_what_it_draws(mix, tmp_path):
    agent = agent_of("qc", mix, right=0.5, objective={"params": {"num_samples": 2}})
    for q in learned(agent, tmp_path, 250)[0]:
        np.testing.assert_allclose(q, best(mix), atol=0.03)


@pytest.mark.slow
def test_a_warm_critic_comes_to_the_same_values_as_a_cold_one(tmp_path):
    agent = agent_of("qc", "append", right=0.5, objective={"params": {"num_samples": 2}})
    with torch.no_grad():
        agent.critic.q_table += 1.5
        agent.target.critic.q_table += 1.5
    for q in learned(agent, tmp_path, 600)[0]:
        np.testing.assert_allclose(q[:-1], best("append")[:-1], atol=0.03)  # nothing is recorded in the last state


PENALTY = {"num_actions": 2, "min_q_weight": 0.5}
THEORY = {  # method -> (agent, its table)
    "fql": ({"right": 0.0}, lambda rows: mdps.of_choice(rows, (S, 2), lambda q: q[:, 0])),
    "iql": (
        {"objective": {"params": {"expectile": 0.9}}},
        lambda rows: mdps.implicit(rows, (S, 2), lambda x: mdps.expectile(x, 0.9))[0],
    ),
    "cal_ql": (
        {"right": 0.5, "objective": {"params": PENALTY}},
        lambda rows: mdps.conservative(rows, S, 0.5, lambda q: q.max(1), floor=rows.returns),
    ),
    "sac": (
        {"objective": {"params": {"first_kappa": KAPPA}}},
        lambda rows: mdps.of_choice(rows, (S, 2), lambda q: q[:, 1] + KAPPA * np.log(2)),
    ),
    "residual": (
        {"objective": {"params": {"policy_noise": 0, "alpha": 1e-7}}},
        lambda rows: mdps.of_choice(rows, (S, 2), lambda q: q[:, 1]),
    ),
    "edit": (
        {"right": 0.5, "objective": {"params": {"num_samples": 2, "beta": 1e-7}}},
        lambda rows: mdps.of_choice(rows, (S, 2), lambda q: q.max(1)),
    ),
    "dsrl": (
        {"objective": {"params": {"backup_entropy": False, "climbs": "actions"}}},  # no critic of noise to wait for
        lambda rows: mdps.of_choice(rows, (S, 2), lambda q: q[:, 1]),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", THEORY)
def test_every_method_comes_to_the_fixed_point_of_its_mixture(name, tmp_path, monkeypatch):
    over, theory = THEORY[name]
    mix = toy.shipped(name).online.replay.mix if name in ("residual", "edit", "dsrl") else "half"
    agent = agent_of(name, mix, **over)
    if "temperature" in agent.extra:
        agent.extra["temperature"].requires_grad_(False)
    if name == "cal_ql":
        monkeypatch.setattr(training_step, "Draws", tables.Corners)
    expected = theory(rows_of(mix))
    assert np.abs(expected - theory(rows_of("append" if mix == "half" else "half"))).max() > 0.03
    for q in learned(agent, tmp_path, 600)[0]:
        np.testing.assert_allclose(q[:-1], expected[:-1], atol=0.03)


def test_cloning_goes_on_with_the_data_and_the_successes_alone(tmp_path):
    """Data at 0.2, collected successes at 0.6, failures at -0.9, as many frames of each: the mean of what is cloned."""

    def at(action, terminal):
        rewards = np.zeros(20)
        rewards[-1] = terminal
        return mdps.Episode(np.zeros(20, int), np.full(20, (action + 1) / 2), rewards, terminal)

    policy = toy.policy(
        "bc",
        "gaussian",
        action_head={"chunk": 1, "execute": 1},
        optim={"schedule": "constant", "warmup_steps": 0, "lr": 3e-3, "batch_size": 128},
        online={"replay": {"mix": "append", "outcomes": "success"}},
    )
    run = RunConfig(policy=policy, task=TASK, data="data.hdf5")
    from robo_orl.agent.agent import build_agent

    agent = build_agent(policy, {"state": S}, 1, gamma=GAMMA, statistics=None, seed=0)
    agent.backbone = OneToken()
    learner = Learner(run, agent, Team(torch.device("cpu")))
    collected = [at(0.6, True), at(-0.9, False), at(0.6, True), at(-0.9, False)]
    experience = experience_of(run, tmp_path, [at(0.2, True), at(0.2, True)], collected)
    for _ in range(150):
        learner.update(experience, critic_only=False)
    mean = agent.action_head.mode(torch.ones(1, 1, 96)).item()
    assert mean == pytest.approx(0.4, abs=0.05)
