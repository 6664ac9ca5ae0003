"""A vision-language model without its output layer, with random weights or with those of a checkpoint, all of them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from robo_orl.base.errors import RunError, UsageError
from robo_orl.config import LoraConfig
from robo_orl.models.vlm.architectures import Architecture

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


OUTPUT_LAYER = "lm_head."  # a policy predicts no words
SHOWN = 4  # names in an error sentence


def build(architecture: Architecture, weights: str | None = None, download: bool = False) -> nn.Module:
    """The base model (vision tower, connector, language model) in float32.

    weights: a folder, or a name on Hugging Face's hub; None draws random ones. download: whether missing files may be
    downloaded. UsageError where the weights are missing or of another architecture, RunError where the checkpoint is
    partial or damaged.
    """
    from transformers import AutoModel

    with plain_weights(), _quiet():
        if weights is None:
            return AutoModel.from_config(configuration(architecture), dtype=torch.float32)
        config = _config_of(weights, download)
        _check_same(architecture, config, weights)
        return _load(config, weights, download)


def configuration(architecture: Architecture) -> PreTrainedConfig:
    """The configuration from which `transformers` builds the architecture."""
    from transformers import AutoConfig

    values = dict(architecture.config)
    return AutoConfig.for_model(values.pop("model_type"), **values)


@contextmanager
def plain_weights() -> Iterator[None]:
    """Build models as plain modules, also while a ZeRO-3 configuration is live.

    `transformers` would partition what it builds right away; the random numbers, and with them the policy, would then
    depend on the engine, and slow copies could not be taken. The engine partitions the whole agent afterwards.
    """
    from transformers.integrations import deepspeed

    live = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = live


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the reports of `transformers` on standard error: what matters in them becomes an error here."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _config_of(weights: str, download: bool) -> PreTrainedConfig:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(weights, local_files_only=not download)
    except (OSError, ValueError) as error:
        remedy = "" if download else "; name a folder, or set backbone.download to true to ask Hugging Face's hub"
        raise UsageError(
            f"backbone.weights {weights} is neither a folder with a model nor in the local cache{remedy} "
            f"({str(error).splitlines()[0]})."
        ) from None


def _check_same(architecture: Architecture, config: PreTrainedConfig, weights: str) -> None:
    """UsageError where the checkpoint's own configuration makes other parameters than the architecture's."""
    if config.model_type != architecture.model_type:
        raise UsageError(
            f"backbone.weights {weights} is a {config.model_type}, backbone.size {architecture.name} is a "
            f"{architecture.model_type}: choose the size that the weights belong to."
        )
    ours, theirs = shapes(configuration(architecture)), shapes(config)
    differing = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    if differing:
        name = differing[0]
        raise UsageError(
            f"backbone.weights {weights} has another architecture than backbone.size {architecture.name}: "
            f"{len(differing)} parameters differ, {name} is {theirs.get(name, 'missing')} there and "
            f"{ours.get(name, 'missing')} here."
        )


def shapes(config: PreTrainedConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every parameter, without making one."""
    from transformers import AutoModel

    with torch.device("meta"):
        model = AutoModel.from_config(config)
    return {name: tuple(p.shape) for name, p in model.named_parameters()}


def _load(config: PreTrainedConfig, weights: str, download: bool) -> nn.Module:
    from safetensors import SafetensorError
    from transformers import AutoModel

    try:
        model, report = AutoModel.from_pretrained(
            weights,
            config=config,
            dtype=torch.float32,
            local_files_only=not download,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, by name
        )
    except (OSError, SafetensorError, EOFError, KeyError) as error:
        raise RunError(f"The weights in {weights} cannot be read: {str(error).splitlines()[0]}") from None
    _check_complete(report, weights)
    return model


def _check_complete(report: dict[str, Any], weights: str) -> None:
    """RunError where a parameter was not in the checkpoint (it would be random), or the checkpoint holds more."""
    lacking = sorted({*report["missing_keys"], *(mismatch[0] for mismatch in report["mismatched_keys"])})
    surplus = sorted(name for name in report["unexpected_keys"] if not name.startswith(OUTPUT_LAYER))
    for names, what in ((lacking, "lacks"), (surplus, "holds, beside the model,")):
        if names:
            shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
            raise RunError(f"The checkpoint {Path(weights)} {what} {len(names)} parameters: {shown}.")


PEFT = "peft>=0.17"


def freeze(model: nn.Module) -> None:
    """Exclude a model from training."""
    model.requires_grad_(False)


def add_lora(language: nn.Module, model: nn.Module, config: LoraConfig) -> None:
    """Freeze the model and add low-rank adapters (Hu et al. 2021, arXiv:2106.09685) to its language model.

    The adapted layer starts as it was: one of the two factors is zero. UsageError where peft is missing or no layer has
    one of the names.
    """
    if importlib.util.find_spec("peft") is None:
        raise UsageError(f"backbone.lora needs peft, which is not installed: `pip install '{PEFT}'`.")
    from peft import LoraConfig as Adapter
    from peft import inject_adapter_in_model

    layers = {name.rpartition(".")[2] for name, module in language.named_modules() if isinstance(module, nn.Linear)}
    missing = [name for name in config.targets if name not in layers]
    if missing:
        raise UsageError(
            f"backbone.lora.targets: the language model has no '{missing[0]}'; it has {', '.join(sorted(layers))}."
        )
    freeze(model)
    adapter = Adapter(r=config.rank, lora_alpha=config.alpha, lora_dropout=0.0, target_modules=list(config.targets))
    inject_adapter_in_model(adapter, language)


def save_activations(model: nn.Module) -> None:
    """Keep only each layer's input and compute the rest again in backward."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})
