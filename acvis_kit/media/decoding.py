"""Decoding of media files: the only module that imports PyAV.

FFmpeg reads arbitrary bytes and reports errors through many kinds of exception. Here each of them becomes a
`MediaError` that names the file, or, in the middle of a stream, an entry in a list of damage while decoding continues.
PyAV is imported where it is used: a machine that only trains does not need it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from acvis_kit.errors import MediaError

if TYPE_CHECKING:
    from av import AudioFrame, AudioStream, VideoFrame, VideoStream
    from av.container import InputContainer

StreamKind = Literal["video", "audio"]
REORDER = 4  # frames whose stamps are sorted together: as deep as B-frames are nested in practice
PREROLL = 0.5  # seconds of sound decoded before the start, for decoders that need earlier samples
GUESSED_STEP = 1 / 25  # seconds between frames without time stamps and rate
DECODER_MAX_PIXELS = 2**26  # FFmpeg itself refuses larger pictures, before it allocates them (8192 x 8192)


@contextmanager
def opened(path: Path, max_bytes: float = float("inf")) -> Iterator[InputContainer]:
    """The file as a PyAV container, closed afterwards.

    Raises:
        MediaError: no such file, not a file, empty, larger than `max_bytes`, or not a media file.
    """
    import av

    _check_file(path, max_bytes)
    try:
        # An absolute path cannot be mistaken for a protocol ("a:b.mp4"); the whitelist keeps a disguised playlist from
        # fetching addresses.
        container = av.open(
            str(path.absolute()), metadata_errors="replace", options={"protocol_whitelist": "file"}, mode="r"
        )
    except Exception as error:  # PyAV: FFmpegError, ValueError, UnicodeDecodeError, MemoryError, ...
        raise MediaError(
            f"{path} is not readable as video or sound ({cause(error)}): check that the file is complete and plays "
            "in a media player, or convert it to MP4 (H.264, AAC)."
        ) from None
    with container:
        yield container


def _check_file(path: Path, max_bytes: float) -> None:
    """Raise errors that are clearer than those of FFmpeg."""
    if not path.exists():
        raise MediaError(f"{path} does not exist: check the name and the folder ({path.absolute().parent}).")
    if not path.is_file():
        raise MediaError(f"{path} is not a file: give the path of one video or sound file.")
    size = path.stat().st_size
    if size == 0:
        raise MediaError(f"{path} is empty (0 bytes): copy or download it again.")
    if size > max_bytes:
        raise MediaError(f"{path} has {size} bytes, the limit is {max_bytes:.0f}: cut the file or raise max_bytes=.")


def cause(error: Exception) -> str:
    """The reason in an exception of PyAV, without error numbers and log lines."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@overload
def find_stream(container: InputContainer, kind: Literal["video"]) -> VideoStream | None: ...
@overload
def find_stream(container: InputContainer, kind: Literal["audio"]) -> AudioStream | None: ...
@overload
def find_stream(container: InputContainer, kind: StreamKind) -> VideoStream | AudioStream | None: ...
def find_stream(container: InputContainer, kind: StreamKind) -> VideoStream | AudioStream | None:
    """The stream that a player would play, None where none can be decoded.

    A cover picture attached to a sound file does not count. A codec that FFmpeg does not support has no context.
    """
    import av

    cover = av.stream.Disposition.attached_pic
    streams: tuple[VideoStream | AudioStream, ...] = getattr(container.streams, kind)
    usable = [stream for stream in streams if stream.codec_context and not stream.disposition & cover]
    best = container.streams.best(kind)
    return next((stream for stream in usable if stream == best), next(iter(usable), None))


def time_zero(container: InputContainer) -> float:
    """The time stamp, in seconds, at which a player's clock shows 0.

    That is the start of the file (transport streams start anywhere). A sound that starts a little below zero, as AAC
    and Opus do, must not shift the picture.
    """
    lead = find_stream(container, "video") or find_stream(container, "audio")
    file_start = max(0.0, (container.start_time or 0) / 1e6)
    if lead is None or lead.start_time is None:
        return file_start
    return min(file_start, _seconds(lead, lead.start_time))


def claimed_end(container: InputContainer, kind: StreamKind) -> float | None:
    """The end of the stream according to the file, in seconds of the player's clock; None if not given."""
    stream = find_stream(container, kind)
    if stream is None or not stream.duration or stream.duration < 0:
        return None
    return _seconds(stream, stream.start_time) + _seconds(stream, stream.duration) - time_zero(container)


def scanned_end(path: Path) -> float:
    """The end of the picture in seconds, from the time stamps of all its packets, which are not decoded."""
    with opened(path) as container:
        stream = find_stream(container, "video")
        assert stream is not None, "the caller has found the stream"
        end = zero = time_zero(container)
        with suppress(Exception):  # damage in the file: the packets before it count
            for packet in container.demux(stream):
                stamp = packet.dts if packet.pts is None else packet.pts
                end = max(end, _seconds(stream, stamp) + _seconds(stream, packet.duration))
        return end - zero


def _seconds(stream: VideoStream | AudioStream, ticks: int | None) -> float:
    return float(ticks * stream.time_base) if ticks and stream.time_base else 0.0


@overload
def frames_from(
    path: Path, kind: Literal["video"], start: float, damage: list[str]
) -> Iterator[tuple[float, VideoFrame]]: ...
@overload
def frames_from(
    path: Path, kind: Literal["audio"], start: float, damage: list[str]
) -> Iterator[tuple[float, AudioFrame]]: ...
def frames_from(
    path: Path, kind: StreamKind, start: float, damage: list[str]
) -> Iterator[tuple[float, VideoFrame | AudioFrame]]:
    """The decoded frames of a stream with their times on the player's clock, the first at or before `start`.

    Seeks where the file allows it, and decodes from the beginning where the seek ended too late. Causes of damage are
    appended to `damage`; damaged pieces are skipped.
    """
    for seeking in [True, False] if start > 0 else [False]:
        with opened(path) as container:
            stream = find_stream(container, kind)
            if stream is None:  # the callers have found one, so the file has changed
                raise MediaError(f"{path} no longer has a stream of {kind}: load it again.")
            zero = time_zero(container)
            if seeking and not _seek(container, stream, zero + start - (PREROLL if kind == "audio" else 0.0)):
                continue
            frames = decoded(container, stream, damage)
            timed = _stamped(frames, stream, zero)
            first = next(timed, None)
            if seeking and (first is None or first[0] > start):
                damage.clear()
                continue
            if first is not None:
                yield from chain([first], timed)
            return


def _seek(container: InputContainer, stream: VideoStream | AudioStream, stamp: float) -> bool:
    """Go to the last key frame before a time stamp in seconds; False where the file does not allow it."""
    if not stream.time_base:
        return False
    try:
        container.seek(int(stamp / stream.time_base), stream=stream)
    except Exception:
        return False
    return True


def decoded(
    container: InputContainer, stream: VideoStream | AudioStream, damage: list[str]
) -> Iterator[VideoFrame | AudioFrame]:
    """All frames of a stream that can be decoded, in the order of display."""
    stream.codec_context.thread_type = "AUTO"
    if stream.type == "video":
        stream.codec_context.options = {"max_pixels": str(DECODER_MAX_PIXELS)}
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)  # after an error in the container itself there is no next packet
            if packet is None:
                break
            frames = stream.decode(packet)
        except Exception as error:  # a C library with arbitrary bytes: any exception is possible
            damage.append(cause(error))
            continue
        yield from frames
    held: Sequence[VideoFrame | AudioFrame] = []
    with suppress(Exception):  # raised where the last packet has already flushed the decoder
        held = stream.codec_context.decode(None)  # frames left where the container broke off
    yield from held


def _stamped(
    frames: Iterable[VideoFrame | AudioFrame], stream: VideoStream | AudioStream, zero: float
) -> Iterator[tuple[float, VideoFrame | AudioFrame]]:
    """Frames with their times in seconds, never descending.

    Decoders return frames in the order of display, but some containers (AVI with packed B-frames) stamp them out of
    order: then the k-th smallest stamp belongs to the k-th frame.
    """
    waiting: deque[VideoFrame | AudioFrame] = deque()
    stamps: list[float] = []
    latest = last = float("-inf")
    for frame in chain(frames, [None] * REORDER):
        if frame is not None:
            latest = _stamp(frame, stream, zero, latest)
            heapq.heappush(stamps, latest)
            waiting.append(frame)
        if waiting and (frame is None or len(waiting) > REORDER):
            last = max(last, heapq.heappop(stamps))
            yield last, waiting.popleft()


def _stamp(frame: VideoFrame | AudioFrame, stream: VideoStream | AudioStream, zero: float, previous: float) -> float:
    """The frame's time in seconds, guessed from the previous frame where it has none."""
    if frame.time is not None:
        return frame.time - zero
    if previous == float("-inf"):
        return 0.0
    if stream.type == "audio":
        return previous + frame.samples / frame.sample_rate
    return previous + (float(1 / stream.guessed_rate) if stream.guessed_rate else GUESSED_STEP)
