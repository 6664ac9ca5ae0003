"""An episode as mp4, with the stage under way written over the picture. Runs in the simulator's process."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.os_errors import FULL_WORDS

CAMERA = "agentview"
SIZE = 384  # pixels; a multiple of 16, which is what video codecs want
# H.264 at a quality whose loss is hard to see, in the colours that every player reads
ENCODING = ("-an", "-vcodec", "libx264", "-pix_fmt", "yuv420p", "-crf", "15")


class Rendered(Protocol):
    """An environment of which a video is taken."""

    stages: Sequence[str]

    def render(self, camera: str, size: int) -> np.ndarray:
        """(size, size, 3) uint8."""


def caption(stages: Sequence[str], stage_steps: Sequence[int | None], length: int) -> str:
    """The next stage, which is the first one not reached yet, or 'success'.

    stage_steps: per stage the decisions until it was reached.
    """
    open_stages = [index for index, reached in enumerate(stage_steps) if reached is None]
    if not open_stages:
        return f"success  ({length} decisions)"
    return f"next, {open_stages[0] + 1} of {len(stages)}: {stages[open_stages[0]]}  ({length} decisions)"


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
    """Writes one episode; the file appears under its name when the episode is complete.

    fps: pictures a second, the task's decisions. Raises RunError where nothing renders here, imageio-ffmpeg is missing,
    or the file cannot be written (a full disk).
    """

    def __init__(self, path: Path, environment: Rendered, fps: int):
        try:
            from imageio_ffmpeg import get_ffmpeg_exe
        except ImportError:
            raise RunError("Videos need imageio-ffmpeg; install it with: pip install 'robo-orl[sim]'.") from None
        self.path, self.environment = path, environment
        self._partial = path.with_name(f".{path.stem}.{os.getpid()}.partial.mp4")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        pictures = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{SIZE}x{SIZE}", "-r", str(fps), "-i", "-")
        self._encoder = subprocess.Popen(
            [get_ffmpeg_exe(), "-y", "-loglevel", "error", *pictures, *ENCODING, str(self._partial)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            restore_signals=False,  # a file that may not grow is an error of the encoder, not a signal
        )

    def frame(self, stage_steps: Sequence[int | None], length: int) -> None:
        """Render the present state of the episode after `length` decisions."""
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
        try:
            self._encoder.stdin.write(np.ascontiguousarray(overlaid(image, text)).tobytes())
        except OSError:
            raise self._failure() from None

    def close(self) -> None:
        """Finish the file."""
        try:
            self._encoder.stdin.close()
        except OSError:
            raise self._failure() from None
        if self._encoder.wait():
            raise self._failure()
        os.replace(self._partial, self.path)

    def _failure(self) -> RunError:
        """The sentence for an encoder that ended early; what it wrote is removed."""
        with suppress(OSError):
            self._encoder.stdin.close()
        code = self._encoder.wait()
        self._partial.unlink(missing_ok=True)
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace")
        if any(words in text for words in FULL_WORDS):
            return RunError(
                f"The disk is full: the video {self.path} could not be written; free some space and "
                "repeat, or evaluate without --video."
            )
        reason = (text.strip().splitlines() or [f"ffmpeg ended with exit code {code}"])[-1]
        return RunError(f"The video {self.path} could not be written ({reason}); evaluate without --video.")
