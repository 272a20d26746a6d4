"""The similarity loss: queries of one object get similar embeddings, at both levels (AVISM and VITA).

All matched queries of a clip, of its frames and of the video, are compared in pairs. The dot product of two embeddings
is the logit of "the same object".
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from acvis_kit.clip import moved
from acvis_kit.losses.matcher import Matches


def similarity_loss(frame_embeds: Tensor, video_embeds: Tensor, frame: Matches, video: Matches) -> tuple[Tensor, int]:
    """Binary cross-entropy over all pairs of queries of one answer (a clip with one supervised frame layer).

    Args:
        frame_embeds: (A, T, Q_f, C), A = L * B.
        video_embeds: (A, Q_v, C), of the last layer.
        frame: matches of the L supervised layers, D = L, answers b * T + t; on the CPU.
        video: matches of the last layer, D = 1; on the CPU.

    Returns:
        The sum over pairs, including each query with itself, and the number of pairs.
    """
    answers, frames, queries = frame_embeds.shape[:3]
    layers = len(frame.queries)
    device, dtype = frame_embeds.device, torch.promote_types(frame_embeds.dtype, torch.float32)
    layer = torch.arange(layers)[:, None]
    frame_sets = (layer * (answers // max(layers, 1)) * frames + frame.answers).flatten()  # in the flat (A, T)
    frame_rows = frame_sets * queries + frame.queries.flatten()
    video_rows = video.answers * video_embeds.shape[1] + video.queries[0]
    embeds = torch.cat(
        [
            frame_embeds.flatten(0, 2).index_select(0, moved(frame_rows, device)),
            video_embeds.flatten(0, 1).index_select(0, moved(video_rows, device)),
        ]
    ).to(dtype)  # (X, C)
    group = torch.cat([frame_sets // frames, video.answers])
    objects = torch.cat([frame.objects.flatten(), video.objects[0]])

    # One row of a padded table per answer, so that all pairs are one product.
    sizes = torch.bincount(group, minlength=answers)
    order = group.argsort(stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order)) - (sizes.cumsum(0) - sizes)[group[order]]
    width = int(sizes.max())
    slots = group * width + place
    table = embeds.new_zeros(answers * width, embeds.shape[1]).index_copy(0, moved(slots, device), embeds)
    table = table.view(answers, width, embeds.shape[1])
    identity = torch.full((answers * width,), -1).index_copy(0, slots, objects).view(answers, width)
    valid = identity >= 0
    pairs = moved(valid[:, :, None] & valid[:, None], device)
    same = moved(identity[:, :, None] == identity[:, None], device).to(dtype)
    entropy = F.binary_cross_entropy_with_logits(table @ table.transpose(1, 2), same, reduction="none")
    return (entropy * pairs).sum(), int((sizes**2).sum())
