"""Losses of sounding objects and of audio classes (ours), for `targets="visible"` and `audio_classes`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from acvis_kit.clip import moved
from acvis_kit.losses.matcher import Matches
from acvis_kit.losses.truth import Sets, Truth


def sounding_loss(logits: Tensor, truth: Truth, sets: Sets, matches: Matches) -> tuple[Tensor, Tensor]:
    """Does the object of a matched query sound? Evaluated in the frames in which it is visible.

    Args:
        logits: (D, A, S, Q), A answers over S frames as in `Sets`.
        truth: of the batch.
        sets: of the level.
        matches: of the same sets, on the CPU.

    Returns:
        The sum of binary cross-entropies over D layers, and the number of terms of one layer (mean over layers).
    """
    device, dtype = logits.device, torch.promote_types(logits.dtype, torch.float32)
    layers = torch.arange(len(logits), device=device)[:, None]
    frames = sets.frames.repeat(sets.repeats, 1)[matches.answers]  # (R, S)
    visible = moved(truth.present[matches.objects[..., None], frames], device)  # (D, R, S)
    found = matches.to(device)
    matched = logits.transpose(2, 3)[layers, found.answers, found.queries].to(dtype)  # (D, R, S)
    sounds = truth.sounding[found.objects[..., None], moved(frames, device)].to(dtype)
    entropy = F.binary_cross_entropy_with_logits(matched, sounds, reduction="none")
    return (entropy * visible).sum(), visible.sum() / len(logits)


def audio_class_loss(logits: Tensor, truth: Truth) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy of the classes that sound in each frame, visible or not, in clips with audio labels.

    Args:
        logits: (B, T, K).
        truth: of the batch.

    Returns:
        The sum, and the number of its terms.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    entropy = F.binary_cross_entropy_with_logits(logits, truth.audio_labels.to(logits.dtype), reduction="none")
    labelled = truth.has_audio_labels[:, None, None].expand_as(entropy)
    return (entropy * labelled).sum(), labelled.sum()
