"""A tensor that is freed and made again costs no page faults: training does that with all of its activations."""

import resource

import pytest
import torch

from robo_orl.engine.allocator import keep_freed_memory

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
