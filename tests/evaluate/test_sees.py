"""What a policy with cameras, a history and an instruction is given at each decision."""

from pathlib import Path

import numpy as np
import torch
from scripted_scene import Line, LineScene

from robo_orl.config import View
from robo_orl.evaluate.policy import AgentPolicy
from robo_orl.rollout.episodes import PolicyQuery
from robo_orl.rollout.simulator import Rollout

VIEW = View(cameras=("agentview",), size=16)


class SeenLine(Line):
    """Its picture is filled with the number of steps taken; it counts the pictures."""

    pictures = 0

    def see(self, view):
        self.pictures += 1
        return {"agentview_image": np.full((view.size, view.size, 3), self.taken, np.uint8)}


def begun(history, view=VIEW, kept=None):
    env = SeenLine(LineScene(Path("/nowhere")))
    obs = env.reset(0)
    rollout = Rollout(env, 1.0, view, history, stage_steps=[None, None], kept=kept)
    rollout.observe(obs)
    return env, rollout


def shown(seen):
    return seen["agentview_image"][..., 0, 0, 0].tolist()


def test_pictures_are_taken_at_decisions_only():
    env, rollout = begun(history=1)
    assert shown(rollout.frames.stacked()) == 0 and env.pictures == 1
    seen, outcome = rollout.advance(np.full((5, 1), 0.1))
    assert outcome is None and shown(seen) == 5 and env.pictures == 2
    assert seen["position"].shape == (1,)


def test_a_history_holds_the_last_frames_one_decision_apart():
    env, rollout = begun(history=3)
    assert shown(rollout.frames.stacked()) == [0, 0, 0]
    seen, _ = rollout.advance(np.full((1, 1), 0.1))
    assert shown(seen) == [0, 0, 1]  # executed fewer actions than it remembers
    seen, _ = rollout.advance(np.full((5, 1), 0.1))
    assert shown(seen) == [4, 5, 6] and env.pictures == 1 + 1 + 3
    np.testing.assert_allclose(np.diff(seen["position"][:, 0]), 0.1 / 8, rtol=1e-5)


def test_an_episode_is_the_same_with_and_without_a_look():
    traces = []
    for history, view in ((1, None), (3, VIEW)):
        _, rollout = begun(history, view)
        outcome = None
        while outcome is None:
            _, outcome = rollout.advance(np.full((4, 1), 0.9))
        traces.append(outcome.fingerprint)
    assert traces[0] == traces[1]


def test_of_an_episode_that_is_kept_every_frame_is_seen_and_the_policy_sees_no_other():
    """The last instant, on which nobody acts, has no picture."""
    (env, kept), (_, plain) = begun(2, kept=[]), begun(2)
    outcome = None
    while outcome is None:
        seen, outcome = kept.advance(np.full((4, 1), 0.9))
        alike, _ = plain.advance(np.full((4, 1), 0.9))
        assert outcome is not None or shown(seen) == shown(alike)
    trajectory = kept.trajectory()
    taken = trajectory.pictures["agentview_image"]
    assert taken.shape == (outcome.length, 16, 16, 3) and taken[:, 0, 0, 0].tolist() == list(range(outcome.length))
    assert env.pictures == outcome.length == len(trajectory.actions)
    assert begun(1, view=None, kept=[])[1].pictures == {}


class Listener(torch.nn.Module):
    """An agent that keeps what it was shown."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def act(self, obs, draws):
        self.obs = obs
        return torch.zeros(len(obs), 4, 1)


def test_each_episode_is_told_the_next_sentence_and_pictures_stay_uint8():
    agent = Listener()
    instructions = torch.tensor([[1, 2], [3, 4]]), torch.ones(2, 2, dtype=torch.bool)
    actor = AgentPolicy(agent, 2, 0, instructions=instructions)
    obs = {"position": np.zeros((3, 1), np.float32), "agentview_image": np.zeros((3, 8, 8, 3), np.uint8)}
    obs["agentview_image"][..., 0] = 7
    actor([PolicyQuery(episode, 0, obs) for episode in (4, 1, 2)])
    assert agent.obs.instruction.tolist() == [[1, 2], [3, 4], [1, 2]]
    pictures = agent.obs.images["agentview"]
    assert pictures.shape == (3, 3, 3, 8, 8) and pictures.dtype == torch.uint8 and (pictures[:, :, 0] == 7).all()
    assert agent.obs.low_dim["position"].dtype == torch.float64
