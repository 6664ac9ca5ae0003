"""A tensor that is freed and made again costs no page faults: training does that with all of its activations."""

import resource

import pytest
import tiny
import torch

from robo_orl.cost import synthetic_step
from robo_orl.cost.synthetic_step import SyntheticStep
from robo_orl.engine import distributed
from robo_orl.engine.distributed import keep_freed_memory
from robo_orl.engine.train import train

FLOATS = 10 * 2**20  # 40 MiB: more than glibc keeps by itself
PAGES = 4 * FLOATS // resource.getpagesize()


def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.zeros(FLOATS).add_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_memory_that_was_freed_is_used_again():
    if not keep_freed_memory():
        pytest.skip("this C library has no mallopt")
    faults(8)  # the heap grows until the block fits
    assert faults(3) < PAGES / 4


@pytest.mark.skipif(torch.cuda.is_available(), reason="of steps on the CPU; a GPU's allocator keeps memory by itself")
def test_training_and_what_measures_it_keep_freed_memory(data, tmp_path, monkeypatch):
    told = []
    for user in (distributed, synthetic_step):
        monkeypatch.setattr(user, "keep_freed_memory", lambda user=user: told.append(user))
    run = tiny.run_of(data, {"optim": {"steps": 1}})
    train(run, tmp_path / "run", progress=False)
    assert told == [distributed]
    SyntheticStep(run.policy, {"object": 9}, 3, 0.99)
    assert told == [distributed, synthetic_step]
