"""Debug-size vision-language policies on any engine: what test_vlm_parity.py runs under `accelerate launch`.

Usage: vlm_job.py FOLDER CASE ...; process 0 writes CASE.safetensors, the whole agent after STEPS steps, and CASE.json,
what accelerate resolved. The windows are made here, so that nothing but model and engine is compared.
"""

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "models"))
sys.path.append(str(Path(__file__).parents[1] / "data"))
import synthetic
import test_vlm_agent as vlm
import torch
import toy_agents as toy
from safetensors.torch import save_file

from robo_orl.base.rng import Draws
from robo_orl.config import RunConfig
from robo_orl.engine.checkpoint import whole_weights
from robo_orl.engine.distributed import check_resolved, open_accelerator, prepare, resolved
from robo_orl.engine.optimizer import GradientWatch, make_optimizer, set_learning_rate
from robo_orl.engine.zero import gather, release

STEPS, PAIRS = 4, 4
OPTIM = {"steps": STEPS, "batch_size": 2 * PAIRS, "warmup_steps": 0, "lr": 3e-4}
LAYERED = {"layers": 3}
CASES = {
    "separate": ("iql", "flow_expert", "separate", LAYERED, {"target": "full_ema"}),
    "separate_saving": ("iql", "flow", "separate", {"checkpointing": True}, {}),
    "insulated": ("qc", "flow_expert", "shared", LAYERED | {"stop_expert_gradient": True}, {}),
    "lora": ("iql", "parallel_l1", "shared", vlm.QUERIES | {"lora": {"rank": 2}}, {}),
    "frozen": ("iql", "flow_expert", "shared_detached", LAYERED | {"frozen": True}, {}),
}


def policy_of(case: str):
    """The policy of a case."""
    learns, head, topology, backbone, critic = CASES[case]
    return vlm.policy(learns, head, topology, backbone=backbone, critic=critic, optim=OPTIM)


def part(window, rank: int, world: int):
    """The pairs of one process."""
    share = PAIRS // world
    return window.map(lambda t: t[rank * share : (rank + 1) * share])


def train(case: str, folder: Path) -> None:
    """STEPS steps of a case, on every process."""
    run = RunConfig(policy=policy_of(case), task=synthetic.TASK, data="none", tracker="none")
    accelerator = open_accelerator(run, folder)
    rank, world = accelerator.process_index, accelerator.num_processes
    agent = toy.agent(run.policy)
    plugin = accelerator.state.deepspeed_plugin
    if plugin is not None and plugin.zero_stage == 3:
        agent.to = None  # whoever puts the whole agent on a device, before it is sharded, fails
    model, optimizer = prepare(accelerator, agent, make_optimizer(agent, run.policy.optim))
    engine = resolved(accelerator, model)
    check_resolved(engine, run, agent, model)
    watch = GradientWatch(agent)
    for step in range(STEPS):
        set_learning_rate(optimizer, step, run.policy.optim)
        loss, _ = model(part(vlm.window(PAIRS), rank, world), Draws(0, step, rank, world))
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(agent.parameters(), run.policy.optim.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        agent.update_targets(gather)
        watch.check(step + 1)
    weights = {name: tensor.to("cpu", copy=True).contiguous() for name, tensor in whole_weights(agent)}
    watch.close()
    if accelerator.is_main_process:
        save_file(weights, folder / f"{case}.safetensors")
        (folder / f"{case}.json").write_text(json.dumps(engine.to_json()))
    accelerator.wait_for_everyone()
    release(model)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for case in sys.argv[2:]:
        train(case, Path(sys.argv[1]))
