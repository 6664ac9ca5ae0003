"""Every on-policy method solves a bandit of two contexts from its own rounds, in seconds."""

import bandit
import pytest
import toy_rounds as rounds

SLOW = ("fpo", "reinflow")
CASES = [
    *(pytest.param(*case, marks=pytest.mark.slow if case[0] in SLOW else ()) for case in rounds.HEADS.items()),
    *(pytest.param("ppo", head, marks=pytest.mark.slow) for head in ("gmm", "bins")),
]


@pytest.mark.parametrize("name, head", CASES)
def test_it_learns_the_right_action_of_either_context(name, head):
    problem = bandit.Bandit(bandit.policy(name, head))
    for _ in range(40):
        problem.learn(problem.round())
        if len(problem.success) > 1 and min(problem.success[-2:]) > 0.95:
            break
    assert problem.success[0] < 0.6 and problem.success[-1] > 0.95
