"""The start of a training besides random weights: a shorter run in its own folder, or another run's weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from robo_orl.base.errors import UsageError
from robo_orl.base.files import write_json
from robo_orl.base.text import notice
from robo_orl.config import RunConfig
from robo_orl.engine.checkpoint import AGENT, checkpoints
from robo_orl.engine.run_folder import SUMMARY, read_run

INIT = "init.json"


def continued(run: RunConfig, out: Path, extend: bool) -> RunConfig:
    """The run as the continuation of the one in `out`; the run itself where there is none.

    extend: a shorter one goes on to the steps of `run`: from its newest checkpoint on, the learning rate follows the
    schedule of the new length, and `extended_at` records the step. Raises UsageError where `out` has been trained for
    more steps.
    """
    stored = checkpoints(out)
    if not stored or not (out / "config.json").exists():
        return run
    before = read_run(out)
    old, new = before.policy.optim.steps, run.policy.optim.steps
    if new == old:
        return run.model_copy(update={"extended_at": before.extended_at})
    if not extend:
        return run
    if new < old:
        raise UsageError(f"{out} is a run of {old} steps, and --steps {new} is less: choose another --out.")
    step = int(stored[-1].name.split("_")[1])
    return run.model_copy(update={"extended_at": [*before.extended_at, step]})


def set_aside_summary(out: Path, steps: int) -> None:
    """Rename the summary of the shorter run, which is no longer that of the folder."""
    if (out / SUMMARY).exists():
        (out / SUMMARY).replace(out / f"train_{steps}.json")


@dataclass(frozen=True, slots=True)
class InitialWeights:
    """The tensors of an agent that were taken from `source`, and those that were not, with the reason."""

    source: str
    loaded: list[str]
    other_shape: list[str]
    missing: list[str]
    unused: list[str]

    @property
    def sentence(self) -> str:
        """One line that names what was loaded and what was not."""
        total = len(self.loaded) + len(self.other_shape) + len(self.missing)
        parts = [f"{len(self.loaded)} of {total} tensors start from {self.source}"]
        if self.other_shape:
            parts.append(f"{len(self.other_shape)} have another shape there (first {self.other_shape[0]})")
        if self.missing:
            parts.append(f"{len(self.missing)} are not there (first {self.missing[0]})")
        if self.unused:
            parts.append(f"{len(self.unused)} of its tensors have no place here (first {self.unused[0]})")
        return "; ".join(parts)


def load_initial_weights(
    agent: nn.Module, source: Path, out: Path | None, wanted: Callable[[str], bool] = lambda name: True
) -> InitialWeights:
    """Put every tensor of `source` that fits by name and shape into an agent that is not yet prepared.

    wanted: whether the tensor of a name is to be taken.

    source: a run's folder (its newest checkpoint), a checkpoint's folder, or a safetensors file. The scales of the
    normaliser come with the weights that were trained on them. out: the run's folder, for init.json. Raises UsageError
    where there are no weights, or none that fits.
    """
    weights = {name: tensor for name, tensor in _read(_weights_file(source)).items() if wanted(name)}
    ours = agent.state_dict()
    fits = [name for name in ours if name in weights and weights[name].shape == ours[name].shape]
    report = InitialWeights(
        source=str(source),
        loaded=fits,
        other_shape=[name for name in ours if name in weights and weights[name].shape != ours[name].shape],
        missing=[name for name in ours if name not in weights],
        unused=[name for name in weights if name not in ours],
    )
    if not any(parameter in set(fits) for parameter, _ in agent.named_parameters()):
        raise UsageError(f"No weight of {source} fits this policy: {report.sentence}.")
    agent.load_state_dict({name: weights[name] for name in fits}, strict=False)
    if out is not None:
        write_json(out / INIT, asdict(report))
        notice(f"{report.sentence}.")
    return report


def _weights_file(source: Path) -> Path:
    if source.is_file():
        return source
    folder = checkpoints(source)[-1] if checkpoints(source) else source
    if not (folder / AGENT).is_file():
        raise UsageError(f"--init: {source} is neither a trained run nor a safetensors file.")
    return folder / AGENT


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"--init: {path} cannot be read ({' '.join(str(error).split())[:120]}).") from None
