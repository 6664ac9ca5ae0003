"""The description of a vision-language model as a small file: sizes of its networks, image format, prompt.

`architectures/*.json` hold the published configurations; with them a model is built without any download, with random
weights or on the meta device. `parameters` is the published total, output layer included, which a test counts.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from robo_orl.base.errors import UsageError, unknown
from robo_orl.config import Strict

FOLDER = Path(__file__).parent / "architectures"


class Prompt(Strict):
    """head, then every image between `image`, then middle, instruction and tail: the text around them, as published."""

    head: str
    image: tuple[str, str]
    middle: str
    tail: str


class ImageFormat(Strict):
    """The format of images: the fields of the model's own image processor that define it.

    resample: Pillow's filter (1 Lanczos, 3 bicubic). edge: pixels per side of square inputs. min_pixels, max_pixels:
    bounds of the area where the aspect ratio is kept.
    """

    processor: str
    resample: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    edge: int | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None
    patch_size: int = 14


class Architecture(Strict):
    """One vision-language model.

    config: the configuration of `transformers`. special_tokens: ids of the published tokeniser, which the byte
    tokeniser of models with random weights uses as well.
    """

    name: str
    repository: str | None
    parameters: int
    prompt: Prompt
    special_tokens: dict[str, int]
    image: ImageFormat
    config: dict[str, Any]

    @property
    def model_type(self) -> str:
        """The name of the architecture in `transformers`."""
        return self.config["model_type"]

    @property
    def width(self) -> int:
        """D: the width of the language model."""
        return self.config["text_config"]["hidden_size"]

    @property
    def depth(self) -> int:
        """Layers of the language model."""
        return self.config["text_config"]["num_hidden_layers"]

    @property
    def vocabulary(self) -> int:
        """Rows of the token embedding."""
        return self.config["text_config"]["vocab_size"]


def architectures() -> dict[str, Path]:
    """Name -> file of every shipped architecture."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.json"))}


def architecture(size: str) -> Architecture:
    """An architecture by the name that `backbone.size` gives, or by the path of such a file."""
    path = Path(size) if size.endswith(".json") else architectures().get(size)
    if path is None:
        raise unknown("size of a vlm backbone", size, architectures())
    return _read(path)


@cache
def _read(path: Path) -> Architecture:
    try:
        return Architecture.model_validate(json.loads(path.read_text()))
    except OSError as error:
        raise UsageError(f"Cannot read the architecture {path}: {error.strerror}.") from None
    except (ValueError, ValidationError) as error:
        raise UsageError(f"{path} is no architecture: {str(error).splitlines()[0]}.") from None
