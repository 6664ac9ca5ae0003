"""The command `robo-orl data relabel`: the same episodes with other rewards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from robo_orl.cli.options import Json, Workers, show, shows_progress


def relabel(
    file: Annotated[Path, typer.Argument(help="A data file, whose rewards were not replaced before.")],
    reward: Annotated[str, typer.Option(help="A file in tasks/rewards/, or a path; `robo-orl list rewards`.")],
    out: Annotated[Path, typer.Option(help="The HDF5 file to write; a killed call continues where it was.")],
    labels: Annotated[int | None, typer.Option(min=1, help="Labels of the kind that the reward takes.")] = None,
    noise: Annotated[
        list[str],
        typer.Option(metavar="KEY=VALUE", help="A fault of the labels, e.g. flip=0.2 or late=10. Repeatable."),
    ] = [],
    rest: Annotated[str, typer.Option(help="Episodes without a label: failure, or drop.")] = "",
    seed: Annotated[int | None, typer.Option(min=0, help="Of the choice of episodes, the noise and a model.")] = None,
    set_: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="Another value, e.g. params.column=vlm. Repeatable."),
    ] = [],
    annotations: Annotated[
        list[Path], typer.Option(help="A journal of `data label`, in the place of labels from the truth. Repeatable.")
    ] = [],
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Write a copy whose rewards, success and terminals are those of a source; it says what they cost and are worth."""
    from robo_orl.config import RewardConfig, apply_overrides, parse
    from robo_orl.config.presets import preset_values
    from robo_orl.config.rewards import named_by_labels
    from robo_orl.rewards.relabel import relabel as relabel_file

    given = {"labels": labels, "rest": rest or None, "seed": seed}
    values = preset_values("tasks/rewards", reward) | {key: value for key, value in given.items() if value is not None}
    values["name"] = named_by_labels(values["name"], labels)
    values = apply_overrides(values, [f"noise.{item}" for item in noise] + set_)
    config = parse(RewardConfig, values, f"reward '{reward}'")
    written = relabel_file(file, config, out, tuple(annotations), workers, shows_progress(as_json))
    show(written.to_json(), as_json, _print)


def _print(result: dict[str, Any]) -> None:
    """The account of the reward first, then its quality."""
    from robo_orl.cli.tables import key_values

    reward = result["reward"]
    shown = {"path": result["path"], "episodes": result["all"]["episodes"], "frames": result["all"]["frames"]}
    shown |= {"reward": reward["request"]["config"]["name"], "called_successes": result["all"]["success_k"]}
    shown |= {"annotation": reward["annotation"], "scale": reward["scale"]}
    shown |= {"quality on held-out episodes": reward["quality"]}
    key_values(shown | {"already_complete": result["already_complete"]})
