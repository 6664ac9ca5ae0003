"""Action heads: they turn a backbone's tokens into a chunk of actions. One file each, one line here."""

from robo_orl.models.action_heads.action_head import ActionHead
from robo_orl.models.action_heads.bins import BinsHead
from robo_orl.models.action_heads.flow import FlowHead
from robo_orl.models.action_heads.flow_expert import FlowExpertHead
from robo_orl.models.action_heads.gaussian import GaussianHead
from robo_orl.models.action_heads.gmm import GMMHead
from robo_orl.models.action_heads.l1 import L1Head
from robo_orl.models.action_heads.parallel import ParallelBinsHead, ParallelL1Head

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
