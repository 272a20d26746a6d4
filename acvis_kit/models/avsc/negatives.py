"""Frames with a sound that nothing in them makes, for the training of stage 2 (`neg_audio_prob`, ours).

The paper does not say how AVSC learns to stay blank. With sounds replaced, the target is an empty map.
"""

from __future__ import annotations

import torch
from torch import Tensor

from acvis_kit.clip import IGNORED


def replace_sounds(
    seconds: Tensor, class_maps: Tensor, probability: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Replace the sound of some frames by silence or by the sound of another frame without a common class.

    Args:
        seconds: float (N, S), the sound of each frame; before the front end.
        class_maps: int64 (N, H, W), of the same frames.
        probability: of each frame to be changed, in [0, 1]. Half of the changed frames become silent; so do those for
            which the batch has no frame of other classes.
        generator: on the CPU.

    Returns:
        Both, with empty maps where the sound was replaced; the arguments where nothing was.
    """
    number = len(seconds)
    changed = torch.rand(number, generator=generator) < probability
    if not changed.any():
        return seconds, class_maps
    present = [set(one.unique().tolist()) - {0, IGNORED} for one in class_maps]
    swap = torch.rand(number, generator=generator) < 0.5
    pick = torch.rand(number, generator=generator).tolist()
    out = seconds.clone()
    for i in changed.nonzero()[:, 0].tolist():
        others = [j for j in range(number) if present[j] and not present[i] & present[j]] if swap[i] else []
        out[i] = seconds[others[int(pick[i] * len(others))]] if others else 0
    maps = class_maps.clone()
    maps[changed.to(maps.device)] = 0
    return out, maps
