"""Debug-size runs for the engine's tests: synthetic data, two-layer policies, a few steps."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

sys.path.append(str(Path(__file__).parents[1] / "data"))
import synthetic  # noqa: E402

from robo_orl.config import PolicyConfig, RunConfig, deep_merge  # noqa: E402
from robo_orl.config.presets import preset_values  # noqa: E402

POLICY = {
    "name": "tiny",
    "action_head": {"chunk": 4, "execute": 2},
    "optim": {"steps": 20, "batch_size": 16, "warmup_steps": 4, "lr": 3e-4},
}
TRAINED_CRITIC = {"optim": {"critic_lr": 6e-4}}


def iql(**critic: object) -> dict:
    """IQL on POLICY with these settings of the critic."""
    return {"critic": critic, "objective": {"name": "iql"}}


CASES = {
    "bc": {},
    "iql_shared": iql(topology="shared", target="head_ema"),
    "iql_separate": iql(topology="separate", target="full_ema", ensemble=3),
}


def shipped() -> dict[str, dict]:
    """Every shipped policy on the native backbone, at this size."""
    from policy_files import everything

    small = POLICY | {"backbone": {"size": "tiny"}, "optim": POLICY["optim"] | {"steps": 4}}
    return {name: deep_merge(preset_values("policies", name), small) for name in everything()}


def write_data(path: Path, episodes: int = 6) -> Path:
    """Episodes of 14 to 19 frames; every third one fails."""
    return synthetic.write(path, [synthetic.episode(14 + i, success=i % 3 != 0, seed=i) for i in range(episodes)])


def run_of(data: Path, policy: dict | None = None, **fields) -> RunConfig:
    """A run of a few steps on `data`; `policy` is laid on POLICY, `fields` on the run's."""
    values = deep_merge(POLICY, policy or {})
    if values.get("critic") and not values.get("selection", {}).get("untrained_critic"):
        values = deep_merge(TRAINED_CRITIC, values)
    config = PolicyConfig.model_validate(values)
    return RunConfig(policy=config, task=synthetic.TASK, data=str(data), tracker="none", **fields)


class ForgetfulAgent(nn.Module):
    """Two linear maps; `forgets` leaves one out of every second step, `diverges_at` makes that step's loss NaN."""

    def __init__(self, forgets: bool = False, diverges_at: int | None = None):
        super().__init__()
        torch.manual_seed(0)
        self.policy = PolicyConfig(name="forgetful")
        self.a, self.b = nn.Linear(3, 5), nn.Linear(3, 5)
        self.forgets, self.diverges_at = forgets, diverges_at

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"backbone": list(self.a.parameters()), "critic": list(self.b.parameters())}

    def parameter_counts(self) -> dict[str, int]:
        return {"backbone": 20, "action_head": 0, "critic": 20, "target": 0, "total": 40}

    def forward(self, window, draws):
        seen = window.obs.low_dim["robot0_eef_pos"]
        loss = self.a(seen).square().mean()
        if not (self.forgets and draws.step % 2):
            loss = loss + self.b(seen).square().mean()
        if draws.step == self.diverges_at:
            loss = loss * float("nan")
        return loss, {"actor/loss": loss.detach()}

    def update_targets(self, gather) -> None:
        """There are none."""
