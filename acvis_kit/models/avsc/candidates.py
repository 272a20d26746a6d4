"""The candidate filter between the two stages of AVSC: at most one mask of each class. No gradient passes it."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from acvis_kit.models.avsc.proposals import Proposals


class Candidates(NamedTuple):
    """The potential sounding objects of N frames, by class.

    Attributes:
        masks: bool (N, K, H, W); empty where a frame has no candidate of the class.
        scores: (N, K), class probability of the candidate, 0 without one.
    """

    masks: Tensor
    scores: Tensor

    @property
    def counts(self) -> Tensor:
        """N_p, number of candidates of each frame, int64 (N,)."""
        return (self.scores > 0).sum(1)


@torch.no_grad()
def filter_candidates(proposals: Proposals, size: tuple[int, int]) -> Candidates:
    """The best query of each class that is not "no object", with its mask; empty masks are dropped.

    Args:
        proposals: the last layer is used.
        size: (H, W) of the masks, those of the network's input.
    """
    logits, masks = proposals.class_logits[-1], proposals.mask_logits[-1]  # (N, Q, K + 1), (N, Q, h, w)
    score, label = logits.softmax(-1).max(-1)  # (N, Q)
    classes = logits.shape[-1] - 1
    of_class = torch.where(label[..., None] == torch.arange(classes, device=label.device), score[..., None], 0)
    best, query = of_class.max(1)  # (N, K)
    frame, kept = (best > 0).nonzero(as_tuple=True)
    chosen = masks[frame, query[frame, kept]]  # (candidates, h, w)
    large = F.interpolate(chosen[:, None].float(), size, mode="bilinear", align_corners=False)[:, 0] > 0
    out = large.new_zeros(len(logits), classes, *size)
    out[frame, kept] = large
    return Candidates(out, best * out.flatten(2).any(-1))
