"""Draws are a function of (seed, step, stream) alone, and N ranks together draw what one process would."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from robo_orl.base.rng import Draws, Stream, derive_seed
from robo_orl.base.seeds import raw_bits


def test_ranks_together_draw_what_one_process_draws():
    whole = Draws(seed=3, step=7).normal("policy", 6, 2)
    parts = [Draws(seed=3, step=7, rank=rank, world=3).normal("policy", 2, 2) for rank in range(3)]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_a_part_of_a_draw_is_that_of_torch_and_so_is_what_is_drawn_next(kind):
    make = torch.randn if kind == "normal" else torch.rand
    for total in (1, 4, 16, 20, 48, 52, 80, 100, 1000):
        for count in {total // n for n in (1, 2, 3, 4, 5, 25) if total % n == 0}:
            for first in range(0, total, count):
                stream, generator = Stream(9), torch.Generator().manual_seed(9)
                for _ in range(2):
                    whole = make(total, generator=generator)
                    assert torch.equal(getattr(stream, kind)(first, count, total), whole[first : first + count])


def test_streams_do_not_disturb_each_other():
    alone = Draws(0, 0).uniform("policy", 5)
    draws = Draws(0, 0)
    draws.normal("critic", 100)
    assert torch.equal(draws.uniform("policy", 5), alone)


def test_steps_seeds_and_repeated_draws_differ():
    first = Draws(0, 0)
    a, b = first.normal("policy", 4), first.normal("policy", 4)
    c, d = Draws(0, 1).normal("policy", 4), Draws(1, 0).normal("policy", 4)
    assert len({tuple(t.tolist()) for t in (a, b, c, d)}) == 4


def test_seeds_are_stable_across_versions():
    assert derive_seed(0, 1, "policy") == derive_seed(0, 1, "policy") != derive_seed(0, 1, "critic")
    assert 0 <= derive_seed("x") < 2**63


def test_raw_bits_are_those_of_a_new_generator_with_that_key():
    """Whatever was drawn before, of odd numbers too, and in several threads at once."""

    def fresh(count, *parts):
        return np.random.Philox(key=derive_seed(*parts)).random_raw(count)

    asked = [(count, seed, "windows") for seed in range(40) for count in (1, 2, 5, 64)]
    with ThreadPoolExecutor(8) as threads:
        for drawn, (count, *parts) in zip(threads.map(lambda one: raw_bits(*one), asked * 20), asked * 20, strict=True):
            assert np.array_equal(drawn, fresh(count, *parts))
