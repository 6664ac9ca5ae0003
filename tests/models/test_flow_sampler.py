"""The candidates' sampler as one kernel: run by Triton's interpreter, and compiled for a GPU, on a machine without."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from robo_orl.models.action_heads.flow_layout import SHARED, Layout, in_a_row, offsets
from robo_orl.models.action_heads.flow_sampler import SHARED_OF_H100

triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
# width and depth of the backbone, pairs, samples, tokens, steps: whole heads only, and rows that fill no program
SHAPES = [(96, 3, 5, 4, 4, 4), (256, 8, 3, 3, 5, 2)]


@triton
def test_the_kernel_is_as_near_to_float32_as_the_modules_in_bf16():
    script = Path(__file__).with_name("interpreted_sampler.py")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(script), json.dumps(SHAPES)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    for row in json.loads(run.stdout.splitlines()[-1]):
        assert row["kernel"] < 1.6 * row["modules"] < 0.03 * row["spread"]


def test_weights_lie_one_after_the_other_each_at_a_place_that_is_read_fast():
    layout = Layout(numbers=70, width=96, heads=3, hidden=256, blocks=2)
    row = torch.arange(layout.total)
    starts = [int(part[0]) for part in in_a_row(row, list(layout.names.values()))]
    assert starts == list(offsets(layout.names).values()) and all(start % 8 == 0 for start in starts)
    assert offsets(layout.inside)["query.weight"] == starts[7] - starts[6]


def test_the_kernel_is_for_small_experts_on_devices_with_room():
    assert Layout(70, 128, 4, 352, 2).fits(SHARED_OF_H100) and Layout(70, 224, 7, 608, 3).fits(SHARED_OF_H100)
    assert not Layout(70, 320, 10, 864, 5).fits(SHARED_OF_H100), "its products fill the card by themselves"
    assert not Layout(70, 224, 7, 608, 3).fits(101_376) and not Layout(70, 128, 4, 352, 2).fits(0)
    assert not Layout(350, 128, 4, 352, 2).fits(SHARED_OF_H100)


@triton
@pytest.mark.slow
@pytest.mark.parametrize(("width", "hidden", "blocks"), [(128, 352, 2), (224, 608, 3)])
def test_the_kernel_compiles_for_an_h100_and_takes_the_shared_memory_that_is_said(width, hidden, blocks):
    import triton.language as tl
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from robo_orl.models.action_heads import flow_kernel

    fixed = flow_kernel.constants(Layout(70, width, width // 32, hidden, blocks)) | {"KIND": tl.bfloat16}
    types = {"noise": "*fp32", "turns": "*fp32", "out": "*fp32", "eps": "fp32"}
    types |= dict.fromkeys(("keys", "values", "weights"), "*bf16") | dict.fromkeys(fixed, "constexpr")
    names = flow_kernel._flow.arg_names
    pointers = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if types.get(name, "")[:1] == "*"}
    source = ASTSource(
        flow_kernel._flow,
        {name: types.get(name, "i32") for name in names},
        {(names.index(name),): value for name, value in fixed.items()},
        pointers,
    )
    options = {"num_warps": flow_kernel.warps(width), "num_stages": 1}
    made = compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert made.metadata.shared <= min(size for most, size in SHARED.items() if width <= most)
