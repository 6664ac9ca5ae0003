"""The reference, from the code: the command line of the typer app, the keys of configurations, the API pages."""

from __future__ import annotations

import importlib
import pkgutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import typer
from pydantic import BaseModel

import robo_orl

INTERFACE = """# The Python interface

The functions of `import robo_orl`; [From Python](../howto/python.md) has an example that runs.

::: robo_orl.api
    options: {members: [generate_data, train_policy, evaluate_policy, resolve_run], show_root_heading: false}

::: robo_orl.evaluate.policy
    options: {members: [load_policy, Policy], show_root_heading: false}

::: robo_orl.base.plugins
    options: {members: [register], show_root_heading: false}
"""


def pages() -> dict[str, str]:
    """Path -> Markdown of every generated page."""
    found = {"reference/command-line.md": command_line(), "reference/configuration.md": configuration()}
    found["reference/interface.md"] = INTERFACE
    for room, path in api_pages()[1:]:
        found[path] = _room(room)
    return found


# --------------------------------------------------------------------------------------------------------------- Python


def api_pages() -> list[tuple[str, str]]:
    """(title, path) of the pages about Python: the interface, then one per room."""
    rooms = sorted(m.name for m in pkgutil.iter_modules(robo_orl.__path__) if m.ispkg and m.name != "presets_data")
    return [("interface", "reference/interface.md"), *((room, f"reference/api/{room}.md") for room in rooms)]


def _room(room: str) -> str:
    package = importlib.import_module(f"robo_orl.{room}")
    names = sorted(m.name for m in pkgutil.walk_packages(package.__path__, f"robo_orl.{room}."))
    modules = "\n".join(f"::: {name}\n" for name in names)
    return f"# {room}\n\n{(package.__doc__ or '').strip()}\n\n{modules}"


# --------------------------------------------------------------------------------------------------------- command line


def command_line() -> str:
    """Every command with its arguments and options."""
    from robo_orl.cli.app import HELP, app

    text = ["# Command line", HELP, "Every command takes `--help`. Usage errors are one sentence and exit code 2,"
            " failures one sentence and exit code 1, Ctrl-C and SIGTERM exit code 130."]  # fmt: skip
    for path, command in commands(typer.main.get_command(app), "robo-orl"):
        text += [f"## `{path}`", (command.help or "").strip(), _parameters(command)]
    return "\n\n".join(text) + "\n"


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """(path, click command) of every leaf."""
    if not hasattr(command, "commands"):
        yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{path} {name}")


def _parameters(command: Any) -> str:
    rows = ["| argument or option | default | |", "| --- | --- | --- |"]
    for parameter in command.params:
        is_option = parameter.param_type_name == "option"
        name = " ".join(f"`{o}`" for o in (*parameter.opts, *parameter.secondary_opts)) if is_option else ""
        name = name or f"`{parameter.name.upper()}`"
        default = "required" if parameter.required else _default(parameter.default)
        rows.append(f"| {name} | {default} | {_cell(getattr(parameter, 'help', None) or '')} |")
    return "\n".join(rows)


def _default(value: object) -> str:
    return "" if value in (None, "", False, [], ()) or callable(value) else f"`{value}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# ------------------------------------------------------------------------------------------------------- configurations


def configuration() -> str:
    """The keys of policies, tasks, suites and runs."""
    from robo_orl.config import PolicyConfig, RunConfig, SuiteConfig, TaskConfig

    text = ["# Configuration", "The keys of the YAML files; `--set` takes them with dots between them."]
    titles = {"A policy": PolicyConfig, "A task": TaskConfig, "A suite": SuiteConfig, "A training": RunConfig}
    for title, schema in titles.items():
        text += [f"## {title}", " ".join((schema.__doc__ or "").split()), _keys(schema)]
    return "\n\n".join(text) + "\n"


def _keys(schema: type[BaseModel]) -> str:
    rows = ["| key | values | default | |", "| --- | --- | --- | --- |"]
    rows += [f"| `{key}` | {values} | {default} | {text} |" for key, values, default, text in _fields(schema, "")]
    return "\n".join(rows)


def _fields(schema: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for name, field in schema.model_fields.items():
        inner = next((t for t in _parts(field.annotation) if isinstance(t, type) and issubclass(t, BaseModel)), None)
        if inner is not None and get_origin(field.annotation) not in (list, dict) and not prefix.count(".") > 2:
            yield from _fields(inner, f"{prefix}{name}.")
            continue
        default = "required" if field.is_required() else f"`{field.get_default(call_default_factory=True)}`"
        yield prefix + name, _type(field.annotation), _cell(default), _cell(field.description or "")


def _parts(annotation: object) -> list[object]:
    return [annotation] if get_origin(annotation) is None else list(get_args(annotation))


def _type(annotation: object) -> str:
    literals = [v for part in [annotation, *_parts(annotation)] for v in get_args(part) if isinstance(v, str)]
    if literals:
        return ", ".join(f"`{value}`" for value in dict.fromkeys(literals))
    text = annotation.__name__ if isinstance(annotation, type) and get_origin(annotation) is None else str(annotation)
    return "`" + _cell(text.replace("typing.", "").replace("robo_orl.config.", "")).replace("\\|", "or") + "`"


# ------------------------------------------------------------------------------------------------------ parts of pages


def rooms() -> str:
    """A table of the rooms, lowest layer first, with the first line of each."""
    root = Path(__file__).parents[2]
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "layers")
    rows = []
    for room in reversed(layers):
        says = (importlib.import_module(f"robo_orl.{room}").__doc__ or "").strip().split("\n\n")[0]
        rows.append(f"| `{room}` | {_cell(says)} |")
    return "\n".join(["| room | |", "| --- | --- |", *rows])


def vlm_sizes() -> str:
    """A table of the vision-language models that `backbone.size` takes."""
    from robo_orl.models.vlm.architectures import architecture, architectures

    rows = [(name, architecture(name)) for name in architectures()]
    lines = [f"| `{name}` | {model.depth} | {model.parameters:,} |" for name, model in rows]
    return "\n".join(["| `backbone.size` | layers | parameters |", "| --- | ---: | ---: |", *lines])


def file(name: str) -> str:
    """The content of a file in docs/, for a fenced block."""
    return (Path(__file__).parents[1] / name).read_text().rstrip("\n")


FUNCTIONS = {"rooms": rooms, "vlm_sizes": vlm_sizes, "file": file}
