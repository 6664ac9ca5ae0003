"""The points of a curve: success of the weights of a step from the start states of results, paired over all points."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from robo_orl.base.files import write_text
from robo_orl.config import RunConfig
from robo_orl.evaluate.policy import AgentPolicy
from robo_orl.evaluate.scores import EPISODES, EvaluationPlan, FinishedRows, row_of
from robo_orl.results.record import EpisodeRow
from robo_orl.results.store import rows_text
from robo_orl.results.summary import summarise
from robo_orl.rollout.episodes import Rollouts

SEED = 0  # of what the policy draws, as `robo-orl eval` has it: point 0 is that evaluation
POINTS = "points"


class Points:
    """Judges weights. Each point has a folder with its episodes, from which an interrupted one goes on."""

    def __init__(self, rollouts: Rollouts, run: RunConfig, out: Path, instructions: tuple[Tensor, Tensor] | None):
        self.rollouts, self.run, self.out, self.instructions = rollouts, run, out, instructions
        self.episodes = run.policy.online.evaluation.episodes

    def judge(
        self, agent: nn.Module, at: int, steps: int, updates: int, told: Callable[[int, int], None]
    ) -> dict[str, Any]:
        """The point `at` of an agent that has learned from `steps` environment steps by `updates` updates.

        told: called with the number of successes and of episodes so far.
        """
        began, policy = perf_counter(), self.run.policy
        actor = AgentPolicy(deepcopy(agent), policy.action_head.execute, SEED, instructions=self.instructions)
        actor.agent.select_by(policy.selection)
        info, folder = self.rollouts.info(), self.out / POINTS / f"step_{at:08d}"
        plan = EvaluationPlan(policy, self.run.task, weights_sha256(agent), updates, SEED, self._sentences())
        self.rollouts.policy, self.rollouts.gamma = actor, plan.gamma
        rows = FinishedRows(folder / "finished.jsonl", plan.digest(info))
        for finished in self.rollouts.run([i for i in range(self.episodes) if i not in rows]):
            rows.add(row_of(finished, plan, info))
            told(sum(rows[i].success_once for i in range(self.episodes) if i in rows), len(rows))
        played = [rows[i] for i in range(self.episodes)]
        write_text(folder / EPISODES, rows_text(played))
        (folder / "finished.jsonl").unlink()
        return {"kind": "point", "at": at, "env_steps": steps, "updates": updates} | self._scores(played, began)

    def _scores(self, rows: Sequence[EpisodeRow], began: float) -> dict[str, Any]:
        scores = summarise(rows, self.run.task.stages)
        stages = {stage.name: stage.reached.model_dump(mode="json") for stage in scores["stages"]}
        return {
            "success": scores["success_once"].model_dump(mode="json"),
            "stages": stages,
            "discounted_return": scores["discounted_return"],
            "solved": [row.start for row in rows if row.success_once],
            "starts_sha256": rows[0].starts_sha256,
            "seconds": round(perf_counter() - began, 3),
        }

    def _sentences(self) -> tuple[str, ...]:
        return (self.run.task.instruction,) if self.run.policy.observation.instruction else ()


def weights_sha256(agent: nn.Module) -> str:
    """A hash of every tensor of an agent."""
    digest = hashlib.sha256()
    for name, tensor in sorted(agent.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def lost_and_won(point: dict[str, Any], first: dict[str, Any]) -> dict[str, int]:
    """Start states solved at the switch and not at `point`, and the reverse."""
    before, now = set(first["solved"]), set(point["solved"])
    return {"lost": len(before - now), "won": len(now - before)}
