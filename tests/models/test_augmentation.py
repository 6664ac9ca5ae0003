"""Augmentation moves and recolours pictures, and a pair alike."""

import pytest
import torch

from robo_orl.base.rng import Draws
from robo_orl.base.types import Observation
from robo_orl.config import ObservationConfig
from robo_orl.models.augmentation import augmented, recoloured, shifted

CAMERA = "agentview"


def pictures(count: int, size: int = 16) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def through(images: torch.Tensor, step: int = 0, rank: int = 0, world: int = 1, **config) -> torch.Tensor:
    expected = ObservationConfig(cameras=[CAMERA], image_size=16, **config)
    return augmented(Observation({}, {CAMERA: images}), expected, Draws(0, step, rank, world)).images[CAMERA]


def test_a_picture_moves_and_its_border_is_repeated():
    x = pictures(2)
    moved = shifted(x, torch.tensor([[2, -3], [0, 0]]))
    assert torch.equal(moved[1], x[1])
    assert torch.equal(moved[0, :, :14, 3:], x[0, :, 2:, :13])
    assert (moved[0, :, 14:, 3:] == x[0, :, 15:, :13]).all()
    assert (moved[0, :, :14, :3] == x[0, :, 2:, :1]).all()


@pytest.mark.parametrize("config", [{"shift": 4}, {"shift": 0, "jitter": 0.4}, {"shift": 2, "jitter": 0.2}])
def test_both_frames_of_a_pair_and_its_history_are_treated_alike(config):
    one = pictures(1)
    same = through(one.expand(8, -1, -1, -1), **config)
    assert torch.equal(same[:4], same[4:])
    assert len({tuple(row.flatten().tolist()) for row in same[:4]}) > 1  # the pairs are not
    frames = through(one.expand(8, 3, -1, -1, -1), **config)
    assert torch.equal(frames[:, 0], frames[:, 2]) and torch.equal(frames[:, 0], same)


def test_steps_differ_and_processes_draw_what_one_would():
    x = pictures(1).expand(8, -1, -1, -1)
    assert not torch.equal(through(x), through(x, step=1))
    whole = through(x)[:4]
    halves = [through(x[:4], rank=rank, world=2)[:2] for rank in (0, 1)]
    assert torch.equal(torch.cat(halves), whole)


def test_shifts_cover_their_range_evenly():
    marked = torch.zeros(4000, 1, 16, 16, dtype=torch.uint8)
    marked[:, :, 8, 8] = 255
    at = through(marked.expand(-1, 3, -1, -1), shift=2)[:2000, 0].flatten(1).argmax(1)
    rows, counts = (at // 16).unique(return_counts=True)
    assert rows.tolist() == [6, 7, 8, 9, 10] and counts.min() > 320


def test_colours_change_as_their_factors_say():
    x = pictures(1)
    assert torch.equal(recoloured(x, torch.ones(1, 3)), x)
    darker = recoloured(x, torch.tensor([[0.5, 1.0, 1.0]])).float()
    torch.testing.assert_close(darker, x.float() / 2, atol=1.0, rtol=0)
    grey = recoloured(x, torch.tensor([[1.0, 1.0, 0.0]])).float()
    assert (grey[:, 0] - grey[:, 2]).abs().max() <= 1
    flat = recoloured(x, torch.tensor([[1.0, 0.0, 0.0]])).float()
    assert flat.std() < 0.5


def test_without_pictures_or_strength_nothing_is_drawn_or_changed():
    x = pictures(4)
    assert through(x, shift=0) is x
    obs = Observation({"a": torch.zeros(2, 1)}, {})
    assert augmented(obs, ObservationConfig(), Draws(0, 0)) is obs
