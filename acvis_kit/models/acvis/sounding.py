"""The sounding logit: one per query and frame, for networks whose queries stand for everything visible.

The papers predict masks of sounding objects only, so that vision and audio are trained for one common decision. With
`targets="visible"` a query predicts its object's mask whether the object sounds or not, and this logit decides whether
the mask is shown. It has two terms: one is computed from the query's state, which holds visual and audio information;
the other is agreement between the classes of the query and the classes of the sound.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from acvis_kit.models.layers.attention import CrossAttentionLayer

NO_VOICE = -10.0  # in place of a sound's logit of a class without a voice


class SoundingHead(nn.Module):
    """The state of a query -> the logit that its object sounds.

    Args:
        dim: C.
        agreement: whether the network classifies the sound (`audio_classes`).
        voiceless: numbers of the classes that agree with no sound.
    """

    voiceless: Tensor

    def __init__(self, dim: int, agreement: bool, voiceless: Sequence[int] = ()) -> None:
        super().__init__()
        self.from_state = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 1))
        self.agreement = nn.Parameter(torch.ones(())) if agreement else None
        self.register_buffer("voiceless", torch.tensor(voiceless, dtype=torch.int64), persistent=False)

    def forward(self, states: Tensor, class_logits: Tensor, audio_class_logits: Tensor | None) -> Tensor:
        """Sum of the logit of the state and, where there are audio classes, the agreement.

        Args:
            states: (..., Q, C).
            class_logits: (..., Q, K + 1), of the same queries, "none" last.
            audio_class_logits: (..., K); None where the network does not classify the sound.

        Returns:
            (..., Q) logits.
        """
        logits = self.from_state(states).squeeze(-1)
        if self.agreement is None or audio_class_logits is None:
            return logits
        classes = class_logits.detach().softmax(-1)[..., :-1]  # the sounding loss must not change visual classes
        if len(self.voiceless):
            audio_class_logits = audio_class_logits.index_fill(-1, self.voiceless, NO_VOICE)
        return logits + self.agreement * (classes * audio_class_logits.unsqueeze(-2)).sum(-1)


class TrackSounding(nn.Module):
    """Sounding logits of tracks, frame by frame: each track attends to the frame queries of one frame at a time.

    A track has one state for the whole clip, but whether it sounds changes from frame to frame.
    """

    def __init__(self, dim: int, num_heads: int, agreement: bool, voiceless: Sequence[int] = ()) -> None:
        super().__init__()
        self.look_up = CrossAttentionLayer(dim, num_heads)
        self.head = SoundingHead(dim, agreement, voiceless)

    def forward(
        self,
        states: Tensor,
        tokens: Tensor,
        slot_positions: Tensor,
        class_logits: Tensor,
        audio_class_logits: Tensor | None,
    ) -> Tensor:
        """Cross-attention from tracks to the frame queries of each frame, then `SoundingHead`.

        Args:
            states: (D, B, Q_v, C), of the tracks.
            tokens: (B, T, Q_f, C), from the tracker's encoders.
            slot_positions: (Q_f, C), of the frame queries.
            class_logits: (D, B, Q_v, K + 1), of the tracks.
            audio_class_logits: (B, T, K) or None.

        Returns:
            (D, B, T, Q_v) logits.
        """
        layers, clips = states.shape[:2]
        length = tokens.shape[1]
        tracks = states[:, :, None].expand(-1, -1, length, -1, -1).flatten(0, 2)  # (D * B * T, Q_v, C)
        frames = tokens.expand(layers, -1, -1, -1, -1).flatten(0, 2)  # (D * B * T, Q_f, C)
        tracks = self.look_up(tracks, frames, token_position=slot_positions)
        tracks = tracks.unflatten(0, (layers, clips, length))  # (D, B, T, Q_v, C)
        return self.head(tracks, class_logits[:, :, None], audio_class_logits)
