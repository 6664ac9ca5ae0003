"""What the engine relies on in accelerate and DeepSpeed beyond their documentation. A failure here says what moved."""

import importlib
import inspect

import deepspeed
import pytest
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import DeepSpeedPlugin
from accelerate.utils.deepspeed import DeepSpeedEngineWrapper, DeepSpeedOptimizerWrapper
from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder
from deepspeed.runtime.engine import DeepSpeedEngine
from deepspeed.runtime.zero.stage3 import DeepSpeedZeroOptimizer_Stage3
from deepspeed.runtime.zero.stage_1_and_2 import DeepSpeedZeroOptimizer


def source(thing: object) -> str:
    return inspect.getsource(thing)


def test_deepspeed_steps_inside_accelerates_backward():
    assert "self.engine.step()" in source(DeepSpeedEngineWrapper.backward)
    assert source(DeepSpeedOptimizerWrapper.step).strip().splitlines()[1].strip().startswith("pass")


def test_under_deepspeed_clipping_is_deepspeeds_own():
    assert "get_global_grad_norm" in source(Accelerator.clip_grad_norm_)


def test_accelerate_can_be_set_up_anew():
    assert "reset_partial_state" in inspect.signature(AcceleratorState._reset_state).parameters
    assert callable(GradientState._reset_state)


def test_the_plugin_keeps_its_configuration_in_one_dictionary():
    plugin = DeepSpeedPlugin(zero_stage=2, zero3_init_flag=False)
    assert plugin.deepspeed_config is plugin.hf_ds_config.config


def test_shared_memory_collectives_are_built_only_where_marked_compatible():
    assert "__compatible_ops__" in source(importlib.import_module("deepspeed.comm.torch").build_shm_op)
    assert ShareMemCommBuilder.NAME == "deepspeed_shm_comm"
    assert isinstance(deepspeed.ops.__compatible_ops__, dict)


def test_zero_1_and_2_link_moments_to_parameters_lazily():
    text = source(DeepSpeedZeroOptimizer)
    assert "self._hp_optimizer_states_linked = False" in text
    assert "self.single_partition_of_fp32_groups = []" in text
    assert callable(DeepSpeedZeroOptimizer._lazy_init_hp_params_optimizer_state)


def test_zero_3_keeps_flat_partitions_and_pads_them():
    assert "self.fp32_partitioned_groups_flat = []" in source(DeepSpeedZeroOptimizer_Stage3)
    assert callable(deepspeed.utils.safe_set_local_optimizer_state)


@pytest.mark.parametrize(
    "name", ["zero_optimization_stage", "gradient_clipping", "torch_autocast_enabled", "bfloat16_enabled", "destroy"]
)
def test_the_engine_can_be_asked(name):
    assert callable(getattr(DeepSpeedEngine, name))


def test_offload_keeps_torchs_adamw_where_the_configuration_says_so():
    assert "zero_force_ds_cpu_optimizer" in source(Accelerator._prepare_deepspeed)
