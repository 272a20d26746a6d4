"""What is audio_labels, and who sounds: the losses beyond the papers, for `targets="visible"` and `audio_classes`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from acvis_kit.losses.matcher import Matches
from acvis_kit.losses.truth import Sets, Truth


def sounding_loss(logits: Tensor, truth: Truth, sets: Sets, matches: Matches) -> tuple[Tensor, Tensor]:
    """Does the object of a matched query sound? Asked in the frames in which it can be seen.

    Args:
        logits: (D, A, S, Q), A answers over S frames as in `Sets`. matches: on the CPU.

    Returns:
        The sum of binary cross-entropies over D layers, and the terms of one layer (their mean over layers).
    """
    device, dtype = logits.device, torch.promote_types(logits.dtype, torch.float32)
    layers = torch.arange(len(logits), device=device)[:, None]
    frames = sets.frames.repeat(sets.repeats, 1)[matches.answers]  # (R, S)
    seen = truth.present[matches.objects[..., None], frames].to(device)  # (D, R, S)
    found = matches.to(device)
    asked = logits.transpose(2, 3)[layers, found.answers, found.queries].to(dtype)  # (D, R, S)
    sounds = truth.sounding[found.objects[..., None], frames.to(device)].to(dtype)
    entropy = F.binary_cross_entropy_with_logits(asked, sounds, reduction="none")
    return (entropy * seen).sum(), seen.sum() / len(logits)


def audio_class_loss(logits: Tensor, truth: Truth) -> tuple[Tensor, Tensor]:
    """Which classes are audio_labels in a second, seen or not: binary cross-entropy in the clips where that is known.

    Args:
        logits: (B, T, K).

    Returns:
        The sum, and the number of its terms.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    entropy = F.binary_cross_entropy_with_logits(logits, truth.audio_labels.to(logits.dtype), reduction="none")
    known = truth.has_audio_labels[:, None, None].expand_as(entropy)
    return (entropy * known).sum(), known.sum()
