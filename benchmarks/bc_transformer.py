"""A training step of our native backbone beside robomimic's BC-Transformer: the same network, data, batch and process.

    python benchmarks/bc_transformer.py [--out benchmarks/bc_transformer.json]

Both read ten frames of one flat observation as ten tokens, have the same depth, width and heads, one linear map from
every token to an action, the squared error of all ten actions, no dropout, and step in float32. robomimic runs its own
`process_batch_for_training` and `train_on_batch`; ours is Transformer, that linear map and AdamW, and once more with
`backbone.compile`. What differs is what the two are: LayerNorm, GELU, biases and a written-out causal attention there,
RMSNorm, SwiGLU, QK-norm and SDPA here. Steps take turns; the ratio is the median over rounds. Seconds are those that
this process had a core, which neighbours on a shared machine change least. Forward FLOPs are counted by one counter and
must agree to 2 %. Whole training steps, data and loop included, are compared in bc_training.py.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from robo_orl.base.types import Observation
from robo_orl.config import BackboneConfig, ObservationConfig
from robo_orl.cost.flops import count_flops
from robo_orl.cost.tensor_memory import TensorBytes
from robo_orl.models.backbones.transformer import Transformer
from robo_orl.models.layers import linear

CONTEXT, NUMBERS, ACTIONS = 10, 83, 7  # chain2's observation as one vector
SIZES = {"tiny": 128, "m": 4}  # size -> batch; at s, SwiGLU's width in multiples of 32 adds 2.1 % of the FLOPs
TOLERANCE = 0.02  # of the forward FLOPs
LR, WEIGHT_DECAY = 1e-4, 0.0


def batch_of(rows: int) -> dict[str, dict[str, Tensor] | Tensor]:
    """A batch as robomimic's loader gives it."""
    generator = torch.Generator().manual_seed(0)
    obs = torch.randn(rows, CONTEXT, NUMBERS, generator=generator)
    return {"obs": {"flat": obs}, "actions": torch.rand(rows, CONTEXT, ACTIONS, generator=generator) * 2 - 1}


class Ours(nn.Module):
    """The native backbone on a history of ten, one linear map per token, AdamW."""

    def __init__(self, size: str, compiled: bool = False):
        super().__init__()
        seen = ObservationConfig(low_dim=["flat"], history=CONTEXT)
        self.backbone = Transformer({"flat": NUMBERS}, BackboneConfig(size=size, compile=compiled), seen)
        self.head = linear(self.backbone.width, ACTIONS, bias=True)
        self.optimizer = torch.optim.AdamW(self.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)

    def predict(self, batch: dict) -> Tensor:
        """(B, 10, A)."""
        return self.head(self.backbone(Observation(batch["obs"], {})))

    def step(self, batch: dict) -> float:
        """One training step; the loss."""
        loss = mse_loss(self.predict(batch), batch["actions"])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


class Robomimic:
    """robomimic's BC_Transformer of the same depth and width."""

    def __init__(self, ours: Transformer):
        from robomimic.algo import algo_factory
        from robomimic.config import config_factory
        from robomimic.utils import obs_utils

        config = config_factory("bc")
        with config.unlocked():
            config.observation.modalities.obs.low_dim = ["flat"]
            transformer = config.algo.transformer
            transformer.enabled, transformer.context_length, transformer.supervise_all_steps = True, CONTEXT, True
            transformer.embed_dim, transformer.num_layers = ours.width, len(ours.blocks)
            transformer.num_heads = ours.blocks[0].attention.heads
            transformer.emb_dropout = transformer.attn_dropout = transformer.block_output_dropout = 0.0
            config.algo.optim_params.policy.learning_rate.initial = LR
            config.algo.optim_params.policy.regularization.L2 = WEIGHT_DECAY
            config.train.seq_length = config.train.frame_stack = CONTEXT
        with contextlib.redirect_stdout(io.StringIO()):
            obs_utils.initialize_obs_utils_with_config(config)
            self.algo = algo_factory("bc", config, {"flat": [NUMBERS]}, ACTIONS, torch.device("cpu"))
        self.algo.set_train()

    def parameters(self) -> list[Tensor]:
        """Its trained tensors."""
        return list(self.algo.nets.parameters())

    def predict(self, batch: dict) -> Tensor:
        """(B, 10, A)."""
        return self.algo.nets["policy"](obs_dict=batch["obs"], actions=None, goal_dict=None)

    def step(self, batch: dict) -> float:
        """One training step; the loss."""
        info = self.algo.train_on_batch(self.algo.process_batch_for_training(batch), epoch=1)
        return info["losses"]["action_loss"].item()


def peak_bytes(step: Callable[[], object], held: list[Tensor]) -> int:
    """Bytes of tensors at the step's peak: parameters, moments, gradients, activations."""
    gc.collect()
    with TensorBytes(held) as counter:
        step()
    return counter.peak


def moments(model: Ours | Robomimic) -> list[Tensor]:
    """What the optimiser holds."""
    optimizer = model.optimizer if isinstance(model, Ours) else model.algo.optimizers["policy"]
    return [v for state in optimizer.state.values() for v in state.values() if isinstance(v, Tensor)]


def measure(size: str, rounds: int, compiled: bool) -> dict:
    """One row."""
    torch.manual_seed(0)
    ours = Ours(size)
    both = {"ours": ours, "robomimic": Robomimic(ours.backbone)}
    if compiled:
        both["ours_compiled"] = Ours(size, compiled=True)
    batch = batch_of(SIZES[size])
    row: dict = {"size": size, "batch": SIZES[size], "context": CONTEXT}
    for name, model in both.items():
        first = model.step(batch)
        model.step(batch)
        row[f"{name}_loss"] = [round(first, 4), round(model.step(batch), 4)]
        row[f"{name}_parameters"] = sum(p.numel() for p in model.parameters())
        if name != "ours_compiled":  # the same arithmetic; what is fused cannot be counted operator by operator
            row[f"{name}_forward_flops"] = count_flops(lambda model=model: model.predict(batch))
            held = [*model.parameters(), *moments(model)]
            row[f"{name}_peak_bytes"] = peak_bytes(lambda model=model: model.step(batch), held)
    seconds: dict[str, list[float]] = {name: [] for name in both}
    for turn in range(rounds + 2):
        for name in list(both) if turn % 2 else reversed(list(both)):
            began = time.process_time()
            both[name].step(batch)
            seconds[name] += [time.process_time() - began] if turn >= 2 else []
    for name in both.keys() - {"robomimic"}:
        ratios = [a / b for a, b in zip(seconds[name], seconds["robomimic"], strict=True)]
        row[f"{name}_step_ratio"] = statistics.median(ratios)
        row[f"{name}_step_ratio_quartiles"] = statistics.quantiles(ratios, n=4)[::2]
    return row | {
        **{f"{name}_step_s": statistics.median(values) for name, values in seconds.items()},
        "n": rounds,
        "memory_ratio": row["ours_peak_bytes"] / row["robomimic_peak_bytes"],
        "flops_ratio": row["ours_forward_flops"] / row["robomimic_forward_flops"],
    }


def main() -> int:
    """Print the rows; exit 1 where the networks do not match or ours is slower."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="where the result goes as JSON")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--compiled", action="store_true", help="also with backbone.compile: minutes to start")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(size, asked.rounds, asked.compiled) for size in asked.sizes]
    for row in rows:
        for name in ("ours", "ours_compiled")[: 1 + asked.compiled]:
            low, high = row[f"{name}_step_ratio_quartiles"]
            took = f"step x{row[f'{name}_step_ratio']:.2f} of robomimic's (quartiles {low:.2f} to {high:.2f})"
            print(f"{row['size']:5} batch {row['batch']:3} {name:13}: {took}")
        print(f"{'':15} memory x{row['memory_ratio']:.2f}, forward FLOPs x{row['flops_ratio']:.3f}")
    if asked.out:
        versions = {name: version(name) for name in ("robomimic", "torch")}
        told = {"command": " ".join(["python", *sys.argv]), "load_average": os.getloadavg()[0], "versions": versions}
        asked.out.write_text(json.dumps(told | {"rows": rows}, indent=2) + "\n")
    matched = all(abs(row["flops_ratio"] - 1) <= TOLERANCE for row in rows)
    return int(not matched or any(row["ours_step_ratio"] > 1 for row in rows))


if __name__ == "__main__":
    sys.exit(main())
