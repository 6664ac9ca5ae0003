"""A step's masks and values of its frames, on windows whose masks are written down by hand."""

from dataclasses import replace

import pytest
import torch
import toy_agents as toy
from torch import Tensor, nn

from robo_orl.base.rng import Draws
from robo_orl.objectives.step import Step

# Pairs by the valid steps of their next chunk, of 4: the n = 2 that are valued lie inside of the episode in the last
# three. The fourth pair is cut by a timeout at t+n already.
INSIDE = [0, 1, 2, 3, 4]
SUCCESS = [False, False, False, True, False]
CUT = [False, False, False, True, False]


def window(success: list[bool]):
    made = toy.window(len(INSIDE))
    return replace(
        made,
        next_action_mask=torch.arange(toy.CHUNK) < torch.tensor(INSIDE)[:, None],
        td_valid=~torch.tensor(CUT),
        success=torch.tensor(success),
    )


@pytest.mark.parametrize(
    ("n", "success", "later"),
    [
        (2, [False] * 5, [0, 0, 1, 1, 1]),
        (2, [True, False, False, True, False], [1, 0, 1, 1, 1]),
        (1, [False] * 5, [0, 1, 1, 1, 1]),
        (4, [False] * 5, [0, 0, 0, 0, 1]),
        (4, SUCCESS, [0, 0, 0, 1, 1]),
    ],
    ids=["two_steps", "two_steps_to_a_terminal", "one_step", "whole_chunk", "whole_chunk_to_a_terminal"],
)
def test_a_frame_is_known_where_the_actions_that_are_valued_end_in_the_episode_or_its_terminal(n, success, later):
    step = Step(toy.agent(toy.policy("iql", n_step=n)), window(success), Draws(0, 0))
    assert step.valid.tolist() == [1, 1, 1, 0, 1, *later]


class Always(nn.Module):
    """An action head that does the same everywhere."""

    def __init__(self, number: float):
        super().__init__()
        self.number = number

    def sample(self, tokens: Tensor, num_samples: int, draws: Draws, stream: str, steps: int | None = None) -> Tensor:
        return torch.full((len(tokens), num_samples, toy.CHUNK, toy.ACTION_DIM), self.number)

    def predict(self, tokens: Tensor) -> Tensor:
        return self.sample(tokens, 1, None, "")[:, 0]


@pytest.mark.parametrize("name", ["crr", "mpo", "td3_bc"])
def test_the_slow_policy_samples_where_it_is_asked_for_and_the_learned_one_elsewhere(name):
    learner = toy.agent(toy.shipped(name))
    learner.action_head, learner.slow_head = Always(0.25), Always(-0.75)
    step = Step(learner, toy.window(), Draws(0, 0))
    for frames in ("now", "next"):
        assert (step.sample(frames, 2) == 0.25).all() and (step.sample(frames, 2, slow=True) == -0.75).all()
        assert (step.policy_chunk(frames) == 0.25).all() and (step.policy_chunk(frames, slow=True) == -0.75).all()
