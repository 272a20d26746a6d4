"""Audio-guided modality alignment (AMA) at one level, figure 3 of the paper.

tokens x ──┬── DPC-KNN ── groups ─────────────┐
           ├── interaction with a ── score s ─┤
           └──────────────────────────────────┴── merge ── update ── G ── x' = x + G of the group
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from acvis_kit.models.ravs.clustering import dpc_knn
from acvis_kit.models.ravs.config import RAVSNetwork
from acvis_kit.models.ravs.interaction import AudioInteraction
from acvis_kit.models.ravs.merging import GroupUpdate, merge, plain_update, remap, segment_softmax

PAIRS_AT_ONCE = 2**24  # of tokens, whose distances are in memory together


class Aligned(NamedTuple):
    """One level of N frames after the sound.

    Attributes:
        map: (N, D, H, W).
        audio: a, (N, D).
        centres: G, (N, P, D); None of the baseline.
        of_token: int64 (N, H * W), the group of each token; None of the baseline.
        score: s, (N, H * W), relevance to the sound; None of the baseline.
    """

    map: Tensor
    audio: Tensor
    centres: Tensor | None = None
    of_token: Tensor | None = None
    score: Tensor | None = None


class Alignment(nn.Module):
    """AMA of one level, or with `ama=False` the interaction alone.

    Args:
        config: of RAVS.
        dim: D, channels of the map.
        groups: P of this level.
    """

    def __init__(self, config: RAVSNetwork, dim: int, groups: int) -> None:
        super().__init__()
        self.config, self.groups = config, groups
        hidden = 4 * config.audio_dim
        self.audio_proj = nn.Sequential(nn.Linear(config.audio_dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.interaction = AudioInteraction(dim, config.num_heads, config.mca)
        if not config.ama:
            return
        self.norm = nn.LayerNorm(dim)
        self.scorer = nn.Sequential(nn.Linear(dim, max(1, dim // 4)), nn.GELU(), nn.Linear(max(1, dim // 4), 1))
        layers = 0 if config.plain_update else config.update_layers
        self.updates = nn.ModuleList(GroupUpdate(dim) for _ in range(layers))
        start = config.remap_scale_init
        self.gain = nn.Parameter(torch.full((dim,), start)) if start is not None else None

    def forward(self, level: Tensor, audio: Tensor, token_filter: Tensor | None = None) -> Aligned:
        """Align a map with the sound.

        Args:
            level: (N, D, H, W).
            audio: (N, C_a), vectors of the audio encoder.
            token_filter: (N, H, W), 0 for tokens that become 0 (GTF, in training); None: none.
        """
        size = level.shape[-2:]
        x = level.flatten(2).transpose(1, 2)  # (N, H * W, D)
        a = self.audio_proj(audio)
        heard = self.interaction(x, a)
        if not self.config.ama:
            if token_filter is not None:
                heard = heard * token_filter.flatten(1)[..., None]
            return Aligned(_as_map(heard, size), a)
        groups = min(self.groups, x.shape[1])
        of_token = self.group(x, groups)
        score = self.scorer(self.norm(heard)).squeeze(-1)  # (N, H * W)
        source = heard if self.config.merge_src == "fhat" else x
        centres = merge(source, segment_softmax(score, of_token, groups), of_token, groups)
        if self.config.plain_update:
            centres = plain_update(centres, source, score)
        for update in self.updates:
            centres = update(centres, source, score)
        return Aligned(_as_map(remap(source, centres, of_token, self.gain), size), a, centres, of_token, score)

    @torch.no_grad()
    def group(self, x: Tensor, groups: int) -> Tensor:
        """The group of each token, (N, tokens); a few frames at a time, because distances take tokens^2 numbers."""
        c = self.config
        parts = x.detach().split(max(1, PAIRS_AT_ONCE // x.shape[1] ** 2))
        found = [
            dpc_knn(part, groups, c.neighbours, density=c.density, assign=c.assign, centres=c.centres).of_token
            for part in parts
        ]
        return torch.cat(found)


def _as_map(x: Tensor, size: torch.Size) -> Tensor:
    return x.transpose(1, 2).unflatten(2, size)  # (N, H * W, D) -> (N, D, H, W)
