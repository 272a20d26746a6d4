"""Augmentation of training clips: one random draw for all frames of a clip and their masks.

The geometric part is a window into every frame (`Views`), which is cropped and scaled in one step and may be mirrored;
the same windows are applied to masks. `PAPER` is the augmentation of ACVIS, `SYNTH` suits AVIS-Synth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np
from PIL import Image

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.config import ACVISConfig
from acvis_kit.errors import ConfigError

FILL = tuple(round(value) for value in ACVISConfig.pixel_mean)  # outside the frame: 0 after normalisation
REFERENCE_RMS = 0.1  # reference level of noise where a clip is silent; as in `AudioEdit.noise`
SILENT_RMS = 1e-4  # -80 dB of full scale


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random changes of a clip; one draw applies to all of its frames. The defaults change nothing.

    Attributes:
        short_sides: pixels; the short side is scaled to one of these. () keeps the size.
        long_side: largest long side in pixels, where `short_sides` are given.
        crop_share: fraction of clips that are cropped by a window that moves on a straight line over the clip.
        crop_short_sides: pixels; a clip is scaled to one of these short sides before it is cropped.
        crop_sides: least and largest height and width of the window, pixels.
        zoom: least and largest factor by which clips that are not cropped are enlarged, their size unchanged; the
            window moves likewise, and shows the mean colour outside the frame (factors below 1).
        flip: fraction of clips that are mirrored.
        brightness: largest relative change of brightness: 0.2 is a factor of 0.8 to 1.2.
        contrast: largest relative change of contrast.
        tint: largest relative change of each of the three colours alone.
        grain: largest standard deviation of noise added to every pixel, in 0..255; drawn once per clip.
        gain_db: largest change of the loudness, up or down.
        noise_share: fraction of clips whose sound gets white noise.
        noise_snr_db: least and largest dB of that noise below the RMS of the loudest drawn second, or below an RMS of
            0.1 where all are silent.
        spectrum: in audio pretraining, shift every second in time, in a circle, and cover a band of frequencies of
            one in three (SpecAugment, Park et al. 2019).
        tilt: in audio pretraining, largest change of a log-mel at either end of the frequencies.
        pasted: fraction of clips before which objects of another clip are pasted, see `pasting`. Only with
            `targets="visible"`.

    Raises:
        ConfigError: a fraction outside [0, 1], or a range whose ends are in the wrong order.
    """

    short_sides: tuple[int, ...] = ()
    long_side: int = 768
    crop_share: float = 0.0
    crop_short_sides: tuple[int, ...] = (400, 500, 600)
    crop_sides: tuple[int, int] = (384, 600)
    zoom: tuple[float, float] = (1.0, 1.0)
    flip: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    tint: float = 0.0
    grain: float = 0.0
    gain_db: float = 0.0
    noise_share: float = 0.0
    noise_snr_db: tuple[float, float] = (10.0, 40.0)
    spectrum: bool = False
    tilt: float = 0.0
    pasted: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):  # JSON turns tuples into lists
            if isinstance(getattr(self, field.name), list):
                object.__setattr__(self, field.name, tuple(getattr(self, field.name)))
        for name in ("crop_share", "flip", "brightness", "contrast", "tint", "noise_share", "pasted"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}={getattr(self, name)!r} must lie in [0, 1]")
        for name in ("crop_sides", "zoom", "noise_snr_db"):
            least, most = getattr(self, name)
            if least > most or (name != "noise_snr_db" and least <= 0):
                raise ConfigError(
                    f"{name}={(least, most)} must be a range, the least value first (sizes, zoom: above 0)"
                )


# Mask2Former's for video, as used by AVISM and ACVIS (reference: short sides, crops, flips; no colour, no sound).
PAPER = Augmentation(
    short_sides=(288, 320, 352, 384, 416, 448, 480, 512), long_side=768, crop_share=0.5, flip=0.5
)  # fmt: skip
# 128x128 pixels with objects of 24: they must not shrink much, and the small cues of sounding must stay visible.
SYNTH = Augmentation(
    zoom=(0.8, 1.2), flip=0.5, brightness=0.2, contrast=0.2, tint=0.1, grain=6.0, gain_db=6.0, noise_share=0.5,
    noise_snr_db=(15.0, 40.0),
)  # fmt: skip
# Scenes of photographs, whose camera and phone have changed them already.
FILMED = Augmentation(
    short_sides=(192,), zoom=(0.8, 1.5), flip=0.5, brightness=0.25, contrast=0.25, tint=0.1, gain_db=9.0,
    noise_share=0.3, noise_snr_db=(15.0, 40.0), spectrum=True, tilt=0.6,
)  # fmt: skip
FILMED_FINE = replace(FILMED, short_sides=(256,))  # twice the cost of a step: for the last part of a training
FILMED_PASTED = replace(FILMED_FINE, pasted=0.7)
# AVSC's: mirrored and recoloured, and nothing else.
COLOUR = Augmentation(flip=0.5, brightness=0.2, contrast=0.2, tint=0.1)
AUGMENTATIONS = {
    "none": Augmentation(),
    "paper": PAPER,
    "synth": SYNTH,
    "filmed": FILMED,
    "filmed_fine": FILMED_FINE,
    "filmed_pasted": FILMED_PASTED,
    "colour": COLOUR,
}


COVERED, WIDEST = 1 / 3, 12  # share of the seconds of which a band of frequencies is covered; less than so many


@dataclass(frozen=True)
class Views:
    """The windows that are cropped from a clip's frames.

    Attributes:
        boxes: float64 (T, 4), left, top, right, bottom in pixels of the source; they may reach beyond it.
        size: (H, W) to which every window is scaled.
        mirrored: whether left and right are swapped at the end.
    """

    boxes: np.ndarray
    size: tuple[int, int]
    mirrored: bool = False

    def image(self, image: Image.Image, t: int) -> np.ndarray:
        """The window of frame `t`: uint8 (H, W, 3), bilinear with antialiasing."""
        width, height = image.size
        left, top, right, bottom = self.boxes[t]
        before = math.ceil(max(0.0, -left)), math.ceil(max(0.0, -top))
        after = math.ceil(max(0.0, right - width)), math.ceil(max(0.0, bottom - height))
        if any(before + after):
            canvas = Image.new("RGB", (before[0] + width + after[0], before[1] + height + after[1]), FILL)
            canvas.paste(image, before)
            image = canvas
        box = (left + before[0], top + before[1], right + before[0], bottom + before[1])
        if self.size != image.size[::-1] or box != (0, 0, *image.size):
            image = image.resize(self.size[::-1], Image.Resampling.BILINEAR, box=box)
        pixels = np.asarray(image)
        return pixels[:, ::-1] if self.mirrored else pixels

    def mask(self, mask: np.ndarray, t: int) -> np.ndarray:
        """The same window of a mask or class map of frame `t`, (source height, source width) -> (H, W): nearest pixels.

        Outside the source it is False or 0.
        """
        left, top, right, bottom = self.boxes[t]
        rows, row_inside = _nearest(top, bottom, self.size[0], mask.shape[0])
        columns, column_inside = _nearest(left, right, self.size[1], mask.shape[1])
        window = np.where(row_inside[:, None] & column_inside, mask[rows[:, None], columns], mask.dtype.type(0))
        return window[:, ::-1] if self.mirrored else window


def draw_views(augmentation: Augmentation, source: tuple[int, int], num_frames: int, rng: np.random.Generator) -> Views:
    """Draw the windows of a clip of `num_frames` frames of `source` (H, W) pixels."""
    cropped, mirrored = rng.random() < augmentation.crop_share, bool(rng.random() < augmentation.flip)
    ends: list[np.ndarray]  # top, left; first and last
    if cropped:
        scaled = scaled_size(source, int(rng.choice(augmentation.crop_short_sides)))
        least, most = augmentation.crop_sides
        height, width = (int(rng.integers(min(side, least), min(side, most) + 1)) for side in scaled)
        window = height, width
        ends = [rng.integers(0, np.subtract(scaled, window) + 1) for _ in range(2)]
        factor = np.divide(source, scaled)
    else:
        scaled, window, factor = source, source, np.ones(2)
        ends = [np.zeros(2), np.zeros(2)]
        if augmentation.zoom != (1.0, 1.0):
            factor = np.full(2, 1 / math.exp(rng.uniform(*np.log(augmentation.zoom))))
            # inside the frame if the window is smaller than the frame, around it if larger
            ends = [rng.random(2) * (np.array(source) / factor - source) for _ in range(2)]
    size = window
    if augmentation.short_sides:
        size = scaled_size(window, int(rng.choice(augmentation.short_sides)), augmentation.long_side)
    progress = np.linspace(0, 1, num_frames)[:, None]
    corner = (ends[0] + (ends[1] - ends[0]) * progress) * factor  # (T, 2): top, left, in pixels of the source
    end = corner + np.array(window) * factor
    return Views(np.stack([corner[:, 1], corner[:, 0], end[:, 1], end[:, 0]], axis=1), size, mirrored)


def scaled_size(size: tuple[int, int], short_side: int, long_side: float = math.inf) -> tuple[int, int]:
    """(H, W) scaled to a short side, or less where the long side would exceed its bound; rounded as in detectron2."""
    factor = min(short_side / min(size), long_side / max(size))
    return max(1, int(size[0] * factor + 0.5)), max(1, int(size[1] * factor + 0.5))


def recolour(augmentation: Augmentation, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Randomly change brightness, contrast, tint and grain of frames uint8 (T, H, W, 3); same shape and type."""
    spans = (augmentation.contrast, augmentation.brightness, augmentation.tint)
    contrast, brightness, *tint = 1 + rng.uniform(-1, 1, 5) * [*spans, spans[2], spans[2]]
    grain = float(rng.uniform(0, augmentation.grain)) if augmentation.grain else 0.0
    if not any((*spans, grain)):
        return frames
    pixels = frames.astype(np.float32)
    middle = pixels.mean()
    gain = (brightness * np.array(tint)).astype(np.float32)
    pixels = pixels * np.float32(contrast) * gain + np.float32(middle * (1 - contrast)) * gain
    if grain:
        pixels += rng.standard_normal(pixels.shape, np.float32) * np.float32(grain)
    return (pixels + np.float32(0.5)).clip(0, 255).astype(np.uint8)


def change_sound(augmentation: Augmentation, seconds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Randomly change the loudness of sound float32 (T, 16000) and add noise; same shape, clipped to [-1, 1]."""
    gain = 10 ** (rng.uniform(-1, 1) * augmentation.gain_db / 20)
    noisy, snr_db = rng.random() < augmentation.noise_share, rng.uniform(*augmentation.noise_snr_db)
    if augmentation.gain_db:
        seconds = seconds * np.float32(gain)
    if noisy:
        assert seconds.shape[-1] == SAMPLE_RATE
        loudest = float(np.sqrt(np.square(seconds, dtype=np.float64).mean(axis=-1)).max())
        level = 10 ** (-snr_db / 20) * (loudest if loudest > SILENT_RMS else REFERENCE_RMS)
        seconds = seconds + rng.standard_normal(seconds.shape, np.float32) * np.float32(level)
    return np.clip(seconds, -1, 1) if augmentation.gain_db or noisy else seconds


def change_spectrum(augmentation: Augmentation, log_mel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Randomly tilt log-mels float32 (T, 96, 64), shift them in time and cover bands of frequency; same shape."""
    count, times, bands = log_mel.shape
    if augmentation.tilt:
        slopes = np.asarray(rng.uniform(-augmentation.tilt, augmentation.tilt, count), np.float32)
        log_mel = log_mel + slopes[:, None, None] * np.linspace(-1, 1, bands, dtype=np.float32)
    if augmentation.spectrum:
        log_mel = np.stack([np.roll(one, int(rng.integers(times)), axis=0) for one in log_mel])
        for number in np.flatnonzero(rng.random(count) < COVERED):
            width = int(rng.integers(1, WIDEST))
            first = int(rng.integers(bands - width))
            log_mel[number, :, first : first + width] = log_mel[number].mean()
    return log_mel


def _nearest(start: float, stop: float, count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Index of the source pixel at the middle of each of `count` pixels, int (count,), and whether it is inside."""
    index = np.floor(start + (np.arange(count) + 0.5) * ((stop - start) / count)).astype(np.int64)
    inside = (index >= 0) & (index < length)
    return index.clip(0, length - 1), inside
