"""The commands `robo-orl data relabel` and `data label`: the same episodes with other rewards, and labels for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from robo_orl.base.errors import UsageError, unknown
from robo_orl.base.text import notice
from robo_orl.cli.options import Json, Seed, Workers, show, shows_progress


def relabel(
    file: Annotated[Path, typer.Argument(help="A data file, whose rewards were not replaced before.")],
    out: Annotated[Path, typer.Option(help="The HDF5 file to write; a killed call continues where it was.")],
    reward: Annotated[
        str | None, typer.Option(help="A file in tasks/rewards/, or a path; `robo-orl list rewards`.")
    ] = None,
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
    model: Annotated[
        Path | None, typer.Option(help="A saved reward model that judges the file, in the place of --reward.")
    ] = None,
    save_model: Annotated[
        Path | None, typer.Option(help="The folder to save the networks of the reward in, for --model.")
    ] = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Write a copy whose rewards, success and terminals are those of a source; it says what they cost and are worth."""
    from robo_orl.config import RewardConfig, apply_overrides, parse
    from robo_orl.config.presets import preset_values
    from robo_orl.config.rewards import named_by_labels
    from robo_orl.rewards.relabel import relabel as relabel_file

    if (reward is None) == (model is None):
        raise UsageError("Say where rewards come from: --reward NAME, or --model DIR of a saved one.")
    if model is not None:
        _check_alone(
            labels=labels, noise=noise, rest=rest, seed=seed, set=set_, annotations=annotations, save_model=save_model
        )
        written = relabel_file(file, None, out, workers=workers, progress=shows_progress(as_json), model=model)
        show(written.to_json(), as_json, _print)
        return
    given = {"labels": labels, "rest": rest or None, "seed": seed}
    values = preset_values("tasks/rewards", reward) | {key: value for key, value in given.items() if value is not None}
    values["name"] = named_by_labels(values["name"], labels)
    values = apply_overrides(values, [f"noise.{item}" for item in noise] + set_)
    config = parse(RewardConfig, values, f"reward '{reward}'")
    shown = shows_progress(as_json)
    written = relabel_file(file, config, out, tuple(annotations), workers, shown, save_model=save_model)
    show(written.to_json(), as_json, _print)


def _check_alone(**options: Any) -> None:
    """UsageError where an option is given that a saved model has decided already."""
    given = next((name for name, value in options.items() if value not in (None, "", [])), None)
    if given is not None:
        raise UsageError(f"--model is a reward as it was trained: leave --{given.replace('_', '-')} out.")


def _print(result: dict[str, Any]) -> None:
    """The account of the reward first, then its quality."""
    from robo_orl.cli.tables import key_values

    reward = result["reward"]
    shown = {"path": result["path"], "episodes": result["all"]["episodes"], "frames": result["all"]["frames"]}
    shown |= {"reward": reward["request"]["config"]["name"], "called_successes": result["all"]["success_k"]}
    shown |= {"annotation": reward["annotation"], "scale": reward["scale"]}
    shown |= {"quality on held-out episodes": reward["quality"]}
    key_values(shown | {"already_complete": result["already_complete"]})


def label(
    file: Annotated[Path, typer.Argument(help="A data file with pictures, or with states to render.")],
    out: Annotated[Path, typer.Option(help="The journal that labels are added to.")],
    annotator: Annotated[str, typer.Option(help="Who labels; two annotators may share a journal.")] = "me",
    ask: Annotated[
        str, typer.Option(help="success: a bit an episode; stages: each stage's frame as well.")
    ] = "success",
    labels: Annotated[int | None, typer.Option(min=1, help="Episodes to label, in the order of data relabel.")] = None,
    seed: Seed = 0,
    camera: Annotated[str, typer.Option(help="Camera of the pictures.")] = "agentview",
    size: Annotated[int, typer.Option(min=16, max=512, help="Pixels per side, where pictures are rendered.")] = 192,
    every: Annotated[int, typer.Option(min=1, help="Frames between two pictures.")] = 2,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    as_json: Json = False,
) -> None:
    """Play episodes on a page of this machine and take labels by keyboard until Ctrl-C; each is kept at once.

    The seconds from the first picture to the answer are recorded with every label.
    """
    from robo_orl.rewards.label_pictures import Pictures
    from robo_orl.rewards.label_server import make_server, open_session

    if ask not in ("success", "stages"):
        raise unknown("kind of label", ask, ("success", "stages"))
    pictures = Pictures(file, camera, size, every)
    session = open_session(file, out, annotator, ask, labels, seed, pictures)
    server = make_server(session, port)
    notice(
        f"open http://127.0.0.1:{server.server_address[1]}/ in a browser; Ctrl-C ends, and the same command goes on."
    )
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
        pictures.close()
    show(session.summary(), as_json)
