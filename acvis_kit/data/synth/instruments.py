"""Drawn instruments. Each function draws one instance, with proportions and parts from `rng`."""

from __future__ import annotations

import numpy as np

from acvis_kit.data.synth.colours import Palette, scaled
from acvis_kit.data.synth.pen import Pen, mirrored, smooth


def violin(pen: Pen, rng: np.random.Generator, c: Palette) -> None:
    """A waisted body with f-holes, a short bare neck with a scroll, a bow across."""
    upper, lower, waist = rng.uniform(0.27, 0.33), rng.uniform(0.36, 0.43), rng.uniform(0.16, 0.21)
    top, bottom = rng.uniform(-0.25, -0.15), rng.uniform(0.82, 0.95)
    y = np.linspace(top, bottom, 11)
    half = [
        0.07,
        upper * 0.85,
        upper,
        upper * 0.92,
        waist * 1.15,
        waist,
        waist * 1.3,
        lower * 0.95,
        lower,
        lower * 0.85,
    ]
    pen.blob(mirrored([*zip(half, y[:10], strict=True), (0.08, bottom)]), c.body, c.texture)
    pen.box(-0.06, -0.86, 0.06, top + 0.42, c.dark)
    pen.ellipse(0, -0.9, 0.1, 0.12, c.second)
    for y_peg in (-0.8, -0.7):
        pen.limb([(-0.17, y_peg), (0.17, y_peg)], [0.035], c.dark, outline=False)
    middle = (top + bottom) / 2
    for side in (-1, 1):
        hole = [(side * 0.2, middle - 0.06), (side * 0.13, middle + 0.06), (side * 0.19, middle + 0.2)]
        pen.line(smooth(hole)[:11], c.dark, 0.05)
    pen.box(-0.13, middle + 0.12, 0.13, middle + 0.17, c.light, outline=False)
    pen.shape([(-0.08, bottom - 0.05), (0.08, bottom - 0.05), (0.05, middle + 0.25), (-0.05, middle + 0.25)], c.dark)
    tilt, height = rng.uniform(-0.5, 0.5), rng.uniform(0.05, 0.45)
    ends = [(-0.85, height + tilt * 0.6), (0.85, height - tilt * 0.6)]
    pen.limb(ends, [0.05, 0.04], c.accent, outline=True)
    pen.stick([(ends[0][0], ends[0][1] + 0.09), (ends[1][0], ends[1][1] + 0.05)], c.light, 0.035)


def guitar(pen: Pen, rng: np.random.Generator, c: Palette) -> None:
    """A large body with a round hole, or an electric one with horns; a long neck with frets and a wide head."""
    neck, width = rng.uniform(-0.86, -0.78), rng.uniform(0.065, 0.085)
    if rng.random() < 0.65:
        upper, lower, waist = rng.uniform(0.34, 0.42), rng.uniform(0.48, 0.58), rng.uniform(0.26, 0.34)
        top = rng.uniform(-0.12, 0.0)
        heights = np.linspace(top, 0.95, 9)
        half = [0.1, upper * 0.9, upper, upper * 0.85, waist, lower * 0.85, lower, lower * 0.9, 0.25]
        pen.blob(mirrored(list(zip(half, heights, strict=True))), c.body, c.texture)
        pen.ellipse(0, 0.3, 0.17, 0.17, c.dark)
        pen.box(-0.22, 0.68, 0.22, 0.76, c.second)
        last = 0.16
    else:
        horn, other = rng.uniform(-0.3, -0.1), rng.uniform(-0.1, 0.1)
        pen.blob(
            [(0.09, 0.12), (0.3, other), (0.44, other + 0.1), (0.33, 0.3), (0.34, 0.42), (0.52, 0.65), (0.42, 0.92),
             (0, 0.97), (-0.44, 0.92), (-0.52, 0.62), (-0.36, 0.4), (-0.36, 0.2), (-0.45, horn + 0.05), (-0.32, horn),
             (-0.12, 0.12)],
            c.body, c.texture,
        )  # fmt: skip
        for y in (0.32, 0.52):
            pen.box(-0.17, y, 0.17, y + 0.1, c.dark)
        pen.box(-0.15, 0.72, 0.15, 0.79, c.light)
        pen.ellipse(0.3, 0.75, 0.05, 0.05, c.light)
        last = 0.3
    pen.box(-width, neck, width, last, c.second)
    for y in np.linspace(neck + 0.1, last - 0.05, 6):
        pen.line([(-width, y), (width, y)], c.light, 0.025)
    for y in (neck - 0.13, neck - 0.03):
        pen.limb([(-0.2, y), (0.2, y)], [0.035], c.light, outline=False)
    pen.shape([(-0.1, neck + 0.04), (0.1, neck + 0.04), (0.13, neck - 0.18), (-0.13, neck - 0.18)], c.accent)
    pen.line([(0, neck), (0, 0.7)], c.light, 0.018)


def flute(pen: Pen, rng: np.random.Generator, c: Palette) -> None:
    """A long straight tube with a lip plate, joints and a row of keys."""
    thick, end = rng.uniform(0.12, 0.15), rng.uniform(0.8, 0.95)
    pen.limb([(-0.95, 0), (end, 0)], [thick], c.body, c.texture)
    for x in (-0.36 + rng.uniform(-0.04, 0.04), 0.56 + rng.uniform(-0.04, 0.04)):
        pen.box(x - 0.055, -thick * 1.25, x + 0.055, thick * 1.25, c.second)
    pen.ellipse(-0.66, -0.02, 0.17, thick * 1.5, c.accent)
    pen.ellipse(-0.66, -0.03, 0.06, 0.055, c.dark, outline=False)
    for x in np.linspace(-0.2, 0.42, int(rng.integers(4, 7))):
        pen.ellipse(x, -thick * 0.75, 0.065, 0.08, c.light)
    pen.ellipse(0.7, -thick * 0.6, 0.055, 0.07, c.light)
    pen.line([(-0.25, thick * 0.55), (0.48, thick * 0.55)], scaled(c.body, 0.6), 0.04)


def piano(pen: Pen, rng: np.random.Generator, c: Palette) -> None:
    """An upright with its ledge of keys, or a grand with the lid raised on three legs."""
    if rng.random() < 0.5:
        top, wide = rng.uniform(-0.85, -0.6), rng.uniform(0.72, 0.85)
        pen.box(-wide, top, wide, 0.78, c.body, c.texture)
        pen.box(-wide - 0.05, top - 0.1, wide + 0.05, top + 0.03, c.second)
        pen.box(-wide * 0.8, top + 0.15, wide * 0.8, -0.12, scaled(c.body, 0.78))
        pen.box(-wide * 0.75, 0.32, wide * 0.75, 0.66, scaled(c.body, 0.78))
        pen.box(-0.2, -0.36, 0.2, -0.1, c.light)
        left, right, keys = -wide - 0.06, wide + 0.06, 0.0
        for side in (-1, 1):
            pen.box(side * wide * 0.92 - 0.07, 0.2, side * wide * 0.92 + 0.07, 0.9, c.second)
    else:
        lift, bend = rng.uniform(-0.95, -0.75), rng.uniform(-0.1, 0.2)
        lid = [(-0.88, 0.0), (-0.72, lift), (-0.3, lift + 0.02), (bend, lift + 0.3), (0.55, lift + 0.38), (0.9, 0.0)]
        pen.shape([lid[0], *smooth(lid)[5:26], lid[-1]], c.second)
        pen.line([(0.35, -0.05), (0.1, lift + 0.45)], c.light, 0.05)
        for x in (-0.78, 0.05, 0.78):
            pen.limb([(x, 0.2), (x, 0.88)], [0.09, 0.05], c.body)
        pen.box(-0.92, -0.06, 0.92, 0.36, c.body, c.texture)
        left, right, keys = -0.8, 0.8, 0.02
    pen.box(left, keys, right, keys + 0.24, c.light)
    count = int(rng.integers(8, 12))
    step = (right - left) / count
    for n in range(1, count):
        x = left + n * step
        if n % 7 not in (3, 0):
            pen.box(x - step * 0.28, keys, x + step * 0.28, keys + 0.14, c.dark, outline=False)


def accordion(pen: Pen, rng: np.random.Generator, c: Palette) -> None:
    """Two end boxes, one with keys and one with buttons, and a fan of pleated bellows between them."""
    spread, folds = rng.uniform(0.22, 0.5), int(rng.integers(7, 11))
    centre, inner, outer = 1.9, 1.9 - rng.uniform(0.4, 0.52), 1.9 + rng.uniform(0.42, 0.55)
    span = rng.uniform(0.5, 0.6) / centre

    def at(turn: float, radius: float) -> tuple[float, float]:
        wide = turn * (1 + spread)
        return 0.72 * radius * np.sin(wide), 0.72 * (centre - radius * np.cos(wide))

    angles = np.linspace(-span, span, folds * 2 + 1)
    for n in range(folds * 2):
        bulge = 0.07 if n % 2 == 0 else 0.0
        other = 0.07 - bulge
        quad = [at(angles[n], outer - bulge), at(angles[n + 1], outer - other), at(angles[n + 1], inner + other),
                at(angles[n], inner + bulge)]  # fmt: skip
        pen.shape(quad, c.second if n % 2 else scaled(c.second, 0.72), outline=n % 2 == 0)
    width = rng.uniform(0.17, 0.22)
    for side in (-1, 1):
        edge, far = side * span, side * (span + width)
        pen.shape([at(edge, outer + 0.04), at(far, outer), at(far, inner), at(edge, inner - 0.04)], c.body, c.texture)
    for radius in np.linspace(inner + 0.1, outer - 0.1, 7):
        a, b = at(span + width * 0.45, radius), at(span + width * 1.25, radius)
        pen.limb([a, b], [0.045], c.light, outline=False)
    for radius in np.linspace(inner + 0.15, outer - 0.15, 5):
        for across in (0.35, 0.7):
            x, y = at(-span - width * across, radius)
            pen.ellipse(x, y, 0.04, 0.04, c.light, outline=False)


def saxophone(pen: Pen, rng: np.random.Generator, c: Palette) -> None:
    """A tube that widens, bends round at the bottom and opens upwards in a bell; a crook with a mouthpiece."""
    bell, top = rng.uniform(0.24, 0.34), rng.uniform(-0.25, 0.05)
    pen.limb([(-0.72, -0.62), (-0.5, -0.86), (-0.22, -0.84), (-0.14, -0.6)], [0.05, 0.055, 0.06, 0.07], c.second)
    pen.limb([(-0.8, -0.5), (-0.66, -0.7)], [0.05, 0.07], c.dark)
    path = [(-0.14, -0.62), (-0.06, -0.1), (0.0, 0.4), (0.12, 0.74), (0.36, 0.8), (0.52, 0.55), (0.56, top)]
    widths = [0.075, 0.095, 0.115, 0.14, 0.16, 0.17, bell]
    pen.limb(path, widths, c.body, c.texture, flat_end=True)
    pen.ellipse(0.56, top, bell, 0.09, c.dark)
    for y in np.linspace(-0.4, 0.45, int(rng.integers(4, 7))):
        pen.ellipse(-0.02 + 0.1 * (y + 0.4), y, 0.075, 0.065, c.light)
    pen.limb([(0.13, -0.3), (0.2, 0.4)], [0.035], c.accent, outline=False)
    pen.ellipse(0.44, 0.5, 0.08, 0.08, c.light)


def trumpet(pen: Pen, rng: np.random.Generator, c: Palette) -> None:
    """A straight pipe with a flared bell, a loop of tube below it and three valves across."""
    flare, length = rng.uniform(0.3, 0.42), rng.uniform(0.86, 0.96)
    low = rng.uniform(0.24, 0.32)
    loop = [(-0.45, -0.08), (0.3, -0.08), (0.42, low / 2), (0.3, low), (-0.45, low), (-0.58, low / 2), (-0.45, -0.08)]
    pen.limb(loop, [0.06], c.second)
    pen.limb([(-0.95, -0.08), (0.1, -0.08)], [0.05], c.second)
    pen.shape([(-1.0, -0.19), (-0.86, -0.12), (-0.86, -0.04), (-1.0, 0.03)], c.accent)
    widths = [0.055, 0.06, 0.065, 0.07, 0.09, 0.14, flare]
    pen.limb([(-0.2, -0.08), (length, -0.08)], widths, c.body, c.texture, flat_end=True)
    pen.ellipse(length, -0.08, 0.06, flare, c.dark)
    for x in np.array([-0.2, -0.02, 0.16]) + rng.uniform(-0.05, 0.05):
        pen.box(x - 0.065, -0.26, x + 0.065, low + 0.14, c.body)
        pen.box(x - 0.025, -0.36, x + 0.025, -0.26, c.light, outline=False)
        pen.ellipse(x, -0.38, 0.065, 0.04, c.light)
