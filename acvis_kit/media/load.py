"""Loading video files: `load_clip` reads frames and sound by time stamp, `iter_source_frames` streams all pictures.

Times are those of a player's clock, in seconds from the start of the file.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from acvis_kit.clip import HEARD_AS_SILENCE, SAMPLE_RATE, SILENT, Clip, Progress, check_progress
from acvis_kit.errors import ConfigError, MediaError, brief
from acvis_kit.files import as_path, stamp_of
from acvis_kit.media.decoding import (
    Findings,
    claimed_end,
    find_stream,
    frames_from,
    is_estimated,
    is_indexed,
    scanned_end,
    stated_end,
)
from acvis_kit.media.limits import DAY, FPS, SHORTEST, check_number
from acvis_kit.media.opening import check_file, opened
from acvis_kit.media.picture import STAMP, DisplayTransform, Screen
from acvis_kit.media.sound import fit_length, is_silent, read_sound

if TYPE_CHECKING:
    from av import VideoFrame

SLACK = 0.25  # of an interval, at most, by which a rounded length may miss its middle
NOTABLE = 0.2  # s; larger differences in length of sound and picture get a note; codecs pad by up to 0.1
SOURCE_FPS = (1.0, 60.0)  # least and largest frame rate of overlays

MAX_PIXELS = 4096 * 2304  # per frame: 4K in cinema and television formats
MAX_BYTES = 4 * 2**30  # of the file
MAX_MEMORY = 4 * 2**30  # bytes of decoded frames: 120 s of 4K at one frame per second need 3 GB


def load_clip(
    path: str | Path,
    fps: float = 1.0,
    start: float = 0.0,
    end: float | None = None,
    max_seconds: float = 120,
    too_long: Literal["error", "trim"] = "error",
    *,
    position: float = 0.5,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
    max_memory: int = MAX_MEMORY,
    progress: Progress | None = None,
) -> Clip:
    """A video file as frames and sound.

    Frame i represents the interval [start + i / fps, start + (i + 1) / fps) and is the picture that a player displays
    at `position` within it. An interval exists if the picture lasts to its middle; the first always exists. The sound
    is that of all intervals, silent where the file has none. `Clip.notes` and warnings report repairs and cuts.

    Args:
        path: any file with a picture that `media.opening` opens.
        fps: frames per second of the clip, 0.01 to 1000.
        start: second of the file at which the clip begins, up to a day.
        end: second of the file at which it ends; None is the end of the picture.
        max_seconds: length limit of the loaded stretch, up to a day.
        too_long: treatment of a longer stretch, "error" or "trim" (with a warning).
        position: 0..1, relative time within its interval at which a frame is taken.
        max_pixels: limit of height times width.
        max_bytes: limit of the file size.
        max_memory: limit of the bytes of the frames, uint8 (T, 3, H, W), and the sound.
        progress: called with ("read", frames done, frames expected); an exception that it raises ends the reading.

    Raises:
        MediaError: the file cannot be read, has no picture, or exceeds a limit; names the file, the cause, the remedy.
        ConfigError: an argument outside its range.
    """
    check_progress(progress)
    stretch = Stretch(as_path(path, MediaError), fps, start, end, max_seconds, too_long, position)
    for name, limit in (("max_pixels", max_pixels), ("max_bytes", max_bytes), ("max_memory", max_memory)):
        check_number(name, limit, 1, 2**50)
    facts = _inspect(stretch, max_pixels, max_bytes)
    stamp = stamp_of(stretch.path)
    notes: list[str] = []
    findings = Findings()
    screen, frames, duration = _load_picture(stretch, facts, max_pixels, max_memory, findings, notes, progress)
    if findings.jumps:  # then the file's own lengths are wrong
        facts = replace(facts, sound_end=math.inf)
    waveform, has_audio = _load_sound(stretch, facts, len(frames), screen.end, notes)
    if has_audio and fps > 1 and (start > 0 or (end is not None and end < screen.end)):
        notes.append(
            f"At {fps:g} frames per second a frame hears the second around it: at the edges of this stretch a part of "
            "that is silence, because only the stretch is loaded."
        )
    for note in notes:
        warnings.warn(f"{stretch.path.name}: {note}", stacklevel=2)
    # In hundredths, the precision of moviepy's writer: the overlay then lasts as long as the source.
    source_fps = round(min(max(1 / screen.step, SOURCE_FPS[0]), SOURCE_FPS[1]), 2)
    return Clip(
        frames=frames,
        waveform=waveform,
        times=start + (torch.arange(len(frames), dtype=torch.float64) + position) / fps,
        fps=fps,
        has_audio=has_audio,
        source=stretch.path,
        start=start,
        duration=duration,
        source_fps=source_fps,
        notes=tuple(notes),
        source_stamp=stamp,
    )


def iter_source_frames(clip: Clip) -> Iterator[tuple[float, int, np.ndarray]]:
    """The source's own pictures over the clip's duration, at the constant rate `clip.source_fps`, in constant memory.

    For a clip made from arrays these are its frames. Output picture k is the one on the screen in the middle of its
    interval, so that time stamps rounded to milliseconds do not repeat a picture.

    Yields:
        (t, i, image): seconds since the clip's start, k / source_fps; the index of the clip's frame at that time; uint8
        (H, W, 3), RGB, upright.

    Raises:
        MediaError: the source can no longer be read, or is another file than the one that was loaded.
    """
    pictures = _source_images(clip, clip.source) if clip.source else _own_images(clip)
    for k, image in zip(range(max(1, round(clip.duration * clip.source_fps))), pictures, strict=False):
        time = k / clip.source_fps
        yield time, _frame_index(clip, time), image


def _frame_index(clip: Clip, time: float) -> int:
    return min(int(time * clip.fps + 1e-6), len(clip) - 1)  # 0.29 * 100 is 28.999...


def _own_images(clip: Clip) -> Iterator[np.ndarray]:
    k = 0
    while True:
        yield clip.frames[_frame_index(clip, k / clip.source_fps)].permute(1, 2, 0).contiguous().numpy()
        k += 1


def _source_images(clip: Clip, source: Path) -> Iterator[np.ndarray]:
    check_file(source)
    if clip.source_stamp is not None and stamp_of(source) != clip.source_stamp:
        raise MediaError(
            f"{source} has been changed or replaced since the clip was loaded, and its pictures are read again: load "
            "and predict the clip again, or put the earlier file back."
        )
    screen = Screen(frames_from(source, "video", clip.start, Findings()))
    if screen.empty:
        raise MediaError(f"{source} can no longer be decoded: load the clip again.")
    view = replace(DisplayTransform.of(screen.at(clip.start)), size=clip.size)
    shown: VideoFrame | None = None
    image: np.ndarray  # `shown`, converted once
    k = 0
    while True:
        frame = screen.at(clip.start + (k + 0.5) / clip.source_fps)
        if frame is not shown:
            shown, image = frame, view.render(frame)
        yield image
        k += 1


@dataclass(frozen=True)
class _Facts:
    """What a file states about itself.

    Attributes:
        pixel_aspect: width by height of a pixel.
        picture_end: second at which the picture ends, None where only the file's end is known.
        file_end: second at which the file ends, infinite if unknown; perhaps an estimate.
        sound_end: second at which the sound ends, None if it is that of the file, infinite if unknown.
    """

    pixel_aspect: Fraction | None
    picture_end: float | None
    file_end: float
    sound_end: float | None

    @property
    def expected_end(self) -> float:
        """The best guess of the picture's end."""
        return self.file_end if self.picture_end is None else self.picture_end


def _inspect(stretch: Stretch, max_pixels: int, max_bytes: int) -> _Facts:
    """Read the facts without decoding, and refuse a file without picture or with too many bytes or pixels."""
    path = stretch.path
    with opened(path, max_bytes) as container:
        stream = find_stream(container, "video")
        if stream is None:
            raise MediaError(_no_picture(path, has_sound=find_stream(container, "audio") is not None))
        check_pixels(path, (stream.codec_context.height, stream.codec_context.width), max_pixels)
        claims = _Facts(
            pixel_aspect=stream.sample_aspect_ratio,
            picture_end=claimed_end(container, "video"),
            file_end=stated_end(container),
            sound_end=claimed_end(container, "audio"),
        )
        known, estimated = is_indexed(container), is_estimated(container)
    expected = claims.expected_end
    # A claim that would refuse or cut the stretch is checked, unless it is known to be right: the packets are scanned.
    # Matroska, for one, states only the end of the file, which may be that of the sound.
    decides = expected == math.inf or expected <= stretch.start or min(stretch.wanted, expected) > stretch.limit
    if decides and not known:
        claims = replace(claims, picture_end=scanned_end(path))
    elif estimated:
        claims = replace(claims, picture_end=None, file_end=expected)
    return claims


def _load_picture(
    stretch: Stretch,
    facts: _Facts,
    max_pixels: int,
    max_memory: int,
    findings: Findings,
    notes: list[str],
    progress: Progress | None,
) -> tuple[Screen, Tensor, float]:
    """The screen at the last picture, the frames uint8 (T, 3, H, W), and the seconds of the source they cover."""
    path, start, stop = stretch.path, stretch.start, stretch.stop
    expected_end = facts.expected_end
    if start > 0:  # the first frame always exists, whatever length the file states
        stretch.check_start(expected_end)
    trimmed = stretch.check_length(expected_end)
    notes += trimmed

    screen = Screen(frames_from(path, "video", start, findings))
    if screen.empty:
        reason = findings.damage[0] if findings.damage else "the file breaks off before the first"
        raise MediaError(f"{path}: no picture could be decoded ({reason}): get a complete copy, or convert it to MP4.")
    if screen.begins > start + NOTABLE:
        notes.append(f"The picture begins at {screen.begins:.2f} s: its first frame stands until then.")
    view = DisplayTransform.of(screen.at(start), facts.pixel_aspect)
    check_pixels(path, view.size, max_pixels)
    expected = stretch.intervals(min(expected_end, stop) - start)
    check_memory(path, expected, view.size, stretch.fps, max_memory)

    frames = _collect(stretch, screen, view, expected, max_memory, progress)
    stretch.check_start(screen.end)
    if not trimmed:  # the file may have understated its length
        notes += stretch.check_length(screen.end)
    notes += findings.notes("picture")
    if facts.picture_end and screen.end < min(facts.picture_end, stop) - max(NOTABLE, 2 * screen.step):
        notes.append(f"The file states a picture of {facts.picture_end:.2f} s, only {screen.end:.2f} s could be read.")
    elif stretch.end is not None and screen.end < stop - NOTABLE:
        notes.append(f"The picture ends at {screen.end:.2f} s, before end={stretch.end:g}.")
    duration = min(screen.end, stop) - start
    stretch.check_first(duration)
    return screen, frames[: stretch.intervals(duration)], duration


def _collect(
    stretch: Stretch, screen: Screen, view: DisplayTransform, expected: int, max_memory: int, progress: Progress | None
) -> Tensor:
    """The frames of all intervals, uint8 (T, 3, H, W); perhaps one too many: the end is not known yet.

    They are written into one tensor: a list of images, stacked afterwards, would need twice the memory.
    """
    frames = torch.empty(expected, 3, *view.size, dtype=torch.uint8)
    count, shown = 0, None
    while count < stretch.intervals(stretch.stop - stretch.start):
        frame = screen.at(stretch.start + (count + stretch.position) / stretch.fps)
        if screen.ended and count >= stretch.intervals(screen.end - stretch.start):
            break
        if count == len(frames):  # the file is longer than stated
            check_memory(stretch.path, 2 * count, view.size, stretch.fps, max_memory)
            frames = torch.cat([frames, torch.empty_like(frames)])
        if frame is shown:
            frames[count] = frames[count - 1]
        else:
            frames[count] = torch.from_numpy(view.render(frame)).permute(2, 0, 1)
        count, shown = count + 1, frame
        if progress is not None:
            progress("read", count, max(count, expected))
    screen.at(stretch.stop)
    return frames[:count]


def _load_sound(
    stretch: Stretch, facts: _Facts, num_frames: int, picture_end: float, notes: list[str]
) -> tuple[Tensor, bool]:
    """The sound of all intervals, float32 (S,), and whether the file has any."""
    seconds = num_frames / stretch.fps
    samples = round(seconds * SAMPLE_RATE)
    track = read_sound(stretch.path, stretch.start, seconds)
    if track is None:
        notes.append(f"The file has no sound track{HEARD_AS_SILENCE}")
        return torch.zeros(samples), False
    if track.ends == 0:
        damage = track.findings.damage
        reason = f" that can be decoded ({damage[0]})" if damage else " here"
        notes.append(f"The sound track has no sound{reason}{HEARD_AS_SILENCE}")
        return torch.zeros(samples), False

    notes += [note for note in track.findings.notes("sound") if note not in notes]
    if is_silent(track.waveform):
        notes.append(SILENT)
    if track.begins > NOTABLE:
        notes.append(f"The sound begins {track.begins:.2f} s after the picture: silence until then.")
    missing = min(picture_end - stretch.start, seconds) - track.ends
    if missing > NOTABLE:
        notes.append(f"The sound ends {missing:.2f} s before the picture: silence from then on.")
    sound_end = facts.file_end if facts.sound_end is None else facts.sound_end
    excess = sound_end - max(picture_end, stretch.start + seconds)
    if picture_end < stretch.stop and NOTABLE < excess < math.inf:
        notes.append(f"The sound is {excess:.2f} s longer than the picture: cut.")
    return fit_length(track.waveform, samples), True


def _no_picture(path: Path, has_sound: bool) -> str:
    if has_sound:
        return f"{path} has sound but no picture: use it as the sound of another clip, AudioEdit.swap({str(path)!r})."
    return f"{path} has neither a picture nor a sound that can be decoded: give a video file."


@dataclass(frozen=True)
class Stretch:
    """The stretch of a file to load; see `load_clip`.

    Raises:
        ConfigError: an argument outside its range.
    """

    path: Path
    fps: float = 1.0
    start: float = 0.0
    end: float | None = None
    max_seconds: float = 120.0
    too_long: str = "error"
    position: float = 0.5

    def __post_init__(self) -> None:
        check_number("fps", self.fps, *FPS, "frames per second")
        check_number("start", self.start, 0, DAY, "seconds")
        check_number("max_seconds", self.max_seconds, SHORTEST, DAY, "seconds")
        check_number("position", self.position, 0, 1, "of a frame's interval")
        if self.end is not None:
            check_number("end", self.end, 0, 2 * DAY, "seconds; None is the end of the file")
            if not self.end > self.start:
                raise ConfigError(f"end={self.end} must be later than start={self.start}, or left out.")
        if not (isinstance(self.too_long, str) and self.too_long in ("error", "trim")):
            raise ConfigError(f'too_long={brief(self.too_long)} must be "error" or "trim".')

    @property
    def wanted(self) -> float:
        """Second at which the user's stretch ends, infinite for the end of the file."""
        return math.inf if self.end is None else self.end

    @property
    def limit(self) -> float:
        """Second at which `max_seconds` are over."""
        return self.start + self.max_seconds

    @property
    def stop(self) -> float:
        """Second at which the loaded stretch ends at the latest."""
        return min(self.wanted, self.limit)

    def intervals(self, duration: float) -> int:
        """Number of frames in a duration in seconds: of the intervals whose middle it reaches, at least one."""
        slack = min(STAMP * self.fps, SLACK)  # stamps are rounded; less than an interval at any rate
        return max(1, math.floor(duration * self.fps + slack + 0.5))

    def check_length(self, picture_end: float) -> list[str]:
        """A note that a stretch that is too long is trimmed; an error if that is not allowed."""
        length = min(self.wanted, picture_end) - self.start
        if length <= self.max_seconds + STAMP:
            return []
        if self.too_long == "trim":
            what = "file" if self.start == 0 and math.isinf(self.wanted) else "stretch"
            return [f"The {what} is {length:.2f} s long: trimmed to the first {self.max_seconds:g} s."]
        raise MediaError(
            f"{self.path} is {length:.2f} s long, the limit is {self.max_seconds:g} s: "
            'cut it, raise max_seconds=, choose start= and end=, or pass too_long="trim".'
        )

    def check_first(self, duration: float) -> None:
        """Refuse a stretch that ends before the second of sound around the middle of its first frame begins.

        The model would be given silence, and a picture from behind the stretch.
        """
        if duration >= 0.5 / self.fps - 0.5:
            return
        raise MediaError(
            f"{self.path}: at fps={self.fps:g} a frame stands for {1 / self.fps:g} s, and {duration:.2f} s are loaded, "
            f"which end before its middle: raise fps= to {math.ceil(50 / duration) / 100:g} or more."
        )

    def check_start(self, picture_end: float) -> None:
        """Refuse a stretch that begins after the end of the picture."""
        if self.start < picture_end:
            return
        remedy = f"start={self.start:g} lies beyond its end, choose an earlier one"
        if self.start == 0:
            remedy = "its time stamps are damaged, convert it to MP4"
        raise MediaError(f"{self.path} lasts {picture_end:.2f} s: {remedy}.")


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse arguments of `load_clip` outside their range, once, before many files are loaded with them.

    Raises:
        ConfigError: as in `load_clip`.
    """
    stretch = {field.name for field in fields(Stretch)} - {"path"}
    Stretch(Path(), **{name: value for name, value in options.items() if name in stretch})


def check_pixels(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    """Refuse pictures of a `size` (H, W) with too many pixels."""
    pixels = size[0] * size[1]
    if pixels > max_pixels:
        raise MediaError(
            f"{path} has pictures of {size[0]}x{size[1]} = {pixels} pixels, the limit is {max_pixels}: "
            "scale it down or raise max_pixels=."
        )


def check_memory(path: Path, num_frames: int, size: tuple[int, int], fps: float, max_memory: int) -> None:
    """Refuse frames uint8 (T, 3, H, W) that need too much memory with their sound, float32 (S,)."""
    needed = num_frames * 3 * size[0] * size[1]
    sound = 4 * round(num_frames / fps * SAMPLE_RATE)
    if needed + sound > max_memory:
        raise MediaError(
            f"{path}: {num_frames} frames of {size[0]}x{size[1]} need {needed} bytes and their sound {sound}, the "
            f"limit is {max_memory}: lower fps=, load less of it (start=, end=), scale it down, or raise max_memory=."
        )
