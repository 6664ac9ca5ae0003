"""From YAML and --set to values, and from a fault to one sentence."""

from __future__ import annotations

import os
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from yaml.constructor import SafeConstructor

from robo_orl.base.errors import UsageError, unknown
from robo_orl.base.os_errors import cannot_read
from robo_orl.config.strict import Strict, T


def deep_merge(base: dict, over: dict) -> dict:
    """`over` laid on `base`, dictionaries merged key by key; a null in `over` replaces what was there."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = deep_merge(merged[key], value) if both else value
    return merged


def parse(schema: type[T], values: dict, where: str) -> T:
    """Validate `values`; the first fault becomes one sentence that names its place and the nearest key."""
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise _sentence(schema, error, where) from None


def _sentence(schema: type[Strict], error: ValidationError, where: str) -> UsageError:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        fields = _fields_at(schema, path[:-1])
        prefix = ".".join(path[:-1])
        return UsageError(f"{where}: {unknown(f'key in {prefix}' if prefix else 'key', path[-1], fields)}")
    fault = first["msg"].removeprefix("Value error, ").rstrip(".")
    return UsageError(": ".join([where, *filter(None, [".".join(path)]), f"{fault}."]))


def _fields_at(schema: Any, path: list[str]) -> list[str]:
    """The keys that the schema knows below `path`."""
    for part in path:
        if part.isdigit():  # a place in a list, whose schema is already at hand
            continue
        annotation = schema.model_fields[part].annotation
        options = [annotation, *getattr(annotation, "__args__", ())]
        inner = [o for o in options if isinstance(o, type) and issubclass(o, Strict)]
        if not inner:
            return []
        schema = inner[0]
    return list(schema.model_fields)


def apply_overrides(values: dict, overrides: list[str]) -> dict:
    """Lay `--set a.b=value` items on a nested dictionary; values are YAML scalars or lists."""
    for item in overrides:
        path, equals, text = item.partition("=")
        if not equals or not path:
            raise UsageError(f"--set takes KEY=VALUE, got '{item}'.")
        nested: Any = _yaml(text, f"--set {path}")
        for key in reversed(path.split(".")):
            nested = {key: nested}
        values = deep_merge(values, nested)
    return values


def _yaml(text: str, where: str) -> Any:
    """The value of a YAML document; a key that stands twice in one mapping is refused."""
    try:
        value, repeated = _document(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{where} is not valid YAML: {' '.join(str(error).split())}.") from None
    if repeated:
        raise UsageError(f"{where}: {repeated}; leave one of them out.")
    return deepcopy(value)


@lru_cache(maxsize=1024)  # a suite reads the files that its policies extend once for every row
def _document(text: str) -> tuple[Any, str]:
    """The value of a YAML document, and what `_repeated_key` says of it."""
    # In Python: libyaml's loader is faster and ends the process where brackets are nested without end.
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if node is None:
        return None, ""
    repeated = _repeated_key(node, set())  # before keys that are merged in become the mapping's own
    return SafeConstructor().construct_document(node), repeated


def _repeated_key(node: yaml.Node, seen: set[int]) -> str:
    """The first key that stands twice in one mapping below `node`, with its lines; "" where none does.

    seen: the ids of nodes that were visited; an alias leads back to one of them.
    """
    if id(node) in seen or isinstance(node, yaml.ScalarNode):
        return ""
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        return next(filter(None, (_repeated_key(item, seen) for item in node.value)), "")
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        line = key.start_mark.line + 1
        if (key.tag, key.value) in lines:
            return f"the key '{key.value}' stands twice, in lines {lines[key.tag, key.value]} and {line}"
        lines[key.tag, key.value] = line
    return next(filter(None, (_repeated_key(value, seen) for _, value in node.value)), "")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, whatever the locale; UsageError where it cannot be read or is no UTF-8."""
    if os.path.exists(path) and not (path.is_file() or path.is_dir()):  # reading a pipe waits for whoever writes it
        raise UsageError(f"{path} is a pipe or a device; give a regular file.")
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise cannot_read(path, error) from None
    except UnicodeDecodeError as error:
        byte, line = error.object[error.start], error.object[: error.start].count(b"\n") + 1
        raise UsageError(
            f"{path} is not UTF-8 text: byte 0x{byte:02x} in line {line}; save it in UTF-8 (an editor's 'save with "
            "encoding')."
        ) from None


def read_yaml(path: Path) -> dict:
    """A YAML file that holds a mapping."""
    text = read_text(path)
    values = _yaml(text, str(path))
    if not isinstance(values, dict):
        raise UsageError(f"{path} must hold keys and values.")
    return values
