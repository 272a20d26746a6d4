"""Stage 2 of AVSC: the classes that sound select among the candidates (equation 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from acvis_kit.models.avsc.candidates import Candidates


class SoundClassifier(nn.Module):
    """Which classes sound: linear, ReLU, linear, activation.

    Args:
        audio_dim: C_a, of the audio encoder's vectors.
        hidden_dim: width between the two layers.
        num_classes: K.
        act: "sigmoid", each class by itself; "softmax", probabilities that sum to 1; "softmax_null", the same with one
            further class for "nothing", which is left out.
    """

    def __init__(self, audio_dim: int, hidden_dim: int, num_classes: int, act: str = "sigmoid") -> None:
        super().__init__()
        outputs = num_classes + (act == "softmax_null")
        self.layers = nn.Sequential(nn.Linear(audio_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, outputs))
        self.num_classes, self.act = num_classes, act

    def forward(self, vectors: Tensor) -> Tensor:
        """(..., C_a) -> P_a, (..., K) in [0, 1]."""
        logits = self.layers(vectors)
        return logits.sigmoid() if self.act == "sigmoid" else logits.softmax(-1)[..., : self.num_classes]


def correlate(probabilities: Tensor, candidates: Candidates, overlap: str = "clamp") -> Tensor:
    """S, for every pixel how certainly something sounds there.

    Args:
        probabilities: p, (N, K) in [0, 1], of the classes that sound.
        candidates: of the same frames.
        overlap: "clamp", the sum of p over the masks, at most 1; "noisy_or", 1 - product of (1 - p).

    Returns:
        (N, H, W) in [0, 1]; 0 outside of every mask.
    """
    masks = candidates.masks.to(probabilities.dtype)
    if overlap == "noisy_or":
        return 1 - torch.prod(1 - probabilities[..., None, None] * masks, dim=1)
    return torch.einsum("nk,nkhw->nhw", probabilities, masks).clamp(0, 1)


def best_candidate(candidates: Candidates) -> Tensor:
    """The p (N, K) that selects the candidate with the highest score, whatever sounds (table 4 without AVSC)."""
    best = torch.nn.functional.one_hot(candidates.scores.argmax(1), candidates.scores.shape[1])
    return best.to(candidates.scores.dtype) * (candidates.scores > 0)


def sounding_masks(probabilities: Tensor, candidates: Candidates, threshold: float = 0.5) -> Tensor:
    """The instance output: the masks of candidates whose class sounds, bool (N, K, H, W)."""
    return candidates.masks & (probabilities > threshold)[..., None, None]
