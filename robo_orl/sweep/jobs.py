"""The jobs of a cell: data, their edit, training, evaluation, value error, cost.

Each is one command and may need others.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from robo_orl.base.machine import hardware
from robo_orl.config import (
    SIZES,
    CurveRequest,
    DataRequest,
    PolicyConfig,
    ReferenceConfig,
    TaskConfig,
    split_regime,
)
from robo_orl.models.vlm.architectures import architecture
from robo_orl.results.store import COST
from robo_orl.sweep.cells import Cell
from robo_orl.sweep.cost_cells import CostCell, processes
from robo_orl.sweep.job import COSTS, DATA, EDIT, EVALUATE, OFFICIAL, ONLINE, RANK, REWARD, TRAIN, VALUE, Input, Job

PARAMETERS_PER_DEPTH_CUBED = 12_288  # of the native backbone, whose width is 32 times its depth
ROBO_ORL = (sys.executable, "-m", "robo_orl")


def jobs_of_cell(
    cell: Cell,
    out: Path,
    value_error: bool,
    curve: CurveRequest | None = None,
    ranking: int = 0,
    value_states: int = 0,
) -> list[Job]:
    """Data, training, evaluation (value error, ranking) of one cell; equal steps of several cells have equal keys.

    Of several data jobs the one of the cell's own task is the last.
    """
    if cell.online is not None:
        return _online_jobs(cell, out, value_error, curve, value_states)
    sources, own = [_data_jobs(source, out) for source in cell.sources], _data_jobs(cell, out)
    data, held_out = own[-1], _held_out_jobs(cell, out, curve)
    train = _train_job(cell, out, [jobs[-1] for jobs in sources])
    train = _with_points(train, cell, curve, held_out[-1] if held_out else None)
    others = [job for jobs in (held_out, *sources) for job in jobs if job not in own]
    jobs = [*others, *own, train, _evaluate_job(cell, out, train)]
    if value_error and cell.has_trained_critic:
        jobs.append(_value_job(cell, out, data, train, value_states))
    if ranking and cell.has_ranking_critic:
        jobs.append(_ranking_job(cell, train, ranking))
    return jobs


def _online_jobs(cell: Cell, out: Path, value_error: bool, curve: CurveRequest | None, value_states: int) -> list[Job]:
    """The jobs of the run that learning begins with, its evaluation the last of them, and the learning."""
    before = jobs_of_cell(cell.trained, out, False, curve)
    start, judged = (next(job for job in before if job.kind == kind) for kind in (TRAIN, EVALUATE))
    place = [source.task for source in cell.sources].index(cell.task)
    data = next(job for job in before if job.key == start.needs[place])
    task = {"task": cell.task.name} if cell.together else {}
    policy, folder, request = _policy_file(cell, out), out / "runs" / cell.run_name, cell.evaluation
    points, seen = cell.policy.online.evaluation, cell.policy.observation
    learn = Job(
        kind=ONLINE,
        key=f"online-{cell.run_name}",
        command=_command(
            "online", str(start.output), policy=policy.path, data=data.output, out=folder, steps=cell.online.steps,
            seed=cell.seed, loop=request.loop, evaluation=judged.output, **task,
        ),
        needs=(data.key, start.key, judged.key),
        work=cell.online.steps + len(points.until(cell.online.steps)) * points.episodes * cell.task.horizon,
        total=cell.online.steps,
        output=folder,
        policy=cell.policy,
        task=cell.task,
        inputs=(policy,),
        picture_bytes=3 * len(seen.cameras) * seen.image_size**2,
    )  # fmt: skip
    values = value_error and cell.has_trained_critic
    return [*before, learn, *([_value_job(cell, out, data, learn, value_states)] if values else [])]


def unique(jobs: Iterable[Job]) -> list[Job]:
    """Every job once, in the order of the first occurrence."""
    return list({job.key: job for job in jobs}.values())


def training_work(policy: PolicyConfig | ReferenceConfig) -> float:
    """A training in units that grow as its time does: observations times the depth cubed (width follows depth)."""
    depth_cubed = SIZES.get(policy.size, 8) ** 3
    if isinstance(policy, PolicyConfig) and policy.backbone.kind == "vlm":
        depth_cubed = architecture(policy.backbone.size).parameters / PARAMETERS_PER_DEPTH_CUBED
    return float(policy.steps * policy.batch_size * depth_cubed)


def _data_job(cell: Cell, out: Path) -> Job:
    file, request, task = data_file(cell, out), cell.data, _task_file(cell.task, out)
    return Job(
        kind=DATA,
        key=f"data-{cell.data_name}",
        command=_command(
            "data", "generate", *(["--next-obs"] if cell.next_obs else []), task=task.path,
            regime=cell.regime, episodes=request.episodes, seed=request.seed, loop=request.loop, out=file,
            **_pictures(request),
        ),
        needs=(),
        work=request.episodes * cell.task.horizon,
        total=request.episodes,
        output=file,
        task=cell.task,
        inputs=(task,),
        picture_bytes=0 if request.view is None else 3 * len(request.view.cameras) * request.view.size**2,
    )  # fmt: skip


def _data_jobs(cell: Cell, out: Path) -> list[Job]:
    """The recording of a cell's data, and what makes its own file of it: the edit of a regime with variants, and the
    rewards of a source."""
    jobs = _unrewarded_jobs(cell.unrewarded, out)
    if cell.data.reward is None:
        return jobs
    file, reward, before = data_file(cell, out), _reward_file(cell, out), jobs[-1]
    relabel = Job(
        kind=REWARD,
        key=f"reward-{cell.data_name}",
        command=_command("data", "relabel", str(before.output), reward=reward.path, out=file),
        needs=(before.key,),
        work=before.work,
        total=before.total,
        output=file,
        inputs=(reward,),
    )
    return [*jobs, relabel]


def _unrewarded_jobs(cell: Cell, out: Path) -> list[Job]:
    """The recording of a cell's data, and where its regime has variants, the edit; or its official file."""
    if cell.data.official is not None:
        return [_official_job(cell, out)]
    recording, variants = _data_job(cell.recorded, out), split_regime(cell.regime)[1]
    if not variants:
        return [recording]
    file = data_file(cell, out)
    options = {"permuted": ("--permute-outcomes", str(cell.data.seed)), "ended": ("--end-failures",)}
    words = [word for variant in variants for word in options[variant]]
    edit = Job(
        kind=EDIT,
        key=f"edit-{cell.data_name}",
        command=_command("data", "edit", str(recording.output), *words, out=file),
        needs=(recording.key,),
        work=recording.work,
        total=recording.total,
        output=file,
    )
    return [recording, edit]


def _official_job(cell: Cell, out: Path) -> Job:
    """The reading of an official file, which the bench has put into its folder."""
    file = data_file(cell, out)
    return Job(
        kind=OFFICIAL,
        key=f"data-{cell.data_name}",
        command=_command("data", "info", str(file)),
        needs=(),
        work=cell.data.episodes * cell.task.horizon,
        total=cell.data.episodes,
        output=file,
    )


def data_file(cell: Cell, out: Path) -> Path:
    """The file of a cell's data in a results folder."""
    return out / "data" / f"{cell.data_name}.hdf5"


def _pictures(request: DataRequest) -> dict[str, Any]:
    """The options of a recording with pictures."""
    if request.view is None:
        return {}
    return {"cameras": ",".join(request.view.cameras), "size": request.view.size, "look": request.view.look}


def _train_job(cell: Cell, out: Path, data: list[Job]) -> Job:
    folder = out / "runs" / cell.run_name
    task, policy = _task_file(cell.sources[0].task, out), _policy_file(cell, out)
    common = {"task": task.path, "data": data[0].output, "out": folder, "seed": cell.seed}
    if cell.is_reference:
        command = _command("reference", algo=policy.path, **common)
    else:
        others = _other_tasks(cell, [job.output for job in data])
        command = _launched(cell, _command("train", *others, policy=policy.path, tracker="none", **common))
    return Job(
        kind=TRAIN,
        key=f"train-{cell.run_name}",
        command=command,
        needs=tuple(job.key for job in data),
        work=training_work(cell.policy),
        total=cell.policy.steps,
        output=folder,
        policy=cell.policy,
        task=cell.sources[0].task,
        launch=None if cell.is_reference else cell.launch,
        inputs=(task, policy),
    )


HELD_OUT_SEED = 1_000_000  # added to the seed of the data: other episodes of the same operators


def _held_out_jobs(cell: Cell, out: Path, curve: CurveRequest | None) -> list[Job]:
    """The recording (and edit) of data that are not trained on; none for several tasks, whose loss is of all, and
    none beside an official file, which is trained on whole."""
    if curve is None or not curve.held_out or cell.is_reference or cell.together or cell.data.official is not None:
        return []
    request = cell.data.model_copy(update={"episodes": curve.held_out, "seed": cell.data.seed + HELD_OUT_SEED})
    return _data_jobs(replace(cell, data=request, together=()), out)


def _with_points(train: Job, cell: Cell, curve: CurveRequest | None, held_out: Job | None) -> Job:
    """The training with points of its learning curve; a reference is trained by its library, without any."""
    if curve is None or cell.is_reference or not (curve.episodes or held_out):
        return train
    values = {"every": curve.every, "episodes": curve.episodes, "loop": cell.evaluation.loop}
    if held_out is not None:
        values["held_out"] = str(held_out.output)
    settings = [f"--set=evaluation.{key}={value}" for key, value in values.items()]
    *words, as_json = train.command
    needs = (*train.needs, *((held_out.key,) if held_out else ()))
    return replace(train, command=(*words, *settings, as_json), needs=needs)


def _launched(cell: Cell, command: tuple[str, ...]) -> tuple[str, ...]:
    """The command under `accelerate launch`, where the suite names a launch file."""
    if cell.launch is None:
        return command
    python, *words = command
    return (python, "-m", "accelerate.commands.launch", "--config_file", str(cell.launch.path), *words)


def _other_tasks(cell: Cell, data: list[Path]) -> list[str]:
    """The options of a training on several tasks: all but the first one, and the weights."""
    if not cell.together:
        return []
    first, *others = cell.together
    more = [
        {"task": share.task.model_dump(mode="json"), "data": str(file), "weight": share.weight}
        for share, file in zip(others, data[1:], strict=True)
    ]
    return [f"--set=weight={first.weight}", f"--set=more={json.dumps(more)}"]


def _evaluate_job(cell: Cell, out: Path, train: Job) -> Job:
    """An evaluation has a folder of its own: several cells may evaluate one run with different selections."""
    folder, request = out / "evaluations" / cell.name, cell.evaluation
    task = {"task": cell.task.name} if cell.together else {}
    return Job(
        kind=EVALUATE,
        key=f"eval-{cell.name}",
        command=_command(
            "eval", str(train.output), *_selection(cell), episodes=request.episodes, seed=request.seed,
            loop=request.loop, out=folder, **({"starts": request.starts} if request.starts != "test" else {}), **task,
        ),
        needs=(train.key,),
        work=request.episodes * cell.task.horizon * _branches(cell),
        total=request.episodes,
        output=folder,
    )  # fmt: skip


def _selection(cell: Cell) -> list[str]:
    """The words that choose among the samples of a run as the cell does."""
    chosen = {} if cell.is_reference else cell.policy.selection.model_dump()
    return [f"--set=selection.{key}={json.dumps(value)}" for key, value in chosen.items()]


def _branches(cell: Cell) -> float:
    """The decisions simulated for one of an episode, at most: more than 1 where the samples are tried first."""
    if not cell.policy.selection.look_ahead:
        return 1.0
    selection, execute = cell.policy.selection, cell.policy.action_head.execute
    return 1.0 + selection.num_samples * selection.look_ahead / (execute * selection.look_every)


def _ranking_job(cell: Cell, train: Job, episodes: int) -> Job:
    """The critic's order of samples at states of the cell's own policy."""
    request, task = cell.evaluation, {"task": cell.task.name} if cell.together else {}
    options = {"ranking": episodes, "seed": request.seed, "loop": request.loop, "starts": request.starts}
    return Job(
        kind=RANK,
        key=f"rank-{cell.name}",
        command=_command("eval", str(train.output), *_selection(cell), **options, **task),
        needs=(train.key,),
        work=episodes * cell.task.horizon * cell.policy.selection.num_samples,
        total=episodes,
        output=train.output,
    )


def _value_job(cell: Cell, out: Path, data: Job, train: Job, states: int) -> Job:
    """states: stored ones from which the cell's own policy is rolled out as well, by its own selection among samples;
    without them cells that select differently have the same errors of one run."""
    task = {"task": cell.task.name} if cell.together else {}
    selection, of = (_selection(cell), cell.name) if states else ([], cell.run_name)
    rollouts = {"value-states": states, "workers": 1, "loop": cell.evaluation.loop} if states else {}
    return Job(
        kind=VALUE,
        key="-".join(["value", *task.values(), of]),
        command=_command("eval", str(train.output), *selection, **{"value-error": data.output}, **task, **rollouts),
        needs=(train.key, data.key),
        work=data.work + states * cell.task.horizon,
        total=data.total,
        output=train.output,
    )


def cost_job(cell: CostCell, out: Path) -> Job:
    """The measurement of a cost cell by `robo-orl profile`, or its prediction of the largest model for the cards."""
    files = [Input(out / "requests" / f"cost-{p.name}-{p.digest()[:10]}.yaml", p) for p in cell.policies]
    task = _task_file(cell.task, out)
    words = ["profile", *(word for file in files[1:] for word in ("--beside", str(file.path)))]
    options = {"policy": files[0].path, "task": task.path, "steps": cell.steps}
    if cell.cards:
        words += ["--largest", *(word for card in cell.cards for word in ("--card", card))]
    elif cell.launched:
        words.append("--launch")
        options |= {"zero": cell.zero, "world": processes()}
    return Job(
        kind=COSTS,
        key=f"cost-{cell.key}",
        command=_command(*words, **options),
        needs=(),
        work=sum(training_work(policy) / policy.steps for policy in cell.policies) * cell.steps,
        total=cell.steps,
        output=out / COST / f"{cell.key}.json",
        exclusive=cell.pair or (not cell.cards and hardware().accelerator is not None),
        inputs=(*files, task),
    )


def _command(*words: str, **options: Any) -> tuple[str, ...]:
    """A command of this package that answers with one JSON object."""
    pairs = [(f"--{name}", str(value)) for name, value in options.items()]
    return (*ROBO_ORL, *words, *(text for pair in pairs for text in pair), "--json")


def _task_file(task: TaskConfig, out: Path) -> Input:
    """The resolved task as a file."""
    return Input(out / "requests" / f"{task.name}-{task.digest()[:10]}.yaml", task)


def _policy_file(cell: Cell, out: Path) -> Input:
    """The resolved policy (or reference) as a file, which cells of other tasks and seeds share."""
    return Input(out / "requests" / f"policy-{cell.policy.name}-{cell.policy.digest()[:10]}.yaml", cell.policy)


def _reward_file(cell: Cell, out: Path) -> Input:
    """The resolved source of rewards as a file."""
    reward = cell.data.reward
    return Input(out / "requests" / f"reward-{reward.name}-{reward.digest()[:10]}.yaml", reward)
