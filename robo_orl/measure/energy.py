"""Energy of the first GPU, where its driver counts it (Volta and later, by NVML)."""

from __future__ import annotations

import importlib.util


def energy_joules() -> float | None:
    """Joules since the driver was loaded; None without NVML (`pip install nvidia-ml-py`), a GPU, or a counter in it."""
    if importlib.util.find_spec("pynvml") is None:
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByIndex(0)) / 1000
    except pynvml.NVMLError:
        return None
