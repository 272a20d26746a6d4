"""Reading scattered seconds of WAV files, for training."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from scipy.io import wavfile

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.errors import MediaError
from acvis_kit.media.sound import PIECE, RATES, resample


def read_seconds(path: Path, seconds: np.ndarray) -> np.ndarray:
    """Scattered seconds of a WAV file, in a time that does not depend on its length.

    Each is cut at the file's own rate and resampled to 16 kHz alone, as in the reference.

    Args:
        path: PCM of 8, 16 or 32 bit or floats, 1 to 768 kHz, any number of channels (24 bit is read as a whole).
        seconds: (T,), where each begins, in any order; what lies beyond the end of the file is silence, with a warning.

    Returns:
        float32 (T, 16000), mean of the channels, in [-1, 1].

    Raises:
        MediaError: a file that is missing or no WAV file, has a header outside these limits, or samples that are not
            finite.
    """
    rate, samples = _open_wav(path)
    last = len(samples) / rate
    if seconds.max(initial=0) >= last:
        message = f"{path}: the sound ends after {last:.1f} s, before the picture: silence from then on"
        warnings.warn(message, stacklevel=2)
    together = max(1, PIECE // rate)  # seconds in memory at the file's rate
    pieces = [
        _resampled(_cut(path, samples, rate, seconds[begin : begin + together]), rate)
        for begin in range(0, len(seconds), together)
    ]
    return np.concatenate([np.zeros((0, SAMPLE_RATE), np.float32), *pieces])


def wav_duration(path: Path) -> float:
    """Seconds of a WAV file; errors as in `read_seconds`, and a MediaError for one without samples."""
    rate, samples = _open_wav(path)
    if not len(samples):
        raise MediaError(f"{path} has no samples: write the sound again")
    return len(samples) / rate


def _cut(path: Path, samples: np.ndarray, rate: int, seconds: np.ndarray) -> np.ndarray:
    """The seconds at the file's own rate, float32 (T, rate), mean of the channels."""
    out = np.zeros((len(seconds), rate), np.float32)
    for row, second in zip(out, seconds, strict=True):
        begin = round(float(second) * rate)
        piece = samples[begin : begin + rate]
        mono = piece.mean(axis=1, dtype=np.float32) if piece.ndim == 2 else piece.astype(np.float32)
        row[: len(mono)] = mono - 128 if samples.dtype == np.uint8 else mono
    if samples.dtype.kind in "iu":
        out /= 2.0 ** (8 * samples.dtype.itemsize - 1)
    if not np.isfinite(out).all():
        raise MediaError(f"{path} has samples that are not finite numbers (NaN or infinity): write the sound again")
    return out


def _resampled(seconds: np.ndarray, rate: int) -> np.ndarray:
    """Seconds float32 (T, rate) at 16 kHz, (T, 16000)."""
    if rate == SAMPLE_RATE:
        return seconds
    result = resample(torch.from_numpy(seconds), rate).numpy()[:, :SAMPLE_RATE]
    return np.pad(result, ((0, 0), (0, SAMPLE_RATE - result.shape[1])))  # 15,999 Hz, for one, is taken as 16,000


def _open_wav(path: Path) -> tuple[int, np.ndarray]:
    """Rate in Hz and samples (S,) or (S, channels), memory-mapped where the format allows it."""
    try:
        with path.open("rb") as file:
            _check_header(path, file)
    except FileNotFoundError:
        raise MediaError(f"{path} does not exist: every video needs its sound, or precomputed features") from None
    except OSError as refused:
        raise MediaError(f"{path} cannot be read ({refused.strerror}): check the permissions of the file") from None
    reason = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks that are not sound, a truncated end
        for mmap in (True, False):  # 24 bit cannot be mapped, nor can a file that ends too early
            try:
                return wavfile.read(path, mmap=mmap)
            except Exception as error:  # scipy: ValueError, struct.error, UnboundLocalError, MemoryError, ...
                reason = str(error) or type(error).__name__
    raise MediaError(f"{path} cannot be read as a WAV file ({reason}): convert it to 16 bit PCM") from None


def _check_header(path: Path, file: BinaryIO) -> None:
    """Refuse a header with numbers that no sound has, before memory is taken on its word."""
    order = ">" if file.read(12)[:4] == b"RIFX" else "<"
    while len(chunk := file.read(8)) == 8:
        size = struct.unpack(f"{order}4xI", chunk)[0]
        if chunk[:4] == b"fmt ":
            _, channels, rate, _, _, bits = struct.unpack(f"{order}HHIIHH", file.read(16).ljust(16, b"\0"))
            if not channels or not bits or not RATES[0] <= rate <= RATES[1]:
                raise MediaError(
                    f"{path} states {channels} channels of {bits} bit at {rate} Hz: its header is damaged, a sound has "
                    f"at least 1 channel of 1 bit and {RATES[0]} to {RATES[1]} Hz"
                )
            return
        file.seek(size + size % 2, 1)
