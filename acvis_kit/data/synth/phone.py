"""What phones and codecs do to a picture: light, colour, sharpness, noise, compression, bars."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from acvis_kit.data.synth.motion import wave

GREY = 0.06  # fraction of clips without colour; of clips with a grey photograph GREY_ALIKE
GREY_ALIKE = 0.5
BARS = 0.07  # fraction of clips with black bars
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Phone:
    """How a clip of T seconds is filmed and stored.

    Attributes:
        light: (T,), factor of the exposure.
        gains: (3,), white balance.
        gamma: of the tone curve.
        contrast: factor around the middle grey.
        saturation: 0: grey, 1: as it is.
        tint: (3,), added where the picture is dark, 0..255; a colour cast of shadows.
        vignette: by how much corners are darker.
        detail: resolution, relative to the frame's.
        sharpen: percent of unsharp masking after the loss of detail.
        grain: standard deviation of the noise of pixels, 0..255.
        blotches: standard deviation of the noise of areas of 3 pixels, 0..255, stronger in the dark.
        quality: of the JPEG that it passes, None for none.
        bars: pixels that are black at each end.
        upright: whether the bars are on the left and right.
    """

    light: np.ndarray
    gains: np.ndarray
    gamma: float
    contrast: float
    saturation: float
    tint: np.ndarray
    vignette: float
    detail: float
    sharpen: float
    grain: float
    blotches: float
    quality: int | None
    bars: int
    upright: bool

    def cut(self, ids: np.ndarray) -> np.ndarray:
        """The objects at the pixels of a frame, (H, W), none under the bars."""
        return _barred(ids.copy(), self.bars, self.upright)

    def film(self, rng: np.random.Generator, frame: Image.Image, t: int, smear: np.ndarray) -> np.ndarray:
        """The stored frame of second t.

        Args:
            rng: source of the noise.
            frame: RGB, as a perfect camera sees it.
            t: the second.
            smear: (2,), motion during the exposure, pixels.

        Returns:
            uint8 (H, W, 3).
        """
        frame = _smeared(frame, smear)
        if self.detail < 1:
            few = max(round(frame.width * self.detail), 8), max(round(frame.height * self.detail), 8)
            frame = frame.resize(few, Image.Resampling.BOX).resize(frame.size, Image.Resampling.BILINEAR)
        pixels = np.asarray(frame, np.float32) / 255  # (H, W, 3)
        pixels = np.clip(pixels, 0, 1) ** np.float32(self.gamma)
        pixels *= (self.light[t] * self.gains).astype(np.float32) * self._vignette(pixels.shape)
        pixels = (pixels - np.float32(0.45)) * np.float32(self.contrast) + np.float32(0.45)
        luma = (pixels @ LUMA)[..., None]
        pixels = luma + (pixels - luma) * np.float32(self.saturation)
        pixels += (1 - np.clip(luma, 0, 1)) * (self.tint / 255).astype(np.float32)
        pixels = 255 * np.clip(pixels, 0, 1) + self._noise(rng, luma)
        picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        if self.sharpen:
            picture = picture.filter(ImageFilter.UnsharpMask(1.2, round(self.sharpen), 2))
        if self.saturation == 0 and not self.tint.any():
            picture = ImageEnhance.Color(picture).enhance(0)
        if self.quality is not None:
            picture = _compressed(picture, self.quality)
        return _barred(np.array(picture), self.bars, self.upright)

    def _vignette(self, shape: tuple[int, ...]) -> np.ndarray:
        y, x = np.ogrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
        return (1 - self.vignette * (x * x + y * y) / 2).astype(np.float32)[..., None]

    def _noise(self, rng: np.random.Generator, luma: np.ndarray) -> np.ndarray:
        height, width = luma.shape[:2]
        fine = rng.standard_normal((height, width, 3), np.float32) * np.float32(self.grain)
        fine = fine.mean(2, keepdims=True) + fine / 2  # brightness more than colour
        coarse = rng.standard_normal((height // 3 + 1, width // 3 + 1, 3), np.float32) * np.float32(self.blotches)
        coarse = coarse.repeat(3, 0).repeat(3, 1)[:height, :width]
        return fine + coarse * (1 - np.clip(luma, 0, 1))


def draw_phone(rng: np.random.Generator, length: int, size: int, grey: bool) -> Phone:
    """A random phone; `grey` says that the clip shows a photograph without colour."""
    colourless = rng.random() < (GREY_ALIKE if grey else GREY)
    tinted = grey and not colourless
    level = np.exp(rng.normal() * 0.15)
    dim = rng.random() < 0.15  # indoors at night
    saturation = 0.0 if colourless else rng.uniform(0.6, 1.35)
    bars = rng.random() < BARS
    return Phone(
        light=level * (0.75 if dim else 1.0) * (1 + rng.uniform(0, 0.12) * wave(rng, length, fast=4.0)),
        gains=np.exp(rng.normal(size=3) * (0.16 if tinted else 0.05)) * (not colourless) + colourless,
        gamma=float(np.exp(rng.normal() * 0.14)), contrast=rng.uniform(0.8, 1.15), saturation=saturation,
        tint=rng.uniform(0, 40, 3) if tinted else np.zeros(3), vignette=rng.uniform(0, 0.35) * (rng.random() < 0.5),
        detail=float(np.clip(rng.uniform(0.4, 1.5), 0, 1)), sharpen=rng.uniform(30, 100) * (rng.random() < 0.25),
        grain=rng.uniform(0, 4) + 5 * dim * rng.random(), blotches=rng.uniform(0, 5) + 8 * dim * rng.random(),
        quality=int(rng.integers(18, 70)) if rng.random() < 0.7 else None,
        bars=round(rng.uniform(0.05, 0.2) * size) * bars, upright=rng.random() < 0.4,
    )  # fmt: skip


def _smeared(frame: Image.Image, smear: np.ndarray) -> Image.Image:
    """A frame with motion blur: up to two pixels to either side."""
    reach = float(np.hypot(*smear))
    if reach < 0.5:
        return frame
    kernel = np.zeros((5, 5))
    for step in np.linspace(-1, 1, 9):
        dx, dy = np.clip(step * smear / 2, -2, 2)
        kernel[2 + round(dy), 2 + round(dx)] += 1
    return frame.filter(ImageFilter.Kernel((5, 5), kernel.reshape(-1).tolist()))


def _compressed(picture: Image.Image, quality: int) -> Image.Image:
    stored = io.BytesIO()
    picture.save(stored, "JPEG", quality=quality, subsampling=2)
    return Image.open(stored).convert("RGB")


def _barred(pixels: np.ndarray, bars: int, upright: bool) -> np.ndarray:
    """Black bars at both ends, in place."""
    if bars:
        view = pixels.swapaxes(0, 1) if upright else pixels
        view[:bars] = 0
        view[-bars:] = 0
    return pixels
