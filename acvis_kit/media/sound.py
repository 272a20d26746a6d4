"""Sound from files: any codec, number of channels and rate -> mono, 16 kHz, float32."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torchaudio
from torch import Tensor

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.errors import MediaError
from acvis_kit.media.decoding import Findings, find_stream, frames_from
from acvis_kit.media.limits import DAY, SHORTEST, check_number
from acvis_kit.media.opening import opened

if TYPE_CHECKING:
    from av import AudioFrame

MAX_SOUND_SECONDS = 600.0  # of a sound file; ten minutes take 38 MB
MAX_PLANES = 7  # channels that lie apart, which PyAV can read
RATES = (1_000, 768_000)  # Hz; other rates mean that the file is damaged
PIECE = 2**23  # samples of the file's rate that are resampled at a time, 32 MB: 175 s at 48 kHz
SILENT_PEAK = 1e-4  # -80 dB of full scale: above the dither of 16 bits, below all that is heard
# Time stamps are coarse (Matroska: 1 ms, MP3 in AVI: 26 ms) while samples are contiguous: only a larger step is a real
# gap in the sound.
REAL_GAP = 0.1  # seconds
# The windowed sinc that torchaudio documents as "kaiser_best" of resampy, with which the reference resamples.
FILTER_WIDTH, ROLLOFF = 64, 0.9475937167399596
KAISER_BEST = {
    "lowpass_filter_width": FILTER_WIDTH,
    "rolloff": ROLLOFF,
    "resampling_method": "sinc_interp_kaiser",
    "beta": 14.769656459379492,
}


@dataclass(frozen=True)
class SoundTrack:
    """A stretch of a file's sound.

    Attributes:
        waveform: float32 (S,), 16 kHz, from the start of the stretch to its last sound (or the end of the stretch).
        begins: second of the stretch at which the file's sound begins, 0 where it has none.
        ends: second of the stretch at which it ends, 0 where it has none.
        findings: the pieces that could not be decoded, and repaired time stamps.
    """

    waveform: Tensor
    begins: float
    ends: float
    findings: Findings


def load_sound(path: str | Path, start: float = 0.0, max_seconds: float = MAX_SOUND_SECONDS) -> Tensor:
    """The sound of a sound file or of a video.

    Args:
        path: any file that `media.opening` opens.
        start: seconds to skip, up to a day.
        max_seconds: a longer sound is cut there (with a warning), up to a day.

    Returns:
        float32 (S,), mono (mean of the channels), 16 kHz. Damaged pieces are left out, with a warning.

    Raises:
        MediaError: not a media file, without a sound track, or without sound after `start`.
        ConfigError: `start` or `max_seconds` outside its range.
    """
    check_number("start", start, 0, DAY, "seconds")
    check_number("max_seconds", max_seconds, SHORTEST, DAY, "seconds")
    sound = read_stretch(Path(path), start, max_seconds + REAL_GAP)
    samples = round(max_seconds * SAMPLE_RATE)
    if len(sound) > samples:
        warnings.warn(f"{path} has more than {max_seconds:g} s of sound: the rest is left out.", stacklevel=2)
    return sound[:samples]


def read_stretch(path: Path, start: float, seconds: float) -> Tensor:
    """The sound of the stretch [start, start + seconds), float32 (S,), at most that long; errors as in `load_sound`."""
    track = read_sound(path, start, seconds)
    if track is None:
        raise MediaError(f"{path} has no sound track: give a file that has one.")
    if not len(track.waveform):
        reason = f" ({track.findings.damage[0]})" if track.findings.damage else ""
        raise MediaError(f"{path} has no sound after second {start:g}{reason}: lower the start, or check the file.")
    for note in track.findings.notes("sound"):
        warnings.warn(f"{path}: {note}", stacklevel=3)
    return track.waveform


def read_sound(path: Path, start: float, seconds: float) -> SoundTrack | None:
    """The sound of the stretch [start, start + seconds) of the player's clock; None if the file has no sound track."""
    with opened(path) as container:
        if find_stream(container, "audio") is None:
            return None
    findings = Findings()
    waveform, begins, ends = _lay_out(frames_from(path, "audio", start, findings), start, seconds, findings)
    return SoundTrack(waveform[: round(seconds * SAMPLE_RATE)], begins, ends, findings)


def resample(waveform: Tensor, rate: int) -> Tensor:
    """A waveform (..., S) of any `rate` in Hz, resampled to 16 kHz with the filter of the reference."""
    ratio = _ratio(rate)
    if ratio == 1 or not waveform.numel():
        return waveform
    return torchaudio.functional.resample(waveform, ratio.numerator, ratio.denominator, **KAISER_BEST)


def _ratio(rate: int) -> Fraction:
    """Samples at `rate` per sample at 16 kHz.

    The filter bank grows with both terms of the ratio: at 47,999 Hz it would take gigabytes. Ratios are therefore
    rounded to a denominator of at most 1000 (less above 48 kHz), which detunes such a rate by less than 0.01 %.
    """
    return Fraction(rate, SAMPLE_RATE).limit_denominator(1000 * 48_000 // max(rate, 48_000))


def is_silent(waveform: Tensor) -> bool:
    """Whether nothing can be heard in a waveform (S,), in [-1, 1]."""
    return not bool((waveform.abs() > SILENT_PEAK).any())


def fit_length(waveform: Tensor, samples: int) -> Tensor:
    """The waveform (S,) cut, or padded with silence, to exactly `samples`."""
    return torch.nn.functional.pad(waveform[:samples], (0, max(0, samples - waveform.shape[0])))


def _lay_out(
    frames: Iterable[tuple[float, AudioFrame]], start: float, seconds: float, findings: Findings
) -> tuple[Tensor, float, float]:
    """Decoded frames placed by their time stamps, silence in the gaps.

    Returns:
        The waveform at 16 kHz, float32 (S,), its first second and its last.
    """
    finished: list[Tensor] = []  # stretches of one rate each, one behind the other; the last one is `stretch`
    stretch: _Resampled | None = None
    origin = 0.0  # where `stretch` begins, in seconds from `start`
    begins: float | None = None
    ends = 0.0
    cursor = None  # where the next sample goes, counted from `origin` at the rate of `stretch`
    for time, frame in frames:
        rate = frame.sample_rate
        if not RATES[0] <= rate <= RATES[1]:
            findings.damage.append(f"a rate of {rate} Hz")
            continue
        if stretch is None or stretch.rate != rate:
            if stretch is not None and ends > 0:
                finished.append(stretch.finish())
                origin = sum(len(piece) for piece in finished) / SAMPLE_RATE
            stretch, cursor = _Resampled(rate), None
        stamped = round((time - start - origin) * rate)
        # A later stamp is a gap; samples that are there are not overwritten, whatever the stamp.
        if cursor is None or stamped - cursor > REAL_GAP * rate:
            cursor = stamped if begins is None else max(stamped, 0)
        if origin + cursor / rate >= seconds:
            break
        mono = _mono(frame)
        skipped = max(0, -cursor)  # samples before the stretch
        if skipped < len(mono):
            stretch.write(cursor + skipped, mono[skipped:])
            begins = origin + (cursor + skipped) / rate if begins is None else begins
            ends = origin + (cursor + len(mono)) / rate
        cursor += len(mono)
    if stretch is not None:
        finished.append(stretch.finish())
    return torch.cat([torch.zeros(0), *finished]), begins or 0.0, ends


class _Resampled:
    """A stretch of sound of one rate that is resampled while it is written: only its result is held as a whole.

    A piece is resampled with its neighbours as far as the filter reaches, so that the pieces join without a seam.
    """

    def __init__(self, rate: int):
        self.rate = rate
        ratio = _ratio(rate)
        self._block, self._made = ratio.numerator, ratio.denominator  # samples in and out of one period of the filter
        reach = FILTER_WIDTH / ROLLOFF * max(1.0, float(ratio))  # of the filter, in samples, as in torchaudio
        self._context = (math.ceil(reach / self._block) + 1) * self._block
        self._piece = max(1, PIECE // self._block) * self._block
        self._buffer = np.zeros(0, np.float32)  # written samples, silence behind them
        self._first = 0  # number of the sample at which the buffer begins
        self._left = 0  # samples at the beginning of the buffer that are context: they have been resampled
        self._end = 0  # number of the sample behind the last one written
        self._done: list[Tensor] = []

    def write(self, at: int, samples: np.ndarray) -> None:
        """Place float32 (n,) at sample `at`, behind what is written; silence fills a gap."""
        while len(samples):
            self._resample_before(at)
            place = at - self._first
            part = samples[: self._left + self._piece + self._context - place]
            self._reserve(place + len(part))
            self._buffer[place : place + len(part)] = part
            at, samples = at + len(part), samples[len(part) :]
            self._end = at

    def finish(self) -> Tensor:
        """The whole stretch at 16 kHz, float32 (S,)."""
        length = self._end - self._first
        self._reserve(length)
        self._resample(self._buffer[:length], length - self._left)
        return torch.cat(self._done)

    def _resample_before(self, at: int) -> None:
        """Resample the pieces that are complete, with their context, when writing goes on at sample `at`."""
        while at - self._first >= self._left + self._piece + self._context:
            whole = self._left + self._piece + self._context
            self._reserve(whole)
            self._resample(self._buffer[:whole], self._piece)
            dropped = self._left + self._piece - self._context
            self._buffer = self._buffer[dropped:].copy()
            self._first, self._left = self._first + dropped, self._context
            self._end = max(self._end, self._first + self._left)

    def _reserve(self, length: int) -> None:
        """Lengthen the buffer with silence to at least `length` samples; doubling it saves copies."""
        if length > len(self._buffer):
            longer = np.zeros(max(length, min(2 * len(self._buffer), self._piece + 2 * self._context)), np.float32)
            longer[: len(self._buffer)] = self._buffer
            self._buffer = longer

    def _resample(self, whole: np.ndarray, length: int) -> None:
        """Resample `length` samples of the buffer, which follow its left context."""
        samples = math.ceil(length * self._made / self._block)
        skipped = self._left // self._block * self._made
        silent = not whole.any()  # a gap may be long
        result = torch.zeros(samples) if silent else resample(torch.from_numpy(whole), self.rate)
        self._done.append(result if silent else result[skipped : skipped + samples].clone())


def _mono(frame: AudioFrame) -> np.ndarray:
    """A frame's samples in [-1, 1], mean of its channels, float32 (n,)."""
    if frame.format.is_planar and frame.layout.nb_channels > MAX_PLANES:
        frame = _packed(frame)
    samples = frame.to_ndarray()  # (channels, n) if planar, else (1, n * channels)
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype == np.uint8:
        samples = (samples - np.float32(128)) / 128
    elif samples.dtype.kind == "i":
        samples = samples / np.float32(2.0 ** (8 * samples.dtype.itemsize - 1))
    mono = samples.mean(axis=0, dtype=np.float32)
    return np.nan_to_num(mono, nan=0.0, posinf=1.0, neginf=-1.0)  # float formats may contain NaN and infinity


def _packed(frame: AudioFrame) -> AudioFrame:
    """A copy of a frame whose channels do not lie apart.

    PyAV 18 counts the planes of a frame up to a null pointer, which lies behind 7 planes or fewer. From 8 on (7.1
    sound) it takes for pointers whatever follows, and that ends the process.
    """
    from av import AudioFrame
    from av.filter import Graph

    graph = Graph()
    graph.link_nodes(
        graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format,
            layout=frame.layout,
            time_base=Fraction(1, frame.sample_rate),
        ),
        graph.add("aformat", f"sample_fmts={frame.format.packed.name}"),
        graph.add("abuffersink"),
    ).configure()
    graph.push(frame)
    packed = graph.pull()
    assert isinstance(packed, AudioFrame), "a sink of sound returns sound"
    return packed
