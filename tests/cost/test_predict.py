"""A prediction is arithmetic and fake tensors; the measurement is real tensors. They agree to the byte, or nearly."""

import time
from types import SimpleNamespace

import pytest
import torch
from real_step import beside_real_tensors

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig, TaskConfig, deep_merge
from robo_orl.config.presets import load_policy, load_task
from robo_orl.cost.measure.memory import measured_memory
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.cards import CARDS, card
from robo_orl.cost.predict.communication import LINKS, sent, step_time
from robo_orl.cost.predict.memory import largest_batch, memory
from robo_orl.cost.predict.prediction import predict
from robo_orl.cost.predict.workload import _phases, with_batch, workload_of
from robo_orl.cost.profile import Request, predicted
from robo_orl.cost.synthetic_step import SyntheticStep
from robo_orl.models import cpu_kernels as products

TASK = TaskConfig(name="chain2", env="chain", stages=["one", "two"], max_seconds=16)
BASE = {"name": "bc", "action_head": {"kind": "flow", "chunk": 4, "execute": 2}, "optim": {"batch_size": 16}}
IQL = {"objective": {"name": "iql"}}
CASES = {
    "bc": {},
    "shared": IQL | {"critic": {"topology": "shared", "loss": "hl_gauss"}},
    "frozen": IQL | {"critic": {"topology": "frozen"}},
    "separate_full_ema": IQL | {"critic": {"topology": "separate", "target": "full_ema", "ensemble": 3}},
    "averaged": {"optim": {"policy_ema": 0.99}},
    "checkpointing": IQL | {"critic": {"topology": "separate_small"}, "backbone": {"checkpointing": True}},
    "pictures": {"observation": {"cameras": ["agentview"], "instruction": True, "history": 2}},
    "bf16": {"optim": {"precision": "bf16"}},
}
CPU = Layout(device="cpu")


def policy(**over):
    return PolicyConfig.model_validate(deep_merge(BASE, over))


def workload(layout=CPU, **over):
    return workload_of(policy(**over), TASK, layout)


@pytest.mark.parametrize("case", CASES)
def test_on_one_process_every_part_is_what_real_tensors_take(case):
    asked = workload(**CASES[case])
    beside = beside_real_tensors(asked)
    for phase, fake in asked.phases(8).items():
        if phase != "inputs":
            assert fake.total == pytest.approx(beside.phases[phase].total, rel=0.01)
            assert fake.activations == pytest.approx(beside.phases[phase].activations, rel=0.01)
    found = beside.found
    assert sum(found.parts.values()) == found.peak_bytes == pytest.approx(beside.peak, rel=0.02)


def test_parts_of_a_batch_need_fewer_activations_and_find_the_gradients_of_earlier_parts():
    whole, asked = workload(**CASES["shared"]), workload(**deep_merge(CASES["shared"], {"optim": {"accumulation": 4}}))
    step = SyntheticStep(asked.policy, asked.spec, asked.action_dim, asked.gamma)
    step.run()
    peak = measured_memory(step).peak_bytes
    found, before = memory(asked), memory(whole)
    assert found.peak_bytes == pytest.approx(peak, rel=0.02)
    assert found.parts["activations"] < before.parts["activations"] / 2
    assert found.parts["gradients"] == 4 * asked.weights.trained > before.parts["gradients"]
    assert asked.flops(model=True) == pytest.approx(whole.flops(model=True), rel=1e-3)


def test_parts_travel_again_where_nothing_waits_for_the_last_one():
    weights = workload().weights
    once, thrice = ([sum(sent(weights, Layout(4, s), parts=p).values()) for s in range(4)] for p in (1, 3))
    times = [b / a for a, b in zip(once, thrice, strict=True)]
    assert times == pytest.approx([1, 1, (2 * 3 + 1) / 3, 3], rel=1e-3)


def test_zero_stages_divide_what_they_say():
    weights = workload(**CASES["separate_full_ema"]).weights
    four = {stage: memory(workload(Layout(4, stage, device="cpu"), **CASES["separate_full_ema"])) for stage in range(4)}
    parts = {stage: found.parts for stage, found in four.items()}
    assert parts[0]["optimizer"] == 8 * weights.trained + 4 * weights.tensors and parts[0]["master"] == 0
    assert parts[0]["buckets"] == 4 * weights.trained  # DDP's gradients live in its buckets
    for stage in (1, 2, 3):
        assert parts[stage]["optimizer"] == pytest.approx(8 * weights.trained / 4, rel=1e-3)
        assert parts[stage]["master"] == pytest.approx(4 * weights.trained / 4, rel=1e-3)
    assert parts[2]["parameters"] == parts[0]["parameters"] == pytest.approx(4 * parts[3]["parameters"], rel=1e-3)
    assert parts[3]["targets"] < parts[2]["targets"]  # a full_ema target is partitioned with the rest
    offloaded = memory(workload(Layout(4, 3, offload=True), **CASES["separate_full_ema"]))
    assert offloaded.parts["optimizer"] == 0 and offloaded.host_bytes > 16 * weights.trained / 4


def test_what_is_predicted_of_a_gpu_does_not_depend_on_this_processor(monkeypatch):
    found = []
    for faster in (True, False):
        monkeypatch.setattr(products, "onednn_is_faster", lambda faster=faster: faster)
        _phases.cache_clear()
        found.append(memory(workload(Layout(), **CASES["shared"])))
    assert found[0] == found[1]


def test_the_largest_batch_fits_and_a_larger_one_does_not():
    asked = workload(Layout(2, 0))
    limit = 2 * memory(asked).peak_bytes
    best = largest_batch(asked, limit)
    assert best > asked.batch and best % 4 == 0
    assert memory(asked.but(batch=best)).peak_bytes <= limit
    assert memory(asked.but(batch=4 * round(1.1 * best / 4))).peak_bytes > limit
    assert largest_batch(asked, 1000) == 0


def test_flops_of_the_model_and_of_the_hardware():
    plain, twice = workload(**CASES["shared"]), workload(**deep_merge(CASES["shared"], CASES["checkpointing"] | IQL))
    twice = plain.but(checkpointing=True)
    assert twice.flops(model=True) == plain.flops(model=True) <= plain.flops(model=False) < twice.flops(model=False)
    assert twice.flops(model=False) < 4 / 3 * plain.flops(model=False)
    frozen, bc = workload(**CASES["frozen"]), workload()
    blocks = frozen.weights.frozen
    # Six FLOPs per weight and token where weights are trained, two where they are only read.
    assert bc.flops(model=True) - frozen.flops(model=True) > 2.5 * blocks * 16


def test_a_ring_sends_what_the_textbook_says():
    weights = workload().weights
    gradients = 4 * weights.trained
    assert sent(weights, Layout(1)) == {}
    assert sum(sent(weights, Layout(2)).values()) == gradients
    assert sum(sent(weights, Layout(8)).values()) == pytest.approx(2 * 7 / 8 * gradients)
    assert sum(sent(weights, Layout(8, 2)).values()) == pytest.approx(3 * 7 / 8 * gradients, rel=1e-6)
    assert sum(sent(weights, Layout(8, 3)).values()) == pytest.approx(2 * 7 / 8 * gradients, rel=1e-6)
    assert sum(sent(weights, Layout(2, 3), "gloo").values()) == pytest.approx(1.5 * gradients)


def test_a_slower_network_never_makes_a_step_faster():
    traffic = {"all-reduce of gradients": 10**9}
    times = [step_time(1e12, traffic, Layout(8), 1e15, link).step_s for link in LINKS.values()]
    assert times == sorted(times, reverse=True)
    alone = step_time(1e12, {}, Layout(1), 1e15, LINKS["PCIe 4 x16"])
    assert alone.efficiency == 1 and alone.step_s < times[-1]


def test_the_whole_prediction_is_a_json_value():
    import json

    found = predict(workload(Layout(2, 2), **CASES["shared"]), [card("h100-80gb")]).to_json()
    assert json.loads(json.dumps(found))["cards"][0]["largest_batch"] > 1000
    assert found["communication"]["total"] > 0 and len(found["step_time"]) == len(LINKS)
    assert found["flops"]["model_per_sample"] * 16 == found["flops"]["model_per_step"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch": 13}, "even, and not 13"),
        ({"batch": 10, "world": 4}, r"does not divide .* choose a multiple of 8, e.g. 8"),
        ({"accumulation": 3}, "8 pairs of a process do not divide into 3 parts"),
        ({"cards": ("h100-80g",)}, "Did you mean 'h100-80gb'"),
        ({"zero": 4}, "ZeRO stage 4 does not exist"),
        ({"offload": True}, "Offload is DeepSpeed's: choose --zero"),
        ({"offload": True, "zero": 2, "host_memory_gb": 0.001}, "Offload needs .* GiB of host memory"),
        ({"host_memory_gb": 64}, "matters with --offload only"),
        ({"size": "tinny"}, "Did you mean 'tiny'"),
        ({"precision": "fp8"}, "Unknown precision 'fp8'"),
        ({"policies": ("ql",)}, "Unknown policy 'ql'"),
        ({"policies": ("bc", "qc")}, "--predict is for one policy: leave out --beside"),
        ({"world": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_predicted_is_a_sentence(options, sentence):
    request = {"policies": ("bc",), "task": "chain2", "size": "tiny", "batch": 16, "cards": ("a100-40gb",)} | options
    with pytest.raises(UsageError, match=sentence):
        predicted(Request(**request))


def test_cards_lose_something_to_the_context():
    for one in CARDS.values():
        assert 0.85 * one.memory < one.usable < one.memory


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_7b_takes_under_two_minutes_of_one_core():
    big = load_policy("qc")
    big = with_batch(big.model_copy(update={"backbone": big.backbone.model_copy(update={"size": "7b"})}), 128)
    began = time.process_time()
    found = predict(workload_of(big, load_task("chain2"), Layout(8, 3)), [card("h100-80gb")])
    assert time.process_time() - began < 120
    assert found.parameters > 6e9 and found.memory.parts["optimizer"] > 6e9


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; every part is compared on the CPU above")
def test_on_a_gpu_the_allocator_sees_nearly_what_was_predicted():
    asked = workload(Layout(), **CASES["shared"] | {"backbone": {"size": "m"}, "optim": {"batch_size": 512}})
    step = SyntheticStep(asked.policy, asked.spec, asked.action_dim, asked.gamma, "cuda")
    step.run()
    assert memory(asked).peak_bytes == pytest.approx(measured_memory(step).peak_bytes, rel=0.1)


@pytest.mark.parametrize("curve", [lambda p: 5000 + 20 * p + 0.5 * p * p, lambda p: 5000 + 20 * p + 900 * p**0.5])
@pytest.mark.parametrize("available", [4000, 5100, 60_000, 900_000])
def test_the_largest_batch_fits_and_is_nearly_the_largest_however_the_line_is_bent(monkeypatch, curve, available):
    asked = workload(optim={"batch_size": 8})
    walked = []

    def bytes_at(asked_for):
        walked.append(asked_for.batch // 2)
        return SimpleNamespace(phase_bytes={"forward": curve(walked[-1]) / 2, "backward": curve(walked[-1])})

    monkeypatch.setattr("robo_orl.cost.predict.memory.memory", bytes_at)
    found = largest_batch(asked, available) // 2
    best = max((p for p in range(1, 50_000) if curve(p) <= available), default=0)
    assert found <= best and found >= 0.95 * best - 1
    assert len(set(walked)) <= 14  # a walk of fake tensors each
