"""Decoding of media files: streams, their lengths, and their frames on the clock of a player.

FFmpeg reads arbitrary bytes and reports errors through many kinds of exception. Here each of them becomes a
`MediaError` that names the file, or, in the middle of a stream, an entry in the findings while decoding continues.
PyAV is imported where it is used, here and in `opening`: a machine that only trains does not need it.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, overload

from acvis_kit.errors import MediaError
from acvis_kit.media.clock import Clock
from acvis_kit.media.opening import PICTURE_FORMATS, cause, opened

if TYPE_CHECKING:
    from av import AudioFrame, AudioStream, Packet, VideoFrame, VideoStream
    from av.container import InputContainer

StreamKind = Literal["video", "audio"]
Way = Literal["seek", "skip", "all"]  # how the frame at the start is reached, see `frames_from`
STILL_BRANDS = ("avif", "heic", "heix", "mif1")  # of files of pictures
REORDER = 4  # frames whose stamps are sorted together: as deep as B-frames are nested in practice
PREROLL = 0.5  # seconds of sound decoded before the start, for decoders that need earlier samples
GUESSED_STEP = 1 / 25  # seconds between frames without time stamps and rate
DECODER_MAX_PIXELS = 2**26  # FFmpeg itself refuses larger pictures, before it allocates them (8192 x 8192)
STAMPS_STATED = ("matroska", "nut", "asf")  # formats whose header states the last time stamp, not the time until then
MAX_HELD = 2**26  # bytes of packets that wait for a later key frame before the start


@dataclass
class Findings:
    """What was wrong with a stream while it was decoded.

    Attributes:
        damage: causes of the pieces that could not be decoded and were left out.
        jumps: jumps of the time stamps that were repaired.
    """

    damage: list[str] = field(default_factory=list)
    jumps: int = 0

    def notes(self, of: str) -> list[str]:
        """One sentence for each kind of finding in the "picture" or the "sound"."""
        notes = []
        if self.damage:
            notes.append(f"Damaged pieces of the {of} were left out: {len(self.damage)} ({self.damage[0]}).")
        if self.jumps:
            times = "once" if self.jumps == 1 else f"{self.jumps} times"
            notes.append(f"The time stamps jump {times}, as in recordings that were joined: they were made continuous.")
        return notes

    def clear(self) -> None:
        self.damage.clear()
        self.jumps = 0


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
    lasts = _seconds(stream, stream.duration)
    return (lasts if _states_stamps(container) else _seconds(stream, stream.start_time) + lasts) - time_zero(container)


def stated_end(container: InputContainer) -> float:
    """The end of the file as it states it, in seconds of the player's clock; infinite if it does not."""
    if not container.duration:
        return math.inf
    return container.duration / 1e6 - (time_zero(container) if _states_stamps(container) else 0.0)


def _states_stamps(container: InputContainer) -> bool:
    return container.format.name.split(",")[0] in STAMPS_STATED


def is_indexed(container: InputContainer) -> bool:
    """Whether the container lists the time of every frame: then its claims are known to be right."""
    return container.format.name.startswith("mov")


def is_estimated(container: InputContainer) -> bool:
    """Whether the lengths that FFmpeg gives are estimates: the format has no header that states them."""
    return _has_flag(container, "ts_discont", "no_timestamps", "generic_index")


def is_still(path: Path) -> bool:
    """Whether a file of a format for pictures holds a single one; GIFs and others may hold several, which move.

    Raises:
        MediaError: it cannot be opened.
    """
    with opened(path) as container:
        stream = find_stream(container, "video")
        brand = container.metadata.get("major_brand", "").strip()  # of AVIF and HEIC, which have MP4's form
        if stream is None or not (container.format.name in PICTURE_FORMATS.split() or brand in STILL_BRANDS):
            return False
        pictures = (packet for packet in _packets(container, stream, Findings()) if packet.size)
        return len([*islice(pictures, 2)]) < 2


def scanned_end(path: Path) -> float:
    """The end of the picture in seconds, from the time stamps of all its packets, which are not decoded."""
    with opened(path) as container:
        stream = find_stream(container, "video")
        assert stream is not None, "the caller has found the stream"
        end = zero = time_zero(container)
        step = _frame_step(stream)
        with suppress(Exception):  # damage in the file: the packets before it count
            for packet in _packets(container, stream, Findings()):
                stamp = packet.dts if packet.pts is None else packet.pts
                lasts = _seconds(stream, packet.duration)
                if stamp is not None:
                    end = max(end, _seconds(stream, stamp) + lasts)
                elif packet.size:
                    end += lasts or step
        return end - zero


def _has_flag(container: InputContainer, *names: str) -> bool:
    from av.format import Flags

    flags: Any = Flags  # whose values are integers
    return any(container.format.flags & flags[name].value for name in names)


def _seconds(stream: VideoStream | AudioStream, ticks: int | None) -> float:
    return float(ticks * stream.time_base) if ticks and stream.time_base else 0.0


def _frame_step(stream: VideoStream | AudioStream) -> float:
    """Seconds between two pictures of a stream without time stamps."""
    rate = None if stream.type == "audio" else stream.guessed_rate
    return float(1 / rate) if rate else GUESSED_STEP


@overload
def frames_from(
    path: Path, kind: Literal["video"], start: float, findings: Findings
) -> Iterator[tuple[float, VideoFrame]]: ...
@overload
def frames_from(
    path: Path, kind: Literal["audio"], start: float, findings: Findings
) -> Iterator[tuple[float, AudioFrame]]: ...
def frames_from(
    path: Path, kind: StreamKind, start: float, findings: Findings
) -> Iterator[tuple[float, VideoFrame | AudioFrame]]:
    """The decoded frames of a stream with their times on the player's clock, the first at or before `start`.

    Seeks where the file allows it. Where stamps may jump or are missing a seek goes astray: there the packets are read
    from the beginning, but those before the start are not decoded. Either way is given up for decoding from the
    beginning where it ends too late or brings damage: a decoder that begins in the middle may miss what it refers to.

    Damage after the start is noted in `findings`; damaged pieces are skipped.
    """
    ways: tuple[Way, ...] = ("seek", "skip", "all") if start > 0 else ("all",)
    for way in ways:
        with opened(path) as container:
            stream = find_stream(container, kind)
            if stream is None:  # the callers have found one, so the file has changed
                raise MediaError(f"{path} no longer has a stream of {kind}: load it again.")
            zero = time_zero(container)
            begin = zero + start - (PREROLL if kind == "audio" else 0.0)
            if way == ("seek" if _has_flag(container, "ts_discont", "no_timestamps") else "skip"):
                continue
            if way == "seek" and not _seek(container, stream, begin):
                continue
            packets = _packets(container, stream, findings)
            if way == "skip":
                packets = _needed(packets, stream, begin)
            timed = _stamped(decoded(packets, stream, findings), stream, zero)
            if way == "all":
                yield from _without_earlier_damage(start, timed, findings)
                return
            reached = _up_to(start, timed, keep=2 if kind == "video" else None)
            if reached and reached[0][0] <= start and not findings.damage:
                yield from chain(reached, timed)
                return
            findings.clear()


def _up_to(
    start: float, timed: Iterator[tuple[float, VideoFrame | AudioFrame]], keep: int | None
) -> list[tuple[float, VideoFrame | AudioFrame]]:
    """The last `keep` frames (None: all) up to the first one after `start`; pictures are large."""
    reached: deque[tuple[float, VideoFrame | AudioFrame]] = deque(maxlen=keep)
    for time, frame in timed:
        reached.append((time, frame))
        if time > start:
            break
    return list(reached)


def _without_earlier_damage(
    start: float, timed: Iterator[tuple[float, VideoFrame | AudioFrame]], findings: Findings
) -> Iterator[tuple[float, VideoFrame | AudioFrame]]:
    """The frames; damage before the start is forgotten, since it is not part of what is loaded."""
    for time, frame in timed:
        if start > 0 and time <= start:
            findings.damage.clear()
        yield time, frame


def _packets(container: InputContainer, stream: VideoStream | AudioStream, findings: Findings) -> Iterator[Packet]:
    """The packets of a stream, their stamps continuous; those of the other streams tell where all of them jump."""
    streams = [*container.streams.video, *container.streams.audio]
    bases = {other.index: float(other.time_base) for other in streams if other.time_base}
    clock = Clock(bases, may_jump=_has_flag(container, "ts_discont"))
    packets = container.demux(streams)
    while True:
        try:
            packet = next(packets, None)  # after an error in the container itself there is no next packet
        except Exception as error:  # a C library with arbitrary bytes: any exception is possible
            findings.damage.append(cause(error))
            continue
        if packet is None:
            return
        clock.repair(packet)
        if packet.stream.index == stream.index:  # `stream_index` is not set in the packets that flush the decoders
            findings.jumps = clock.jumps
            yield packet


def _needed(packets: Iterator[Packet], stream: VideoStream | AudioStream, begin: float) -> Iterator[Packet]:
    """The packets from the last key frame at or before `begin` on, in seconds; all where they have no stamps."""
    held: list[Packet] = []
    size = 0
    for packet in packets:
        stamp = packet.dts if packet.pts is None else packet.pts
        time = math.inf if stamp is None else _seconds(stream, stamp)
        if packet.is_keyframe and time <= begin:
            held, size = [], 0
        held.append(packet)
        size += packet.size
        decoding = time if packet.dts is None else _seconds(stream, packet.dts)  # key frames after it are later still
        if decoding > begin or size > MAX_HELD:
            break
    yield from chain(held, packets)


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
    packets: Iterator[Packet], stream: VideoStream | AudioStream, findings: Findings
) -> Iterator[VideoFrame | AudioFrame]:
    """All frames of a stream's packets that can be decoded, in the order of display.

    An empty packet repeats the last picture (Theora, AVI). The last picture of all is returned once more for those
    behind it, since it lasts as long.
    """
    stream.codec_context.thread_type = "AUTO"
    if stream.type == "video":
        stream.codec_context.options = {"max_pixels": str(DECODER_MAX_PIXELS)}
    repeated: int | None = None  # stamp of the last of the empty packets behind the last picture
    last: VideoFrame | AudioFrame | None = None
    for packet in packets:
        if not packet.size and packet.dts is not None:
            repeated = packet.dts if packet.pts is None else packet.pts
            continue
        repeated = None if packet.size else repeated
        try:
            frames = stream.decode(packet)
        except Exception as error:  # a C library with arbitrary bytes: any exception is possible
            findings.damage.append(cause(error))
            continue
        last = frames[-1] if frames else last
        yield from frames
    held: Sequence[VideoFrame | AudioFrame] = []
    with suppress(Exception):  # raised where the last packet has already flushed the decoder
        held = stream.codec_context.decode(None)  # frames left where the container broke off
    yield from held
    if stream.type == "video" and repeated is not None and (last := held[-1] if held else last):
        last.pts = repeated
        yield last


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
    if frame.time is not None and math.isfinite(frame.time):
        return frame.time - zero
    if previous == float("-inf"):
        return 0.0
    if stream.type == "audio":
        sound = cast("AudioFrame", frame)
        return previous + sound.samples / sound.sample_rate
    return previous + _frame_step(stream)
