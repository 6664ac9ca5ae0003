"""What the kernel says was sent, and what the model says two processes send."""

import socket

import pytest

from robo_orl.config import PolicyConfig, deep_merge
from robo_orl.config.presets import load_policy, load_task
from robo_orl.cost.measure.distributed import bytes_sent, launch, launch_file
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.communication import sent
from robo_orl.cost.predict.memory import memory
from robo_orl.cost.predict.workload import workload_of


def test_bytes_through_a_socket_are_counted_once():
    listener = socket.create_server(("127.0.0.1", 0))
    sender = socket.create_connection(listener.getsockname())
    receiver, _ = listener.accept()
    before = bytes_sent()
    for _ in range(16):
        sender.sendall(b"x" * 65536)
        got = 0
        while got < 65536:
            got += len(receiver.recv(65536))
    sender.settimeout(5)
    receiver.sendall(b"!")
    sender.recv(1)
    assert 16 * 65536 <= bytes_sent() - before <= 16 * 65536 + 64
    for one in (sender, receiver, listener):
        one.close()


def test_every_layout_has_its_launch_file():
    for gpu in (False, True):
        for layout in (Layout(), Layout(2), *(Layout(2, stage) for stage in (1, 2, 3)), Layout(2, 3, offload=True)):
            assert launch_file(layout, gpu).exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_gloo_processes_send_and_hold_what_the_model_says(stage):
    task, layout = load_task("chain2"), Layout(2, stage, device="cpu")
    small = {"optim": {"batch_size": 16}, "backbone": {"size": "tiny"}}
    in_parts = {"optim": {"accumulation": 4}, "backbone": {"size": "s"}}  # as large as to be seen beside the bucket
    shipped = [load_policy(name).model_dump() for name in ("bc", "qc")]
    laid = [*(deep_merge(values, small) for values in shipped), deep_merge(deep_merge(shipped[0], small), in_parts)]
    policies = [PolicyConfig.model_validate(values) for values in laid]
    answers = launch(layout, policies, task, steps=2, limit_s=800)
    for policy, found in zip(policies, answers, strict=True):
        workload = workload_of(policy, task, layout)
        assert found.engine["processes"] == 2 and found.engine["zero_stage"] == stage
        model = sum(sent(workload.weights, layout, "gloo", workload.parts).values())
        assert sum(found.sent_bytes_per_step) / 2 == pytest.approx(model, rel=0.02)
        predicted = memory(workload)
        assert max(found.held_bytes) == pytest.approx(predicted.held_bytes, rel=0.02)
        assert max(found.peak_bytes) == pytest.approx(predicted.peak_bytes, rel=0.05)
