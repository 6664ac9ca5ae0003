"""The combination lock of SHARSA (Park et al. 2025, arXiv:2506.04168, section 4): does error gather over the horizon?

    python benchmarks/lock.py [--horizons 16 32 64 128 256] [--steps 4000] [--seeds 8] --out benchmarks/lock.json
    python benchmarks/lock.py --plot docs/pictures/lock.svg --out benchmarks/lock.json

H states in random order, each seen as ceil(log2 H) bits of a random number; of two actions one moves on, the other goes
back to the start. Every step costs 1, the one that opens nothing; gamma is 1, and Q* is minus the steps that are left.
The data cover every state and both actions evenly. The actions that follow within n steps are the right ones, so that a
backup of n steps has the same Q* as one of one step: what differs is how often an estimate is built on an estimate.

The learners are double Q-learning (objective qc, whose policy proposes both actions) with 1 and with n steps, and as a
control regression to Q* itself, which shows what the network can hold. All seeds of a row train as one stacked network.
Errors of Q are split into their common part, the mean over both actions, and the error of the difference between the
actions, which is what decides; beside them the TD error against the learner's own target. News travels tau of a backup
a step: every horizon is trained until steps x tau is 20 H, so that what is left is error and not delay. The largest
horizon is predicted from the others by robo_orl.results.fits before it is run. Three minutes of one core.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robo_orl.base.files import write_text
from robo_orl.models.critics import StackedLinear
from robo_orl.results.fits import FEWEST_SIZES, Size, power_fit, predict

ARMS = ("1-step", "n-step", "regression to Q*")
ERRORS = ("q_error", "common_error", "difference_error")


@dataclass(frozen=True)
class Lock:
    """codes (H, bits) of +-1; going (H,): the position that the right action leads to is the next one, H is open."""

    codes: Tensor

    @property
    def horizon(self) -> int:
        return len(self.codes)

    def q_star(self) -> Tensor:
        """(H, 2): wrong, right. The last right action costs nothing."""
        right = -(self.horizon - 1.0 - torch.arange(self.horizon))
        return torch.stack((torch.full_like(right, -float(self.horizon)), right), 1)

    def ahead(self, n: int) -> tuple[Tensor, Tensor]:
        """n steps from every state, any first action and then right ones: rewards and position (H, 2); H is open."""
        first = torch.stack((torch.zeros(self.horizon, dtype=torch.long), torch.arange(1, self.horizon + 1)), 1)
        after = (first + n - 1).clamp(max=self.horizon)
        opened = after == self.horizon
        steps = torch.where(opened, self.horizon - first + 1, n)
        return -(steps - opened.long()).float(), after


def made(horizon: int, seed: int) -> Lock:
    """A lock whose codes are a random order of the numbers 0 .. 2^bits - 1."""
    bits = max(1, math.ceil(math.log2(horizon)))
    order = torch.randperm(2**bits, generator=torch.Generator().manual_seed(seed))[:horizon]
    return Lock(((order.unsqueeze(1) >> torch.arange(bits)) & 1).float() * 2 - 1)


class Network(nn.Module):
    """E multilayer perceptrons side by side: codes (E, M, bits) -> Q of both actions (E, M, 2), in units of `scale`."""

    def __init__(self, members: int, bits: int, width: int, scale: float):
        super().__init__()
        self.scale = scale
        self.layers = nn.ModuleList(
            (
                StackedLinear(members, bits, width),
                StackedLinear(members, width, width),
                StackedLinear(members, width, 2),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """As above."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.scale * self.layers[-1](x)


@dataclass
class Learner:
    """One arm on one lock, all seeds at once. backup: (rewards, next positions) per state and action, None for Q*."""

    online: Network
    slow: Network
    codes: Tensor  # (E, H + 1, bits); the last row stands for "open", whose value is 0
    backup: tuple[Tensor, Tensor] | None
    q_star: Tensor

    @torch.no_grad()
    def target(self, at: Tensor) -> Tensor:
        """at (E, M) positions -> (E, M, 2): chosen by the online network, valued by the slow one."""
        if self.backup is None:
            return self.q_star[at]
        reward, after = self.backup
        back = after[:1, :1].expand(len(at), 1)  # where every wrong action leads is asked for once
        positions = torch.cat((back, after[at][..., 1]), 1)  # (E, 1 + M)
        seen = self.seen(positions)
        best = self.online(seen).argmax(-1, keepdim=True)
        value = self.slow(seen).gather(-1, best).squeeze(-1) * (positions < len(self.q_star))
        value = value.clamp(-len(self.q_star), 0.0)  # no return lies outside
        return reward[at] + torch.stack((value[:, :1].expand(-1, at.shape[1]), value[:, 1:]), -1)

    def seen(self, at: Tensor) -> Tensor:
        """at (E, M) -> codes (E, M, bits)."""
        return self.codes.gather(1, at.unsqueeze(-1).expand(-1, -1, self.codes.shape[-1]))


def train(learner: Learner, steps: int, batch: int, rate: float, tau: float, seed: int) -> None:
    """Adam on the squared error of both actions, its rate on a cosine to zero; states are drawn evenly."""
    members, states = len(learner.codes), len(learner.q_star)
    draw = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(learner.online.parameters(), lr=rate, fused=True)
    pairs = list(zip(learner.slow.parameters(), learner.online.parameters(), strict=True))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        at = torch.randint(states, (members, batch), generator=draw)
        error = (learner.online(learner.seen(at)) - learner.target(at)) / learner.online.scale
        loss = error.square().mean((1, 2)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        torch._foreach_lerp_([s for s, _ in pairs], [o.detach() for _, o in pairs], tau)


@torch.no_grad()
def errors_of(learner: Learner) -> dict[str, Any]:
    """Errors per position and their means; lists hold one number per seed."""
    everywhere = torch.arange(len(learner.q_star)).expand(len(learner.codes), -1)
    q, target = learner.online(learner.seen(everywhere)), learner.target(everywhere)  # (E, H, 2)
    error, common = (q - learner.q_star).abs(), (q - learner.q_star).mean(-1).abs()
    difference = ((q[..., 1] - q[..., 0]) - (learner.q_star[:, 1] - learner.q_star[:, 0])).abs()
    td = (q - target).abs().mean(-1)
    per_seed = {
        "q_error": error.mean((1, 2)),
        "common_error": common.mean(1),
        "difference_error": difference.mean(1),
        "td_error": td.mean(1),
    }
    opens = (q[..., 1] > q[..., 0]).all(1)
    by_position = {"q_error": error[..., 1].median(0).values, "td_error": td.median(0).values}
    return {
        **{name: [float(f"{x:.4g}") for x in values.tolist()] for name, values in per_seed.items()},
        "opened": int(opens.sum()),
        "of": len(opens),
        "by_position": {name: [round(x, 3) for x in values.tolist()] for name, values in by_position.items()},
    }


def row(horizon: int, arm: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train and judge one arm on locks of one length."""
    torch.manual_seed(horizon)
    locks = [made(horizon, seed) for seed in range(args.seeds)]
    codes = torch.stack([F.pad(lock.codes, (0, 0, 0, 1)) for lock in locks])
    networks = [Network(args.seeds, codes.shape[-1], args.width, float(horizon)) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    networks[1].requires_grad_(False)
    n = {"1-step": 1, "n-step": min(args.n, horizon)}.get(arm)
    learner = Learner(*networks, codes, locks[0].ahead(n) if n else None, locks[0].q_star())
    began, steps = time.process_time(), max(args.steps, math.ceil(args.propagation * horizon / args.tau))
    train(learner, steps, args.batch, args.rate, args.tau, seed=horizon)
    cpu_s = round(time.process_time() - began, 1)
    found = {"horizon": horizon, "arm": arm, "n": n, "steps": steps, **errors_of(learner), "cpu_s": cpu_s}
    q, td = (np.median(found[name]) for name in ("q_error", "td_error"))
    print(
        f"H {horizon:4} {arm:17} Q error {q:8.3f}  TD error {td:7.3f}  opened {found['opened']}/{found['of']}",
        flush=True,
    )
    return found


# ----------------------------------------------------------------------------------------------------------------- fits


def sizes(rows: list[dict[str, Any]], arm: str, error: str) -> list[Size]:
    """The seeds of an arm as the fits take them."""
    return [Size.of(r["horizon"], r[error]) for r in rows if r["arm"] == arm]


def predicted(rows: list[dict[str, Any]], horizon: int, seeds: int) -> dict[str, dict[str, Any]]:
    """The errors at a horizon that was not run yet, from shorter ones; empty where there are too few."""
    arms = {arm: {e: sizes(rows, arm, e) for e in ERRORS} for arm in ARMS}
    return {
        arm: {e: asdict(predict(own, horizon, seeds)) for e, own in errors.items() if len(own) >= FEWEST_SIZES}
        for arm, errors in arms.items()
    }


def fitted(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The exponent of every error of every arm, and whether the prediction of the largest horizon held."""
    found: dict[str, dict[str, Any]] = {}
    for arm in ARMS:
        for error in ERRORS:
            own = sizes(rows, arm, error)
            if len(own) >= FEWEST_SIZES:
                fit = power_fit(own)
                held = {"inside": fit.prediction.inside} if fit.prediction else {}
                found.setdefault(arm, {})[error] = asdict(fit) | held
    return found


# ----------------------------------------------------------------------------------------------------------------- plot

FLOOR = 1e-3  # steps; what is smaller is drawn here


def plot(result: dict[str, Any], path: Path) -> None:
    """Errors over the horizon, and over the positions of the longest lock (running mean over 9 of them)."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "lock"
    import matplotlib.pyplot as plt

    figure, (over, q_error, td_error) = plt.subplots(1, 3, figsize=(12, 3.4), sharey=True)
    for arm, colour in zip(ARMS, ("#c0392b", "#2471a3", "#7f8c8d"), strict=True):
        rows = sorted((r for r in result["rows"] if r["arm"] == arm), key=lambda r: r["horizon"])
        horizons, longest = [r["horizon"] for r in rows], rows[-1]["by_position"]
        label = arm.replace("n-step", f"{result['settings']['n']}-step")
        over.plot(horizons, _drawn([np.median(r["q_error"]) for r in rows]), "o-", color=colour, label=f"{label}: Q")
        if arm != ARMS[2]:
            td = _drawn([np.median(r["td_error"]) for r in rows])
            over.plot(horizons, td, "o--", color=colour, alpha=0.6, label=f"{label}: TD")
            td_error.plot(_smooth(longest["td_error"]), color=colour, lw=1, label=label)
        q_error.plot(_smooth(longest["q_error"]), color=colour, lw=1, label=label)
    over.set(
        xscale="log", yscale="log", xlabel="horizon H", ylabel="absolute error, steps", title="mean over positions"
    )
    over.set_xticks(horizons, [str(h) for h in horizons])
    over.minorticks_off()
    q_error.set(xlabel=f"position, H = {horizons[-1]}", title="Q of the right action")
    td_error.set(xlabel=f"position, H = {horizons[-1]}", title="TD error")
    for axes in (over, q_error, td_error):
        axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _drawn(values: list[float]) -> np.ndarray:
    return np.maximum(values, FLOOR)


def _smooth(values: list[float], width: int = 9) -> np.ndarray:
    return _drawn(np.convolve(values, np.full(width, 1 / width), mode="valid"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--horizons", type=int, nargs="+", default=[16, 32, 64, 128, 256])
    parser.add_argument("--n", type=int, default=16, help="steps of the longer backup")
    parser.add_argument("--steps", type=int, default=4000, help="at least; longer locks are trained longer")
    parser.add_argument("--propagation", type=float, default=20.0, help="steps x tau is at least so many H")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32, help="states per step, both actions of each")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--tau", type=float, default=0.2, help="of the target; steps x tau backups must exceed H")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/lock.json"))
    parser.add_argument("--plot", type=Path, help="draw what --out holds, and train nothing")
    args = parser.parse_args()
    if args.plot:
        plot(json.loads(args.out.read_text()), args.plot)
        return
    torch.set_num_threads(1)
    names = ("n", "steps", "propagation", "seeds", "batch", "width", "rate", "tau")
    result: dict[str, Any] = {"settings": {name: getattr(args, name) for name in names}, "rows": []}
    horizons = sorted(args.horizons)
    for horizon in horizons:
        if horizon == horizons[-1]:
            result["predictions"] = predicted(result["rows"], horizon, args.seeds)
        for arm in ARMS:
            result["rows"].append(row(horizon, arm, args))
            write_text(args.out, json.dumps(result, indent=1) + "\n")
    result["rows"] = [r if r["horizon"] == horizons[-1] else without_positions(r) for r in result["rows"]]
    write_text(args.out, json.dumps(result | {"fits": fitted(result["rows"])}, indent=1) + "\n")


def without_positions(row: dict[str, Any]) -> dict[str, Any]:
    """The row without its curves, which only the longest lock is drawn by."""
    return {name: value for name, value in row.items() if name != "by_position"}


if __name__ == "__main__":
    main()
