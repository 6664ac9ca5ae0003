"""The command `robo-orl list`: the names that the command line takes, with one line about each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from robo_orl.base.errors import UsageError, unknown
from robo_orl.base.text import notice
from robo_orl.cli.options import Json, show
from robo_orl.config import SIZES
from robo_orl.config.presets import JOIN, NOUNS, available, load_task, load_variant, preset_values
from robo_orl.config.variants import read_variant


def list_presets(
    kind: Annotated[
        str,
        typer.Argument(
            help="policies, variants, online, tasks, suites, rewards, sizes, objectives, references (default: all)."
        ),
    ] = "",
    objective: Annotated[str, typer.Option(help="Only the policies and the objective of this name, e.g. iql.")] = "",
    as_json: Json = False,
) -> None:
    """List what can be named: policies and tasks, variants to join to them (qc+separate), suites, sizes and methods."""
    from robo_orl.cli.tables import listing

    if kind and kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    kinds = [kind] if kind else list(KINDS)
    if objective:
        show({name: _of_objective(name, objective) for name in _with_objectives(kind)}, as_json, listing)
        return
    show({name: catalogue(name) for name in kinds}, as_json, listing)
    if "objectives" in kinds:
        from robo_orl.objectives import OBJECTIVES

        for error in OBJECTIVES.broken.values():
            notice(str(error))


Row = dict[str, Any]
OBJECTIVE_COLUMNS = {"policies": "objective", "objectives": "name"}


def _with_objectives(kind: str) -> list[str]:
    """The kinds that an objective selects from; UsageError for a kind that has none."""
    if kind and kind not in OBJECTIVE_COLUMNS:
        raise UsageError(f"--objective selects policies and objectives; {kind} have none: leave one of the two out.")
    return [kind] if kind else list(OBJECTIVE_COLUMNS)


def _of_objective(kind: str, objective: str) -> list[Row]:
    """The rows of an objective; UsageError for an unknown one."""
    from robo_orl.objectives import OBJECTIVES

    if objective not in OBJECTIVES:
        raise unknown("objective", objective, OBJECTIVES)
    return [row for row in catalogue(kind) if row[OBJECTIVE_COLUMNS[kind]] == objective]


def catalogue(kind: str) -> list[Row]:
    """Every entry of `kind`, a name in KINDS, as a row for a table or for JSON.

    A file that cannot be read stands in its place, with the sentence that says why in `description`.
    """
    return KINDS[kind]()


def _policies() -> list[Row]:
    return _rows("policies", _policy, ("objective", "head", "critic"))


def _policy(name: str) -> Row:
    values = preset_values("policies", name)
    critic = values.get("critic") or {}
    return {
        "objective": values.get("objective", {}).get("name", "bc"),
        "head": values.get("action_head", {}).get("kind", "l1"),
        "critic": critic.get("topology", "shared") if critic else "-",
        "description": values.get("description", ""),
    }


def _online() -> list[Row]:
    def about(name: str) -> Row:
        method = read_variant(name, available("policies/online")[name])
        online = method.settings.get("online", {})
        return {
            "objective": method.settings.get("objective", {}).get("name", "the run's"),
            "replay": online.get("replay", {}).get("mix", "append"),
            "description": method.description,
        }

    return _rows("policies/online", about, ("objective", "replay"))


def _tasks() -> list[Row]:
    return _rows("tasks", _task, ("stages", "control_hz", "horizon"))


def _task(name: str) -> Row:
    task = load_task(name)
    return {
        "stages": len(task.stages),
        "control_hz": task.control_hz,
        "horizon": task.horizon,
        "description": task.description,
    }


def _variants() -> list[Row]:
    return [row for kind in ("policies", "policies/online", "tasks") for row in _variants_of(kind)]


def _variants_of(kind: str) -> list[Row]:
    def about(name: str) -> Row:
        variant = load_variant(kind, name)
        return {"of": NOUNS[kind], "changes": variant.changes(), "description": variant.description}

    rows = _rows(f"{kind}/variants", about, ("of", "changes"))
    return [row | {"name": f"{JOIN}{row['name']}", "of": NOUNS[kind]} for row in rows]


def _suites() -> list[Row]:
    return _rows("tasks/suites", lambda n: {"description": preset_values("tasks/suites", n).get("description", "")}, ())


def _rewards() -> list[Row]:
    return _rows("tasks/rewards", _reward, ("source", "needs"))


def _reward(name: str) -> Row:
    from robo_orl.rewards.registry import load_reward, make_source

    reward = load_reward(name)
    labels = "" if reward.labels is None else f"{reward.labels} "
    return {
        "source": reward.source,
        "needs": f"{labels}{make_source(reward).needs}",
        "description": reward.description,
    }


def _rows(kind: str, about: Callable[[str], Row], columns: tuple[str, ...]) -> list[Row]:
    """A row per preset of `kind`; columns: what a broken file has no value for."""
    rows = []
    for name in available(kind):
        try:
            rows.append({"name": name} | about(name))
        except UsageError as error:
            rows.append({"name": name} | dict.fromkeys(columns, "-") | {"description": f"broken: {error}"})
    return rows


def _sizes() -> list[Row]:
    from robo_orl.models.backbones.transformer import parameters_of_size
    from robo_orl.models.vlm.architectures import architecture, architectures

    native = [{"name": name, "depth": depth, "parameters": parameters_of_size(name)} for name, depth in SIZES.items()]
    models = [architecture(name) for name in architectures()]
    models = [{"name": m.name, "depth": m.depth, "parameters": m.parameters} for m in models]
    return [row | {"kind": "transformer"} for row in native] + [row | {"kind": "vlm"} for row in models]


def _objectives() -> list[Row]:
    from robo_orl.objectives import OBJECTIVES

    return [
        {
            "name": name,
            "values": " ".join(objective.heads) or "-",
            "extraction": " ".join(objective.extractions) or "its own",
            "description": (objective.__doc__ or "").strip().splitlines()[0],
        }
        for name, objective in OBJECTIVES.items()
    ]


def _references() -> list[Row]:
    from robo_orl.robomimic.algorithms import ALGORITHMS

    return [{"name": name, "description": algorithm.description} for name, algorithm in ALGORITHMS.items()]


KINDS: dict[str, Callable[[], list[Row]]] = {
    "policies": _policies,
    "variants": _variants,
    "online": _online,
    "tasks": _tasks,
    "suites": _suites,
    "rewards": _rewards,
    "sizes": _sizes,
    "objectives": _objectives,
    "references": _references,
}
