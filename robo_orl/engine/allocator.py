"""The C library's allocator, told to keep what a training step gives back."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of malloc.h
NEVER, LARGEST = 2**31 - 1, 2**30


def keep_freed_memory() -> bool:
    """Whether the C library understood: glibc does, others need not.

    A training step on the CPU frees nearly all of its tensors and asks for the same sizes again. By default glibc hands
    large blocks back to the system, and every step takes them again page by page, each page zeroed, which shows in the
    step of a small policy. Blocks of up to 1 GiB stay in the process now. The peak is what it was.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST) and mallopt(TRIM_THRESHOLD, NEVER))
