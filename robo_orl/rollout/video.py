"""An episode as mp4, with the stage under way written over the picture. Runs in the simulator's process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robo_orl.base.errors import RunError, UsageError

CAMERA = "agentview"
SIZE = 384  # pixels; a multiple of 16, which is what video codecs want


def caption(stages: Sequence[str], stage_steps: Sequence[int | None], length: int) -> str:
    """The first stage not reached yet, or 'success'."""
    open_stages = [index for index, reached in enumerate(stage_steps) if reached is None]
    if not open_stages:
        return f"success  ({length} decisions)"
    return f"stage {open_stages[0] + 1}/{len(stages)}: {stages[open_stages[0]]}  ({length} decisions)"


def overlaid(image: np.ndarray, text: str) -> np.ndarray:
    """The picture (H, W, 3) uint8 with a dark band at its foot that carries the text."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture, "RGBA")
    band = max(18, picture.height // 14)
    draw.rectangle((0, picture.height - band, picture.width, picture.height), fill=(0, 0, 0, 170))
    font = ImageFont.load_default(size=round(band * 0.6))
    draw.text((band // 3, picture.height - band * 0.5), text, fill=(255, 255, 255), font=font, anchor="lm")
    return np.asarray(picture)


class Recorder:
    """Writes one episode; the file appears under its name when the episode is complete."""

    def __init__(self, path: Path, environment: Any, fps: int):
        try:
            import imageio_ffmpeg
        except ImportError:
            raise RunError("Videos need imageio-ffmpeg; install it with: pip install 'robo-orl[sim]'.") from None
        self.path, self.environment = path, environment
        self._partial = path.with_name(f".{path.stem}.{os.getpid()}.partial.mp4")
        self._writer = imageio_ffmpeg.write_frames(
            str(self._partial), (SIZE, SIZE), fps=fps, codec="libx264", quality=7, macro_block_size=16
        )
        self._writer.send(None)  # starts ffmpeg

    def frame(self, stage_steps: Sequence[int | None], length: int) -> None:
        """Render what the episode looks like now."""
        try:
            image = self.environment.render(CAMERA, SIZE)
        except (UsageError, RunError):
            raise
        except Exception as error:
            raise RunError(
                f"Cannot render {self.path.name}: {type(error).__name__}: {error}. Evaluate without --video, or set "
                "MUJOCO_GL to egl or osmesa, whichever `robo-orl doctor` finds."
            ) from error
        text = caption(self.environment.stages, stage_steps, length)
        self._writer.send(np.ascontiguousarray(overlaid(image, text)))

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()
        os.replace(self._partial, self.path)
