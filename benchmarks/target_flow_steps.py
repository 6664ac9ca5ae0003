"""What fewer Euler steps of the candidates do to the target of a trained `qc`: Qbar(s_{t+n}, a*) on its own data.

    python benchmarks/target_flow_steps.py runs/qc [--batches 20] [--out benchmarks/target_flow_steps.json]

The same states and the same noise with 1, 2, 4 and 10 steps, weights as they are; differences are to 10 steps. `spread`
is the standard deviation of the target over states, which a difference has to be seen beside. No training takes part:
what the policy learns with another target is another question.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from robo_orl.base.rng import Draws
from robo_orl.engine.checkpoint import load_agent
from robo_orl.engine.task_data import make_windows, open_data
from robo_orl.objectives.step import Step

STEPS, PAIRS = (1, 2, 4, 10), 64


def targets(agent: torch.nn.Module, window: object, number: int, steps: int) -> torch.Tensor:
    """(B,): the value that is backed up, with candidates of so many Euler steps."""
    critic = agent.policy.critic.model_copy(update={"target_flow_steps": steps})
    agent.policy = agent.policy.model_copy(update={"critic": critic})
    with torch.no_grad():
        return agent.objective.best_value(Step(agent, window, Draws(0, number)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/target_flow_steps.json"))
    args = parser.parse_args()
    agent, run = load_agent(args.run)
    windows = make_windows(run, open_data(run))
    read = [windows.batch(1, number, 0, 1, 2 * PAIRS) for number in range(args.batches)]
    values = {
        steps: torch.cat([targets(agent, window, number, steps) for number, window in enumerate(read)])
        for steps in STEPS
    }
    most = values[STEPS[-1]]
    rows = [
        {
            "steps": steps,
            "mean": float(value.mean()),
            "difference": float((value - most).abs().mean()),
            "bias": float((value - most).mean()),
            "correlation": float(torch.corrcoef(torch.stack((value, most)))[0, 1]),
        }
        for steps, value in values.items()
    ]
    about = {"policy": run.policy.name, "task": run.task.name, "trained_steps": run.policy.optim.steps}
    about |= {"n": len(most), "spread": float(most.std()), "default": agent.objective.params.flow_steps}
    args.out.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")
    print(json.dumps(about | {"rows": rows}, indent=1))


if __name__ == "__main__":
    main()
