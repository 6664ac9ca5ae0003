"""Action heads by the name that `action_head.kind` gives.

Each is built from (token_width, depth, action_dim, config) and has
    loss(tokens (B, S, D), actions (B, h, A), mask (B, h), draws, streams) -> (B,): per frame, actions in [-1, 1]
    sample(tokens (B, S, D), num_samples, draws, stream, steps=None) -> (B, N, h, A) in [-1, 1]
    stochastic: whether two samples differ.
`streams` names one stream of draws per equal part of the batch, so that a half of it draws what it would draw alone.
"""

from robo_orl.models.action_heads.flow import FlowHead
from robo_orl.models.action_heads.l1 import L1Head

ACTION_HEADS = {"l1": L1Head, "flow": FlowHead}
