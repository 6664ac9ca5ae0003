"""The GPUs of a machine, as its driver and CUDA_VISIBLE_DEVICES name them."""

import pytest

from robo_orl.base.gpus import MIB, Gpu, gpus


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A function that lets nvidia-smi answer."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def answers(text, code=0):
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/bash\nprintf '{text}'\nexit {code}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)

    return answers


def test_every_gpu_has_its_memory(driver):
    driver("0, 81559\\n1, 24564\\n")
    assert gpus({}) == [Gpu("0", 81559 * MIB), Gpu("1", 24564 * MIB)]


def test_those_that_are_hidden_are_not_there(driver):
    driver("0, 81559\\n1, 24564\\n")
    assert gpus({"CUDA_VISIBLE_DEVICES": "1"}) == [Gpu("1", 24564 * MIB)]
    assert gpus({"CUDA_VISIBLE_DEVICES": ""}) == []
    # A name that the driver does not number has the memory of the smallest.
    assert gpus({"CUDA_VISIBLE_DEVICES": "GPU-8f"}) == [Gpu("GPU-8f", 24564 * MIB)]


def test_without_a_driver_or_with_one_that_fails_there_are_none(driver, monkeypatch):
    driver("NVIDIA-SMI has failed", code=9)
    assert gpus({}) == []
    monkeypatch.setenv("PATH", "/nowhere")
    assert gpus({}) == []
