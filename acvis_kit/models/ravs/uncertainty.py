"""Uncertainty estimation of RAVS: Dirichlet variances (equation 10) that lower uncertain pixels (equation 11)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_ALPHA = 1e-6
LEAST_DIVISOR = 1e-6  # of equation 11
BOUND = 4.0  # a variance is below 1 / 4


def concentrations(logits: Tensor, kind: str = "softplus") -> Tensor:
    """Alpha of a Dirichlet distribution, above 0: softplus, or with "evidential" 1 more. Any shape."""
    return F.softplus(logits) + LEAST_ALPHA + (kind == "evidential")


def dirichlet_variance(alpha: Tensor, dim: int) -> Tensor:
    """Equation 10: delta_c = alpha_c (S - alpha_c) / (S^2 (S + 1)), S the sum of alpha, the marginal variances.

    With one channel S = alpha, and delta is 0 whatever alpha is: RAVS has at least two.

    Args:
        alpha: above 0, of any shape.
        dim: axis of the channels.

    Returns:
        As `alpha`, in [0, 1/4).
    """
    total = alpha.sum(dim, keepdim=True)
    return alpha * (total - alpha) / (total.square() * (total + 1))


def normalised_uncertainty(delta: Tensor, norm: str = "minmax") -> Tensor:
    """The variances in [0, 1].

    Args:
        delta: (B, T, C, H, W).
        norm: "minmax", linear from the least to the greatest of each clip, which are constants for the gradient; a clip
            of equal values becomes 0. "bound", 4 * delta, which depends on no other pixel.
    """
    if norm == "bound":
        return BOUND * delta
    of_clips = delta.detach().flatten(1)
    least, greatest = (extreme.view(-1, 1, 1, 1, 1) for extreme in (of_clips.amin(1), of_clips.amax(1)))
    spread = greatest - least
    return torch.where(spread > 0, (delta - least) / spread.clamp(min=torch.finfo(delta.dtype).tiny), 0.0)


def combine(probabilities: Tensor, uncertainty: Tensor, rule: str = "div1p") -> Tensor:
    """Y, the probabilities lowered where they are uncertain.

    Args:
        probabilities: sigma(m), (B, T, C, H, W): one channel, or a softmax with the background first.
        uncertainty: delta_n in [0, 1], of the same channels.
        rule: of the foreground: "div1p", sigma / (1 + delta_n), which halves at most; "mult", sigma * (1 - delta_n);
            the background is then the rest to 1. "paper", equation 11, sigma / (delta_n + 1e-6) in every channel: no
            probability, up to 1e6, so it is divided by the greatest value of the clip. It raises certain pixels
            instead of lowering uncertain ones. "none", sigma.

    Returns:
        (B, T, C, H, W) in [0, 1]. With several channels they sum to 1, but for "paper".
    """
    if rule == "none":
        return probabilities
    if rule == "paper":
        literal = probabilities / (uncertainty + LEAST_DIVISOR)
        return literal / literal.detach().flatten(1).amax(1).view(-1, 1, 1, 1, 1)
    lowered = probabilities / (1 + uncertainty) if rule == "div1p" else probabilities * (1 - uncertainty)
    if probabilities.shape[2] == 1:
        return lowered
    foreground = lowered[:, :, 1:]
    return torch.cat([1 - foreground.sum(2, keepdim=True), foreground], dim=2)
