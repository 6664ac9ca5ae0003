"""What is due in a slot, computed by hand from the lengths of episodes."""

import pytest

from robo_orl.config import OnlineConfig
from robo_orl.online.replay import CollectedEpisode
from robo_orl.online.schedule import Schedule, Slot


def episodes(*lengths, success=True):
    common = {"start_seed": 0, "terminal": success, "simulation_s": 0.0, "restarts": 0, "fingerprint": "", "rows": ""}
    return [CollectedEpisode(episode=i, length=n, success=success, **common) for i, n in enumerate(lengths)]


def schedule(has_data=True, successes_alone=False, **online):
    config = OnlineConfig.model_validate({"collection": {"episodes": 2}} | online)
    return Schedule(config, execute=5, has_data=has_data, successes_alone=successes_alone)


def test_a_round_is_paid_in_the_slot_after_it():
    slots = schedule(updates=2).slots(episodes(10, 7, 5, 5, 4, 4))
    assert slots == [
        Slot(0, 0, False, 0, 0, 0),
        Slot(1, 17, False, 0, 0, 8),  # 2 + 2 chunks
        Slot(2, 27, False, 8, 0, 4),
        Slot(3, 35, False, 12, 0, 4),
    ]


def test_a_round_that_is_not_whole_is_no_round():
    assert len(schedule().slots(episodes(10, 7, 5))) == 2


def test_fractions_of_an_update_are_carried_over():
    slots = schedule(updates=0.3).slots(episodes(5, 5, 5, 5, 5, 5, 5, 5))
    assert [slot.updates for slot in slots] == [0, 0, 1, 0, 1]  # 0.6 an update each: 0.6, 1.2, 0.8, 1.4
    assert [slot.before for slot in slots] == [0, 0, 0, 1, 1]


def test_warm_up_pays_nothing_and_then_the_critic_learns_first():
    slots = schedule(warm_up={"steps": 20, "critic_updates": 7}).slots(episodes(8, 8, 8, 8, 5, 5))
    assert [(s.warm_up, s.critic_only, s.updates) for s in slots] == [
        (True, 0, 0),
        (True, 0, 0),
        (False, 7, 0),  # 32 steps are there; nothing was collected after the warm-up
        (False, 0, 2),
    ]


def test_without_anything_to_draw_nothing_is_due():
    failures = schedule(has_data=False, successes_alone=True).slots(episodes(10, 10, 10, 10, success=False))
    assert all(slot.after == 0 for slot in failures)
    assert schedule(has_data=False).slots(episodes(10, 10))[1].updates == 4


@pytest.mark.parametrize("steps, expected", [(1, [0, 1]), (5000, [0, 1000, 2000, 5000]), (1500, [0, 1000, 1500])])
def test_the_grid_of_a_budget_ends_with_it(steps, expected):
    assert OnlineConfig().evaluation.until(steps) == expected


def test_the_grid_goes_on_every_ten_thousand_steps():
    assert OnlineConfig().evaluation.until(45_000)[5:] == [20_000, 30_000, 40_000, 45_000]
