"""Recording a regime's episodes into one file: parallel, resumable, and the same bytes for any number of workers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import h5py
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from robo_orl.base.episode import Episode
from robo_orl.base.errors import UsageError
from robo_orl.base.files import folder_beside
from robo_orl.base.locks import shard_folder
from robo_orl.base.text import as_label, notice
from robo_orl.config import Loop, TaskConfig, View
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.hdf5 import read_episode, write_file
from robo_orl.data.info import WrittenFile, describe
from robo_orl.rollout.pool import work_through
from robo_orl.rollout.process import Work

if TYPE_CHECKING:
    from robo_orl.envs.demonstrators.regimes import EpisodePlan


class Shards:
    """The folder `.<out>.shards`: one file per finished episode.

    Episode i of a request does not depend on how many are recorded, so shards outlive a change of --episodes or
    --next-obs, but of nothing else.
    """

    def __init__(self, out: Path, made: layout.Provenance):
        self.folder = folder_beside(out, "shards")
        self.made = made.model_copy(update={"episodes": 1, "next_obs": True})

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder; UsageError where another process does. Shards of another request are thrown away."""
        with shard_folder(self.folder, self.made.digest(), "*.hdf5", "generating"):
            self._remove_damaged()
            yield

    def _remove_damaged(self) -> None:
        """Remove kept episodes that cannot be read, so that they are recorded again."""
        for file in sorted(self.folder.glob("*.hdf5")):
            try:
                self.read(int(file.stem))
            except layout.DAMAGE:
                notice(f"the kept episode {file} is damaged and is made again.")
                file.unlink(missing_ok=True)

    def path(self, index: int) -> Path:
        return self.folder / f"{index:06d}.hdf5"

    def finished(self, index: int) -> bool:
        """True where episode `index` is there; files appear complete or not at all."""
        return self.path(index).exists()

    def write(self, index: int, episode: Episode, env_args: dict, loop: Loop, render: dict | None = None) -> None:
        """Keep an episode; render: the fingerprint of what made its pictures."""
        made = self.made.model_copy(update={"loop": loop, "render": render})
        write_file(self.path(index), made, env_args, [episode])

    def read(self, index: int) -> Episode:
        """The episode `index`."""
        with h5py.File(self.path(index), "r") as file:
            return read_episode(file["data/demo_0"])

    def succeeded(self, index: int) -> bool:
        """The success of episode `index`."""
        with h5py.File(self.path(index), "r") as file:
            return bool(file["data/demo_0"].attrs["success"])

    def environment(self) -> tuple[str, layout.Provenance]:
        """(env_args as JSON, the loop and the renderer really in use), as episode 0 met them."""
        with h5py.File(self.path(0), "r") as file:
            return str(file["data"].attrs["env_args"]), layout.provenance(file)

    def remove(self) -> None:
        """Throw the folder away: the output is complete."""
        shutil.rmtree(self.folder)


def generate(
    task: TaskConfig,
    regime: str,
    episodes: int,
    out: Path,
    workers: int | None = None,
    seed: int = 0,
    next_obs: bool = False,
    loop: Loop = "exact",
    progress: bool = True,
    view: View | None = None,
) -> WrittenFile:
    """Record `episodes` episodes of `regime` into `out` and describe the file; view: with pictures.

    A killed or interrupted call leaves its finished episodes in a folder beside `out`, and the same call goes on from
    there. A complete file that answers the same request is left as it is. Raises UsageError for an unknown regime and
    for a file that holds something else; RunError for a full disk and for a simulator that keeps dying.
    """
    from robo_orl.envs.demonstrators.regimes import plan

    out = Path(out)
    if out.is_dir():
        raise UsageError(
            f"{out} is a folder; --out takes the file to write, e.g. {out / f'{task.name}_{regime}.hdf5'}."
        )
    made = layout.Provenance(
        task=task,
        regime=regime,
        seed=seed,
        episodes=episodes,
        loop=loop,
        next_obs=next_obs,
        versions=layout.versions(),
        view=view,
    )
    plans = plan(task, regime, episodes, seed)
    if out.exists():
        _check_same(out, made)
        return WrittenFile(describe(out), already_complete=True)
    shards = Shards(out, made)
    with shards.held():
        began = perf_counter()
        recorded, restarts = _record(plans, shards, workers, progress)
        seconds = perf_counter() - began
        env_args, met = shards.environment()
        final = made.model_copy(update={"loop": met.loop, "render": met.render})
        write_file(out, final, json.loads(env_args), (shards.read(item.index) for item in plans))
        shards.remove()
    speed = {"recorded_now": recorded, "episodes_per_s": round(recorded / seconds, 3) if recorded else None}
    return WrittenFile(describe(out), counts=speed | {"restarts": restarts})


def _check_same(out: Path, made: layout.Provenance) -> None:
    """UsageError where the existing file answers another request; a loop may have fallen back to robosuite's own."""
    with layout.open_hdf5(out) as file:
        there, demos = layout.provenance(file), len(layout.demo_names(file))
    if there is None:
        raise UsageError(f"{out} exists and was not made by `robo-orl data generate`; choose another --out.")
    there = there.model_copy(update={"render": None})
    if there.loop == "stock":
        there = there.model_copy(update={"loop": made.loop})
    if there.digest() == made.digest():
        if demos != made.episodes:
            raise UsageError(
                f"{out} holds {demos} of the {made.episodes} episodes it was made with; choose another --out."
            )
        return
    own, other = made.identity(), there.identity()
    key = next(key for key in type(made).model_fields if own.get(key) != other.get(key))
    ours, theirs = made.model_dump(mode="json"), there.model_dump(mode="json")
    if key != "task":
        said = f"its {key} is {theirs.get(key)!r}, not {ours.get(key)!r}"
    elif there.task.name != made.task.name:
        said = f"its task is {there.task.name}, not {made.task.name}"
    else:
        said = f"it was recorded on another definition of {made.task.name}"
    raise UsageError(f"{out} exists and holds other data: {said}; choose another --out or delete it.")


def _record(plans: list[EpisodePlan], shards: Shards, workers: int | None, progress: bool) -> tuple[int, int]:
    """Record the episodes that are missing; (episodes recorded now, times that one was begun again)."""
    missing = [item for item in plans if not shards.finished(item.index)]
    kept = [item for item in plans if shards.finished(item.index)]
    successes, restarts, began = sum(shards.succeeded(item.index) for item in kept), 0, perf_counter()
    console = Console(stderr=True)
    texts = ("{task.description}", "success {task.fields[k]}/{task.completed}", "{task.fields[rate]:.2f} episodes/s")
    first, *rest = (TextColumn(text) for text in texts)
    columns = (first, BarColumn(), MofNCompleteColumn(), *rest, TimeRemainingColumn())
    bar = Progress(*columns, console=console, disable=not progress)
    with bar:
        label = as_label(f"{shards.made.task.name} {shards.made.regime}")
        shown = bar.add_task(label, total=len(plans), completed=len(kept), k=successes, rate=0.0)
        try:
            recording = work_through(missing, partial(_recorder, shards), workers, _name)
            for count, recorded in enumerate(recording, start=1):
                successes += recorded.result
                restarts += recorded.restarts
                bar.update(shown, advance=1, k=successes, rate=count / (perf_counter() - began))
        except KeyboardInterrupt:
            bar.stop()
            done = sum(shards.finished(item.index) for item in plans)
            kept_where = f"{done} of {len(plans)} episodes are kept in {shards.folder}"
            console.print(f"Interrupted: {kept_where}, and the same command goes on from there.", soft_wrap=True)
            raise
    return len(missing), restarts


def _name(item: EpisodePlan) -> str:
    return f"Recording episode {item.index}"


def _recorder(shards: Shards) -> Work:
    """The work of one process, in one environment: record an episode and keep it; whether it succeeded."""
    from robo_orl.envs.demonstrators.regimes import draw_start, record
    from robo_orl.envs.task_env import TaskEnv

    view = shards.made.view
    env, render = TaskEnv(shards.made.task, shards.made.loop), None
    if view is not None:
        from robo_orl.envs.rendering.renderer import render_fingerprint

        render = render_fingerprint(view.look)

    def work(plan: EpisodePlan) -> bool:
        start = draw_start(env, plan)
        episode = record(env, start, plan, view)
        episode.start_entry = start.entry
        shards.write(plan.index, episode, env.env_args(), env.loop, render)
        return bool(episode.success)

    return work
