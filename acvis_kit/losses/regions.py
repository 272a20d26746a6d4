"""Losses of class maps: cross-entropy, focal, dice and IoU, as DDESeg and AVSBench train with them.

All take probabilities of N frames and C channels: one channel, whether a pixel sounds, or a softmax with the background
first. All return a sum over the frames: the caller divides by their number. Pixels of class 255 are left out.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from acvis_kit.clip import IGNORED

SMOOTH = 1e-5  # of dice and IoU
SQUARED_SMOOTH = 0.001  # of AVSegFormer's dice, in both halves of its divisor
LEAST_PROBABILITY = 1e-6  # whose logarithm is taken


class Regions(NamedTuple):
    """Class maps of N frames as the losses take them.

    Attributes:
        target: int64 (N, H, W): the channel of each pixel, 255 where it is ignored.
        one_hot: (N, C, H, W), 0 or 1: the same for each channel; for one channel the foreground.
        known: (N, 1, H, W), 0 where a pixel is ignored, otherwise 1.
    """

    target: Tensor
    one_hot: Tensor
    known: Tensor


def regions_of(class_maps: Tensor, channels: int, dtype: torch.dtype) -> Regions:
    """Class maps int64 (N, H, W) of 0..K, or 255, for C channels; with one channel every class is foreground."""
    known = class_maps != IGNORED
    target = class_maps if channels > 1 else torch.where(known, (class_maps > 0).long(), IGNORED)
    hot = F.one_hot(torch.where(known, target, 0), max(channels, 2)).permute(0, 3, 1, 2)  # (N, C or 2, H, W)
    hot = hot if channels > 1 else hot[:, 1:]
    return Regions(target, hot.to(dtype) * known[:, None], known[:, None].to(dtype))


def log_of_logits(logits: Tensor) -> Tensor:
    """Log-probabilities of every class, (N, C, H, W) or for one channel (N, 2, H, W), background first."""
    if logits.shape[1] > 1:
        return logits.log_softmax(1)
    return torch.cat([F.logsigmoid(-logits), F.logsigmoid(logits)], dim=1)


def log_of_probabilities(probabilities: Tensor) -> Tensor:
    """As `log_of_logits`, from probabilities, which are at least 1e-6 here."""
    if probabilities.shape[1] == 1:
        probabilities = torch.cat([1 - probabilities, probabilities], dim=1)
    return probabilities.clamp(min=LEAST_PROBABILITY).log()


def cross_entropy(log_probabilities: Tensor, regions: Regions) -> Tensor:
    """Mean over the known pixels of each frame, summed over the frames."""
    entropy = F.nll_loss(log_probabilities, regions.target, ignore_index=IGNORED, reduction="none")
    return (entropy.flatten(1).sum(1) / _known(regions)).sum()


def focal_cross_entropy(log_probabilities: Tensor, regions: Regions, alpha: float = 0.5, gamma: float = 2.0) -> Tensor:
    """Alpha (1 - p)^gamma times the cross-entropy, p the probability of the true class; as `cross_entropy`."""
    entropy = F.nll_loss(log_probabilities, regions.target, ignore_index=IGNORED, reduction="none")
    focal = alpha * (1 - entropy.neg().exp()) ** gamma * entropy
    return (focal.flatten(1).sum(1) / _known(regions)).sum()


def dice_loss(probabilities: Tensor, regions: Regions, form: str = "linear") -> Tensor:
    """1 - dice, mean over all channels, absent ones too, summed over the frames.

    Args:
        probabilities: (N, C, H, W).
        regions: of the same frames.
        form: "linear", 2 sum(p t) / (sum p + sum t) (DDESeg); "squared", 2 sum(p t) / (sum p^2 + sum t^2)
            (AVSegFormer).
    """
    p, t = (probabilities * regions.known).flatten(2), regions.one_hot.flatten(2)
    inter = 2 * (p * t).sum(2)
    if form == "squared":
        dice = inter / ((p * p).sum(2) + t.sum(2) + 2 * SQUARED_SMOOTH)
    else:
        dice = (inter + SMOOTH) / (p.sum(2) + t.sum(2) + SMOOTH)
    return (1 - dice.mean(1)).sum()


def iou_loss(probabilities: Tensor, regions: Regions) -> Tensor:
    """1 - soft IoU, mean over all channels, absent ones too, summed over the frames."""
    p, t = (probabilities * regions.known).flatten(2), regions.one_hot.flatten(2)
    inter = (p * t).sum(2)
    iou = (inter + SMOOTH) / (p.sum(2) + t.sum(2) - inter + SMOOTH)
    return (1 - iou.mean(1)).sum()


def _known(regions: Regions) -> Tensor:
    return regions.known.flatten(1).sum(1).clamp(min=1)
