"""Copy-paste: objects of one training clip before another, at another place and size (Ghiasi et al., CVPR 2021).

Few photographs show several objects of a class, which are the hardest to tell apart. Pasted, each object stands before
many others. It is silent: the sound of the clip is not changed.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from acvis_kit.clip import Targets

MOST = 3  # objects that are pasted
LEAST = 0.01  # fraction of its frame that an object must cover once to be pasted
SCALES = (0.5, 1.3)  # least and largest factor on its size
MIDDLE = (0.15, 0.85)  # where the middle of the pasted objects may lie, as fractions of height and width
ALIKE = 3.0  # how many times as often an object is chosen whose class the clip shows already
LEFT = 0.4  # fraction of a sounding object that must stay in view


def paste(
    frames: Tensor, targets: Targets, other_frames: Tensor, other_targets: Targets, rng: np.random.Generator
) -> tuple[Tensor, Targets]:
    """Paste up to `MOST` objects, of classes that do not sound in the clip. May change nothing.

    Args:
        frames: uint8 (T, 3, H, W).
        targets: of these frames, masks of everything visible.
        other_frames: uint8 (T, 3, h, w), of the clip from which the objects come.
        other_targets: of those frames.
        rng: source of all random draws.

    Returns:
        The frames, and the targets with the pasted objects last. Objects that are hidden in all frames are left out.
    """
    chosen = _chosen(targets, other_targets, rng)
    if not chosen:
        return frames, targets
    height, width = frames.shape[-2:]
    pixels, pasted = _moved(other_frames, other_targets.masks[chosen], (height, width), rng)
    before = pasted.any(0)  # (T, H, W)
    left = targets.masks & ~before
    visible = targets.masks.sum((2, 3))  # (N, T)
    if bool((targets.sounding & (left.sum((2, 3)) < LEFT * visible)).any()):
        return frames, targets  # its sound would come from nowhere
    masks = torch.cat([left, pasted])
    kept = masks.flatten(1).any(1)
    silent = torch.zeros(pasted.shape[:2], dtype=torch.bool)
    return torch.where(before[:, None], pixels, frames), replace(
        targets,
        labels=torch.cat([targets.labels, other_targets.labels[chosen]])[kept],
        masks=masks[kept],
        sounding=torch.cat([targets.sounding, silent])[kept],
        auxiliary={name: torch.cat([value, silent])[kept] for name, value in targets.auxiliary.items()},
    )


def _chosen(targets: Targets, others: Targets, rng: np.random.Generator) -> list[int]:
    """Numbers of the objects to paste."""
    heard = set(targets.labels[targets.sounding.any(1)].tolist())
    seen = set(targets.labels.tolist())
    if targets.audio_labels is not None:
        heard |= set(torch.nonzero(targets.audio_labels.any(0)).flatten().tolist())
    largest = others.masks.float().mean((2, 3)).amax(1).tolist()  # fractions of a frame
    rows = [n for n, label in enumerate(others.labels.tolist()) if largest[n] >= LEAST and label not in heard]
    if not rows:
        return []
    weights = np.array([ALIKE if int(others.labels[n]) in seen else 1.0 for n in rows])
    count = min(len(rows), int(rng.integers(1, MOST + 1)))
    return sorted(rng.choice(rows, count, replace=False, p=weights / weights.sum()).tolist())


def _moved(frames: Tensor, masks: Tensor, size: tuple[int, int], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Objects at another size and place on a canvas: pixels uint8 (T, 3, H, W) and masks bool (M, T, H, W)."""
    factor = math.exp(rng.uniform(*np.log(SCALES)))
    scaled = [max(1, round(side * factor)) for side in frames.shape[-2:]]
    pixels = F.interpolate(frames.float(), scaled, mode="bilinear", antialias=True).round().clamp(0, 255).byte()
    shapes = F.interpolate(masks.float(), scaled, mode="nearest-exact") > 0
    canvas, cut = frames.new_zeros(len(frames), 3, *size), masks.new_zeros(*masks.shape[:2], *size)
    windows = []
    for axis, (side, extent) in enumerate(zip(size, scaled, strict=True)):
        on = torch.nonzero(shapes.any(0).any(0).any(1 - axis)).flatten()
        middle = float(on[0] + on[-1]) / 2 if len(on) else extent / 2
        begin = round(rng.uniform(*MIDDLE) * side - middle)  # of the scaled picture on the canvas
        to = slice(max(0, begin), max(0, min(side, begin + extent)))
        windows.append((to, slice(to.start - begin, to.start - begin + max(0, to.stop - to.start))))
    (rows, own_rows), (columns, own_columns) = windows
    canvas[..., rows, columns] = pixels[..., own_rows, own_columns]
    cut[..., rows, columns] = shapes[..., own_rows, own_columns]
    return canvas, cut
