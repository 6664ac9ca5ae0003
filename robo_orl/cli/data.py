"""The commands `robo-orl data ...`: demonstrations in robomimic's layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robo_orl.base.errors import UsageError, unknown
from robo_orl.base.text import print_line
from robo_orl.cli import lerobot, rewards
from robo_orl.cli.options import (
    AcceptMismatch,
    AfterSuccess,
    ClipActions,
    Json,
    Loop,
    Rewards,
    Seed,
    Workers,
    check_loop,
    reading_values,
    show,
    shows_progress,
)

if TYPE_CHECKING:
    from robo_orl.config import TaskConfig, View
    from robo_orl.data.arrays import Reading

app = typer.Typer(
    help="Demonstrations: generate, check, describe, reward and replay robomimic HDF5 files.", no_args_is_help=True
)
app.command()(rewards.relabel)
app.command()(lerobot.export)
app.command()(rewards.label)

Cameras = Annotated[str, typer.Option(help="Cameras to take pictures with, e.g. agentview,robot0_eye_in_hand.")]
Size = Annotated[int, typer.Option(help="Pixels per side of a picture.")]
OtherTask = Annotated[str, typer.Option("--task", help="The task of a file that other software wrote.")]
SCALED = "every number of the actions from its range to [-1, 1]"
Look = Annotated[
    str, typer.Option(help="plain, or full: robosuite's own shadows and reflections, several times slower.")
]


@app.command()
def generate(
    task: Annotated[str, typer.Option(help="Name of a file in tasks/, or a path.")],
    regime: Annotated[str, typer.Option(help="ph, mh, mg, stitch, paired, half_fast or never_whole.")],
    episodes: Annotated[int, typer.Option(min=1, help="Episodes to record.")],
    out: Annotated[Path, typer.Option(help="The HDF5 file to write; a killed call continues where it was.")],
    workers: Workers = None,
    seed: Seed = 0,
    next_obs: Annotated[bool, typer.Option(help="Also store next_obs, which robomimic's RL algorithms want.")] = False,
    loop: Loop = "exact",
    cameras: Cameras = "",
    size: Size = 84,
    look: Look = "plain",
    as_json: Json = False,
) -> None:
    """Record scripted operators of a regime into robomimic's HDF5 layout."""
    from robo_orl.config import REGIMES
    from robo_orl.config.presets import load_task
    from robo_orl.data.generate import generate as generate_file

    if regime not in REGIMES:
        raise unknown("regime", regime, REGIMES)
    config = load_task(task)
    summary = generate_file(
        config,
        regime,
        episodes,
        out,
        workers=workers,
        seed=seed,
        next_obs=next_obs,
        loop=check_loop(loop),
        progress=shows_progress(as_json),
        view=_view(cameras, size, look) or config.view,
    )
    show(summary.to_json(), as_json)


def _view(cameras: str, size: int, look: str) -> View | None:
    """The pictures of the options; None without a camera."""
    from robo_orl.config import View, parse

    names = [name.strip() for name in cameras.split(",") if name.strip()]
    if not names:
        if (size, look) != (84, "plain"):
            raise UsageError("--size and --look do nothing without --cameras.")
        return None
    return parse(View, {"cameras": names, "size": size, "look": look}, "--cameras")


@app.command("add-images")
def add_images(
    file: Annotated[Path, typer.Argument(help="A data file made here; it is replaced when all pictures are there.")],
    cameras: Annotated[
        str, typer.Option(help="Default: the view of the task, else agentview,robot0_eye_in_hand.")
    ] = "",
    size: Size = 84,
    look: Look = "plain",
    workers: Workers = None,
    task: OtherTask = "",
    accept_mismatch: AcceptMismatch = False,
    as_json: Json = False,
) -> None:
    """Render the stored states of a data file into robomimic's image observations; a killed call continues."""
    from robo_orl.data.add_images import add_images as add

    other = _other_task(task)
    view = None if cameras or other is None else other.view
    view = view or _view(cameras or "agentview,robot0_eye_in_hand", size, look)
    if view is None:
        raise UsageError("--cameras names no camera.")
    options = {"workers": workers, "task": other, "accept_mismatch": accept_mismatch}
    show(add(file, view, progress=shows_progress(as_json), **options).to_json(), as_json)


@app.command()
def download(
    names: Annotated[list[str], typer.Argument(help="TASK/KIND, e.g. lift/ph can/mg, or all.")],
    out: Annotated[Path, typer.Option(help="The folder; one of before is completed.")] = Path("runs/official"),
    rewards: Annotated[str, typer.Option(help="Of mg, which exists with both: sparse or dense.")] = "sparse",
    raw: Annotated[bool, typer.Option("--raw", help="States and actions alone, without observations.")] = False,
    mirror: Annotated[str, typer.Option(help="URL of another hub, or of a folder that this command filled.")] = "",
    proxy: Annotated[str, typer.Option(help="URL of a proxy (default: what the environment says).")] = "",
    revision: Annotated[str, typer.Option(help="Branch, tag or commit of the repository.")] = "main",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would come, and fetch nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Fetch robomimic's official demonstrations from the hub, checked by their sha256; a killed call continues.

    Pictures are not hosted: `robo-orl data add-images FILE --task TASK` renders them from the stored states.
    """
    from robo_orl.data.download import download as fetch

    if rewards not in ("sparse", "dense"):
        raise unknown("rewards", rewards, ("sparse", "dense"))
    options = {"mirror": mirror, "proxy": proxy, "revision": revision, "dry_run": dry_run}
    done = fetch(names, out, rewards, raw, progress=shows_progress(as_json), **options)
    if as_json:
        show(done.to_json(), as_json)
        return
    for file in done.files:
        print_line(f"{out / file.path}  {file.size / 1e6:,.1f} MB  sha256 {file.sha256[:12]}")
    print_line(
        f"from {done.source}, revision {done.revision or 'unknown'}, licence {done.licence or 'not named there'}"
    )
    task = done.files[0].path.split("/")[1]
    if not dry_run:
        print_line(
            f"next: robo-orl train --policy bc --task {task} --data {out / done.files[0].path} --out runs/{task}"
        )


def _other_task(name: str) -> TaskConfig | None:
    from robo_orl.config.presets import load_task

    return load_task(name) if name else None


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(help="A raw robosuite recording, a robomimic file, or a LeRobot folder.")],
    out: Annotated[Path, typer.Option(help="The HDF5 file to write; a killed call continues where it was.")],
    task: Annotated[str, typer.Option(help="The task whose scene it was recorded in; not of a LeRobot folder.")] = "",
    next_obs: Annotated[bool, typer.Option(help="Also store next_obs, which robomimic's RL algorithms want.")] = False,
    workers: Workers = None,
    accept_mismatch: AcceptMismatch = False,
    cameras: Annotated[str, typer.Option(help="Of LeRobot: the cameras to keep, all, or none.")] = "all",
    size: Annotated[int, typer.Option(min=0, help="Of LeRobot: pixels per side of a picture; 0: as stored.")] = 0,
    episodes: Annotated[str, typer.Option(help="Of LeRobot: the episodes to keep, e.g. 0:20 or 3,5.")] = "",
    scale_actions: Annotated[bool, typer.Option("--scale-actions", help=f"Of LeRobot: {SCALED}.")] = False,
    assume_success: Annotated[bool, typer.Option("--assume-success", help="Of LeRobot: all episodes succeed.")] = False,
    as_json: Json = False,
) -> None:
    """Restore the stored states in a task's scene and write observations, stages, rewards and starts.

    A LeRobot folder (v2.0, v2.1, v3) has no states: its observations, actions and pictures are taken as they are.
    """
    from robo_orl.data.lerobot.dataset import is_lerobot

    if is_lerobot(file):
        other = {"--task": task, "--next-obs": next_obs, "--workers": workers, "--accept-mismatch": accept_mismatch}
        lerobot.refuse(file, other)
        choice = lerobot.choice(cameras, size, episodes, scale_actions, assume_success)
        written = lerobot.convert(file, out, choice, shows_progress(as_json))
    else:
        only = {"--size": size, "--episodes": episodes, "--scale-actions": scale_actions}
        lerobot.refuse(file, only | {"--assume-success": assume_success, "--cameras": cameras != "all"})
        if not task:
            raise UsageError("Give the task whose scene the states are of, e.g. --task lift.")
        from robo_orl.config.presets import load_task
        from robo_orl.data.convert import convert as convert_file

        options = {"workers": workers, "next_obs": next_obs, "accept_mismatch": accept_mismatch}
        written = convert_file(file, load_task(task), out, progress=shows_progress(as_json), **options)
    show(written.to_json(), as_json)


@app.command()
def validate(
    file: Path,
    level: Annotated[
        str, typer.Option(help="trains, replays, or robomimic (as robomimic writes it): that of the exit status.")
    ] = "trains",
    policy: Annotated[str, typer.Option(help="Only what this policy reads must be whole.")] = "",
    task: Annotated[str, typer.Option(help="Also check that the file is of this task.")] = "",
    clip_actions: ClipActions = False,
    after_success: AfterSuccess = "cut",
    rewards: Rewards = "auto",
    accept_mismatch: AcceptMismatch = False,
    as_json: Json = False,
) -> None:
    """Name every fault of a data file, one sentence each; exit 1 when one stands in the way of the level.

    A file without a fault of the level `trains` trains with the same options, and a fault there is what `train` says.
    """
    from robo_orl.data.validate import LEVELS, examine

    if level not in LEVELS:
        raise unknown("level", level, LEVELS)
    choice = reading_values(clip_actions, after_success, rewards, accept_mismatch)
    findings = examine(file, _reading(policy, task, choice))
    levels = {name: getattr(findings, name) for name in LEVELS}
    if task and not levels["trains"]:
        levels["trains"] += _task_faults(file, policy, task, choice)
    result = {"file": str(file), "faults": levels[level], "levels": levels, "notes": findings.notes}
    show(result, as_json, _print_findings)
    if levels[level]:
        raise typer.Exit(1)


def _print_findings(result: dict[str, Any]) -> None:
    """The faults of the chosen level, then those that stand in the way of the other levels only, then notes."""
    print_line("\n".join(result["faults"]) or f"{result['file']}: no fault found.")
    said = set(result["faults"])
    for name, sentences in result["levels"].items():
        for sentence in (s for s in sentences if s not in said):
            print_line(f"for {name}: {sentence}")
        said |= set(sentences)
    for note in result["notes"]:
        print_line(f"note: {note}")


def _reading(policy: str, task: str, choice: dict[str, Any]) -> Reading:
    """The parts of the data of `task` that `policy` reads; without them everything that every episode has."""
    from robo_orl.config import DataReading, parse
    from robo_orl.config.presets import load_policy, load_task
    from robo_orl.data.arrays import Reading
    from robo_orl.engine.task_data import policy_reading

    chosen = parse(DataReading, choice, "validate")
    if not policy:
        return Reading(choice=chosen)
    return policy_reading(load_policy(policy), load_task(task) if task else None, chosen)


def _task_faults(file: Path, policy: str, task: str, choice: dict[str, Any]) -> list[str]:
    """The sentence that refuses a file as data of a task."""
    from robo_orl.config.presets import load_task
    from robo_orl.data.cache import open_cache
    from robo_orl.data.task_check import check_task

    try:
        arrays = open_cache(file, reading=_reading(policy or "bc", task, choice))
        check_task(arrays, load_task(task), choice["accept_mismatch"])
    except UsageError as error:
        return [str(error)]
    return []


@app.command()
def collected(
    run: Annotated[Path, typer.Argument(help="Folder of a run that `robo-orl online` made.")],
    out: Annotated[Path, typer.Option(help="The HDF5 file to write.")],
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Write the episodes that a run collected online, failures and successes, as a robomimic file."""
    from robo_orl.online.export import export_replay

    show(export_replay(run, out, workers).to_json(), as_json)


@app.command()
def info(file: Path, as_json: Json = False) -> None:
    """Describe a data file: episodes, success, lengths, masks, keys, versions."""
    from robo_orl.data.info import describe

    show(describe(file).to_json(), as_json)


@app.command()
def replay(
    file: Path,
    episodes: Annotated[int | None, typer.Option(min=1, help="Only the first N episodes (default: all).")] = None,
    workers: Workers = None,
    loop: Loop = "exact",
    task: OtherTask = "",
    accept_mismatch: AcceptMismatch = False,
    as_json: Json = False,
) -> None:
    """Restore stored states, replay stored actions, and report recorded against replayed success."""
    from robo_orl.data.replay import replay as replay_file

    options = {"workers": workers, "loop": check_loop(loop), "accept_mismatch": accept_mismatch}
    options |= {"task": _other_task(task), "progress": shows_progress(as_json)}
    show(replay_file(file, episodes, **options).to_json(), as_json)


@app.command()
def edit(
    files: Annotated[list[Path], typer.Argument(help="One file, or several to merge into one.")],
    out: Annotated[Path, typer.Option(help="The HDF5 file to write.")],
    select: Annotated[str, typer.Option(help="Keep only these episodes or masks, e.g. success or demo_0,demo_3.")] = "",
    drop: Annotated[str, typer.Option(help="Leave these episodes or masks out.")] = "",
    rename: Annotated[list[str], typer.Option(metavar="OLD=NEW", help="Another name of an episode. Repeatable.")] = [],
    renumber: Annotated[bool, typer.Option("--renumber", help="Name the episodes demo_0, demo_1 and so on.")] = False,
    flatten: Annotated[bool, typer.Option("--flatten", help="Move observations of inner groups into obs.")] = False,
    clip_actions: ClipActions = False,
    permute_outcomes: Annotated[
        int | None,
        typer.Option(min=0, metavar="SEED", help="Give every episode another one's rewards, stages and success."),
    ] = None,
    end_failures: Annotated[
        bool,
        typer.Option("--end-failures", help="A demonstrator's walking off ends its episode in a terminal."),
    ] = False,
    split: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Divide the episodes into masks: valid with this share, train the others."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the division.")] = 0,
    as_json: Json = False,
) -> None:
    """Write a copy with other episodes or other outcomes; masks, counts and header follow."""
    from robo_orl.data.edit import Edit
    from robo_orl.data.edit import edit as edit_files

    pairs = [item.partition("=") for item in rename]
    if not all(old and new for old, _, new in pairs):
        raise UsageError("--rename takes OLD=NEW.")
    names = {old: new for old, _, new in pairs}
    change = Edit(
        *(_names(select), _names(drop), names, renumber, flatten, clip_actions, permute_outcomes, end_failures),
        split=split,
        split_seed=seed,
    )
    summary = edit_files(files, out, change)
    show(summary.to_json() if summary else {"path": str(out)}, as_json)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
