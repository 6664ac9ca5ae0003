"""Where an evaluation's time goes: robomimic's rollout loop and ours, by processor time, the same episodes in turns.

    python benchmarks/evaluation_shares.py [--tasks lift chain2] [--episodes 10]

robomimic's side is its `run_rollout` on robosuite's environment as robosuite ships it, ours the `exact` loop of
`robo-orl eval`, both in one process with the policy asked for one episode at a time: what the pool adds by several
processes and batched calls is measured by rollout_loop.py. Each part has a clock of its own, of the time that this
process had a processor, which other work on the machine lengthens little. Physics is MuJoCo alone, fed with the
controls that were recorded, and the same for both sides. Episodes must agree in success and length.

Tasks already in the result are kept; a killed call is started again with the same command.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from ledger import Ledger, parser, shown
from robomimic.algo import RolloutPolicy
from robomimic.utils.train_utils import run_rollout
from rollout_loop import Shipped
from scaling import Clocks, _physics_alone, _play, _with_clocks
from small_policy import small_policy

from robo_orl.config import TaskConfig
from robo_orl.config.presets import load_task
from robo_orl.engine.checkpoint import load_agent
from robo_orl.evaluate.policy import AgentPolicy
from robo_orl.robomimic.rollout import ChunkPolicy
from robo_orl.rollout.env_spec import TaskEnvSpec
from robo_orl.rollout.simulator import Act, Begin, EpisodeServer, Outcome


class Theirs:
    """robomimic's loop."""

    def __init__(self, task: TaskConfig, actor: AgentPolicy):
        self.task, self.env, self.clocks, self.total = task, Shipped(task), Clocks(), 0.0
        acted = self.clocks.on("policy", actor)
        acted.device = actor.device
        self.policy = ChunkPolicy(acted)
        for name in ("step", "reset"):
            self.clocks.on_method(name, self.env, name)

    def play(self, episode: int) -> tuple[bool, int]:
        """Success and length."""
        self.env.episode, self.policy.episode = episode, episode - 1
        began = time.process_time()
        result = run_rollout(RolloutPolicy(self.policy), self.env, horizon=self.task.horizon, terminate_on_success=True)
        self.total += time.process_time() - began
        return bool(result["Success_Rate"]), result["Horizon"]


class Ours:
    """The loop of `robo-orl eval` in one process."""

    def __init__(self, task: TaskConfig, actor: AgentPolicy):
        self.simulations, self.clocks, self.total = EpisodeServer(TaskEnvSpec(task)), Clocks(), 0.0
        _play(self.simulations, actor, 0)  # loads and compiles outside the clocks
        self.acted = _with_clocks(self.clocks, self.simulations.environments[0], actor)
        self.taken: list[tuple[Any, Any]] = []

    def play(self, episode: int) -> tuple[bool, int]:
        """Success and length."""
        outcomes: list[Outcome] = []

        def simulations(request: Begin | Act) -> Any:
            reply = self.simulations(request)
            outcomes[:] = [reply.outcome]
            return reply

        simulations.rollouts = self.simulations.rollouts
        began = time.process_time()
        actions = _play(simulations, self.acted, episode)
        self.total += time.process_time() - began
        self.taken.append((self.simulations.bank[episode], actions))
        return outcomes[0].success_once, outcomes[0].length


def row(task: TaskConfig, run: Path, episodes: int) -> dict[str, Any]:
    """Microseconds per decision and share of each part, of either side."""
    agent, config = load_agent(run)
    execute = config.policy.action_head.execute
    sides = {
        "robomimic": Theirs(task, AgentPolicy(agent, execute, 0)),
        "ours": Ours(task, AgentPolicy(agent, execute, 0)),
    }
    sides["robomimic"].play(0)
    for side in sides.values():
        side.clocks.seconds.clear()
        side.total = 0.0
    sides["ours"].taken.clear()
    decisions = successes = 0
    for episode in shown(range(episodes), task.name, episodes):
        order = list(sides.items())[:: 1 if episode % 2 else -1]
        outcomes = {name: side.play(episode) for name, side in order}
        if len(set(outcomes.values())) > 1:
            raise SystemExit(f"Episode {episode} of {task.name} differs between the sides ({outcomes}).")
        success, length = outcomes["ours"]
        decisions, successes = decisions + length, successes + success
    physics = _physics_alone(task, sides["ours"].taken)
    found = {name: _parts(side.clocks.seconds, physics, side.total, decisions) for name, side in sides.items()}
    ratio = round(sides["robomimic"].total / sides["ours"].total, 2)
    return {"episodes": episodes, "successes": successes, "decisions": decisions, "ratio": ratio, **found}


def _parts(seconds: dict[str, float], physics: float, total: float, decisions: int) -> dict[str, dict[str, float]]:
    known = {
        "policy": seconds["policy"],
        "physics": physics,
        "resets": seconds["reset"],
        "rest of the steps": seconds["step"] - physics,
    }
    known["rest of the loop"] = total - sum(known.values())
    return {n: {"us": round(1e6 * s / decisions, 1), "share": round(s / total, 3)} for n, s in known.items()}


def main() -> None:
    """Measure, print a line per task, write the JSON."""
    arguments = parser(__doc__, __file__)
    arguments.add_argument("--tasks", nargs="+", default=["lift", "chain2"])
    arguments.add_argument("--episodes", type=int, default=10)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    ledger = Ledger(options, {"episodes": options.episodes})
    for name in ledger.missing(options.tasks):
        task = load_task(name)
        ledger.keep(name, row(task, small_policy(task), options.episodes))


if __name__ == "__main__":
    main()
