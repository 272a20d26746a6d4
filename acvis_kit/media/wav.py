"""Reading scattered seconds of WAV files, for training."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from scipy.io import wavfile

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.errors import MediaError
from acvis_kit.media.sound import resample


def read_seconds(path: Path, seconds: np.ndarray) -> np.ndarray:
    """Scattered seconds of a WAV file, in a time that does not depend on its length.

    Each is cut at the file's own rate and resampled to 16 kHz alone, as in the reference.

    Args:
        path: PCM of 8, 16 or 32 bit or floats, any rate and number of channels (24 bit is read as a whole).
        seconds: int (T,), in any order; seconds beyond the end of the file are silence, with a warning.

    Returns:
        float32 (T, 16000), mean of the channels, in [-1, 1].

    Raises:
        MediaError: a file that is missing or no WAV file.
    """
    rate, samples = _open_wav(path)
    last = len(samples) / rate
    if seconds.max(initial=0) >= last:
        message = f"{path}: the sound ends after {last:.1f} s, before the picture: silence from then on"
        warnings.warn(message, stacklevel=2)
    out = np.zeros((len(seconds), rate), np.float32)
    for row, second in zip(out, seconds, strict=True):
        piece = samples[int(second) * rate : (int(second) + 1) * rate]
        mono = piece.mean(axis=1, dtype=np.float32) if piece.ndim == 2 else piece.astype(np.float32)
        row[: len(mono)] = mono - 128 if samples.dtype == np.uint8 else mono
    if samples.dtype.kind in "iu":
        out /= 2.0 ** (8 * samples.dtype.itemsize - 1)
    if rate == SAMPLE_RATE:
        return out
    return resample(torch.from_numpy(out), rate).numpy()[:, :SAMPLE_RATE]


def _open_wav(path: Path) -> tuple[int, np.ndarray]:
    """Rate in Hz and samples (S,) or (S, channels), memory-mapped where the format allows it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks that are not sound, a truncated end
        try:
            return wavfile.read(path, mmap=True)
        except FileNotFoundError:
            raise MediaError(f"{path} does not exist: every video needs its sound, or precomputed features") from None
        except ValueError:  # 24 bit, or no WAV at all
            try:
                return wavfile.read(path)
            except ValueError as error:
                raise MediaError(f"{path} cannot be read as a WAV file ({error}): convert it to 16 bit PCM") from error
