"""Queries that listen: what every frame query knows of the sound before it looks at the picture.

ACVIS (section 3.2) lets the queries attend to the sound; AVISM adds one audio-visual vector to them; VITA has no sound.
The sound of a second is a single vector in all three papers. A softmax over a single key is 1 whatever the query, so
that every query of ACVIS' generator receives the same value: nothing is selected. With `audio_tokens="patch"` the keys
are the 24 time-frequency patches of the second, and selection can happen.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from acvis_kit.config import ACVISConfig
from acvis_kit.models.encoders.audio import NUM_PATCHES, AudioFeatures
from acvis_kit.models.layers.attention import CrossAttentionLayer

NUM_SCALES = 3


class QueryGenerator(nn.Module):
    """The frame queries of every second, behind the count token where there is one.

    Args:
        config: uses query_generator, frame_fusion, count_head, audio_tokens and the sizes.
        patch_dim: channels of the audio encoder's patches; None where it gives none.
    """

    def __init__(self, config: ACVISConfig, patch_dim: int | None = None) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.kind = config.query_generator if config.uses_audio_in_frames else "none"
        self.audio_tokens = config.audio_tokens
        self.query_features = nn.Parameter(torch.randn(config.num_frame_queries, dim))
        self.query_positions = nn.Parameter(torch.randn(config.num_frame_queries, dim))
        if config.count_head != "none":
            self.count_token = nn.Parameter(torch.randn(1, dim))  # its content and its position
        if self.kind == "none":
            return
        if self.audio_tokens == "patch":
            assert patch_dim is not None, "the configuration allows patches only with an encoder that gives them"
            self.project = nn.Linear(patch_dim, dim)
            self.patch_position = nn.Parameter(torch.randn(NUM_PATCHES, dim))
        else:
            self.project = nn.Linear(config.audio_dim, dim)
        num_layers = config.query_layers if self.kind == "acqg" else NUM_SCALES
        self.layers = nn.ModuleList(CrossAttentionLayer(dim, config.num_heads) for _ in range(num_layers))
        if self.kind == "additive":
            self.merge = nn.Linear(NUM_SCALES * dim, dim)

    @property
    def has_count_token(self) -> bool:
        return hasattr(self, "count_token")

    def positions(self) -> Tensor:
        """([1 +] Q_f, C), the count token's first."""
        return self._with_token(self.query_positions)

    def forward(self, sound: AudioFeatures | None, tokens: Sequence[Tensor]) -> Tensor:
        """Args:
            sound: of B clips of T seconds; None where the generator does not hear.
            tokens: of the picture, (N, H * W, C) for strides 32, 16, 8, level embedding included; N = B * T.

        Returns:
            (N, [1 +] Q_f, C).
        """
        queries = self._with_token(self.query_features).expand(tokens[0].shape[0], -1, -1)
        if self.kind == "acqg":
            return self.listen(queries, sound)
        if self.kind == "additive":
            return queries + self.blend(sound, tokens)
        return queries

    def audio_keys(self, sound: AudioFeatures) -> tuple[Tensor, Tensor | None]:
        """What the queries attend to: (N, A, C) and its position, A = 1 for "clip" and 24 for "patch"."""
        if self.audio_tokens == "patch":
            return self.project(sound.patches.flatten(0, 1)), self.patch_position
        return self.project(sound.clip.flatten(0, 1))[:, None], None

    def listen(self, queries: Tensor, sound: AudioFeatures) -> Tensor:
        """ACVIS' audio-centric query generator: cross-attentions from queries to sound (eq. 2-3), no FFN."""
        keys, key_position = self.audio_keys(sound)
        for layer in self.layers:
            queries = layer(queries, keys, self.positions(), key_position)
        return queries

    def blend(self, sound: AudioFeatures, tokens: Sequence[Tensor]) -> Tensor:
        """AVISM's: the sound, placed like each query, looks at each scale; three views become one vector per query."""
        positions = self.positions()
        heard, _ = self.audio_keys(sound)
        heard = heard.expand(-1, positions.shape[0], -1)  # (N, 1, C) -> (N, [1 +] Q_f, C)
        views = [layer(heard, scale, positions) for layer, scale in zip(self.layers, tokens, strict=True)]
        return self.merge(torch.cat(views, dim=-1))

    def _with_token(self, rows: Tensor) -> Tensor:
        return torch.cat([self.count_token, rows]) if self.has_count_token else rows
