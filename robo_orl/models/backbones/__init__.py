"""Backbones: they turn an observation into tokens. One file each, one line here.

Each is built from (spec, backbone config, observation config), has a `width`, maps a normalised Observation to tokens
(B, S, D), and has as class attributes
    options: the fields of BackboneConfig that it reads, besides kind and size
    depth(config): its number of layers
    tokeniser(config): a function of N sentences that gives ids (N, L) int64 and mask (N, L) bool.
"""

from __future__ import annotations

from torch import nn

from robo_orl.base.errors import UsageError, unknown
from robo_orl.base.plugins import with_plugins
from robo_orl.config import BackboneConfig
from robo_orl.models.backbones.transformer import Transformer
from robo_orl.models.backbones.vlm import VLM
from robo_orl.models.vlm.architectures import architecture

BACKBONES = with_plugins({"transformer": Transformer, "vlm": VLM}, "backbones", nn.Module)


def check_backbone(config: BackboneConfig) -> None:
    """UsageError where kind or size do not exist, or a setting belongs to another kind and would do nothing."""
    if config.kind not in BACKBONES:
        raise unknown("backbone", config.kind, BACKBONES)
    read = {"kind", "size", *BACKBONES[config.kind].options}
    for name, field in BackboneConfig.model_fields.items():
        if name not in read and getattr(config, name) != field.default:
            raise UsageError(f"The backbone '{config.kind}' has no '{name}': leave backbone.{name} out.")
    BACKBONES[config.kind].depth(config)


def critic_backbone_config(config: BackboneConfig, size: str) -> BackboneConfig:
    """The backbone of `size` that a critic has for itself, trained and without the options of the action head.

    A smaller one has no weights to start from: those of the policy are of another size.
    """
    if config.weights is not None and architecture(size).vocabulary < architecture(config.size).vocabulary:
        raise UsageError(f"critic.small_size {size} has fewer words than {config.size}, whose tokeniser is used.")
    plain = {"layers": 1, "action_queries": 0, "stop_expert_gradient": False, "frozen": False}
    if size != config.size:
        plain |= {"weights": None, "download": False}
    return config.model_copy(update={"size": size, **plain})
