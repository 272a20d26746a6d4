"""Sound from files: any codec, number of channels and rate -> mono, 16 kHz, float32."""

from __future__ import annotations

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
from acvis_kit.errors import ConfigError, MediaError
from acvis_kit.media.decoding import find_stream, frames_from, opened

if TYPE_CHECKING:
    from av import AudioFrame

MAX_SOUND_SECONDS = 600.0  # of a sound file; ten minutes take 38 MB
RATES = (1_000, 768_000)  # Hz; other rates mean that the file is damaged
# Time stamps are coarse (Matroska: 1 ms, MP3 in AVI: 26 ms) while samples are contiguous: only a larger step is a real
# gap in the sound.
REAL_GAP = 0.1  # seconds
# The windowed sinc that torchaudio documents as "kaiser_best" of resampy, with which the reference resamples.
KAISER_BEST = {
    "lowpass_filter_width": 64,
    "rolloff": 0.9475937167399596,
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
        damage: causes of the pieces that could not be decoded.
    """

    waveform: Tensor
    begins: float
    ends: float
    damage: tuple[str, ...]


def load_sound(path: str | Path, start: float = 0.0, max_seconds: float = MAX_SOUND_SECONDS) -> Tensor:
    """The sound of a sound file or of a video.

    Args:
        path: any file that PyAV opens.
        start: seconds to skip.
        max_seconds: a longer sound is cut there (with a warning).

    Returns:
        float32 (S,), mono (mean of the channels), 16 kHz.

    Raises:
        MediaError: not a media file, without a sound track, or without sound after `start`.
        ConfigError: `start` or `max_seconds` outside its range.
    """
    if not (start >= 0 and 0 < max_seconds < float("inf")):
        raise ConfigError(f"start={start} must be >= 0 and max_seconds={max_seconds} a positive number of seconds.")
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
        reason = f" ({track.damage[0]})" if track.damage else ""
        raise MediaError(f"{path} has no sound after second {start:g}{reason}: lower the start, or check the file.")
    return track.waveform


def read_sound(path: Path, start: float, seconds: float) -> SoundTrack | None:
    """The sound of the stretch [start, start + seconds) of the player's clock; None if the file has no sound track."""
    with opened(path) as container:
        if find_stream(container, "audio") is None:
            return None
    damage: list[str] = []
    frames = frames_from(path, "audio", start, damage)
    native, rate, begins = _lay_out(frames, start, seconds, damage)
    waveform = resample(torch.from_numpy(native), rate)[: round(seconds * SAMPLE_RATE)]
    return SoundTrack(waveform, begins, len(native) / rate, tuple(damage))


def resample(waveform: Tensor, rate: int) -> Tensor:
    """A waveform (..., S) of any `rate` in Hz, resampled to 16 kHz with the filter of the reference.

    The filter bank grows with the terms of the ratio of the rates: at 47,999 Hz it would take gigabytes. Ratios are
    therefore rounded to a denominator of at most 1000, which detunes such a rate by less than 0.01 %.
    """
    ratio = Fraction(rate, SAMPLE_RATE).limit_denominator(1000)
    if ratio == 1 or not waveform.numel():
        return waveform
    return torchaudio.functional.resample(waveform, ratio.numerator, ratio.denominator, **KAISER_BEST)


def fit_length(waveform: Tensor, samples: int) -> Tensor:
    """The waveform (S,) cut, or padded with silence, to exactly `samples`."""
    return torch.nn.functional.pad(waveform[:samples], (0, max(0, samples - waveform.shape[0])))


def _lay_out(
    frames: Iterable[tuple[float, AudioFrame]], start: float, seconds: float, damage: list[str]
) -> tuple[np.ndarray, int, float]:
    """Decoded frames placed by their time stamps, silence in the gaps: float32 (n,), its rate, its first second."""
    pieces: list[tuple[int, np.ndarray]] = []
    rate = SAMPLE_RATE
    cursor = None  # where the next sample goes, counted from `start`
    for time, frame in frames:
        if not pieces:
            rate = frame.sample_rate
        if frame.sample_rate != rate or not RATES[0] <= rate <= RATES[1]:
            damage.append(f"a rate of {frame.sample_rate} Hz in a sound of {rate} Hz")
            continue
        stamped = round((time - start) * rate)
        if cursor is None or abs(stamped - cursor) > REAL_GAP * rate:
            cursor = stamped
        if cursor >= seconds * rate:
            break
        mono = _mono(frame)
        skipped = max(0, -cursor)  # samples before the stretch
        if skipped < len(mono):
            pieces.append((cursor + skipped, mono[skipped:]))
        cursor += len(mono)
    sound = np.zeros(max((at + len(piece) for at, piece in pieces), default=0), dtype=np.float32)
    for at, piece in pieces:
        sound[at : at + len(piece)] = piece
    return sound, rate, min((at for at, _ in pieces), default=0) / rate


def _mono(frame: AudioFrame) -> np.ndarray:
    """A frame's samples in [-1, 1], mean of its channels, float32 (n,)."""
    samples = frame.to_ndarray()  # (channels, n) if planar, else (1, n * channels)
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype == np.uint8:
        samples = (samples - np.float32(128)) / 128
    elif samples.dtype.kind == "i":
        samples = samples / np.float32(2.0 ** (8 * samples.dtype.itemsize - 1))
    mono = samples.mean(axis=0, dtype=np.float32)
    return np.nan_to_num(mono, nan=0.0, posinf=1.0, neginf=-1.0)  # float formats may contain NaN and infinity
