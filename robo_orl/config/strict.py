"""The base of every schema: a frozen value that refuses unknown keys and has a digest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection
from functools import wraps
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic_core import to_jsonable_python

T = TypeVar("T", bound="Strict")

WORDS = frozenset({"description"})  # fields for readers, which no result depends on
LONGEST_NAME = 80  # a cell's folder joins those of a task and a policy, and a file system takes 255 bytes
LARGEST_MEMORY = 1024  # objects whose values are remembered
PLAIN = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_+.-]*")


def _check_name(name: str) -> str:
    """The name, which becomes part of paths and of lines in a terminal; ValueError where it is not fit for them."""
    if len(name) > LONGEST_NAME:
        raise ValueError(
            f"a name has {LONGEST_NAME} characters at most, '{name[:20]}...' has {len(name)}; set name to a shorter one"
        )
    if not PLAIN.fullmatch(name):
        raise ValueError(
            f"{name!r} names files and folders: set name to letters, digits and _ - + . only, not starting with - or ."
        )
    return name


PlainName = Annotated[str, AfterValidator(_check_name)]


class Strict(BaseModel):
    """A frozen schema that refuses unknown keys, and numbers that are infinite or no number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def identity(self, exclude: Collection[str] = ()) -> dict[str, Any]:
        """The values that differ from the schema's defaults, nested ones likewise, as JSON; without descriptions.

        A default that is given and one that is left out are the same, and a field that is new with a default changes
        nothing. A default that follows from another value (n_step: the chunk) is None until it is given. A changed
        default is a change of the code: raise the version of the step that it changes.
        """
        values = {}
        for name, field in type(self).model_fields.items():
            if name in WORDS or name in exclude:
                continue
            value = _identity(getattr(self, name))
            if field.is_required() or value != _identity(field.get_default(call_default_factory=True)):
                values[name] = value
        return values

    def digest(self) -> str:
        """The sha256 of the identity in canonical JSON: equal configurations have equal digests."""
        return _digest(self)


def remembered(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of one frozen value that is computed once for each object: thousands of cells share a policy.

    What it returns is shared, too, and must not be changed.
    """
    held: dict[int, tuple[Any, Any]] = {}

    @wraps(function)
    def call(value: Any) -> Any:
        known = held.get(id(value))
        if known is None or known[0] is not value:
            if len(held) >= LARGEST_MEMORY:
                held.clear()
            known = held[id(value)] = (value, function(value))
        return known[1]

    return call


@remembered
def _digest(config: Strict) -> str:
    return sha256_of(config.identity())


def _identity(value: Any) -> Any:
    if isinstance(value, Strict):
        return value.identity()
    if isinstance(value, dict):
        return {key: _identity(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_identity(inner) for inner in value]
    return to_jsonable_python(value)


def sha256_of(value: Any) -> str:
    """The sha256 of a JSON value in canonical form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
