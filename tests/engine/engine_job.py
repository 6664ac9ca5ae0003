"""What the engine tests run under `accelerate launch`: many runs in one job, since starting it costs the most.

Usage: engine_job.py FOLDER, which holds toy.hdf5 and jobs.json, a list of {"name", "policy", "agent", "stop_at", ...}.
Process 0 writes outcome.json: name -> {"summary"} or {"error": sentence, "kind": its class}.
"""

import json
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import tiny
import torch
from torch import nn

import robo_orl.agent.agent as agent_module
import robo_orl.engine.train as train_module
from robo_orl.base.errors import RunError, UsageError
from robo_orl.engine import on_the_way
from robo_orl.engine.train import train

BUILD = agent_module.build_agent


def outcome(folder: Path, job: dict) -> dict:
    """One training, its summary or its sentence."""
    if job.get("canary"):
        return stale_gradient_canary()
    fake = job.get("agent")
    agent_module.build_agent = BUILD if fake is None else lambda *_: tiny.ForgetfulAgent(**fake)
    run = tiny.run_of(folder / "toy.hdf5", job.get("policy"), **job.get("run", {}))
    try:
        with told_to_end(**job.get("signal", {})), fake_judge():
            summary = train(run, folder / job["name"], progress=False, stop_at=job.get("stop_at"))
        return {"summary": summary.to_json()}
    except (RunError, UsageError) as error:
        return {"error": str(error), "kind": type(error).__name__}


@contextmanager
def told_to_end(rank: int = -1, step: int = -1):
    """SIGTERM comes to one process in the middle of its `step`-th step, as it does on the command line."""
    own_step, old = train_module._train_step, signal.signal(signal.SIGTERM, signal.default_int_handler)

    def step_with_signal(training, number, monitor):
        if int(os.environ.get("RANK", 0)) == rank and number + 1 == step:
            signal.raise_signal(signal.SIGTERM)
        return own_step(training, number, monitor)

    train_module._train_step = step_with_signal
    try:
        yield
    finally:
        train_module._train_step = own_step
        signal.signal(signal.SIGTERM, old)


@contextmanager
def fake_judge():
    """Copies of the weights on the way are kept as they are: curve/kept_STEP."""
    own, on_the_way.COMMAND = on_the_way.COMMAND, (sys.executable, str(Path(__file__).with_name("fake_judge.py")))
    os.environ["JUDGE"] = "keep"
    try:
        yield
    finally:
        on_the_way.COMMAND = own
        del os.environ["JUDGE"]


def stale_gradient_canary() -> dict:
    """How far plain DeepSpeed moves a parameter in a step that gives it no gradient (SGD, lr 1, gradient 1 before)."""
    import deepspeed

    model = nn.ModuleDict({"a": nn.Linear(1, 1, bias=False), "b": nn.Linear(1, 1, bias=False)})
    stage = int(os.environ["ACCELERATE_DEEPSPEED_ZERO_STAGE"])
    zero = {"stage": stage, "stage3_param_persistence_threshold": 0, "reduce_bucket_size": 1000}
    config = {"train_micro_batch_size_per_gpu": 1, "gradient_clipping": 0.0, "zero_optimization": zero}
    config |= {"zero_allow_untested_optimizer": True}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model.forward = lambda x, both: model["a"](x).sum() + (model["b"](x).sum() if both else 0.0)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    weights = []
    for both in (True, False):
        engine.backward(engine(torch.ones(1, 1), both))
        engine.step()
        with deepspeed.zero.GatheredParameters([model["b"].weight], enabled=stage == 3):
            weights.append(model["b"].weight.item())
    engine.destroy()
    return {"moved": weights[0] - weights[1]}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    outcomes = {job["name"]: outcome(folder, job) for job in json.loads((folder / "jobs.json").read_text())}
    if int(os.environ.get("RANK", 0)) == 0:
        (folder / "outcome.json").write_text(json.dumps(outcomes))
