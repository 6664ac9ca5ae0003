"""Tensor bytes are exact: against arithmetic, and against the tracker in torch's own test suite."""

import torch
from torch import nn

from robo_orl.cost.tensor_memory import TensorBytes, storage_bytes

MB = 2**20


def test_the_peak_is_what_lives_at_the_same_time():
    with TensorBytes() as counter:
        first = torch.zeros(MB)  # 4 MB
        second = first + 1
        del first
        third = second * 2
        del second, third
    assert counter.peak == 8 * MB and counter.current == 0


def test_views_and_held_tensors_count_once():
    held = torch.zeros(100, 10)
    with TensorBytes([held, held[3:], held.view(-1)]) as counter:
        parts = held.split(10)
        held.add_(1)
    assert counter.current == counter.peak == 4000 and len(parts) == 10
    assert storage_bytes([held, held[2:], torch.zeros(5)]) == 4020


def test_what_autograd_keeps_counts():
    x = torch.ones(MB, requires_grad=True)
    with TensorBytes([x]) as counter:
        y = x.exp().exp().sum()  # keeps both results for the backward
        assert counter.current == 12 * MB + 4
        y.backward()
    assert x.grad is not None and counter.current == 8 * MB + 4  # x, its gradient, y


def test_a_training_step_agrees_with_torchs_own_tracker():
    from torch.distributed._tools.mem_tracker import MemTracker

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(100, 400), nn.ReLU(), nn.Linear(400, 10))
    optimizer = torch.optim.AdamW(net.parameters())
    x = torch.randn(64, 100)

    def step():
        net(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    moments = [v for state in optimizer.state.values() for v in state.values()]
    with TensorBytes([*net.parameters(), *moments, x]) as counter:
        step()
    tracker = MemTracker()
    tracker.track_external(net, optimizer, x)
    with tracker:
        step()
    assert counter.peak == tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
