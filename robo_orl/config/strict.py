"""What every schema is: a frozen value that refuses unknown keys and has a digest."""

from __future__ import annotations

import hashlib
import json
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

T = TypeVar("T", bound="Strict")


# The mark of a field that is younger than stored results, `Field(..., json_schema_extra=ADDED)`: it is left out of what
# is printed and hashed while it has its default, so that configurations without it keep their digests.
ADDED = {"added": True}


class Strict(BaseModel):
    """A frozen schema that refuses unknown keys, and numbers that are infinite or no number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_serializer(mode="wrap")
    def _without_added_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        silent = {n for n, f in fields.items() if f.json_schema_extra == ADDED and getattr(self, n) == f.default}
        return {name: value for name, value in serialize(self).items() if name not in silent}

    def digest(self) -> str:
        """The sha256 of the canonical JSON: equal configurations have equal digests."""
        return sha256_of(self.model_dump(mode="json"))


def sha256_of(value: Any) -> str:
    """The sha256 of a JSON value in canonical form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
