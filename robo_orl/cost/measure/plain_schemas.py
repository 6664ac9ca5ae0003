"""Enough of pydantic to read configurations that a machine with pydantic has already validated.

A GPU machine may hold torch and nothing else. `install` puts this module, and a PyYAML that can read nothing, where the
real packages are missing, so that robo_orl.config can be imported; values are converted and unknown keys refused, but
ranges and validators are not checked: give it only what `plan` (sweep/cost_grid.py) wrote.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

REQUIRED = object()


class ValidationError(ValueError):
    """A key that the schema lacks, or a missing one."""

    def errors(self) -> list[dict[str, Any]]:
        """As pydantic tells it, the place unknown."""
        return [{"type": "value_error", "loc": (), "msg": str(self)}]


class FieldInfo:
    """A field's default and what the schema says beside it."""

    def __init__(self, default: Any = REQUIRED, **told: Any):
        self.default, self.json_schema_extra = default, told.get("json_schema_extra")
        self.description, self.annotation = told.get("description", ""), None


def Field(default: Any = REQUIRED, **told: Any) -> Any:  # noqa: N802 (pydantic's name)
    """A default with a description; bounds are not kept."""
    return FieldInfo(default, **told)


def _unchanged(*_: Any, **__: Any) -> Callable[[Any], Any]:
    return lambda function: function


ConfigDict, model_validator, model_serializer, field_validator = dict, _unchanged, _unchanged, _unchanged
SerializerFunctionWrapHandler = Callable


class BaseModel:
    """Fields by annotation, nested models from dictionaries."""

    model_fields: ClassVar[dict[str, FieldInfo]] = {}

    def __init_subclass__(cls, **_: Any):
        super().__init_subclass__()
        fields = dict(cls.model_fields)
        for name, annotation in cls.__dict__.get("__annotations__", {}).items():
            if "ClassVar" in str(annotation) or name.startswith("_") or name == "model_config":
                continue
            given = cls.__dict__.get(name, REQUIRED)
            fields[name] = given if isinstance(given, FieldInfo) else FieldInfo(given)
        cls.model_fields = fields

    def __init__(self, **values: Any):
        unknown = values.keys() - self.model_fields.keys()
        if unknown:
            raise ValidationError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        hints = get_type_hints(type(self))
        for name, field in self.model_fields.items():
            value = values.get(name, deepcopy(field.default))
            if value is REQUIRED:
                raise ValidationError(f"{type(self).__name__} needs {name}")
            self.__dict__[name] = _converted(value, hints.get(name))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.model_dump() == other.model_dump()

    __hash__ = None

    @classmethod
    def model_validate(cls, values: Any) -> Any:
        """A model from a dictionary, or the model itself."""
        return values if isinstance(values, cls) else cls(**values)

    def model_dump(self, mode: str = "python", exclude: Iterable[str] = ()) -> dict[str, Any]:
        """A dictionary of plain values."""
        return {name: _plain(getattr(self, name)) for name in self.model_fields if name not in set(exclude)}

    def model_copy(self, update: dict[str, Any] | None = None) -> Any:
        """The same with some fields changed."""
        return type(self)(**{name: getattr(self, name) for name in self.model_fields} | (update or {}))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _converted(value: Any, hint: Any) -> Any:
    """A dictionary into the model that the annotation names; a list into a tuple where it says so."""
    origin, options = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        models = [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
        return models[0].model_validate(value) if models and isinstance(value, dict) else value
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return hint.model_validate(value)
    if origin is list and options:
        return [_converted(item, options[0]) for item in value]
    return tuple(value) if origin is tuple else value


def install() -> list[str]:
    """Stand in for what is missing; returns the names of the packages that are."""
    missing = [name for name in ("pydantic", "yaml") if name not in sys.modules and not found(name)]
    if "pydantic" in missing:
        sys.modules["pydantic"] = sys.modules[__name__]
    if "yaml" in missing:
        yaml = types.ModuleType("yaml")
        yaml.YAMLError, yaml.safe_load = ValueError, _cannot_read
        sys.modules["yaml"] = yaml
    return missing


def found(name: str) -> bool:
    """Whether a package is installed, without importing it."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _cannot_read(text: str) -> Any:
    raise ValueError("PyYAML is not installed here; give a plan in JSON")
