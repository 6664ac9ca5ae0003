"""Branches of an episode on a real simulator: the episode that they are taken from goes on as if there were none."""

from dataclasses import dataclass

import numpy as np
import pytest
from scripted_scene import Line, LineScene

pytest.importorskip("robosuite", reason="needs the simulator")

from robo_orl.config import View  # noqa: E402
from robo_orl.config.presets import load_task  # noqa: E402
from robo_orl.rollout.branches import Follow, Try  # noqa: E402
from robo_orl.rollout.env_spec import TaskEnvSpec  # noqa: E402
from robo_orl.rollout.simulator import Act, Begin, EpisodeServer  # noqa: E402

RNG = np.random.default_rng(0)
# Down to the cube's height with an open hand, then wild: contacts with the table and the cube, the gripper moving.
APPROACH = np.tile(np.array([0.1, 0.0, -0.7, 0.0, 0.0, 0.2, -1.0]), (12, 1))
WILD = [RNG.uniform(-1, 1, (4, 7)) for _ in range(7)]
TASKS = {
    "lift": load_task("lift").model_copy(update={"max_seconds": 2.0}),
    "chain2+padded": load_task("chain2+padded").model_copy(update={"max_seconds": 1.4, "padding": 0.5}),
}


@pytest.fixture(scope="module", params=TASKS)
def server(request):
    return EpisodeServer(TaskEnvSpec(TASKS[request.param], history=2))


def played(server, branching):
    """The replies of an episode; branching: a function that the server is given to before each chunk."""
    replies = [server(Begin(0, 1, 0.99))]
    for number, chunk in enumerate([APPROACH, *WILD]):
        if replies[-1].outcome is None:
            branching(server, number)
            replies.append(server(Act(0, chunk)))
    return replies


def try_some(server, number):
    """Three branches of different lengths, two of them beyond the end of the episode; later ones are short."""
    rng = np.random.default_rng(number)
    server(Try(0, rng.uniform(-1, 1, (3, 2, 7))))
    if number > 3:
        return
    beyond = number == 3
    answer = server(Follow(0, (0, 2), rng.uniform(-1, 1, (2, 40 if beyond else 6, 7))))
    assert [state.branch for state in answer.branches] == [0, 2]
    assert [state.obs is None for state in answer.branches] == [beyond, beyond]


def test_an_episode_is_bit_equal_with_and_without_branches(server):
    plain = played(server, lambda *_: None)
    branched = played(server, try_some)
    assert len(plain) == len(branched) and plain[-1].outcome is not None
    assert branched[-1].outcome == plain[-1].outcome  # the fingerprint of every action and observation among it
    for one, other in zip(plain[:-1], branched[:-1], strict=True):
        assert all(np.array_equal(one.obs[key], other.obs[key]) for key in one.obs)


def test_a_branch_is_what_the_episode_becomes_by_the_same_actions(server):
    server(Begin(0, 2, 0.99))
    server(Act(0, APPROACH))
    server(Try(0, np.stack([WILD[0], WILD[1], WILD[2]])))
    server(Follow(0, (2,), WILD[5][None]))
    tried = server(Follow(0, (1,), WILD[3][None])).branches[0]
    second = server(Follow(0, (0,), WILD[4][None])).branches[0]
    server(Act(0, WILD[1]))
    real = server(Act(0, WILD[3]))
    assert all(np.array_equal(tried.obs[key], real.obs[key]) for key in real.obs)
    assert not all(np.array_equal(tried.obs[key], second.obs[key]) for key in real.obs)
    assert next(iter(real.obs.values())).shape[0] == 2, "frames of the past are the branch's own"


class Seen(Line):
    """The line with a picture of the position."""

    def see(self, view):
        return {"front_image": np.full((2, 2, 3), round(100 * self.position) % 256, np.uint8)}


@dataclass(frozen=True)
class SeenScene(LineScene):
    view: View = View(cameras=("front",), size=16)

    def make_env(self):
        return Seen(self)


def test_pictures_of_a_branch_are_its_own(tmp_path):
    server = EpisodeServer(SeenScene(tmp_path))
    begun = server(Begin(0, 1, 0.99)).obs["front_image"]
    ahead, back = (np.full((3, 1), sign) for sign in (1.0, -1.0))
    tried = [state.obs["front_image"] for state in server(Try(0, np.stack([ahead, back]))).branches]
    real = server(Act(0, ahead)).obs["front_image"]
    assert np.array_equal(tried[0], real)
    assert not np.array_equal(tried[1], real) and not np.array_equal(begun, real)
