"""DPC-KNN: groups of tokens by density peaks among the k nearest neighbours, as TCFormer and Chat-UniVi compute them.

A centre is dense and far from anything denser. Sources: Du et al. 2016; `cluster_dpc_knn` of TCFormer
(Zeng et al. 2022).
Where RAVS' text departs from that code (equations 3 and 4), a switch computes its literal form.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

TIE_BREAK = 1e-6  # of the noise on the densities


class Groups(NamedTuple):
    """Groups of N tokens.

    Attributes:
        of_token: int64 (B, N), the group of each token, 0..P - 1.
        centres: int64 (B, P), the token in the middle of each group, by falling score.
        score: (B, N), density times distance to the nearest denser token.
        density: (B, N), without noise.
    """

    of_token: Tensor
    centres: Tensor
    score: Tensor
    density: Tensor


@torch.no_grad()
def dpc_knn(
    x: Tensor,
    groups: int,
    k: int,
    *,
    mask: Tensor | None = None,
    noise: Tensor | None = None,
    density: str = "tcformer",
    assign: str = "nearest",
    centres: str = "score",
) -> Groups:
    """Group tokens. No gradient passes; distances are float32, because those of near tokens cancel in half precision.

    Args:
        x: (B, N, C).
        groups: P, at most N.
        k: neighbours that a density is computed from, the token itself among them; at most N are used.
        mask: (B, N), 0 for empty tokens, which have density 0 and are far from everything; None: none is empty.
        noise: (B, N) in [0, 1), breaks ties between densities (times 1e-6); None: ties are broken by position.
        density: "tcformer", exp(-mean of squared distances / C); "paper", equation 3: sum of exp(-distance).
        assign: "nearest" centre; "chain", equation 4: the group of the nearest denser token, up to a centre.
        centres: "score", the P best; "peak", equation 4 read literally: only the densest token of all is a centre, so
            that there is one group.

    Returns:
        The groups; with "peak" all indices are 0.
    """
    x = x.float()
    number, channels = x.shape[1:]
    if density == "tcformer":
        x = x / channels**0.5  # instead of dividing the N x N distances
    distance = torch.cdist(x, x)
    if mask is not None:
        empty = mask[:, None] == 0  # (B, 1, N)
        distance = torch.where(empty, distance.amax() + 1, distance)
    near = distance.topk(min(k, number), dim=-1, largest=False).values  # (B, N, k)
    plain = near.neg().exp().sum(-1) if density == "paper" else near.square().mean(-1).neg().exp()
    crowd = plain if noise is None else plain + noise * TIE_BREAK
    if mask is not None:
        crowd = crowd * (mask > 0)

    parent_distance, parent = _nearest_denser(distance, crowd)
    score = parent_distance * crowd
    best = score.topk(groups, dim=-1).indices if centres == "score" else crowd.argmax(-1, keepdim=True)
    index = _follow(parent, crowd, best) if assign == "chain" else _nearest(distance, best)
    return Groups(index, best, score, plain)


def _nearest_denser(distance: Tensor, density: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to, and number of, the nearest token of higher density, (B, N) each.

    The densest token has the largest distance of all as its own, and itself as its parent.
    """
    not_denser = density[:, None, :] <= density[:, :, None]  # (B, N, N)
    apart, parent = distance.masked_fill(not_denser, torch.inf).min(-1)
    alone = apart.isinf()
    own = torch.arange(density.shape[1], device=density.device).expand_as(parent)
    largest = distance.flatten(1).amax(1, keepdim=True)
    return torch.where(alone, largest, apart), torch.where(alone, own, parent)


def _nearest(distance: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre of each token; a centre belongs to its own group."""
    rows = distance.gather(1, centres[..., None].expand(-1, -1, distance.shape[-1]))  # (B, P, N)
    return _with_centres(rows.argmin(1), centres)


def _follow(parent: Tensor, density: Tensor, centres: Tensor) -> Tensor:
    """The group of each token's parent, from the densest token downwards. A root that is no centre joins group 0."""
    target = parent.clone().scatter_(1, centres, centres)  # chains end at centres
    for _ in range(max(1, (parent.shape[1] - 1).bit_length())):  # each round doubles the steps of every chain
        target = target.gather(1, target)
    group = torch.zeros_like(parent).scatter_(1, centres, _ranks(centres))
    return group.gather(1, target)


def _with_centres(index: Tensor, centres: Tensor) -> Tensor:
    return index.scatter(1, centres, _ranks(centres))


def _ranks(centres: Tensor) -> Tensor:
    return torch.arange(centres.shape[1], device=centres.device).expand_as(centres)


def merge_tokens(x: Tensor, index: Tensor, groups: int, weight: Tensor | None = None) -> Tensor:
    """The weighted mean of the tokens of each group.

    Args:
        x: (B, N, C).
        index: int64 (B, N), in 0..P - 1.
        groups: P.
        weight: (B, N), at least 0; None: all equal.

    Returns:
        (B, P, C); 0 for a group without weight.
    """
    weight = torch.ones_like(x[..., 0]) if weight is None else weight
    total = torch.zeros_like(x[:, :1, 0]).expand(-1, groups).scatter_add(1, index, weight) + 1e-6
    share = weight / total.gather(1, index)
    out = torch.zeros_like(x[:, :1]).expand(-1, groups, -1)
    return out.scatter_add(1, index[..., None].expand_as(x), x * share[..., None])
