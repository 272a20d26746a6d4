"""How much of a video is loaded, and what is too much: every refusal names the value, the limit and the remedy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from acvis_kit.errors import ConfigError, MediaError
from acvis_kit.media.picture import STAMP

MAX_PIXELS = 4096 * 2304  # per frame: 4K of cinema and of television
MAX_BYTES = 4 * 2**30  # of the file
MAX_MEMORY = 4 * 2**30  # bytes of decoded frames: 120 s of 4K at one frame per second need 3 GB


@dataclass(frozen=True)
class Stretch:
    """What is to be loaded of which file; see `load_clip`."""

    path: Path
    fps: float
    start: float
    end: float | None
    max_seconds: float
    too_long: str
    position: float

    def __post_init__(self):
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise ConfigError(f"fps={self.fps} must be a positive number of frames per second.")
        if not (math.isfinite(self.start) and self.start >= 0):
            raise ConfigError(f"start={self.start} must be a second of the file, 0 or later.")
        if self.end is not None and not self.end > self.start:
            raise ConfigError(f"end={self.end} must be later than start={self.start}; None is the end of the file.")
        if not self.max_seconds > 0:
            raise ConfigError(f"max_seconds={self.max_seconds} must be positive.")
        if self.too_long not in ("error", "trim"):
            raise ConfigError(f'too_long="{self.too_long}" must be "error" or "trim".')
        if not 0 <= self.position <= 1:
            raise ConfigError(f"position={self.position} must lie between 0 and 1.")

    @property
    def wanted(self) -> float:
        """Where the user wants it to end."""
        return math.inf if self.end is None else self.end

    @property
    def limit(self) -> float:
        """Where it has to end."""
        return self.start + self.max_seconds

    @property
    def stop(self) -> float:
        return min(self.wanted, self.limit)

    def intervals(self, duration: float) -> int:
        """How many frames fit a duration: those whose middle it reaches, at least one."""
        return max(1, math.floor((duration + STAMP) * self.fps + 0.5))

    def check_length(self, picture_end: float) -> list[str]:
        """A note that the stretch is trimmed, where it is too long; an error if that is not allowed."""
        length = min(self.wanted, picture_end) - self.start
        if length <= self.max_seconds + STAMP:
            return []
        if self.too_long == "trim":
            return [f"The file is {length:.2f} s long: trimmed to the first {self.max_seconds:g} s."]
        raise MediaError(
            f"{self.path} is {length:.2f} s long, the limit is {self.max_seconds:g} s: "
            'raise max_seconds=, choose start= and end=, or pass too_long="trim".'
        )

    def check_start(self, picture_end: float) -> None:
        """Refuse a stretch that begins where the picture is over."""
        if self.start < picture_end:
            return
        remedy = f"start={self.start:g} lies beyond, choose an earlier one"
        if self.start == 0:
            remedy = "its time stamps are damaged, convert it to MP4"
        raise MediaError(f"{self.path} lasts {picture_end:.2f} s: {remedy}.")


def check_pixels(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    """Refuse pictures of too many pixels, (H, W)."""
    pixels = size[0] * size[1]
    if pixels > max_pixels:
        raise MediaError(
            f"{path} has pictures of {size[0]}x{size[1]} = {pixels} pixels, the limit is {max_pixels}: "
            "scale it down or raise max_pixels=."
        )


def check_memory(path: Path, num_frames: int, size: tuple[int, int], max_memory: int) -> None:
    """Refuse more frames than fit, uint8 (T, 3, H, W)."""
    needed = num_frames * 3 * size[0] * size[1]
    if needed > max_memory:
        raise MediaError(
            f"{path}: {num_frames} frames of {size[0]}x{size[1]} need {needed} bytes, the limit is {max_memory}: "
            "lower fps=, load less of it (start=, end=), scale it down, or raise max_memory=."
        )
