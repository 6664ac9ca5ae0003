"""Paired windows against a reference written as plain loops over one episode at a time."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic import SPEC, episode, write

from robo_orl.base.errors import UsageError
from robo_orl.base.types import Observation
from robo_orl.data.cache import open_cache
from robo_orl.data.windows import PairedWindows

LENGTHS = [1, 2, 7, 12, 30]
GOLDEN = [84, 90, 77, 59, 86, 63]  # the first draw of seed 0 from 104 frames


@pytest.fixture(scope="module")
def recorded():
    """Episodes that end in success and in a timeout, of one frame and of many, with rewards on the way."""
    episodes = [episode(length, success, seed=3 * length + success) for length in LENGTHS for success in (True, False)]
    for item in episodes:
        item.rewards = np.random.default_rng(len(item)).uniform(0, 1, len(item)).astype(np.float32)
    return episodes


@pytest.fixture(scope="module")
def arrays(recorded, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBO_ORL_CACHE", str(tmp_path_factory.mktemp("cache")))
        return open_cache(write(tmp_path_factory.mktemp("data") / "a.hdf5", recorded))


def reference(item, t: int, h: int, n: int, gamma: float, cut_short: bool = False) -> dict:
    """What types.PairedWindow promises of the window at frame t of one episode."""
    length, left = len(item), len(item) - 1 - t
    if cut_short and not item.success and 0 < left < n:
        n = left
    after = (t + n) % length

    def chunk(start):
        frames = [min(start + i, length - 1) for i in range(h)]
        return item.actions[frames], [start + i < length for i in range(h)]

    def discounted(start, end):
        return sum(gamma ** (i - start) * float(item.rewards[i]) for i in range(start, end))

    exists = t + n < length
    return {
        "obs": {key: item.obs[key][t] for key in SPEC},
        "next_obs": {key: item.obs[key][after] for key in SPEC},
        "actions": chunk(t)[0],
        "action_mask": chunk(t)[1],
        "next_actions": chunk(after)[0],
        "next_action_mask": chunk(after)[1],
        "reward": discounted(t, min(t + n, length)),
        "discount": gamma**n if exists else 0.0,
        "td_valid": exists or item.success,
        "return_to_go": discounted(t, length),
        "next_return_to_go": discounted(after, length),
        "steps_to_go": length - t,
        "success": item.success,
        "stage": int(item.stages[t - 1].sum()) if t else 0,
        "frame": t,
    }


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    h=st.integers(1, 15), n=st.integers(1, 40), gamma=st.floats(0.3, 1.0), seed=st.integers(0, 2**31), cut=st.booleans()
)
def test_every_field_agrees_with_the_reference(arrays, recorded, h, n, gamma, seed, cut):
    batch = PairedWindows(arrays, h, n, gamma, cut_short=cut).batch(seed, 5, 0, 1, 32)
    for row, (e, t) in enumerate(zip(batch.episode.tolist(), batch.frame.tolist(), strict=True)):
        for name, wanted in reference(recorded[e], t, h, n, gamma, cut).items():
            got = getattr(batch, name)
            if isinstance(got, Observation):
                assert got.images == {} and got.instruction is None
                for key in SPEC:
                    np.testing.assert_array_equal(got.low_dim[key][row].numpy(), wanted[key])
            else:
                np.testing.assert_allclose(got[row].numpy(), wanted, rtol=1e-5, atol=1e-6, err_msg=f"{name} e{e} t{t}")


def test_types_are_those_of_the_contract(arrays):
    batch = PairedWindows(arrays, 4, 3, 0.99).batch(0, 0, 0, 1, 8)
    floats = ("actions", "next_actions", "reward", "discount", "return_to_go", "next_return_to_go", "steps_to_go")
    assert {getattr(batch, name).dtype for name in floats} == {torch.float32}
    assert {getattr(batch, name).dtype for name in ("action_mask", "td_valid", "success")} == {torch.bool}
    assert {getattr(batch, name).dtype for name in ("stage", "episode", "frame")} == {torch.int64}
    assert batch.actions.shape == (4, 4, 7) and list(batch.obs.low_dim) == list(SPEC)


def test_both_halves_show_every_frame_equally_often(arrays):
    windows = PairedWindows(arrays, 2, 9, 0.99)
    batch = windows.gather(windows.frames)
    for half in (batch.obs, batch.next_obs):
        rows = Counter(map(tuple, half.low_dim["object"].tolist()))
        assert len(rows) == len(windows) and set(rows.values()) == {1}


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_together_draw_what_one_process_draws(arrays, world):
    windows = PairedWindows(arrays, 3, 3, 0.99)
    whole = windows.batch(7, 11, 0, 1, 32)
    parts = [windows.batch(7, 11, rank, world, 32) for rank in range(world)]
    for name in ("episode", "frame", "actions", "reward"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


def test_the_draw_is_a_function_of_seed_and_step_alone(arrays):
    first, second = PairedWindows(arrays, 3, 3, 0.99), PairedWindows(arrays, 5, 2, 0.9)
    second.batch(0, 0, 0, 1, 8)  # what was drawn before does not matter
    frames = [w.batch(3, 4, 0, 1, 64).frame for w in (first, second)]
    assert torch.equal(*frames)
    assert not torch.equal(frames[0], first.batch(3, 5, 0, 1, 64).frame)
    assert not torch.equal(frames[0], first.batch(4, 4, 0, 1, 64).frame)


def test_the_draw_is_the_same_on_every_machine_and_in_every_version(arrays):
    """Golden numbers: a change here changes every stored result."""
    assert PairedWindows(arrays, 3, 3, 0.99).draw(0, 0, 6).tolist() == GOLDEN


def test_a_mask_restricts_the_episodes(arrays):
    batch = PairedWindows(arrays, 3, 3, 0.99, mask="success").batch(0, 0, 0, 1, 512)
    assert batch.success.all() and len(set(batch.episode.tolist())) == len(LENGTHS)


def test_episodes_are_chosen_by_their_returns_among_those_of_the_mask(arrays):
    given = []
    windows = PairedWindows(
        arrays, 3, 3, 0.9, mask="success", chosen_by=lambda returns: given.append(returns) or returns == returns.max()
    )
    first = windows.gather(arrays.starts[:-1][arrays.masks["success"]]).return_to_go.numpy()
    np.testing.assert_allclose(given[0], first, rtol=1e-6)
    best = np.flatnonzero(arrays.masks["success"])[given[0] == given[0].max()]
    assert set(windows.batch(0, 0, 0, 1, 512).episode.tolist()) == set(best.tolist())


def test_an_unknown_mask_is_an_error_with_a_suggestion(arrays):
    with pytest.raises(UsageError, match="Did you mean 'success'"):
        PairedWindows(arrays, 3, 3, 0.99, mask="sucess")


def test_a_batch_that_does_not_divide_is_an_error(arrays):
    with pytest.raises(UsageError, match="multiple of 8"):
        PairedWindows(arrays, 3, 3, 0.99).batch(0, 0, 0, 4, 12)
