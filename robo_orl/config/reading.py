"""From YAML and --set to values, and from a fault to one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from robo_orl.base.errors import UsageError, unknown
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
    return UsageError(f"{where}: {'.'.join(path) or 'value'}: {first['msg']}.")


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
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{where} is not valid YAML: {' '.join(str(error).split())}.") from None


def read_yaml(path: Path) -> dict:
    """A YAML file that holds a mapping."""
    try:
        text = path.read_text()
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from None
    values = _yaml(text, str(path))
    if not isinstance(values, dict):
        raise UsageError(f"{path} must hold keys and values.")
    return values
