"""Action heads: they turn a backbone's tokens into a chunk of actions. One file each, one line here."""

from robo_orl.models.action_heads.action_head import ActionHead
from robo_orl.models.action_heads.bins import BinsHead, ParallelBinsHead
from robo_orl.models.action_heads.flow import FlowExpertHead, FlowHead
from robo_orl.models.action_heads.gaussian import GaussianHead
from robo_orl.models.action_heads.gmm import GMMHead
from robo_orl.models.action_heads.l1 import L1Head, ParallelL1Head

ACTION_HEADS: dict[str, type[ActionHead]] = {
    "l1": L1Head,
    "flow": FlowHead,
    "gaussian": GaussianHead,
    "gmm": GMMHead,
    "bins": BinsHead,
    "flow_expert": FlowExpertHead,
    "parallel_l1": ParallelL1Head,
    "parallel_bins": ParallelBinsHead,
}

__all__ = ["ACTION_HEADS", "ActionHead"]
