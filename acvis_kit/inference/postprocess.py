"""From tracker output to tracks: candidate queries, their masks at output size, their scores."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from acvis_kit.config import InferenceConfig
from acvis_kit.inference.features import VisualFeatures
from acvis_kit.inference.prediction import Track
from acvis_kit.masks import RLE, encode_masks, texts_in_a_block
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.models.acvis.tracker import VideoOutput

SCORED_AT_ONCE = 5  # frames; see _mask_quality
# Of full-size masks that are computed together: of one frame on a CPU, whose caches they exceed; elsewhere of many.
MASK_BYTES_AT_ONCE, DEVICE_MASK_BYTES_AT_ONCE = 2**26, 2**28


class Drawn(NamedTuple):
    """Tracks, and the presence of their objects.

    Attributes:
        tracks: those whose score passes the threshold, best first.
        presence: (M, T), for each of the M queries of these tracks the probability that its object is present and
            sounds.
        best: (M,), the best score of each query's tracks.
    """

    tracks: list[Track]
    presence: Tensor
    best: Tensor


def tracks_of(
    model: ACVIS,
    video: VideoOutput,
    features: VisualFeatures,
    size: tuple[int, int],
    inference: InferenceConfig,
    report: Callable[[int], None],
) -> Drawn:
    """Compute tracks and their masks, with the full-size masks of few frames at a time in memory.

    A track's score is its class probability times the mean probability of its mask's pixels. The latter is at most 1,
    so pairs whose class probability is below the threshold are dropped before any mask is computed. If queries
    represent all visible objects (`targets="visible"`), a mask is shown only in frames in which the track's sounding
    probability, whose logit is the network's plus `sounding_bias`, exceeds `sounding_threshold`. The mean of that
    probability over these frames is then a third factor of the score. With `duplicate_iou` below 1, a track is dropped
    if the IoU of its masks with those of a better track, over the whole clip, exceeds it; with `duplicate_share` below
    1, if more than this share of its masks lies inside those of a better track of its class. With `part_share` above 0,
    connected parts of a mask that are smaller than this share of its largest part are left out first.

    Args:
        model: the model whose tracker computed `video`.
        video: tracker output of one clip (B = 1).
        features: visual features of the same clip.
        size: (h, w) of the masks.
        inference: top_k (query, class) pairs are considered, and tracks that score above score_threshold returned.
        report: called with a number of frames whenever they are done.
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
        return Drawn([], torch.zeros(0, length), torch.zeros(0))
    sounding = torch.ones(len(queries), length, dtype=exact, device=queries.device)
    if video.sounding_logits is not None:
        sounding = (video.sounding_logits[-1, 0].to(exact) + inference.sounding_bias).sigmoid().T[queries]  # (M, T)
    shown = sounding > inference.sounding_threshold
    embeds = video.mask_embeds[-1, 0][queries].to(exact)  # (M, C)

    codes = _Codes(size)  # T x M
    total = torch.empty(length, len(queries), dtype=exact, device=embeds.device)  # (T, M)
    count = torch.empty_like(total, dtype=torch.int64)
    compared = inference.duplicate_iou < 1 or inference.duplicate_share < 1
    shared = embeds.new_zeros(len(queries), len(queries)) if compared else None  # pixels, (M, M)
    done = 0
    for pixels in features.chunks(embeds.device):
        at_once = _masks_at_once(pixels.fine, size, exact)
        together = 1 if pixels.fine.device.type == "cpu" else max(1, at_once // len(queries))
        for fine in pixels.fine.to(exact).split(together):
            now = slice(done, done + len(fine))
            total[now], count[now] = _draw(
                model, embeds, fine, features.input_size, codes, at_once, shared, inference.part_share
            )
            done += len(fine)
            report(len(fine))
    visible = (count > 0).T
    presence = (1 - video.class_logits[-1, 0].to(exact).softmax(-1)[queries, -1:]) * sounding * visible  # (M, T)
    total, count = total * shown.T, count * shown.T
    frame_quality = (total / count.clamp(min=1) * sounding.T).float().cpu()

    scores = class_scores * (_mask_quality(total, count).to(exact) * _mean_where(sounding, shown & visible))[of_query]
    order = scores.argsort(descending=True, stable=True)
    order = order[scores[order] > inference.score_threshold]
    row_and_label = torch.stack([of_query, pairs % classes])  # of each pair, read from the device together
    if shared is not None:
        candidates = list(zip(*row_and_label[:, order].tolist(), strict=True))
        order = order[_without_duplicates(candidates, shared, inference)]
    is_shown = shown.cpu().tolist()
    row, labels = row_and_label[:, order].tolist()
    found = scores[order].tolist()
    wanted = sorted({(t, m) for m in row for t in range(length) if is_shown[m][t]})
    drawn = dict(zip(wanted, codes.of([t * len(queries) + m for t, m in wanted]), strict=True))
    (empty,) = encode_masks(torch.zeros(1, *size, dtype=torch.bool))
    tracks = [
        Track(
            id=rank,
            label=label,
            score=score,
            masks=tuple(drawn.get((t, m), empty) for t in range(length)),
            frame_scores=frame_quality[:, m],
            class_name=model.config.class_names[label],
        )
        for rank, (label, m, score) in enumerate(zip(labels, row, found, strict=True))
    ]
    best_of = dict(zip(reversed(row), reversed(found), strict=True))  # the first, best, of a row is the last written
    rows = sorted(best_of)
    return Drawn(tracks, presence.cpu()[rows], torch.tensor([best_of[m] for m in rows], dtype=scores.dtype))


class _Codes:
    """Masks of one size as run-length codes.

    The texts lie in one block of memory. As thousands of small objects, allocated between the large buffers of every
    frame, they would fragment the heap: ten minutes of video took 6 GB.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size, self._text, self._ends = size, bytearray(), array("q", [0])

    def extend(self, masks: Tensor) -> None:
        """Add masks, bool (N, h, w)."""
        text, ends = texts_in_a_block(masks)
        before = len(self._text)
        self._text += text
        self._ends.extend(before + end for end in ends)

    def of(self, numbers: list[int]) -> list[RLE]:
        """The codes of some of the masks, in this order."""
        texts = [bytes(self._text[self._ends[n] : self._ends[n + 1]]) for n in numbers]
        return [{"size": list(self.size), "counts": text} for text in texts]


def _masks_at_once(fine: Tensor, size: tuple[int, int], exact: torch.dtype) -> int:
    """Number of full-size masks whose logits fit the memory for them."""
    limit = MASK_BYTES_AT_ONCE if fine.device.type == "cpu" else DEVICE_MASK_BYTES_AT_ONCE
    pixels = max(16 * fine.shape[-2] * fine.shape[-1], size[0] * size[1])
    return max(1, limit // (pixels * exact.itemsize))


def _draw(
    model: ACVIS,
    embeds: Tensor,
    fine: Tensor,
    input_size: tuple[int, int],
    codes: _Codes,
    at_once: int,
    shared: Tensor | None = None,
    part_share: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Compute the masks of all M candidates in F frames at the size of the codes, and add them to these.

    Args:
        model: has the embedding of pixels.
        embeds: (M, C), of the candidates.
        fine: (F, C, H / 4, W / 4); F is 1 where M exceeds `at_once`.
        input_size: (h, w) of the network's input, before padding.
        codes: get F * M masks, frame by frame.
        at_once: masks that are computed together.
        shared: (M, M), to which the number of places in both masks of each pair is added; on the diagonal in one.
        part_share: see `tracks_of`.

    Returns:
        (F, M), the sum of probabilities over a mask's pixels at the network's input size; and the number of these
        pixels.
    """
    frames = len(fine)
    logits = model.tracker.pixel_embedding.mask_logits(embeds.expand(frames, -1, -1), fine)  # (F, M, H / 4, W / 4)
    if part_share:
        logits = _without_specks(logits, part_share)
    if shared is not None:
        places = (logits > 0).flatten(2).to(shared.dtype)  # (F, M, H * W / 16)
        shared += (places @ places.mT).sum(0)
    padded = tuple(4 * n for n in fine.shape[-2:])
    sums, counts = [], []
    for part in logits.split(max(1, at_once // frames), dim=1):
        full = F.interpolate(part, padded, mode="bilinear", align_corners=False)
        full = full[..., : input_size[0], : input_size[1]]
        inside = full > 0
        sums.append((full.sigmoid() * inside).sum((2, 3)))
        counts.append(inside.sum((2, 3)))
        if codes.size != input_size:
            inside = F.interpolate(full, codes.size, mode="bilinear", align_corners=False) > 0
        codes.extend(inside.flatten(0, 1))
    return torch.cat(sums, 1), torch.cat(counts, 1)


def _without_specks(logits: Tensor, part_share: float) -> Tensor:
    """Mask logits (..., h, w), with negative ones in the parts of each mask that are too small; see `tracks_of`."""
    masks = (logits > 0).flatten(0, -3).cpu().numpy()
    specks = np.stack([mask & ~_large_parts(mask, part_share) for mask in masks])
    dropped = torch.from_numpy(specks).to(logits.device).view_as(logits)
    return torch.where(dropped, -logits, logits)


def _large_parts(mask: NDArray[np.bool_], part_share: float) -> NDArray[np.bool_]:
    """The connected parts of a mask (h, w) with at least this share of the places of its largest."""
    parts, number = ndimage.label(mask)
    if number < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0  # the background's
    return (sizes >= part_share * sizes.max())[parts] & mask


def _without_duplicates(candidates: list[tuple[int, int]], shared: Tensor, inference: InferenceConfig) -> list[int]:
    """Places of the candidates that are no duplicates of a better one, further in front; see `tracks_of`.

    Args:
        candidates: row of `shared` and class, by falling score; the classes of a query share a row.
        shared: see `_draw`.
        inference: has the largest IoU, and the largest share of a mask inside one of the same class.
    """
    areas = shared.diagonal()
    iou = (shared / (areas[:, None] + areas - shared).clamp(min=1)).tolist()
    inside = (shared / areas[:, None].clamp(min=1)).tolist()  # of the row's mask, in the column's
    kept: list[int] = []
    better: list[tuple[int, int]] = []
    for place, (row, label) in enumerate(candidates):
        if all(
            iou[row][other] <= inference.duplicate_iou
            and (label != other_label or inside[row][other] <= inference.duplicate_share)
            for other, other_label in better
        ):
            kept.append(place)
            better.append((row, label))
    return kept


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
