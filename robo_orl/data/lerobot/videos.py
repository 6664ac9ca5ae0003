"""Pictures of an episode to and from mp4, by the ffmpeg that imageio-ffmpeg brings."""

from __future__ import annotations

import io
import logging
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from robo_orl.base.errors import RunError, UsageError

# As LeRobot encodes: every second picture is a key frame, so that one is found fast. Without B-frames the first picture
# is at time 0, so that files can be joined without encoding them again.
CODEC, CRF, KEY_FRAMES = "libx264", 18, 2
TOOL = "pip install 'robo-orl[sim]' brings it"


def _ffmpeg():
    try:
        import imageio_ffmpeg
    except ImportError:
        raise RunError(f"Videos of a LeRobot data set need imageio-ffmpeg; {TOOL}.") from None
    logging.getLogger("imageio_ffmpeg").setLevel(logging.ERROR)  # it warns of every picture that is scaled
    return imageio_ffmpeg


def pixel_format(height: int, width: int) -> str:
    """Colours at half the resolution, which every player reads; at full resolution where a side is odd."""
    return "yuv420p" if height % 2 == 0 and width % 2 == 0 else "yuv444p"


def read_clip(path: Path, first: int, count: int, fps: float, size: int = 0) -> np.ndarray:
    """The `count` pictures (count, H, W, 3) uint8 of a video from number `first` on; size: scaled to size x size.

    Raises UsageError where the video is damaged or ends before.
    """
    # half a picture early, so that rounding of the stored times does not drop the first
    seek = ["-ss", f"{(first - 0.5) / fps:.6f}"] if first else []
    scale = ["-vf", f"scale={size}:{size}:flags=area"] if size else []
    take = [*scale, "-frames:v", str(count), "-fps_mode", "passthrough"]
    stream = _ffmpeg().read_frames(str(path), pix_fmt="rgb24", input_params=seek, output_params=take)
    try:
        width, height = next(stream)["size"]
        pictures = np.empty((count, height, width, 3), np.uint8)
        read = 0
        for data in stream:
            pictures[read] = np.frombuffer(data, np.uint8).reshape(height, width, 3)
            read += 1
    except (OSError, RuntimeError, StopIteration):
        raise UsageError(
            f"The video {path} is damaged: fetch it again, or leave its camera out with --cameras."
        ) from None
    finally:
        stream.close()
    if read < count:
        raise UsageError(f"The video {path} ends at picture {first + read}, and the episode goes to {first + count}.")
    return pictures


def write_clip(path: Path, pictures: np.ndarray, fps: int) -> None:
    """Encode (T, H, W, 3) uint8; the file appears when it is complete. RunError where ffmpeg fails."""
    height, width = pictures.shape[1:3]
    partial = path.with_name(f".{path.stem}.{os.getpid()}.mp4")
    options = ["-crf", str(CRF), "-g", str(KEY_FRAMES), "-bf", "0"]
    writer = _ffmpeg().write_frames(
        str(partial),
        (width, height),
        fps=fps,
        codec=CODEC,
        pix_fmt_out=pixel_format(height, width),
        macro_block_size=1,
        output_params=options,
    )
    try:
        writer.send(None)
        for picture in pictures:
            writer.send(np.ascontiguousarray(picture))
        writer.close()
        os.replace(partial, path)
    except OSError as error:
        reason = (str(error).strip().splitlines() or ["ffmpeg ended"])[0][:120]
        raise RunError(f"The video {path} could not be written ({reason}).") from None
    finally:
        partial.unlink(missing_ok=True)


def join(parts: Sequence[Path], out: Path) -> None:
    """One video of several, without encoding them again. RunError where ffmpeg fails."""
    out.parent.mkdir(parents=True, exist_ok=True)
    listing = out.with_suffix(".txt")
    escaped = (str(part.resolve()).replace("'", "'\\''") for part in parts)
    listing.write_text("".join(f"file '{name}'\n" for name in escaped), encoding="utf-8")
    command = [_ffmpeg().get_ffmpeg_exe(), "-y", "-loglevel", "error", "-f", "concat", "-safe", "0", "-i", str(listing)]
    done = subprocess.run([*command, "-c", "copy", "-movflags", "+faststart", str(out)], capture_output=True, text=True)
    listing.unlink()
    if done.returncode:
        raise RunError(f"The video {out} could not be written ({' '.join(done.stderr.split())[:120]}).")


def decode_image(data: bytes, size: int = 0) -> np.ndarray:
    """A picture (H, W, 3) uint8 that a Parquet file holds as PNG or JPEG; size: scaled to size x size."""
    try:
        from PIL import Image
    except ImportError:
        raise RunError(f"Pictures inside Parquet files need pillow; {TOOL}.") from None
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(picture.resize((size, size), Image.Resampling.BOX) if size else picture)
