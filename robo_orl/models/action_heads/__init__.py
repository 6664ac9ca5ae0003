"""Action heads by the name that `action_head.kind` gives: one file, one line here."""

from robo_orl.models.action_heads.action_head import ActionHead
from robo_orl.models.action_heads.bins import BinsHead
from robo_orl.models.action_heads.flow import FlowHead
from robo_orl.models.action_heads.gaussian import GaussianHead
from robo_orl.models.action_heads.gmm import GMMHead
from robo_orl.models.action_heads.l1 import L1Head

ACTION_HEADS: dict[str, type[ActionHead]] = {
    "l1": L1Head,
    "flow": FlowHead,
    "gaussian": GaussianHead,
    "gmm": GMMHead,
    "bins": BinsHead,
}

__all__ = ["ACTION_HEADS", "ActionHead"]
