"""Linear maps by oneDNN give what torch's own give, to float32's accuracy, and serve only where they are the faster."""

import pytest
import torch
import torch.nn.functional as F

from robo_orl.cost.flops import count_flops
from robo_orl.models import cpu_kernels
from robo_orl.models.cpu_kernels import WORTH_IT, Linear, is_for_onednn, product

needs_onednn = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="this torch was built without oneDNN"
)


@pytest.fixture
def onednn(monkeypatch):
    """As on a processor where oneDNN is the faster."""
    monkeypatch.setattr(cpu_kernels, "onednn_is_faster", lambda: True)


def gradients(way, layer, x, g):
    leaf = x.detach().requires_grad_()
    y = way(leaf)
    return [y, *torch.autograd.grad(y, [leaf, *layer.parameters()], g)]


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "x",
    [
        torch.randn(700, 83),
        torch.randn(60, 12, 96),
        torch.randn(9, 3, 26, 96),
        torch.randn(600, 211)[:, 7:120],  # one key's numbers in a wider vector
        torch.randn(96, 12, 60).transpose(0, 2),
    ],
    ids=lambda x: "x".join(map(str, x.shape)) + ("" if x.is_contiguous() else "_strided"),
)
def test_outputs_and_gradients_are_those_of_float64(onednn, x, bias):
    layer = Linear(x.shape[-1], 100, bias=bias)
    assert is_for_onednn(x, layer.weight)
    g = torch.randn(100).expand(*x.shape[:-1], 100)
    exact = Linear(x.shape[-1], 100, bias=bias).double()
    exact.load_state_dict(layer.state_dict())
    for ours, true in zip(gradients(layer, layer, x, g), gradients(exact, exact, x.double(), g.double()), strict=True):
        assert (ours - true).abs().max() <= 1e-5 * true.abs().max()


@needs_onednn
def test_the_same_product_is_the_same_bit_for_bit_every_time(onednn):
    layer, x = Linear(96, 288), torch.randn(512, 96)
    g = torch.randn(512, 288)
    first, second = gradients(layer, layer, x, g), gradients(layer, layer, x.clone(), g.clone())
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@needs_onednn
def test_only_the_gradients_that_are_wanted_are_computed(onednn):
    layer = Linear(96, 288).requires_grad_(False)
    x = torch.randn(512, 96, requires_grad=True)
    forward = 2 * 512 * 96 * 288
    assert count_flops(lambda: layer(x)) == forward
    assert count_flops(lambda: layer(x).sum().backward()) == 2 * forward and x.grad is not None
    assert count_flops(lambda: layer.requires_grad_(True)(x).sum().backward()) == 3 * forward


@pytest.mark.parametrize(
    ("x", "width"),
    [
        (torch.randn(WORTH_IT // 96 // 288, 96), 288),
        (torch.randn(600, 96, dtype=torch.float64), 288),
        (torch.randn(600, 96, dtype=torch.bfloat16), 288),
        (torch.randn(600, 96, device="meta"), 288),
    ],
    ids=["small", "float64", "bfloat16", "meta"],
)
def test_the_rest_goes_where_torch_sends_it(onednn, monkeypatch, x, width):
    monkeypatch.setattr(cpu_kernels, "product", lambda *_: pytest.fail("sent to oneDNN"))
    layer = Linear(x.shape[-1], width).to(x.device, x.dtype)
    y = layer(x)
    assert x.device.type == "meta" or torch.equal(y, F.linear(x, layer.weight, layer.bias))


def test_under_autocast_and_in_compiled_code_torch_decides(onednn, monkeypatch):
    layer, x = Linear(96, 288), torch.randn(600, 96)
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_for_onednn(x, layer.weight) and layer(x).dtype == torch.bfloat16
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not is_for_onednn(x, layer.weight)


@pytest.mark.parametrize(
    ("vendor", "instructions", "taken"),
    [
        ("AuthenticAMD", "AVX512", True),
        ("AuthenticAMD", "AVX2", False),
        ("GenuineIntel", "AVX512", False),
        ("GenuineIntel", "AVX512_VNNI", False),
    ],
)
def test_the_processor_decides_and_no_stopwatch(monkeypatch, tmp_path, vendor, instructions, taken):
    if not (torch.backends.mkl.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        pytest.skip("this torch was built without MKL or oneDNN: there is nothing to choose")
    (tmp_path / "cpuinfo").write_text(f"vendor_id\t: {vendor}\n")
    monkeypatch.setattr(cpu_kernels, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)
    assert cpu_kernels.onednn_is_faster.__wrapped__() is taken


@needs_onednn
def test_a_map_that_is_read_transposed_is_the_same_map():
    x, weight = torch.randn(512, 96), torch.randn(96, 288)
    torch.testing.assert_close(product(x, weight.t()), x @ weight, rtol=1e-5, atol=1e-4)
