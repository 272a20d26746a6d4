"""Files in, decoded frames out: the one place where the kit touches PyAV.

FFmpeg reads whatever bytes it is given, and reports trouble through many kinds of exception. Here each of them becomes
a `MediaError` that names the file, or, in the middle of a stream, an entry in a list of damage while decoding goes on.
PyAV is imported where it is used: a machine that only trains need not have it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from acvis_kit.errors import MediaError

if TYPE_CHECKING:
    from av import AudioFrame, VideoFrame
    from av.container import InputContainer
    from av.stream import Stream

StreamKind = Literal["video", "audio"]
REORDER = 4  # frames whose stamps are put in order together: as deep as B-frames are nested in practice
PREROLL = 0.5  # seconds of sound decoded before the wanted start, for decoders that need a run-up
GUESSED_STEP = 1 / 25  # seconds between frames that have no stamp and no rate
DECODER_MAX_PIXELS = 2**26  # FFmpeg refuses larger pictures itself, before it allocates them (8192 x 8192)


@contextmanager
def opened(path: Path, max_bytes: float = float("inf")) -> Iterator[InputContainer]:
    """The file as a PyAV container, closed afterwards.

    Raises:
        MediaError: no such file, not a file, empty, larger than `max_bytes`, or not a media file.
    """
    import av

    _check_file(path, max_bytes)
    try:
        # An absolute path cannot be mistaken for a protocol ("a:b.mp4"); and a file that is a playlist in disguise must
        # not make this machine fetch addresses.
        container = av.open(
            str(path.absolute()), metadata_errors="replace", options={"protocol_whitelist": "file"}, mode="r"
        )
    except Exception as error:  # PyAV: FFmpegError, ValueError, UnicodeDecodeError, MemoryError, ...
        raise MediaError(
            f"{path} is not readable as video or sound ({cause(error)}): check that the file is complete and plays "
            "elsewhere, or convert it to MP4 (H.264, AAC)."
        ) from None
    with container:
        yield container


def _check_file(path: Path, max_bytes: float) -> None:
    """Say what FFmpeg would only hint at."""
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
    """What an exception of PyAV has to say, without error numbers and log lines."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def find_stream(container: InputContainer, kind: StreamKind) -> Stream | None:
    """The stream a player would play, None where there is none that could be decoded.

    A cover picture attached to a sound file is not a moving picture; a codec that FFmpeg does not know has no context.
    """
    import av

    cover = av.stream.Disposition.attached_pic
    usable = [s for s in getattr(container.streams, kind) if s.codec_context and not s.disposition & cover]
    best = container.streams.best(kind)
    return best if best in usable else next(iter(usable), None)


def time_zero(container: InputContainer) -> float:
    """The time stamp, in seconds, at which a player's clock shows 0.

    That is where the file starts (transport streams start anywhere), but a sound that starts a little below zero, as
    the run-up of AAC and Opus does, must not shift the picture.
    """
    lead = find_stream(container, "video") or find_stream(container, "audio")
    file_start = max(0.0, (container.start_time or 0) / 1e6)
    if lead is None or lead.start_time is None:
        return file_start
    return min(file_start, _seconds(lead, lead.start_time))


def claimed_end(container: InputContainer, kind: StreamKind) -> float | None:
    """Where the stream ends by the file's own account, in seconds of the player's clock; None where it does not say."""
    stream = find_stream(container, kind)
    if stream is None or not stream.duration or stream.duration < 0:
        return None
    return _seconds(stream, stream.start_time) + _seconds(stream, stream.duration) - time_zero(container)


def scanned_end(path: Path) -> float:
    """Where the picture ends, by reading the stamps of all its packets without decoding them."""
    with opened(path) as container:
        stream = find_stream(container, "video")
        end = zero = time_zero(container)
        with suppress(Exception):  # damage in the file: what was read so far counts
            for packet in container.demux(stream):
                stamp = packet.dts if packet.pts is None else packet.pts
                end = max(end, _seconds(stream, stamp) + _seconds(stream, packet.duration))
        return end - zero


def _seconds(stream: Stream, ticks: int | None) -> float:
    return float(ticks * stream.time_base) if ticks and stream.time_base else 0.0


def frames_from(
    path: Path, kind: StreamKind, start: float, damage: list[str]
) -> Iterator[tuple[float, VideoFrame | AudioFrame]]:
    """The frames of the picture or the sound with their times on the player's clock, the first at or before `start`.

    Seeks where the file allows it, and decodes from the beginning where the seek came down too late. Causes of damage
    are appended to `damage`; damaged pieces are skipped.
    """
    for seeking in [True, False] if start > 0 else [False]:
        with opened(path) as container:
            stream = find_stream(container, kind)
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


def _seek(container: InputContainer, stream: Stream, stamp: float) -> bool:
    """Go to the last key frame before a time stamp in seconds; False where the file does not allow it."""
    try:
        container.seek(int(stamp / stream.time_base), stream=stream)
    except Exception:
        return False
    return True


def decoded(container: InputContainer, stream: Stream, damage: list[str]) -> Iterator[VideoFrame | AudioFrame]:
    """All frames of a stream that can be decoded, in the order of display."""
    stream.thread_type = "AUTO"
    if stream.type == "video":
        stream.codec_context.options = {"max_pixels": str(DECODER_MAX_PIXELS)}
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)  # after an error in the container itself there is no next packet
            if packet is None:
                break
            frames = packet.decode()
        except Exception as error:  # arbitrary bytes in a C library: anything may come back
            damage.append(cause(error))
            continue
        yield from frames
    held = []
    with suppress(Exception):  # usually the decoder was emptied by the last packet, and says so
        held = stream.codec_context.decode(None)  # but not where the container broke off
    yield from held


def _stamped(
    frames: Iterable[VideoFrame | AudioFrame], stream: Stream, zero: float
) -> Iterator[tuple[float, VideoFrame | AudioFrame]]:
    """Frames with their times in seconds, never descending.

    Decoders hand out frames in the order of display, but some containers (AVI with packed B-frames) stamp them out of
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


def _stamp(frame: VideoFrame | AudioFrame, stream: Stream, zero: float, previous: float) -> float:
    """The frame's time in seconds, guessed from the frame before where it has none."""
    if frame.time is not None:
        return frame.time - zero
    if previous == float("-inf"):
        return 0.0
    if stream.type == "audio":
        return previous + frame.samples / frame.sample_rate
    return previous + (float(1 / stream.guessed_rate) if stream.guessed_rate else GUESSED_STEP)
