"""Audio-visual segmentation with one class, as AVSBench, AVSC and AVSBench-Robust score it: J, F, RA, FPR.

The definitions are those of the published code, surprises included; they are repeated where they matter. Scores are
logits, because the published functions apply the sigmoid themselves: feeding them probabilities is a classic mistake.
Methods that end in a softmax (COMBO, CAVP) or in a soft mask (AVSC's S) pass `probabilities=True`, and no sigmoid is
applied. Several classes are in `avs_semantic`.

Shapes: N frames of one batch (all frames of all its videos), H, W pixels. Arrays or CPU tensors; scores of any float
type are computed in float32, like the published ones, counts exactly.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from acvis_kit.errors import DataError

BETA_SQUARED = 0.3  # papers that write "beta = 0.3" mean this
ROUNDING = 1e-6  # a softmax in float32 may exceed 1 by this much


def _published_thresholds() -> NDArray[np.float32]:
    """255 thresholds from 0 to 1 - 1e-10, which in float32 is 1 exactly.

    Published as torch.linspace in float32, which steps up from 0 in its first half and down from 1 in its second.
    numpy's differs in ten last bits, and a threshold of exactly 0.5 decides over whole regions.
    """
    step = np.float64(np.float32(1 / 254))
    i = np.arange(255)
    return np.where(i < 127, step * i, 1 - step * (254 - i)).astype(np.float32)


THRESHOLDS = _published_thresholds()


def sigmoid(logits: ArrayLike) -> NDArray[np.float32]:
    """1 / (1 + exp(-x)) in float32, of any shape: saturated logits give exactly 0 and 1, tiny ones exactly 0.5."""
    with np.errstate(over="ignore"):  # exp(200) is inf and 1 / inf is the 0 that is wanted
        return 1 / (1 + np.exp(-np.asarray(logits).astype(np.float32)))


def frame_j(masks: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """The IoU of every frame, (N,), from masks and truth (N, H, W) that are bool or 0 and 1.

    Where nothing sounds the IoU is replaced by the share of pixels left blank: 1 for an empty prediction, 0 for a full
    one. (The published 1e-7 beside the union is left out: a union is never 0, and float32 swallows it.)

    Raises:
        DataError: shapes that differ, no frames or pixels, values other than 0 and 1.
    """
    masks, truth = _binary(masks, "masks"), _binary(truth, "truth")
    _check_shapes(masks, truth)
    inter = (masks & truth).sum((1, 2))
    union = (masks | truth).sum((1, 2))
    blank = 1 - masks.mean((1, 2))
    silent = ~truth.any((1, 2))
    return np.where(silent, blank, inter / np.maximum(union, 1))


def precision_recall(probabilities: ArrayLike, truth: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall of every frame at the 255 thresholds, each (N, 255).

    A pixel counts as predicted where its probability >= threshold: at threshold 0 all do, at the last one (1.0) only
    saturated ones. Precision without predicted pixels is 0, recall without truth is 0.

    Args:
        probabilities: float (N, H, W) in [0, 1].
        truth: (N, H, W), bool or 0 and 1.

    Raises:
        DataError: as in `frame_j`, and for probabilities outside [0, 1].
    """
    probabilities, truth = _probabilities(probabilities), _binary(truth, "truth")
    _check_shapes(probabilities, truth)
    reached = np.searchsorted(THRESHOLDS, probabilities, side="right")  # how many thresholds a pixel passes, 1..255
    predicted = np.stack([_passing(frame) for frame in reached])  # (N, 255)
    hits = np.stack([_passing(frame[mask]) for frame, mask in zip(reached, truth, strict=True)])
    precision = hits / np.maximum(predicted, 1)
    recall = hits / np.maximum(truth.sum((1, 2)), 1)[:, None]
    return precision, recall


def batch_j(scores: ArrayLike, truth: ArrayLike, probabilities: bool = False) -> float:
    """J of one batch: the mean of `frame_j` over all its frames, with masks where sigmoid(score) > 0.5, strictly.

    Args:
        scores: logits (N, H, W); probabilities in [0, 1] if `probabilities` (then masks are where they are > 0.5).
        truth: (N, H, W), bool or 0 and 1.

    Raises:
        DataError: as in `frame_j` and `precision_recall`.
    """
    return float(frame_j(_as_probabilities(scores, probabilities) > 0.5, truth).mean())


def batch_f(scores: ArrayLike, truth: ArrayLike, probabilities: bool = False) -> float:
    """F of one batch: the best threshold's F (beta squared 0.3), after averaging over the frames in which sound is.

    The maximum is taken *after* averaging, so one threshold serves the whole batch, and F depends on what is batched
    together. Threshold 0 marks every pixel: an empty prediction still scores by the size of the object. A batch with
    no object at all scores 0.

    Arguments and errors as in `batch_j`.
    """
    precision, recall = precision_recall(_as_probabilities(scores, probabilities), truth)
    sounding = _binary(truth, "truth").any((1, 2))
    if not sounding.any():
        return 0.0
    return float(f_measure(precision, recall)[sounding].mean(0).max())


def f_measure(precision: NDArray, recall: NDArray, beta_squared: float = BETA_SQUARED) -> NDArray[np.float64]:
    """(1 + b2) p r / (b2 p + r), any shape; 0 where both are 0."""
    below = beta_squared * precision + recall
    return (1 + beta_squared) * precision * recall / np.where(below > 0, below, 1)


@dataclass(frozen=True)
class BinaryResult:
    """J, F and their mean J&F, in [0, 1]; NaN without batches.

    `batches` is how many were averaged: F cannot be compared between runs that batched differently.
    """

    j: float
    f: float
    j_and_f: float
    batches: int

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


class BinaryScore:
    """J and F over a data set, the AVSBench way: the plain mean of the batches' values, one `update` per batch.

    A batch is what the published test loop batches: whole videos (five frames each); 4 in test.sh, 1 by default. J does
    not depend on it as long as the batches are of one size; F does (spec: .63385 with one video, .63323 with two).
    A batch without any object enters the mean of F with 0.

    Args:
        probabilities: the scores are probabilities in [0, 1], not logits.
    """

    def __init__(self, probabilities: bool = False):
        self.probabilities = probabilities
        self._j: list[float] = []
        self._f: list[float] = []

    def update(self, scores: ArrayLike, truth: ArrayLike) -> None:
        """Add one batch; arguments and errors as in `batch_j`."""
        self._j.append(batch_j(scores, truth, self.probabilities))
        self._f.append(batch_f(scores, truth, self.probabilities))

    def result(self) -> BinaryResult:
        if not self._j:
            return BinaryResult(np.nan, np.nan, np.nan, 0)
        j, f = float(np.mean(self._j)), float(np.mean(self._f))
        return BinaryResult(j, f, (j + f) / 2, len(self._j))


@dataclass(frozen=True)
class RobustnessResult:
    """How blank the masks stay under a sound that nothing visible makes, in [0, 1]; NaN without frames.

    Attributes:
        miou: J against an empty truth, that is the mean share of blank pixels (AVSC, table 6).
        ra: share of frames without a single predicted pixel (AVSC, table 6).
        fpr: mean share of predicted pixels (AVSBench-Robust); 1 - miou.
        frames: how many were seen.
    """

    miou: float
    ra: float
    fpr: float
    frames: int

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


class RobustnessScore:
    """Measures under silent or unmatching sound, for which nothing is true: pooled over frames, batches do not matter.

    Args:
        probabilities: the scores are probabilities in [0, 1], not logits.
    """

    def __init__(self, probabilities: bool = False):
        self.probabilities = probabilities
        self._activated: list[float] = []

    def update(self, scores: ArrayLike) -> None:
        """Add frames: logits, or probabilities, (N, H, W).

        Raises:
            DataError: not (N, H, W), no frames or pixels, NaN, or probabilities outside [0, 1].
        """
        masks = _as_probabilities(scores, self.probabilities) > 0.5
        _check_shapes(masks, masks)
        self._activated += masks.mean((1, 2)).tolist()

    def result(self) -> RobustnessResult:
        if not self._activated:
            return RobustnessResult(np.nan, np.nan, np.nan, 0)
        share = np.array(self._activated)
        return RobustnessResult(float((1 - share).mean()), float((share == 0).mean()), float(share.mean()), len(share))


def _passing(reached: NDArray) -> NDArray[np.int64]:
    """Of pixels that pass the first `reached` of the thresholds, how many pass each: int64 (255,)."""
    exactly = np.bincount(reached.ravel(), minlength=len(THRESHOLDS) + 1)
    return exactly[::-1].cumsum()[::-1][1:]


def _as_probabilities(scores: ArrayLike, probabilities: bool) -> NDArray[np.float32]:
    return _probabilities(scores if probabilities else sigmoid(scores))


def _probabilities(values: ArrayLike) -> NDArray[np.float32]:
    values = np.asarray(values).astype(np.float32)
    if not ((values >= -ROUNDING) & (values <= 1 + ROUNDING)).all():
        raise DataError(
            f"probabilities run from {values.min():g} to {values.max():g}, allowed is 0 to 1: pass logits without "
            "probabilities=True, and mend NaN before scoring."
        )
    return values


def _binary(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    values = np.asarray(values)
    if values.dtype != bool and not ((values == 0) | (values == 1)).all():
        raise DataError(f"{name} runs from {values.min()} to {values.max()}, allowed are 0 and 1: pass {name} > 0.")
    return values.astype(bool)


def _check_shapes(scores: NDArray, truth: NDArray) -> None:
    if scores.ndim != 3 or scores.shape != truth.shape or not scores.size:
        raise DataError(
            f"predictions are of shape {scores.shape} and truth of {truth.shape}: both must be (N, H, W) and the same, "
            "with at least one frame and pixel; resize the prediction to the truth."
        )
