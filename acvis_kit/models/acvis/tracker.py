"""The tracker: video queries gather the frame queries of a whole clip into tracks (AVISM on top of VITA).

Its input is frame queries, not pixels. Inside windows of W frames, an object encoder applies self-attention to the
frame queries, and a sound encoder applies cross-attention from the sound to them. Then in a decoder each video query
attends to the whole clip and collects the frame queries of one object.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acvis_kit.config import ACVISConfig
from acvis_kit.models.acvis.sounding import TrackSounding
from acvis_kit.models.encoders.audio import AudioFeatures
from acvis_kit.models.layers.attention import MLP, CrossAttentionLayer, FeedForwardLayer, SelfAttentionLayer
from acvis_kit.models.layers.pixel_embedding import PixelEmbedding

BARRIER = -1000.0  # added to attention logits between frames that must not attend to each other
# Of all clips together; bounds the memory of attention over long clips. A GPU has done with a few before its host asks
# for the next.
WINDOWS_AT_ONCE, DEVICE_WINDOWS_AT_ONCE = 4, 64


class VideoOutput(NamedTuple):
    """Output of the tracker. D: decoder layers; all in training, only the last at inference.

    Attributes:
        class_logits: (D, B, Q_v, K + 1), "none" last.
        mask_embeds: (D, B, Q_v, C), to be multiplied with V.
        video_similarity: (D, B, Q_v, C), embeddings whose dot products are logits of "the same object".
        frame_similarity: (B, T, Q_f, C), likewise; None at inference, since only the loss uses it.
        sounding_logits: (D, B, T, Q_v), whether a track sounds in a frame; None with `targets="sounding"`.
    """

    class_logits: Tensor
    mask_embeds: Tensor
    video_similarity: Tensor
    frame_similarity: Tensor | None
    sounding_logits: Tensor | None = None


class Tracker(nn.Module):
    """Object encoder, sound encoder, decoder.

    Args:
        config: uses window_size, tracker_layers, video_layers, video_fusion, num_video_queries and the sizes.
    """

    def __init__(self, config: ACVISConfig) -> None:
        super().__init__()
        dim, heads = config.hidden_dim, config.num_heads
        self.window = config.window_size
        self.project = nn.Linear(dim, dim)
        encoder, decoder = range(config.tracker_layers), range(config.video_layers)
        self.object_attention = nn.ModuleList(SelfAttentionLayer(dim, heads) for _ in encoder)
        self.object_feed_forward = nn.ModuleList(FeedForwardLayer(dim, config.feedforward_dim) for _ in encoder)
        self.uses_audio = config.video_fusion
        if self.uses_audio:
            self.project_sound = nn.Linear(config.audio_dim, dim)
            self.sound_attention = nn.ModuleList(CrossAttentionLayer(dim, heads) for _ in encoder)
            self.sound_feed_forward = nn.ModuleList(FeedForwardLayer(dim, config.feedforward_dim) for _ in encoder)

        self.query_features = nn.Parameter(torch.randn(config.num_video_queries, dim))
        self.query_positions = nn.Parameter(torch.randn(config.num_video_queries, dim))
        self.slot_positions = nn.Parameter(torch.randn(config.num_frame_queries, dim))  # the same in every frame
        self.cross_attention = nn.ModuleList(CrossAttentionLayer(dim, heads) for _ in decoder)
        self.self_attention = nn.ModuleList(SelfAttentionLayer(dim, heads) for _ in decoder)
        self.feed_forward = nn.ModuleList(FeedForwardLayer(dim, config.feedforward_dim) for _ in decoder)
        self.norm = nn.LayerNorm(dim)
        self.class_head = nn.Linear(dim, config.class_logits)
        self.mask_head = MLP(dim, 3)
        self.pixel_embedding = PixelEmbedding(dim)  # V
        self.frame_similarity = nn.Linear(dim, dim)
        self.video_similarity = nn.Linear(dim, dim)
        self.sounding = (
            TrackSounding(dim, heads, config.audio_classes, config.voiceless_classes)
            if config.targets == "visible"
            else None
        )

    def forward(
        self,
        frame_queries: Tensor,
        sound: AudioFeatures | None,
        classify: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> VideoOutput:
        """Encoders, decoder and heads.

        Args:
            frame_queries: (B, T, Q_f, C), normed.
            sound: of the same B clips; None without audio input.
            classify: with `class_head="backbone"`: of the logits that there is an object (D, B, Q_v, 1) and the mask
                embeddings (D, B, Q_v, C), the class logits (D, B, Q_v, K + 1).
        """
        tokens = self.encode(frame_queries, sound.clip if sound is not None else None)  # (B, T, Q_f, C)
        states = torch.stack(self.decode(tokens))  # (D, B, Q_v, C)
        if not self.training:
            states = states[-1:]
        class_logits, mask_embeds = self.class_head(states), self.mask_head(states)
        if classify is not None:
            class_logits = classify(class_logits, mask_embeds)
        sounding_logits = None
        if self.sounding is not None:
            audio_class_logits = sound.class_logits if sound is not None else None
            sounding_logits = self.sounding(states, tokens, self.slot_positions, class_logits, audio_class_logits)
        return VideoOutput(
            class_logits,
            mask_embeds,
            self.video_similarity(states),
            self.frame_similarity(tokens) if self.training else None,
            sounding_logits,
        )

    def encode(self, frame_queries: Tensor, sound: Tensor | None) -> Tensor:
        """Both encoders: frame queries (B, T, Q_f, C) and sound (B, T, 128) -> frame queries (B, T, Q_f, C)."""
        length = frame_queries.shape[1]
        whole = (length + self.window - 1) // self.window * self.window
        missing = whole - length  # whole windows: zeros at the end, after the projections
        # The argument has no name here, so that the first layer can free it (60 MB for ten minutes).
        tokens = self.encode_objects(F.pad(self.project(frame_queries), (0, 0, 0, 0, 0, missing)), length)
        if self.uses_audio:
            assert sound is not None, "a tracker with audio input gets the sound of its clips"
            padded = F.pad(self.project_sound(sound), (0, 0, 0, missing))
            tokens = tokens + self.encode_sound(padded, tokens, length)[:, :, None]  # added once, at the end
        return tokens[:, :length]

    def encode_objects(self, tokens: Tensor, length: int) -> Tensor:
        """Self-attention inside windows, (B, T, Q_f, C); at inference every other layer shifts the windows."""
        for i, (attention, ffn) in enumerate(zip(self.object_attention, self.object_feed_forward, strict=True)):
            windows = Windows(tokens, self.window, length, shifted=i % 2 == 1 and not self.training)
            tokens = windows.each(_block(attention, ffn), tokens)
        return tokens

    def encode_sound(self, sound: Tensor, tokens: Tensor, length: int) -> Tensor:
        """The sound of each frame attends to the queries of its window, which do not change: (B, T, C).

        The papers repeat the sound for every frame query. The copies start equal and attend to the same queries, so
        they stay equal: one row per frame gives the same result at 1 / Q_f of the cost.
        """
        stream = sound[:, :, None]  # (B, T, 1, C)
        for i, (attention, ffn) in enumerate(zip(self.sound_attention, self.sound_feed_forward, strict=True)):
            windows = Windows(tokens, self.window, length, shifted=i % 2 == 1)
            stream = windows.each(_block(attention, ffn), stream, tokens)
        return stream[:, :, 0]

    def decode(self, tokens: Tensor) -> list[Tensor]:
        """Video queries after each decoder layer, normed: (B, Q_v, C) each."""
        places = (tokens + self.slot_positions).flatten(1, 2)  # (B, T * Q_f, C)
        memory = tokens.flatten(1, 2)
        queries = self.query_features.expand(tokens.shape[0], -1, -1)
        states = []
        for cross, self_, ffn in zip(self.cross_attention, self.self_attention, self.feed_forward, strict=True):
            queries = cross(queries, memory, self.query_positions, placed_tokens=places)
            queries = ffn(self_(queries, self.query_positions))
            states.append(self.norm(queries))
        return states


def _block(attention: nn.Module, ffn: nn.Module) -> Callable[..., Tensor]:
    return lambda *windows, mask: ffn(attention(*windows, mask=mask))


class Windows:
    """Cuts time into windows of W frames and applies a function to them, a few at a time, with their attention masks.

    Args:
        like: (B, T, Q, C), T a multiple of W.
        window: W.
        length: number of real frames; the other T - length are padding and masked out.
        shifted: start the first window ceil(W / 2) frames before the clip. It then holds the end and the beginning of
            the clip; the mask separates them.
    """

    def __init__(self, like: Tensor, window: int, length: int, shifted: bool) -> None:
        self.batch, self.time = like.shape[:2]
        self.window = window
        self.length = length
        self.shift = math.ceil(window / 2) if shifted else 0
        self.barrier = self._barrier(length, like.device).to(like)  # (windows, W, W)

    def _barrier(self, length: int, device: torch.device) -> Tensor:
        """What is added to the logits between frame i (row) and frame j (column): (windows, W, W)."""
        padded = torch.arange(self.time, device=device).roll(self.shift).view(-1, self.window) >= length
        apart = padded[:, None, :].expand(-1, self.window, -1).clone()
        if self.shift:
            apart[0, : self.shift, self.shift :] = True
            apart[0, self.shift :, : self.shift] = True
        return apart * BARRIER

    def each(self, run: Callable[..., Tensor], *streams: Tensor) -> Tensor:
        """Apply `run` to every window and put the results in their places in time, (B, T, Q of the first stream, C).

        Besides the streams, memory holds only the result and the few windows being processed.

        Args:
            run: called with the windows of each stream (windows, W * Q, C) and their `mask` (windows, 1, W * Q of the
                first stream, W * Q of the last) or None; returns new windows of the first stream.
            *streams: (B, T, Q, C) each, Q may differ.
        """
        out: Tensor | None = None
        rows, columns = streams[0].shape[2], streams[-1].shape[2]
        together = WINDOWS_AT_ONCE if self.barrier.device.type == "cpu" else DEVICE_WINDOWS_AT_ONCE
        at_once = max(1, together // self.batch)
        for first in range(0, len(self.barrier), at_once):
            barrier = self.barrier[first : first + at_once]
            where = self._frames(first, len(barrier))
            mask = self._mask(barrier, rows, columns) if self._has_barrier(first, first + len(barrier)) else None
            made = run(*(self._cut(x, where) for x in streams), mask=mask)
            out = made.new_empty(streams[0].shape) if out is None else out
            made = made.reshape(self.batch, len(barrier) * self.window, rows, -1)
            for piece, part in zip(where, made.split([s.stop - s.start for s in where], dim=1), strict=True):
                out[:, piece] = part
        assert out is not None, "a clip has at least one frame, hence at least one window"
        return out

    def _frames(self, first: int, count: int) -> list[slice]:
        """The frames of `count` windows: one slice, or two where they wrap around the beginning of the clip."""
        start, stop = first * self.window - self.shift, (first + count) * self.window - self.shift
        return [slice(start, stop)] if start >= 0 else [slice(self.time + start, self.time), slice(0, stop)]

    def _cut(self, x: Tensor, where: list[slice]) -> Tensor:
        """(B, T, Q, C) -> (windows, W * Q, C), the windows of one clip after those of another."""
        frames = x[:, where[0]] if len(where) == 1 else torch.cat([x[:, piece] for piece in where], dim=1)
        return frames.reshape(-1, self.window * x.shape[2], x.shape[3])

    def _has_barrier(self, first: int, stop: int) -> bool:
        """Whether `barrier` keeps frames apart in any window from `first` up to `stop`.

        It is computed from lengths alone: a look at the values would stop torch.compile and wait for a GPU. The first
        window holds the end and the beginning of the clip, if windows are shifted; the padding begins `shift` later.
        """
        return (first == 0 and self.shift % self.window > 0) or stop * self.window > self.length + self.shift

    def _mask(self, barrier: Tensor, rows: int, columns: int) -> Tensor:
        mask = barrier.repeat_interleave(rows, 1).repeat_interleave(columns, 2)[:, None]
        return mask.repeat(self.batch, 1, 1, 1)
