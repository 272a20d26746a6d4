"""Drawn people, animals and cars. Each function draws one instance, with proportions and parts from `rng`."""

from __future__ import annotations

import numpy as np

from acvis_kit.data.synth.colours import Palette, scaled
from acvis_kit.data.synth.pen import Pen, mirrored


def person(pen: Pen, rng: np.random.Generator, c: Palette) -> None:
    """Standing upright: head with hair or hat, trunk or dress, arms in any pose, legs."""
    skin, cloth, hair = c.accent, c.body, c.dark if rng.random() < 0.6 else c.second
    head, shoulder, hip = rng.uniform(0.19, 0.24), rng.uniform(0.24, 0.32), rng.uniform(0.17, 0.24)
    neck, waist = -0.95 + 2 * head, rng.uniform(0.12, 0.22)
    dress = rng.random() < 0.35
    stride = rng.uniform(0.08, 0.26)
    for side in (-1, 1):
        foot = side * stride + rng.uniform(-0.04, 0.04)
        pen.limb([(side * hip * 0.5, waist), (foot, 0.86)], [0.12, 0.085], skin if dress else c.second)
        pen.ellipse(foot + 0.04, 0.9, 0.12, 0.06, c.dark)
    long_hair = rng.random() < 0.45
    if long_hair:
        pen.blob(mirrored([(0.05, neck - 2.1 * head), (head * 1.2, neck - head), (head * 1.3, neck + 0.2)]), hair)
    arms = []
    for side in (-1, 1):
        swing, bend = rng.uniform(0.15, 2.6), rng.uniform(-0.9, 0.9)
        elbow = (side * (shoulder + 0.26 * np.sin(swing)), neck + 0.12 + 0.26 * np.cos(swing))
        hand = (elbow[0] + side * 0.26 * np.sin(swing + bend), elbow[1] + 0.26 * np.cos(swing + bend))
        arms.append([(side * shoulder * 0.85, neck + 0.14), elbow, hand])
    for arm in arms:
        pen.limb(arm, [0.085, 0.075, 0.065], cloth if rng.random() < 0.7 else skin)
        pen.ellipse(*arm[-1], 0.075, 0.075, skin)
    if dress:
        hem = rng.uniform(0.4, 0.62)
        pen.blob(
            mirrored([(0.1, neck), (shoulder, neck + 0.1), (hip * 0.85, waist - 0.1), (hip * 1.9, hem),
                      (0.1, hem + 0.04)]),
            cloth, c.texture,
        )  # fmt: skip
    else:
        pen.blob(
            mirrored([(0.1, neck), (shoulder, neck + 0.08), (hip * 1.1, waist), (0.1, waist + 0.12)]), cloth, c.texture
        )
    pen.limb([(0, neck - head * 0.4), (0, neck + 0.04)], [0.075], skin, outline=False)
    pen.ellipse(0, neck - head, head * 0.92, head, skin)
    top = neck - 2 * head
    if rng.random() < 0.3:
        pen.box(-head * 1.3, top + 0.1, head * 1.3, top + 0.18, c.light)
        pen.box(-head * 0.8, top - 0.04, head * 0.8, top + 0.12, c.light)
    else:
        pen.blob([(-head, neck - head), (-head * 0.9, top + 0.06), (0, top - 0.05), (head * 0.9, top + 0.06),
                  (head, neck - head), (head * 0.5, top + head * 0.6), (-head * 0.4, top + head * 0.5)],
                 hair)  # fmt: skip
    for side in (-1, 1):
        pen.ellipse(side * head * 0.38, neck - head * 0.9, 0.032, 0.04, (25, 25, 30), outline=False)
    pen.line([(-head * 0.3, neck - head * 0.42), (head * 0.3, neck - head * 0.42)], scaled(skin, 0.5), 0.035)


def cat(pen: Pen, rng: np.random.Generator, c: Palette) -> None:
    """Sitting, face forward: pointed ears, whiskers, a pear-shaped body, a tail round the side."""
    head, wide = rng.uniform(0.36, 0.44), rng.uniform(0.42, 0.54)
    side = 1 if rng.random() < 0.5 else -1
    curl = rng.uniform(-0.35, 0.15)
    tail = [
        (side * wide * 0.5, 0.78),
        (side * (wide + 0.25), 0.72),
        (side * (wide + 0.36), 0.35),
        (side * (wide + 0.2), curl),
    ]
    pen.limb(tail, [0.11, 0.1, 0.09, 0.06], c.body, c.texture)
    pen.blob(
        mirrored([(0.12, -0.2), (wide * 0.62, 0.1), (wide, 0.6), (wide * 0.85, 0.9), (0.1, 0.93)]), c.body, c.texture
    )
    pen.blob(mirrored([(0.05, -0.02), (0.2, 0.2), (0.16, 0.55), (0.05, 0.62)]), c.light, outline=False)
    for foot in (-1, 1):
        pen.limb([(foot * 0.16, 0.35), (foot * 0.17, 0.84)], [0.1, 0.11], c.body)
        pen.ellipse(foot * 0.18, 0.87, 0.14, 0.08, c.light)
    y = -0.42
    ear, lean = rng.uniform(0.3, 0.42), rng.uniform(0.0, 0.12)
    for s in (-1, 1):
        points = [
            (s * head * 0.98, y - 0.08),
            (s * (head * 0.82 + lean), y - head * 0.75 - ear * 0.7),
            (s * head * 0.2, y - head * 0.8),
        ]
        pen.shape(points, c.body)
        middle = np.mean(points, axis=0)
        pen.shape([tuple(middle + 0.5 * (np.array(p) - middle)) for p in points], c.accent, outline=False)
    pen.ellipse(0, y, head * 1.05, head * 0.88, c.body, c.texture)
    pen.ellipse(0, y + head * 0.38, head * 0.42, head * 0.3, c.light, outline=False)
    for s in (-1, 1):
        pen.ellipse(s * head * 0.42, y - 0.04, 0.085, 0.095, c.second)
        pen.ellipse(s * head * 0.42, y - 0.04, 0.03, 0.085, (20, 20, 25), outline=False)
        for lift in (-0.05, 0.07):
            pen.stick([(s * head * 0.4, y + head * 0.4), (s * (head + 0.22), y + head * 0.4 + lift)], c.light, 0.03)
    pen.shape([(-0.06, y + head * 0.2), (0.06, y + head * 0.2), (0, y + head * 0.38)], c.accent, outline=False)


def dog(pen: Pen, rng: np.random.Generator, c: Palette) -> None:
    """Standing, seen from the side: long trunk, short legs, square muzzle, hanging ears, a tail that stands up."""
    back, belly, leg = rng.uniform(-0.22, -0.1), rng.uniform(0.26, 0.38), rng.uniform(0.72, 0.88)
    front, rear = rng.uniform(0.38, 0.46), rng.uniform(-0.6, -0.5)
    lift = rng.uniform(-0.7, -0.4)
    tail = [(rear, back + 0.1), (rear - 0.22, back - 0.15), (rear - rng.uniform(0.1, 0.38), lift)]
    pen.limb(tail, [0.09, 0.07, 0.05], c.body)
    step = rng.uniform(-0.1, 0.1)
    for x, shift in ((rear + 0.18, step), (front - 0.12, -step)):
        pen.limb([(x, belly - 0.1), (x + shift, leg)], [0.1, 0.075], scaled(c.body, 0.72))
    pen.blob(
        [(rear, back + 0.05), (0, back + 0.02), (front, back - 0.08), (front + 0.14, 0.1), (front, belly),
         (0, belly - 0.04), (rear + 0.1, belly - 0.08), (rear - 0.08, 0.1)],
        c.body, c.texture,
    )  # fmt: skip
    for x, shift in ((rear + 0.06, -step), (front + 0.02, step)):
        pen.limb([(x, belly - 0.15), (x - shift, leg)], [0.13, 0.09], c.body)
        pen.ellipse(x - shift + 0.05, leg + 0.04, 0.13, 0.07, c.light)
    x, y, r = front + rng.uniform(0.12, 0.2), back - rng.uniform(0.26, 0.36), rng.uniform(0.25, 0.3)
    pen.limb([(front - 0.02, back + 0.12), (x, y)], [0.2, 0.17], c.body)
    pen.ellipse(x, y, r, r * 0.92, c.body, c.texture)
    snout = rng.uniform(0.26, 0.4)
    pen.limb([(x + r * 0.4, y + 0.08), (x + r * 0.5 + snout, y + 0.12)], [0.16, 0.13], c.light)
    pen.ellipse(x + r * 0.5 + snout + 0.08, y + 0.06, 0.07, 0.065, (30, 28, 30), outline=False)
    pen.ellipse(x + r * 0.35, y - 0.07, 0.05, 0.06, (25, 25, 30), outline=False)
    ear = rng.uniform(0.34, 0.5)
    pen.limb(
        [(x - r * 0.45, y - r * 0.55), (x - r * 0.75, y - r * 0.1), (x - r * 0.6, y - 0.2 + ear)],
        [0.1, 0.14, 0.1],
        c.second,
    )
    pen.limb([(front + 0.0, back - 0.02), (front + 0.22, back + 0.12)], [0.05], c.accent, outline=False)


def horse(pen: Pen, rng: np.random.Generator, c: Palette) -> None:
    """Standing, seen from the side: long legs, a steep long neck with a mane, a long head, a falling tail."""
    back, belly = rng.uniform(-0.16, -0.08), rng.uniform(0.2, 0.28)
    front, rear, step = rng.uniform(0.3, 0.38), rng.uniform(-0.58, -0.5), rng.uniform(-0.14, 0.14)
    drop = rng.uniform(0.45, 0.7)
    pen.limb([(rear, back + 0.02), (rear - 0.2, back + 0.12), (rear - 0.22, drop)], [0.07, 0.1, 0.05], c.dark)
    for x, shift in ((rear + 0.2, step), (front - 0.1, -step)):
        knee = (x + shift * 0.8, 0.55)
        pen.limb(
            [(x, belly - 0.08), knee, (x + shift * 0.6, 0.9)], [0.1, 0.06, 0.055], scaled(c.body, 0.72), curved=False
        )
    x, y = front + rng.uniform(0.22, 0.32), rng.uniform(-0.82, -0.7)
    pen.limb([(x - 0.12, y - 0.04), (x - 0.26, y + 0.2), (front - 0.14, back - 0.02)], [0.1, 0.13, 0.07], c.dark)
    pen.limb([(front - 0.08, back + 0.16), (front + 0.08, y + 0.35), (x, y + 0.04)], [0.24, 0.15, 0.12], c.body)
    pen.blob(
        [(rear, back), (-0.1, back + 0.05), (front, back - 0.02), (front + 0.13, 0.05), (front, belly),
         (-0.1, belly + 0.02), (rear + 0.05, belly - 0.05), (rear - 0.07, 0.05)],
        c.body, c.texture,
    )  # fmt: skip
    for x_leg, shift in ((rear + 0.04, -step), (front + 0.03, step)):
        knee = (x_leg - shift * 0.9, 0.53)
        pen.limb([(x_leg, belly - 0.12), knee, (x_leg - shift * 0.6, 0.88)], [0.13, 0.075, 0.065], c.body, curved=False)
        pen.box(x_leg - shift * 0.6 - 0.08, 0.86, x_leg - shift * 0.6 + 0.1, 0.95, c.dark)
    down = rng.uniform(0.28, 0.42)
    pen.limb([(x - 0.02, y + 0.02), (x + 0.34, y + down)], [0.14, 0.1], c.body, c.texture)
    pen.ellipse(x + 0.34, y + down, 0.11, 0.1, c.light)
    pen.shape([(x - 0.1, y - 0.05), (x - 0.06, y - 0.25), (x + 0.04, y - 0.08)], c.body)
    pen.ellipse(x + 0.08, y + 0.06, 0.04, 0.045, (20, 20, 25), outline=False)
    if rng.random() < 0.4:
        pen.blob([(-0.2, back), (0.12, back), (0.14, back + 0.22), (-0.18, back + 0.22)], c.accent)


def car(pen: Pen, rng: np.random.Generator, c: Palette) -> None:
    """From the side: a body with a cabin of windows (saloon, hatchback, van or pick-up) on two wheels."""
    kind = rng.integers(4)
    roof, sill, wheel = rng.uniform(-0.55, -0.42), rng.uniform(0.28, 0.34), rng.uniform(0.2, 0.25)
    waist = -0.06
    cabin = {
        0: [(-0.6, waist), (-0.36, roof), (0.2, roof), (0.5, waist)],
        1: [(-0.88, waist), (-0.74, roof), (0.14, roof), (0.46, waist)],
        2: [(-0.92, waist), (-0.9, roof - 0.08), (0.5, roof - 0.08), (0.72, waist)],
        3: [(-0.12, waist), (-0.08, roof), (0.3, roof), (0.55, waist)],
    }[int(kind)]
    pen.shape(cabin, c.body)
    centre = np.mean(cabin, axis=0)
    glass = [tuple(centre + (0.8, 0.68) * (np.array(p) - centre)) for p in cabin]
    pen.shape(glass, c.light)
    pen.box(centre[0] - 0.04, roof + 0.04, centre[0] + 0.04, waist, c.body, outline=False)
    nose = rng.uniform(0.02, 0.12)
    pen.blob(
        [(-0.95, waist + 0.02), (-0.5, waist - 0.06), (0.4, waist - 0.06), (0.86, waist + nose), (0.98, 0.14),
         (0.94, sill), (0, sill + 0.02), (-0.95, sill), (-1.0, 0.12)],
        c.body, c.texture,
    )  # fmt: skip
    if rng.random() < 0.5:
        pen.box(-0.9, 0.1, 0.88, 0.17, c.second, outline=False)
    pen.line([(centre[0], waist), (centre[0], sill)], scaled(c.body, 0.5), 0.03)
    for x in (-0.56, 0.56):
        pen.ellipse(x, sill, wheel, wheel, c.dark)
        pen.ellipse(x, sill, wheel * 0.5, wheel * 0.5, c.light)
    pen.ellipse(0.88, 0.06, 0.06, 0.06, c.accent)
    pen.box(-1.0, 0.04, -0.93, 0.14, c.accent, outline=False)
