"""Statistics of a LeRobot data set as its policies normalise by: per feature, of an episode and of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Stats = dict[str, np.ndarray]
QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
SAMPLED = 100  # pictures of an episode


def of_numbers(values: np.ndarray) -> Stats:
    """Of (T, D): min, max, mean, std and quantiles (D,), count (1,)."""
    values = values.astype(np.float64)
    quantiles = np.quantile(values, list(QUANTILES.values()), axis=0)
    return {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "count": np.array([len(values)]),
        **dict(zip(QUANTILES, quantiles, strict=True)),
    }


def of_pictures(pictures: np.ndarray) -> Stats:
    """Of (T, H, W, 3) uint8: per colour (3, 1, 1) from 0 to 1, over at most 100 pictures spread over the episode."""
    chosen = np.unique(np.linspace(0, len(pictures) - 1, min(len(pictures), SAMPLED)).round().astype(int))
    stats = of_numbers(pictures[chosen].reshape(-1, 3) / 255.0)
    count = np.array([len(chosen)])
    return {name: count if name == "count" else value.reshape(3, 1, 1) for name, value in stats.items()}


def of_all(episodes: Sequence[Mapping[str, Stats]]) -> dict[str, Stats]:
    """Feature -> statistics over all episodes: mean and std exactly, quantiles as the mean weighted by frames."""
    return {name: _pooled([episode[name] for episode in episodes]) for name in episodes[0]}


def _pooled(parts: Sequence[Stats]) -> Stats:
    counts = np.array([part["count"][0] for part in parts], np.float64)
    weights = counts / counts.sum()
    means = np.stack([part["mean"] for part in parts])
    mean = np.tensordot(weights, means, 1)
    within = np.stack([part["std"] ** 2 for part in parts])
    variance = np.tensordot(weights, within + (means - mean) ** 2, 1)
    quantiles = {q: np.tensordot(weights, np.stack([part[q] for part in parts]), 1) for q in QUANTILES}
    return {
        "min": np.min([part["min"] for part in parts], axis=0),
        "max": np.max([part["max"] for part in parts], axis=0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": np.array([int(counts.sum())]),
        **quantiles,
    }
