"""The commands `robo-orl data ...`: demonstrations in robomimic's layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robo_orl.base.errors import UsageError, unknown
from robo_orl.cli.options import Json, Loop, Seed, Workers, check_loop, show, showing

if TYPE_CHECKING:
    from robo_orl.config import View

app = typer.Typer(
    help="Demonstrations: generate, check, describe and replay robomimic HDF5 files.", no_args_is_help=True
)

Cameras = Annotated[str, typer.Option(help="Cameras to take pictures with, e.g. agentview,robot0_eye_in_hand.")]
Size = Annotated[int, typer.Option(help="Pixels per side of a picture.")]
Look = Annotated[
    str, typer.Option(help="plain, or full: robosuite's own shadows and reflections, several times slower.")
]


@app.command()
def generate(
    task: Annotated[str, typer.Option(help="Name of a file in tasks/, or a path.")],
    regime: Annotated[str, typer.Option(help="ph, mh, mg, stitch or paired.")],
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
    from typing import get_args

    from robo_orl.config import Regime
    from robo_orl.config.presets import load_task
    from robo_orl.data.generate import generate as generate_file

    if regime not in get_args(Regime):
        raise unknown("regime", regime, get_args(Regime))
    summary = generate_file(
        load_task(task),
        regime,
        episodes,
        out,
        workers=workers,
        seed=seed,
        next_obs=next_obs,
        loop=check_loop(loop),
        progress=showing(as_json),
        view=_view(cameras, size, look),
    )
    show(summary, as_json)


def _view(cameras: str, size: int, look: str) -> View | None:
    """What pictures are asked for; None without a camera."""
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
    cameras: Cameras = "agentview,robot0_eye_in_hand",
    size: Size = 84,
    look: Look = "plain",
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Render the stored states of a data file into robomimic's image observations; a killed call continues."""
    from robo_orl.data.add_images import add_images as add

    view = _view(cameras, size, look)
    if view is None:
        raise UsageError("--cameras names no camera.")
    show(add(file, view, workers=workers, progress=showing(as_json)), as_json)


@app.command()
def validate(file: Path, as_json: Json = False) -> None:
    """Name every fault of a data file, one sentence each; exit 1 when there is one."""
    from robo_orl.data.validate import faults

    found = faults(file)
    show({"file": str(file), "faults": found}, as_json, lambda _: print("\n".join(found) or f"{file}: no fault found."))
    if found:
        raise typer.Exit(1)


@app.command()
def info(file: Path, as_json: Json = False) -> None:
    """Describe a data file: episodes, success, lengths, masks, keys, versions."""
    from robo_orl.data.info import describe

    show(describe(file), as_json)


@app.command()
def replay(
    file: Path,
    episodes: Annotated[int | None, typer.Option(min=1, help="Only the first N episodes (default: all).")] = None,
    workers: Workers = None,
    loop: Loop = "exact",
    as_json: Json = False,
) -> None:
    """Restore stored states, replay stored actions, and report recorded against replayed success."""
    from robo_orl.data.replay import replay as replay_file

    show(replay_file(file, episodes, workers=workers, loop=check_loop(loop), progress=showing(as_json)), as_json)
