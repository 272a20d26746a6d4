"""Who sounds? One logit per query and second, for networks whose queries stand for everything visible.

The papers give masks to sounding objects alone, so that seeing and hearing are learned as one. With `targets="visible"`
a query finds its object whether it sounds or not, and this logit decides whether it is shown. It listens in two ways:
through the query's state, which has heard the sound and seen the object, and through agreement: a class that is heard
speaks for the queries that see it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from acvis_kit.models.layers.attention import CrossAttentionLayer


class SoundingHead(nn.Module):
    """The state of a query -> how likely its object sounds.

    Args:
        dim: C. agreement: whether the network names the classes that it uses_audio (`audio_classes`).
    """

    def __init__(self, dim: int, agreement: bool) -> None:
        super().__init__()
        self.from_state = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 1))
        self.agreement = nn.Parameter(torch.ones(())) if agreement else None

    def forward(self, states: Tensor, class_logits: Tensor, audio_class_logits: Tensor | None) -> Tensor:
        """Args:
            states: (..., Q, C). class_logits: (..., Q, K + 1), of the same queries, "none" last.
            audio_class_logits: (..., K); None where the network has no head for sound classes.

        Returns:
            (..., Q) logits.
        """
        logits = self.from_state(states).squeeze(-1)
        if self.agreement is None or audio_class_logits is None:
            return logits
        seen = class_logits.detach().softmax(-1)[..., :-1]  # what is seen must not change to please the ear
        return logits + self.agreement * (seen * audio_class_logits.unsqueeze(-2)).sum(-1)


class TrackSounding(nn.Module):
    """For each track and second: the track looks up what that second's frame queries say about its object.

    A track's state is one for the whole clip; whether it sounds changes from second to second.
    """

    def __init__(self, dim: int, num_heads: int, agreement: bool) -> None:
        super().__init__()
        self.look_up = CrossAttentionLayer(dim, num_heads)
        self.head = SoundingHead(dim, agreement)

    def forward(
        self,
        states: Tensor,
        tokens: Tensor,
        slot_positions: Tensor,
        class_logits: Tensor,
        audio_class_logits: Tensor | None,
    ) -> Tensor:
        """Args:
            states: (D, B, Q_v, C). tokens: (B, T, Q_f, C), of the tracker's encoders, slot_positions: (Q_f, C).
            class_logits: (D, B, Q_v, K + 1). audio_class_logits: (B, T, K) or None.

        Returns:
            (D, B, T, Q_v) logits.
        """
        layers, clips = states.shape[:2]
        length = tokens.shape[1]
        asking = states[:, :, None].expand(-1, -1, length, -1, -1).flatten(0, 2)  # (D * B * T, Q_v, C)
        asked = tokens.expand(layers, -1, -1, -1, -1).flatten(0, 2)  # (D * B * T, Q_f, C)
        found = self.look_up(asking, asked, token_position=slot_positions)
        found = found.unflatten(0, (layers, clips, length))
        return self.head(found, class_logits[:, :, None], audio_class_logits)
