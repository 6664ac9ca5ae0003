import pytest
import torch

from robo_orl.base.errors import UsageError
from robo_orl.base.types import Observation
from robo_orl.data.statistics import Moments, Statistics
from robo_orl.models.normaliser import BOUND, Normaliser


def statistics(**over) -> Statistics:
    values = {
        "obs": {"position": Moments(mean=[1.0, 2.0], std=[0.5, 2.0])},
        "action": Moments(mean=[0.0, 0.0, 0.0], std=[1.0, 1.0, 1.0]),
        "action_low": [-1.0, -0.5, 0.2],
        "action_high": [1.0, 0.1, 0.2],
        "frames": 10,
        "data_sha256": "0" * 64,
    }
    return Statistics.model_validate(values | over)


def test_observations_are_in_standard_deviations_and_cut():
    normaliser = Normaliser({"position": 2}, 3, statistics())
    obs = Observation({"position": torch.tensor([[2.0, 0.0], [1e6, 2.0]]), "unused": torch.zeros(2, 1)}, {})
    low_dim = normaliser.observation(obs).low_dim
    assert low_dim["position"].tolist() == [[2.0, -1.0], [BOUND, 0.0]]
    assert "unused" not in low_dim


def test_actions_of_the_data_fill_minus_one_to_one_and_come_back():
    normaliser = Normaliser({"position": 2}, 3, statistics())
    raw = torch.tensor([[-1.0, -0.5, 0.2], [1.0, 0.1, 0.2], [0.3, 0.0, 0.2]])
    scaled = normaliser.scale_actions(raw)
    torch.testing.assert_close(scaled[:2, :2], torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
    assert scaled[:, 2].tolist() == [0.0, 0.0, 0.0]  # it never moved: its own unit, around what it was
    torch.testing.assert_close(normaliser.raw_actions(scaled), raw)


def test_the_scales_travel_in_the_state():
    original, loaded = Normaliser({"position": 2}, 3, statistics()), Normaliser({"position": 2}, 3, None)
    loaded.load_state_dict(original.state_dict())
    raw = torch.rand(5, 3)
    assert torch.equal(original.scale_actions(raw), loaded.scale_actions(raw))
    assert not list(loaded.parameters())


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="do not describe the observation 'force' of size 6"):
        Normaliser({"force": 6}, 3, statistics())
    with pytest.raises(UsageError, match="3 action dimensions, the agent has 7"):
        Normaliser({"position": 2}, 7, statistics())
    with pytest.raises(UsageError, match="lacks position"):
        Normaliser({"position": 2}, 3, statistics()).observation(Observation({"other": torch.zeros(1, 2)}, {}))
