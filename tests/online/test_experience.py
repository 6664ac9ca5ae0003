"""What an update draws: shares of data and episodes, and the same batch on any number of ranks."""

import numpy as np
import pytest
import torch

from robo_orl.online.experience import Experience


class Frames:
    """The part of PairedWindows that is asked for: its number, its frames, and a batch that names them."""

    def __init__(self, count, first):
        self.frames = np.arange(first, first + count)

    def __len__(self):
        return len(self.frames)

    def draw_sentences(self, seed, step, pairs):
        return np.zeros(pairs, np.int64)

    def gather(self, at, sentences):
        return torch.from_numpy(at)


@pytest.fixture(autouse=True)
def plain_batches(monkeypatch):
    class Joined(torch.Tensor):
        pass

    def joined(parts):
        whole = torch.cat(list(parts)).as_subclass(Joined)
        Joined.map = lambda self, f: f(self.as_subclass(torch.Tensor))
        return whole

    monkeypatch.setattr("robo_orl.online.experience.joined", joined)


def drawn(mix, data=300, collected=100, steps=200, world=1):
    """(steps, pairs) numbers of frames; those of episodes begin at 1000."""
    experience = Experience(Frames(data, 0) if data else None, Frames(collected, 1000) if collected else None, mix)
    ranks = [[experience.batch(7, step, rank, world, 32) for rank in range(world)] for step in range(steps)]
    return np.stack([np.concatenate([part.numpy() for part in parts]) for parts in ranks])


def test_append_draws_every_frame_alike():
    of_episodes = (drawn("append") >= 1000).mean()
    assert abs(of_episodes - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 3200)
    assert len(np.unique(drawn("append"))) > 390


def test_half_draws_as_many_pairs_of_each():
    assert ((drawn("half") >= 1000).sum(1) == 8).all()


def test_online_draws_episodes_alone_and_before_the_first_one_all_is_data():
    assert (drawn("online", data=0) >= 1000).all()
    assert (drawn("half", collected=0) < 1000).all()


@pytest.mark.parametrize("mix", ["append", "half"])
def test_two_ranks_draw_what_one_does(mix):
    assert np.array_equal(drawn(mix, world=2), drawn(mix, world=1))
