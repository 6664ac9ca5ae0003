"""How much error per backup does a horizon tolerate? Small processes whose values are known (rung 0 of the horizon).

    python benchmarks/horizon_rungs.py [--horizons 16 32 ... 4096] [--seeds 8] [--draws 400]

H decisions lead to a reward of 1; gamma is 1 - 1/H (arms `fixed`: 0.99). Every backup adds an error of size eps to the
target, the same at every sweep, and the learner keeps the fixed point of these targets, which dynamic programming finds
exactly: no network, no propagation delay. The wrong action

    stay      wastes one decision;
    detour    enters a path of its own, one decision longer than the right one;
    lock      leads back to the start, as in the combination lock of Park et al. 2025 (SHARSA, arXiv:2506.04168).

`noise` has mean 0 and size 1 at every state and action; `bias` has mean 1 and spread 1/2, and flatters every wrong
branch. As long as the ranking holds in all states, errors are linear in eps: those of a unit are summed over the
backups between a state and the end, and the largest eps at which the greedy policy still succeeds is min over states of
gap / difference of the errors. Half of the draws tolerate more than their median, eps*: the error at which 50 %
succeed. `cloning` fails where one of H decisions is wrong, with probability eps each.

Written down per horizon: eps* of each seed (median of its draws), and the errors of a unit, split into the part that
all actions share (their mean) and the difference that changes the ranking. The exponents are fitted by
robo_orl.results.fits; those of EXPECTED were derived before any run, and eps* at the largest horizon is predicted from
the others before it is run. Half a minute of one core."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange

from robo_orl.base.files import write_text
from robo_orl.results.fits import FEWEST_SIZES, Prediction, Size, judged, power_fit, predict

HORIZONS = [2**i for i in range(4, 13)]
N = 8  # steps of the longer backup
FIXED_GAMMA = 0.99
MEAN, SPREAD = 1.0, 0.5  # of a bias


@dataclass(frozen=True)
class Arm:
    """A process, the kind of its errors and the steps of a backup."""

    process: str
    errors: str = "noise"
    n: int = 1
    fixed: bool = False

    @property
    def name(self) -> str:
        """As in the file: `detour, noise, 8 steps`."""
        steps = f", {self.n} steps" if self.n > 1 else ""
        return f"{self.process}, {self.errors}{steps}{', gamma 0.99' if self.fixed else ''}"

    def gamma(self, horizon: int) -> float:
        """Matched to the horizon, or fixed."""
        return FIXED_GAMMA if self.fixed else 1 - 1 / horizon


@dataclass(frozen=True)
class Expected:
    """Exponents against H that were derived before any run; None: no power law is expected.

    tolerated: of eps*, as a fit over DERIVED would find it. common, difference: of the errors of a unit. factor: eps*
    of backups of n steps over that of one step, its range over DERIVED.
    """

    tolerated: float | None
    common: float | None = None
    difference: float | None = None
    factor: tuple[float, float] | None = None


# The gap between the actions is a 1/H of the value. The errors of the branches differ by one backup (stay), by the root
# of the backups on them (lock, noise on a detour) or by all of them (bias on a detour). Where the worst of H states
# decides, a factor sqrt(log H) makes the exponent steeper than -1 and -1.5.
DERIVED = (32, 512)
CLONING = Arm("cloning", "any is fatal")
EXPECTED = {
    CLONING: Expected(-1.0),
    Arm("stay"): Expected(-1.12, 0.5, 0.0),
    Arm("stay", n=N): Expected(-1.12, 0.5, 0.0, (1.0, 1.0)),
    Arm("lock"): Expected(-1.0, 0.5, 0.5),
    Arm("detour"): Expected(-1.61, 0.5, 0.5),
    Arm("detour", n=N): Expected(-1.65, 0.5, 0.5, (2.1, 2.8)),
    Arm("detour", "bias"): Expected(-1.99, 0.5, 1.0),
    Arm("detour", "bias", n=N): Expected(-1.94, 0.5, 1.0, (6.8, 7.9)),
    Arm("detour", fixed=True): Expected(None),
}


@dataclass(frozen=True)
class Errors:
    """Of both actions in every state, per unit of eps, with the values they disturb: (draws, H) and (H,)."""

    right: np.ndarray
    wrong: np.ndarray
    gap: np.ndarray

    def tolerated(self) -> np.ndarray:
        """(draws,): the eps below which the right action is the greedy one in every state."""
        difference = self.wrong - self.right
        with np.errstate(divide="ignore"):
            return np.where(difference > 0, self.gap / difference, np.inf).min(1)


def errors(arm: Arm, horizon: int, draws: int, rng: np.random.Generator) -> Errors:
    """The errors of an arm, summed from the end to the start."""
    gamma, steps_left = arm.gamma(horizon), horizon - np.arange(horizon)
    own, other = (_of_a_backup(arm.errors, sign, (draws, horizon), rng) for sign in (-1.0, 1.0))
    right = _summed(own, gamma, arm.n)
    value = gamma ** (steps_left - 1.0)
    if arm.process == "detour":
        return Errors(right, _along_detours(arm, horizon, draws, rng), value - gamma**steps_left)
    after = np.arange(horizon) if arm.process == "stay" else np.zeros(horizon, dtype=int)
    bootstrap = after + arm.n - 1  # the first action is the wrong one, the n - 1 that follow are right
    inherited = np.where(bootstrap < horizon, right[:, np.minimum(bootstrap, horizon - 1)], 0.0)
    return Errors(right, other + gamma**arm.n * inherited, value - gamma * value[after])


def _summed(own: np.ndarray, gamma: float, n: int) -> np.ndarray:
    """e_i = own_i + gamma^n e_(i + n), from the end on: the error of a value that backups of n steps have built."""
    summed = own.copy()
    for i in range(own.shape[1] - n - 1, -1, -1):
        summed[:, i] += gamma**n * summed[:, i + n]
    return summed


def _along_detours(arm: Arm, horizon: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """(draws, H): the summed errors of every detour. Each is a sum of normal numbers of its own, drawn as one."""
    discount = arm.gamma(horizon) ** arm.n
    backups = -(-(horizon - np.arange(horizon) + 1) // arm.n)
    shares = discount ** np.arange(backups.max())
    mean, square = (np.concatenate(([0.0], np.cumsum(s)))[backups] for s in (shares, shares**2))
    centre, spread = (MEAN, SPREAD) if arm.errors == "bias" else (0.0, 1.0)
    return centre * mean + spread * np.sqrt(square) * rng.normal(size=(draws, horizon))


def _of_a_backup(kind: str, sign: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if kind == "bias":
        return sign * (MEAN + SPREAD * rng.normal(size=shape))
    return rng.normal(size=shape)


# -------------------------------------------------------------------------------------------------------- measurements


@dataclass(frozen=True)
class Row:
    """One arm at one horizon: a number a seed. The errors are root mean squares over states and draws, per unit."""

    horizon: int
    tolerated: list[float]
    common: list[float]
    difference: list[float]


def measured(arm: Arm, horizon: int, seeds: int, draws: int) -> Row:
    """eps* and the parts of the error."""
    rng = np.random.default_rng([horizon, draws, *arm.name.encode()])
    if arm == CLONING:
        eps = rng.random((seeds * draws, horizon)).min(1)
        return Row(horizon, _per_seed(eps, seeds, np.median), [], [])
    slices = [errors(arm, horizon, draws, rng) for _ in range(seeds)]
    return Row(
        horizon,
        [float(np.median(e.tolerated())) for e in slices],
        [_rms((e.right + e.wrong) / 2) for e in slices],
        [_rms(e.wrong - e.right) for e in slices],
    )


def _per_seed(values: np.ndarray, seeds: int, statistic: Any) -> list[float]:
    return statistic(rearrange(values, "(seed draw) -> seed draw", seed=seeds), axis=1).tolist()


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


# ------------------------------------------------------------------------------------------------ what segments hide


CORRIDOR = 8  # decisions


def value_of_risk(n: int, right: float, seen_ahead: bool = True, chunk: bool = False) -> float:
    """What backups of n steps make of a corridor of CORRIDOR decisions at whose end is 1, where all were right.

    The data are right with probability `right`; a wrong decision ends at 0. chunk: the n actions are chosen together
    and executed, not averaged over the data. seen_ahead: the right actions are the same in every episode; where they
    are drawn anew, and shown one by one, a chunk knows only its first.
    """
    value = np.ones(CORRIDOR + 1)  # of the states along the corridor; the last is its end
    for at in range(CORRIDOR - 1, -1, -1):
        others = min(n, CORRIDOR - at) - 1  # decisions of the backup beside the one that is valued
        known = 1.0 if chunk and seen_ahead else 0.5 if chunk else right
        value[at] = known**others * value[at + others + 1]
    return float(value[0])


def hidden_by_segments(right: float = 0.5, sure: float = 0.3, steps: tuple[int, ...] = (1, 2, 4, 8)) -> dict[str, Any]:
    """A negative control of long backups: the value of a risk that is worth 1, beside one that is sure.

    One step finds the optimum. n steps without correction average over the data's next decisions, and chunks cannot
    react to what they will see: both come to prefer what is sure, however many segments of n steps the data hold.
    Horizon reduction as information loss, arXiv:2601.00831.
    """
    ways = {
        "n steps of the data": {},
        "chunk, the same lock": {"chunk": True},
        "chunk, a new lock an episode": {"chunk": True, "seen_ahead": False},
    }
    rows = [{"n": n, "values": {w: value_of_risk(n, right, **o) for w, o in ways.items()}} for n in steps]
    return {"right": right, "sure": sure, "optimum": 1.0, "decisions": CORRIDOR, "rows": rows}


# ----------------------------------------------------------------------------------------------------------------- fits


def sizes(rows: list[Row], quantity: str) -> list[Size]:
    """The rows as the fits take them."""
    return [Size.of(row.horizon, getattr(row, quantity)) for row in rows]


def fitted(rows: list[Row], quantity: str) -> dict[str, Any]:
    """The exponent with its interval over all horizons and over those of DERIVED, and whether the line is one."""
    fit = power_fit(
        sizes(rows, quantity), candidates=(-1.0, -1.5, -2.0) if quantity == "tolerated" else (0.0, 0.5, 1.0)
    )
    derived = [row for row in rows if DERIVED[0] <= row.horizon <= DERIVED[1]]
    short = power_fit(sizes(derived, quantity)).slope if len(derived) >= FEWEST_SIZES else None
    return {
        "slope": asdict(fit.slope),
        "slope_derived": asdict(short) if short else None,
        "without_largest": asdict(fit.without_largest) if fit.without_largest else None,
        "lack_of_fit": fit.lack_of_fit,
        "outcome": asdict(fit.outcome),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--horizons", type=int, nargs="+", default=HORIZONS)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--draws", type=int, default=400, help="error functions a seed")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/horizon_rungs.json"))
    args = parser.parse_args()
    *smaller, largest = sorted(args.horizons)
    settings = {"horizons": [*smaller, largest], "seeds": args.seeds, "draws": args.draws, "n": N, "derived": DERIVED}
    rows = {arm: [measured(arm, h, args.seeds, args.draws) for h in smaller] for arm in EXPECTED}
    enough = len(smaller) >= FEWEST_SIZES
    predictions = {arm: predict(sizes(own, "tolerated"), largest, args.seeds) for arm, own in rows.items() if enough}
    write(args.out, settings, rows, predictions)  # the predictions are on disk before the largest horizon is run
    for arm, own in rows.items():
        own.append(measured(arm, largest, args.seeds, args.draws))
        if arm in predictions:
            predictions[arm] = judged(predictions[arm], sizes(own, "tolerated")[-1])
        print(f"{arm.name:28} " + " ".join(f"{np.median(row.tolerated):.2e}" for row in own), flush=True)
    write(args.out, settings, rows, predictions)


def write(path: Path, settings: dict[str, Any], rows: dict[Arm, list[Row]], predictions: dict[Arm, Prediction]) -> None:
    """The file, with the fits of all horizons that were run."""
    arms = {arm.name: arm_json(arm, own, predictions.get(arm)) for arm, own in rows.items()}
    write_text(
        path, json.dumps({"settings": settings, "arms": arms, "segments": hidden_by_segments()}, indent=1) + "\n"
    )


def arm_json(arm: Arm, rows: list[Row], prediction: Prediction | None) -> dict[str, Any]:
    """One arm of the file."""
    quantities = ("tolerated",) if arm == CLONING else ("tolerated", "common", "difference")
    return {
        "n": arm.n,
        "expected": asdict(EXPECTED[arm]),
        "fits": {q: fitted(rows, q) for q in quantities} if len(rows) >= FEWEST_SIZES else {},
        "prediction": asdict(prediction) | {"inside": prediction.inside} if prediction else None,
        "rows": [asdict(rounded(row)) for row in rows],
    }


def rounded(row: Row) -> Row:
    """Four digits are more than the seeds agree in."""
    return replace(
        row,
        **{name: [float(f"{x:.4g}") for x in getattr(row, name)] for name in ("tolerated", "common", "difference")},
    )


if __name__ == "__main__":
    main()
