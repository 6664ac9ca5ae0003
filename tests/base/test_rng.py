"""Draws are a function of (seed, step, stream) alone, and N ranks together draw what one process would."""

import torch

from robo_orl.base.rng import Draws, derive_seed


def test_ranks_together_draw_what_one_process_draws():
    whole = Draws(seed=3, step=7).normal("policy", 6, 2)
    parts = [Draws(seed=3, step=7, rank=rank, world=3).normal("policy", 2, 2) for rank in range(3)]
    assert torch.equal(torch.cat(parts), whole)


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
