"""How much of a vision-language model is trained: all of it, low-rank adapters, or nothing."""

from __future__ import annotations

import importlib.util

from torch import nn

from robo_orl.config import LoraConfig
from robo_orl.errors import UsageError

PEFT = "peft>=0.17"


def freeze(model: nn.Module) -> None:
    """Train nothing of it."""
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
    strange = [name for name in config.targets if name not in layers]
    if strange:
        raise UsageError(
            f"backbone.lora.targets: the language model has no '{strange[0]}'; it has {', '.join(sorted(layers))}."
        )
    freeze(model)
    adapter = Adapter(r=config.rank, lora_alpha=config.alpha, lora_dropout=0.0, target_modules=list(config.targets))
    inject_adapter_in_model(adapter, language)


def save_activations(model: nn.Module) -> None:
    """Keep only each layer's input and compute the rest again in backward."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})
