"""Seeds and draws that are a function of names and numbers alone. No torch: simulator processes import this."""

from __future__ import annotations

import hashlib
import threading

import numpy as np

_EMPTY = np.zeros(4, np.uint64)


class _OwnPhilox(threading.local):
    """A generator of each thread, set anew for every draw: a new one asks the system for entropy that no key needs."""

    def __init__(self) -> None:
        self.bits = np.random.Philox(key=0)


_OWN = _OwnPhilox()


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from the parts, stable across machines and Python runs."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def raw_bits(count: int, *parts: int | str) -> np.ndarray:
    """(count,) uint64 of the counter-based generator Philox, whose key is the seed of the parts.

    numpy promises these bits for ever, but not what it makes of them.
    """
    _OWN.bits.state = {
        "bit_generator": "Philox",
        "state": {"counter": _EMPTY, "key": np.array([derive_seed(*parts), 0], np.uint64)},
        "buffer": _EMPTY,
        "buffer_pos": len(_EMPTY),
        "has_uint32": 0,
        "uinteger": 0,
    }
    return _OWN.bits.random_raw(count)
