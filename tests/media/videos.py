"""Video files whose pictures tell their number, and whose sound tells its second."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import torch

from acvis_kit.clip import SAMPLE_RATE, Clip

LEVEL = 4  # grey levels per picture: picture n of a made video has level LEVEL * n (+ 20)


def make_video(
    path: Path,
    stamps: list[float],
    size: tuple[int, int] = (32, 48),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    sound: np.ndarray | None = None,
    sound_start: float = 0.0,
    sound_rate: int = 16000,
    sound_codec: str = "pcm_s16le",
    container_options: dict[str, str] | None = None,
    stream_options: dict[str, str] | None = None,
    numbered: Sequence[int] | None = None,
    ticks: int = 1000,
) -> Path:
    """A file of grey pictures with levels that encode their numbers, at `stamps` (s), and a mono sound (S,).

    The numbers are 0, 1, 2, ... or those of `numbered`; stamps are encoded in `ticks` of a second.
    """
    with av.open(str(path), "w", options=container_options or {}) as container:
        steps = [later - earlier for earlier, later in pairwise(stamps)] or [0.1]
        usual = sorted(steps)[len(steps) // 2]  # the last picture lasts as long
        video = container.add_stream(codec, rate=round(1 / usual), options=stream_options or {})
        video.height, video.width, video.pix_fmt = *size, pixels
        video.codec_context.time_base, video.bit_rate = Fraction(1, ticks), 2_000_000
        audio = container.add_stream(sound_codec, rate=sound_rate, layout="mono") if sound is not None else None
        for n, stamp in enumerate(stamps):
            number = n if numbered is None else numbered[n]
            level = np.full((*size, 3), min(255, 20 + LEVEL * number), np.uint8)
            frame = av.VideoFrame.from_ndarray(level, format="rgb24")
            frame.pts, frame.time_base = round(stamp * ticks), Fraction(1, ticks)
            frame.duration = round(ticks * (*steps, usual)[n])
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None:
            samples = (sound * 32767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts = sound_rate, round(sound_start * sound_rate)
            frame.time_base = Fraction(1, sound_rate)
            resampler = av.AudioResampler(audio.format, "mono", sound_rate, frame_size=audio.frame_size or 1024)
            for piece in [*resampler.resample(frame), *resampler.resample(None)]:
                container.mux(audio.encode(piece))
            container.mux(audio.encode())
    return path


def write_sound(
    path: Path, sound: np.ndarray, rate: int, codec: str, layout: str = "mono", options: dict[str, str] | None = None
) -> Path:
    """A sound file of equal channels from a mono sound (S,)."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray((sound * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        resampler = av.AudioResampler(stream.format, layout, rate, frame_size=stream.frame_size or 1024)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode())
    return path


def every(step: float, seconds: float) -> list[float]:
    return [n * step for n in range(round(seconds / step))]


def tone(seconds: float, rate: int = 16000) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)


def numbers(clip: Clip) -> list[int]:
    """The numbers of the pictures that the frames show."""
    return [round((level - 20) / LEVEL) for level in clip.frames.float().mean(dim=(1, 2, 3)).tolist()]


def noted(clip: Clip, words: str) -> bool:
    return any(words in note for note in clip.notes)


def scale(seconds: int, rate: int = 16000, first: int = 0) -> np.ndarray:
    """Second i is a tone of 300 + 200 (first + i) Hz."""
    time = np.arange(round(seconds * rate)) / rate
    return 0.4 * np.sin(2 * np.pi * (300 + 200 * (first + np.floor(time))) * time)


def heard(waveform: torch.Tensor) -> list[int | None]:
    """The number of the tone of `scale` in each second, from its middle; None for silence."""
    found: list[int | None] = []
    for second in range(round(len(waveform) / SAMPLE_RATE)):
        middle = waveform[second * SAMPLE_RATE + 3000 : (second + 1) * SAMPLE_RATE - 3000]
        spectrum = torch.fft.rfft(middle * torch.hann_window(len(middle))).abs()
        pitch = int(spectrum.argmax()) * SAMPLE_RATE / len(middle)
        found.append(round((pitch - 300) / 200) if middle.abs().max() > 0.01 else None)
    return found
