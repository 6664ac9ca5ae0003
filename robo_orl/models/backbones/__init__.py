"""Backbones by the name that `backbone.kind` gives.

Each is built from (spec, backbone config, observation config), has a `width`, maps a normalised Observation to tokens
(B, S, D), and has as class attributes
    options: the fields of BackboneConfig that it reads, besides kind and size
    tokeniser(config): what turns N sentences into ids (N, L) int64 and mask (N, L) bool.
"""

from __future__ import annotations

from robo_orl.config import BackboneConfig
from robo_orl.errors import UsageError, unknown
from robo_orl.models.backbones.transformer import Transformer

BACKBONES = {"transformer": Transformer}


def check_backbone(config: BackboneConfig) -> None:
    """UsageError where the kind does not exist, or a setting belongs to another kind and would do nothing."""
    if config.kind not in BACKBONES:
        raise unknown("backbone", config.kind, BACKBONES)
    read = {"kind", "size", *BACKBONES[config.kind].options}
    for name, field in BackboneConfig.model_fields.items():
        if name not in read and getattr(config, name) != field.default:
            raise UsageError(f"The backbone '{config.kind}' has no '{name}': leave backbone.{name} out.")
