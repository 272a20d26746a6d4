"""The query generator: frame queries that receive the sound before they attend to the frame.

In ACVIS (section 3.2) the queries attend to the sound; AVISM adds one audio-visual vector to each; VITA has no sound.
The papers encode the sound of a frame as a single vector. A softmax over a single key is 1 for every query, so that
all queries of ACVIS' generator receive the same value: nothing is selected. With `audio_tokens="patch"` the keys are
the 24 time-frequency patches of the frame's sound, and queries can select among them.
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
    """The queries of every frame; the count token, where there is one, comes first.

    Args:
        config: uses query_generator, frame_fusion, count_head, audio_tokens and the sizes.
        patch_dim: C_a, channels of the audio encoder's patches; None without patches.
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
            assert patch_dim is not None, "the configuration allows patches only with an encoder that returns them"
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
        """Position embeddings ([1 +] Q_f, C), the count token's first."""
        return self._with_token(self.query_positions)

    def forward(self, sound: AudioFeatures | None, tokens: Sequence[Tensor]) -> Tensor:
        """The queries of N = B * T frames.

        Args:
            sound: of B clips of T frames; None where the generator has no audio input.
            tokens: of the frames, (N, H * W, C) for strides 32, 16, 8, level embedding included.

        Returns:
            (N, [1 +] Q_f, C).
        """
        queries = self._with_token(self.query_features).expand(tokens[0].shape[0], -1, -1)
        if self.kind == "none":
            return queries
        assert sound is not None, "both other kinds need the sound"
        if self.kind == "acqg":
            return self.listen(queries, sound)
        return queries + self.blend(sound, tokens)

    def audio_keys(self, sound: AudioFeatures) -> tuple[Tensor, Tensor | None]:
        """Audio tokens (N, A, C), A = 1 for "clip" and 24 for "patch", and their positions (A, C) or None."""
        if self.audio_tokens == "patch":
            assert sound.patches is not None, "precomputed vectors are refused where the configuration needs patches"
            return self.project(sound.patches.flatten(0, 1)), self.patch_position
        return self.project(sound.clip.flatten(0, 1))[:, None], None

    def listen(self, queries: Tensor, sound: AudioFeatures) -> Tensor:
        """ACVIS' audio-centric query generator: cross-attentions from queries to sound (eq. 2-3), without FFN."""
        keys, key_position = self.audio_keys(sound)
        for layer in self.layers:
            queries = layer(queries, keys, self.positions(), key_position)
        return queries

    def blend(self, sound: AudioFeatures, tokens: Sequence[Tensor]) -> Tensor:
        """AVISM's generator: one audio-visual vector per query, (N, [1 +] Q_f, C).

        The audio vector, with the position of each query, attends to each scale; a linear layer merges the results.
        """
        positions = self.positions()
        audio, _ = self.audio_keys(sound)
        audio = audio.expand(-1, positions.shape[0], -1)  # (N, 1, C) -> (N, [1 +] Q_f, C)
        per_scale = [layer(audio, scale, positions) for layer, scale in zip(self.layers, tokens, strict=True)]
        return self.merge(torch.cat(per_scale, dim=-1))

    def _with_token(self, rows: Tensor) -> Tensor:
        return torch.cat([self.count_token, rows]) if self.has_count_token else rows
