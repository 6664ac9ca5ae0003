"""Backbones by the name that `backbone.kind` gives. Each is built from (spec, size), has a `width` and maps a
normalised Observation to tokens (B, S, D)."""

from robo_orl.models.backbones.transformer import Transformer

BACKBONES = {"transformer": Transformer}
