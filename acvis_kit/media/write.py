"""Writing pictures and sound as an MP4 file that browsers play."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from subprocess import Popen

import numpy as np
from torch import Tensor

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.errors import MediaError
from acvis_kit.files import as_path, atomic_write
from acvis_kit.media.limits import SIDES, check_number
from acvis_kit.media.sound import fit_length

SUFFIXES = (".mp4", ".m4v", ".mov")
OUTPUT_RATE = 48_000  # Hz; at 16 kHz an AAC frame would last 64 ms, and the sound could not end with the picture


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: float,
    waveform: Tensor,
    *,
    max_short_side: int | None = None,
    crf: int = 20,
    preset: str = "veryfast",
) -> Path:
    """Write pictures and a sound to an MP4 file: H.264 High, yuv420p, faststart, AAC stereo.

    The video lasts as long as its pictures; the sound is cut, or padded with silence, to that length. An odd height or
    width is made even by repeating the last row or column, since yuv420p halves both. Pictures are written one by one;
    the file gets its name when it is complete.

    Args:
        path: the file to write, ".mp4"; replaced if it exists.
        frames: uint8 arrays (H, W, 3), RGB, all of one size, at least one.
        fps: frames per second, used in hundredths.
        waveform: float (S,), 16 kHz mono; clipped to [-1, 1].
        max_short_side: larger pictures are scaled down to this, pixels.
        crf: quality of x264, lower is better.
        preset: speed of x264.

    Returns:
        The path.

    Raises:
        MediaError: no frames, frames of different sizes, or a path that cannot be written.
        ConfigError: `crf` or `max_short_side` outside its range.
    """
    path = as_path(path, MediaError)
    if path.suffix.lower() not in SUFFIXES:
        raise MediaError(f"{path} cannot be written: the file is an MP4, give a name that ends in .mp4.")
    check_number("crf", crf, 0, 51, "(0 is lossless)")
    if max_short_side is not None:
        check_number("max_short_side", max_short_side, *SIDES, "pixels")
    if not path.absolute().parent.is_dir():
        raise MediaError(f"{path} cannot be written: create the folder {path.absolute().parent} first.")
    _check_name(path)
    if not 0.01 <= fps <= 1000:
        raise MediaError(f"{path} cannot play at {fps} frames per second: give 0.01 to 1000.")
    rate = round(fps, 2)  # the precision of moviepy
    with atomic_write(path, MediaError) as draft, tempfile.TemporaryDirectory(prefix="acvis_") as folder:
        picture = Path(folder) / "picture.mp4"
        count = _write_picture(picture, _checked(path, frames), rate, max_short_side, crf, preset)
        _add_sound(picture, fit_length(waveform, round(count / rate * SAMPLE_RATE)), draft)
    return path


def _check_name(path: Path) -> None:
    """Refuse a name that the finished file could not get, before the work begins."""
    try:
        is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    except OSError as error:  # too long
        raise MediaError(f"{path} cannot be written: {error.strerror or error}") from None
    if is_folder:
        raise MediaError(f"{path} cannot be written: it is a folder, choose another name.")


def _write_picture(
    path: Path, frames: Iterator[np.ndarray], fps: float, max_short_side: int | None, crf: int, preset: str
) -> int:
    """Stream the frames to moviepy's FFmpeg writer; returns their number.

    A moviepy `VideoClip` would need the duration in advance, and requests frames by time, some of them twice; these
    frames come once and in order.
    """
    from moviepy.video.io.ffmpeg_writer import FFMPEG_VideoWriter

    first = next(frames)
    height, width = first.shape[:2]
    options = [
        "-profile:v",
        "high",
        "-crf",
        str(crf),
        "-pix_fmt",
        "yuv420p",
        "-vf",
        _filters(height, width, max_short_side),
    ]
    options += ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
    count = 0
    with FFMPEG_VideoWriter(str(path), (width, height), fps, preset=preset, ffmpeg_params=options) as writer:
        process = writer.proc
        for frame in chain([first], frames):
            writer.write_frame(frame)
            count += 1
    _check_exit(process)
    return count


def _add_sound(picture: Path, waveform: Tensor, path: Path) -> None:
    """Copy the picture and add the waveform (S,), encoded in two equal channels.

    A second pass, because the length of the sound is known only after the first; FFmpeg's -shortest lets it overrun.
    """
    from moviepy.audio.io.ffmpeg_audiowriter import FFMPEG_AudioWriter

    mono = waveform.detach().cpu().float().clamp(-1, 1).mul(32767).round().numpy().astype(np.int16)
    options = ["-ar", str(OUTPUT_RATE), "-movflags", "+faststart", "-f", "mp4"]
    with FFMPEG_AudioWriter(
        str(path), SAMPLE_RATE, nbytes=2, nchannels=2, codec="aac", input_video=str(picture), ffmpeg_params=options
    ) as writer:
        process = writer.proc
        writer.write_frames(np.stack([mono, mono], axis=1))
    _check_exit(process)


def _check_exit(process: Popen) -> None:
    """Raise an OSError for the exit code that moviepy ignores."""
    if process.returncode:
        raise OSError(f"FFmpeg ended with code {process.returncode}; is the disk full?")


def _filters(height: int, width: int, max_short_side: int | None) -> str:
    """FFmpeg's filters from RGB (height, width) to the written even size, in the colours of HD television (BT.709)."""
    colours = "out_color_matrix=bt709:out_range=tv"
    short = min(height, width)
    if max_short_side and short > max_short_side:
        scale = max_short_side / short
        even = [max(2, 2 * round(side * scale / 2)) for side in (width, height)]
        return f"scale={even[0]}:{even[1]}:flags=area:{colours}"
    return f"scale={colours}"


def _checked(path: Path, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The frames, made even by repeating their last row and column.

    Raises:
        MediaError: no frames, or frames of another type or size than uint8 (H, W, 3) of the first.
    """
    shape = None
    for i, frame in enumerate(frames):
        shape = shape or frame.shape
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.shape != shape:
            raise MediaError(
                f"{path}: frame {i} is {frame.dtype} {frame.shape}, the first is {shape}: give uint8 (H, W, 3) of one "
                "size."
            )
        height, width = shape[:2]
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        yield frame
    if shape is None:
        raise MediaError(f"{path} cannot be written: there are no frames, give at least one.")
