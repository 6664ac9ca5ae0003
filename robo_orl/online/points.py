"""The points of a curve: success of the weights of a step from the start states of results, paired over all points."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from robo_orl.base.errors import UsageError
from robo_orl.base.files import file_sha256, write_text
from robo_orl.config import PolicyConfig, RunConfig, TaskConfig
from robo_orl.engine.checkpoint import AGENT, checkpoints, load_agent
from robo_orl.evaluate.policy import instruction_of
from robo_orl.evaluate.result import Speed
from robo_orl.evaluate.scores import EPISODES, EvaluationPlan, FinishedRows, row_of, write_scores
from robo_orl.online.calibration import KeptValues, ValuedPolicy, calibration
from robo_orl.results.record import EpisodeRow
from robo_orl.results.store import parse_rows, rows_text
from robo_orl.results.summary import summarise
from robo_orl.rollout.episodes import Rollouts

SEED = 0  # of what the policy draws, as `robo-orl eval` has it: point 0 is that evaluation
POINTS, VALUES = "points", "values.jsonl"
Told = Callable[[int, int], None]


@dataclass(frozen=True)
class OtherTask:
    """Another task that a start learned, which goes on in one of them.

    rollouts: opens its simulators. render: what made the pictures of its data.
    """

    task: TaskConfig
    rollouts: Callable[[], Rollouts]
    render: dict[str, Any] | None = None


class Points:
    """Judges weights. Each point has a folder with its episodes, from which an interrupted one goes on.

    others: tasks that are judged beside the run's own, whose simulators stand while they are. render: what made the
    pictures of the run's data.
    """

    def __init__(
        self,
        rollouts: Rollouts,
        run: RunConfig,
        out: Path,
        instructions: tuple[Tensor, Tensor] | None,
        others: Sequence[OtherTask] = (),
        render: dict[str, Any] | None = None,
    ):
        self.render = render
        self.rollouts, self.run, self.out, self.instructions, self.others = rollouts, run, out, instructions, others
        self.episodes = run.policy.online.evaluation.episodes

    def judge(self, agent: nn.Module, at: int, steps: int, updates: int, told: Told) -> dict[str, Any]:
        """The point `at` of a copy of an agent that has learned from `steps` environment steps by `updates` updates.

        told: called with the number of successes and of episodes so far.
        """
        plan = self._plan(self.run.policy, weights_sha256(agent), updates)
        point = {"kind": "point", "at": at, "env_steps": steps, "updates": updates}
        return point | self._judged(agent, plan, f"step_{at:08d}", told)

    def judge_start(self, evaluation: Path | None, device: torch.device, told: Told) -> dict[str, Any]:
        """The run that learning begins with, choosing as it does itself. evaluation: a folder of `robo-orl eval` that
        has some of its episodes, default that of the run; the others are played."""
        folder = Path(self.run.init)
        agent, run = load_agent(folder)
        newest = checkpoints(folder)[-1]
        plan = self._plan(run.policy, file_sha256(newest / AGENT), int(newest.name.rpartition("_")[2]))
        played = (evaluation or folder / "eval") / EPISODES
        if evaluation is not None and not FinishedRows.of(played, plan.digest(self.rollouts.info())):
            raise UsageError(
                f"{evaluation} holds no episode of the newest checkpoint of {folder} from these start states: give the "
                "folder that `robo-orl eval` wrote of it, or leave --evaluation out."
            )
        return {"kind": "start", "policy": run.policy.name} | self._judged(
            agent.to(device), plan, "start", told, played
        )

    def write_evaluation(self, at: int) -> None:
        """Write OUT/eval from the episodes of the point `at`, whose weights the newest checkpoint holds, so that
        `robo-orl eval` plays none of them again."""
        newest, info, policy = checkpoints(self.out)[-1], self.rollouts.info(), self.run.policy
        plan = self._plan(policy, file_sha256(newest / AGENT), int(newest.name.rpartition("_")[2]))
        played = parse_rows(self.out / POINTS / f"step_{at:08d}" / EPISODES)
        rows = [row.model_copy(update={"request": plan.digest(info)}) for row in played]
        speed = Speed.of(self.rollouts, 0, len(rows), 1.0, 0.0)
        write_scores(plan, info, rows, self.out / "eval", replace(speed, wall_s=sum(r.wall_s for r in rows)), "float64")

    def _plan(self, policy: PolicyConfig, weights: str, step: int, other: OtherTask | None = None) -> EvaluationPlan:
        task, render = (self.run.task, self.render) if other is None else (other.task, other.render)
        sentences = (task.instruction,) if policy.observation.instruction else ()
        return EvaluationPlan(policy, task, weights, step, SEED, sentences, render)

    def _judged(
        self, agent: nn.Module, plan: EvaluationPlan, name: str, told: Told, played: Path | None = None
    ) -> dict[str, Any]:
        """Scores, solved starts and calibration of an agent, and what it does in the other tasks. played: rows that
        need not be played again."""
        began, policy, folder = perf_counter(), plan.policy, self.out / POINTS / name
        others = self._in_others(agent, plan, folder, told)
        actor = ValuedPolicy(agent, policy.action_head.execute, SEED, instructions=self.instructions)
        kept = KeptValues(folder / VALUES)
        done = self._play(actor, plan, folder, self.rollouts, told, played, kept)
        by_imitation = policy.online is not None and policy.online.imitation is not None
        values = {} if by_imitation else kept.values  # such a critic values other rewards than the rows'
        execute, gamma = policy.action_head.execute, policy.gamma.value(self.run.task.horizon)
        measured = {"calibration": calibration(values, done, self.run.task, gamma, execute)}
        return self._scores(done, began) | measured | ({"others": others} if others else {})

    def _in_others(self, agent: nn.Module, plan: EvaluationPlan, folder: Path, told: Told) -> dict[str, Any]:
        """By the name of each other task success and solved starts."""
        found = {}
        for other in self.others:
            own = self._plan(plan.policy, plan.checkpoint_sha256, plan.step, other)
            tokens = instruction_of(self.run, other.task)
            actor = ValuedPolicy(agent, plan.policy.action_head.execute, SEED, instructions=tokens)
            into = folder / "others" / other.task.name
            with other.rollouts() as rollouts:
                rows = self._play(actor, own, into, rollouts, told, into / EPISODES)
            score = summarise(rows, other.task.stages)["success_once"].model_dump(mode="json")
            found[other.task.name] = {"success": score, "solved": [row.start for row in rows if row.success_once]}
        return found

    def _play(
        self,
        actor: ValuedPolicy,
        plan: EvaluationPlan,
        folder: Path,
        rollouts: Rollouts,
        told: Told,
        played: Path | None = None,
        kept: KeptValues | None = None,
    ) -> list[EpisodeRow]:
        """The rows of a plan's episodes, in order; those of `played` and of an interrupted point are not played
        again. kept: takes what the critic says in each episode."""
        actor.agent.select_by(plan.policy.selection)
        info = rollouts.info()
        rollouts.policy, rollouts.gamma = actor, plan.gamma
        rows = FinishedRows(folder / "finished.jsonl", plan.digest(info))
        for row in FinishedRows.of(played, plan.digest(info)) if played is not None else ():
            if row.episode < self.episodes and row.episode not in rows:
                rows.add(row)
        for finished in rollouts.run([i for i in range(self.episodes) if i not in rows]):
            values = actor.values.pop(finished.episode, [])
            if kept is not None:
                kept.add(finished.episode, values)
            rows.add(row_of(finished, plan, info))
            told(sum(rows[i].success_once for i in range(self.episodes) if i in rows), len(rows))
        done = [rows[i] for i in range(self.episodes)]
        write_text(folder / EPISODES, rows_text(done))
        (folder / "finished.jsonl").unlink()
        return done

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
