"""From tracker output to tracks: candidate queries, their masks at output size, their scores."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from acvis_kit.config import InferenceConfig
from acvis_kit.inference.features import VisualFeatures
from acvis_kit.inference.prediction import Track
from acvis_kit.masks import RLE, encode_masks
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.models.acvis.tracker import VideoOutput

SCORED_AT_ONCE = 5  # frames; see _mask_quality
MASK_BYTES_AT_ONCE = 2**26  # bounds the full-size masks of a frame


class Drawn(NamedTuple):
    """Tracks, and the presence of their objects.

    Attributes:
        tracks: those whose score passes the threshold, best first.
        presence: (M, T), for each of the M queries of these tracks the probability that its object is present and
            sounds.
    """

    tracks: list[Track]
    presence: Tensor


def tracks_of(
    model: ACVIS,
    video: VideoOutput,
    features: VisualFeatures,
    size: tuple[int, int],
    inference: InferenceConfig,
    report: Callable[[int], None],
) -> Drawn:
    """Compute tracks and their masks, with the full-size masks of one frame at a time in memory.

    A track's score is its class probability times the mean probability of its mask's pixels. The latter is at most 1,
    so pairs whose class probability is below the threshold are dropped before any mask is computed. If queries
    represent all visible objects (`targets="visible"`), a mask is shown only in frames in which the track's sounding
    probability exceeds `sounding_threshold`. The mean of that probability over these frames is then
    a third factor of the score.

    Args:
        model: the model whose tracker computed `video`.
        video: tracker output of one clip (B = 1).
        features: visual features of the same clip.
        size: (h, w) of the masks.
        inference: top_k (query, class) pairs are considered, and tracks that score above score_threshold returned.
        report: called with 1 after every frame.
    """
    exact = model.pixel_mean.dtype
    probabilities = video.class_logits[-1, 0].to(exact).softmax(-1)[:, :-1]  # (Q_v, K), "none" dropped
    for silent in model.config.voiceless_classes:
        probabilities[:, silent] = 0
    classes = probabilities.shape[1]
    best = probabilities.flatten().topk(min(inference.top_k, probabilities.numel()))
    keep = best.values > inference.score_threshold
    class_scores, pairs = best.values[keep], best.indices[keep]
    queries, of_query = torch.unique(pairs // classes, return_inverse=True)  # pairs of one query share its mask
    length = len(features)
    if not len(queries):
        return Drawn([], torch.zeros(0, length))
    sounding = torch.ones(len(queries), length, dtype=exact, device=queries.device)
    if video.sounding_logits is not None:
        sounding = video.sounding_logits[-1, 0].to(exact).sigmoid().T[queries]  # (M, T)
    shown = sounding > inference.sounding_threshold
    embeds = video.mask_embeds[-1, 0][queries].to(exact)  # (M, C)

    codes = _Codes(size)  # T x M
    total = torch.empty(length, len(queries), dtype=exact, device=embeds.device)  # (T, M)
    count = torch.empty_like(total, dtype=torch.int64)
    done = 0
    for pixels in features.chunks(embeds.device):
        for fine in pixels.fine.to(exact).split(1):
            masks = _MasksOfFrame(model, embeds, fine, features.input_size, size)
            codes.extend(masks.codes)
            total[done], count[done] = masks.probability_sum, masks.pixel_count
            done += 1
            report(1)
    visible = (count > 0).T
    presence = (1 - video.class_logits[-1, 0].to(exact).softmax(-1)[queries, -1:]) * sounding * visible  # (M, T)
    total, count = total * shown.T, count * shown.T
    frame_quality = (total / count.clamp(min=1) * sounding.T).float().cpu()

    scores = class_scores * (_mask_quality(total, count).to(exact) * _mean_where(sounding, shown & visible))[of_query]
    order = scores.argsort(descending=True, stable=True)
    order = order[scores[order] > inference.score_threshold]
    is_shown = shown.cpu().tolist()
    empty = _empty_mask(size)

    def masks_of(query: int) -> tuple[RLE, ...]:
        return tuple(codes[t * len(queries) + query] if is_shown[query][t] else empty for t in range(length))

    tracks = [
        Track(
            id=rank,
            label=int(pairs[i]) % classes,
            score=float(scores[i]),
            masks=masks_of(int(of_query[i])),
            frame_scores=frame_quality[:, int(of_query[i])],
            class_name=model.config.class_names[int(pairs[i]) % classes],
        )
        for rank, i in enumerate(order.tolist())
    ]
    return Drawn(tracks, presence[torch.unique(of_query[order])])


class _Codes:
    """Run-length codes of masks of one size, in one block of memory.

    As thousands of small objects, allocated between the large buffers of every frame, they would fragment the heap: ten
    minutes of video took 6 GB.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._size, self._text, self._ends = size, bytearray(), array("q", [0])

    def extend(self, codes: list[RLE]) -> None:
        for code in codes:
            self._text += code["counts"]
            self._ends.append(len(self._text))

    def __getitem__(self, number: int) -> RLE:
        return {"size": list(self._size), "counts": bytes(self._text[self._ends[number] : self._ends[number + 1]])}


class _MasksOfFrame:
    """Masks of all M candidates in one frame, computed a few at a time.

    Attributes:
        codes: M run-length codes at the output size.
        probability_sum: (M,), sum of probabilities over the mask's pixels at the network's input size.
        pixel_count: (M,), number of these pixels.
    """

    def __init__(
        self, model: ACVIS, embeds: Tensor, fine: Tensor, input_size: tuple[int, int], size: tuple[int, int]
    ) -> None:
        logits = model.tracker.pixel_embedding.mask_logits(embeds[None], fine)  # (1, M, H / 4, W / 4)
        padded = tuple(4 * n for n in fine.shape[-2:])
        largest = max(padded[0] * padded[1], size[0] * size[1]) * logits.element_size()
        self.codes: list[RLE] = []
        sums, counts = [], []
        for part in logits.split(max(1, MASK_BYTES_AT_ONCE // largest), dim=1):
            full = F.interpolate(part, padded, mode="bilinear", align_corners=False)
            full = full[..., : input_size[0], : input_size[1]]
            inside = full > 0
            sums.append((full.sigmoid() * inside).sum((0, 2, 3)))
            counts.append(inside.sum((0, 2, 3)))
            if size != input_size:
                inside = F.interpolate(full, size, mode="bilinear", align_corners=False) > 0
            self.codes += encode_masks(inside[0])
        self.probability_sum, self.pixel_count = torch.cat(sums), torch.cat(counts)


def _empty_mask(size: tuple[int, int]) -> RLE:
    (code,) = encode_masks(torch.zeros(1, *size, dtype=torch.bool))
    return code


def _mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """Means along the rows of (M, T) over the chosen entries: (M,), 1 where none is chosen."""
    return torch.where(chosen.any(1), (values * chosen).sum(1) / chosen.sum(1).clamp(min=1), 1)


def _mask_quality(probability_sum: Tensor, pixel_count: Tensor) -> Tensor:
    """Mean probability of each track's mask pixels over all frames: (T, M), (T, M) -> float32 (M,).

    The reference sums 5 frames at a time and accumulates in float32. Computed the same way, scores agree with it to the
    last digit (1e-14); summed in float64 they differ by 1e-7.
    """
    total = torch.zeros(probability_sum.shape[1], device=probability_sum.device)
    count = torch.zeros_like(total)
    for probabilities, pixels in zip(
        probability_sum.split(SCORED_AT_ONCE), pixel_count.split(SCORED_AT_ONCE), strict=True
    ):
        total += probabilities.sum(0)
        count += pixels.sum(0)
    return total / (count + 1e-6)
