"""Audio-visual segmentation with one class, as AVSBench, AVSC and AVSBench-Robust score it: J, F, RA, FPR.

The definitions are those of the published code, with its oddities, which the functions below describe. Scores are
logits, because the published functions apply the sigmoid themselves: passing probabilities is a common mistake. Methods
that end in a softmax (COMBO, CAVP) or in a soft mask (AVSC's S) pass `probabilities=True`, and no sigmoid is applied.
`avs_semantic` scores several classes.

Shapes: N frames of one batch (all frames of all its videos), H, W pixels. Inputs are arrays or CPU tensors. Scores of
any float type are converted to float32, as in the published code; counts are exact.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from acvis_kit.errors import DataError

BETA_SQUARED = 0.3  # papers that write "beta = 0.3" mean beta squared
ROUNDING = 1e-6  # a softmax in float32 may exceed 1 by this much


def _published_thresholds() -> NDArray[np.float32]:
    """255 thresholds from 0 to 1 - 1e-10, which in float32 is 1 exactly.

    The published code uses torch.linspace in float32, which steps up from 0 in its first half and down from 1 in its
    second. In numpy's linspace the last bit of ten thresholds differs, and a threshold of exactly 0.5 decides over
    whole regions.
    """
    step = np.float64(np.float32(1 / 254))
    i = np.arange(255)
    return np.where(i < 127, step * i, 1 - step * (254 - i)).astype(np.float32)


THRESHOLDS = _published_thresholds()


def sigmoid(logits: ArrayLike) -> NDArray[np.float32]:
    """1 / (1 + exp(-x)) in float32, of any shape: saturated logits give exactly 0 and 1, tiny ones exactly 0.5."""
    one = np.float32(1)
    with np.errstate(over="ignore"):  # exp(200) is inf in float32, and 1 / inf is 0, as intended
        return one / (one + np.exp(-np.asarray(logits).astype(np.float32)))


def frame_j(masks: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """The IoU of every frame, (N,), from masks and truth (N, H, W) that are bool or 0 and 1.

    In silent frames (empty truth) the fraction of blank pixels replaces the IoU: 1 for an empty prediction, 0 for a
    full one. The published code adds 1e-7 to the union; this is left out, because that union is never 0 and the sum
    rounds to the union in float32.

    Raises:
        DataError: shapes differ, there is no frame or pixel, or values are not 0 and 1.
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

    A pixel counts as predicted where its probability >= threshold: at threshold 0 every pixel does, at the last one
    (1.0) only saturated pixels do. Precision without predicted pixels is 0, recall without true pixels is 0.

    Args:
        probabilities: float (N, H, W) in [0, 1].
        truth: (N, H, W), bool or 0 and 1.

    Raises:
        DataError: as in `frame_j`, or a probability is outside [0, 1].
    """
    probabilities, truth = _probabilities(probabilities), _binary(truth, "truth")
    _check_shapes(probabilities, truth)
    reached = np.searchsorted(THRESHOLDS, probabilities, side="right")  # number of thresholds a pixel reaches, 1..255
    predicted = np.stack([_count_reached(frame) for frame in reached])  # (N, 255)
    hits = np.stack([_count_reached(frame[mask]) for frame, mask in zip(reached, truth, strict=True)])
    precision = hits / np.maximum(predicted, 1)
    recall = hits / np.maximum(truth.sum((1, 2)), 1)[:, None]
    return precision, recall


def batch_j(scores: ArrayLike, truth: ArrayLike, probabilities: bool = False) -> float:
    """J of one batch: the mean of `frame_j` over all its frames, with masks where the probability is > 0.5.

    Args:
        scores: logits (N, H, W), or probabilities.
        truth: (N, H, W), bool or 0 and 1.
        probabilities: the scores are probabilities in [0, 1]; no sigmoid is applied.

    Raises:
        DataError: as in `frame_j` and `precision_recall`.
    """
    return float(frame_j(_as_probabilities(scores, probabilities) > 0.5, truth).mean())


def batch_f(scores: ArrayLike, truth: ArrayLike, probabilities: bool = False) -> float:
    """F of one batch: F (beta squared 0.3) averaged over the frames with an object, at its best threshold.

    The maximum is taken *after* averaging: one threshold serves the whole batch, and F depends on which frames are
    batched together. Threshold 0 marks every pixel, so an empty prediction scores above 0, more for a larger object. A
    batch without any object scores 0.

    Arguments and errors are those of `batch_j`.
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

    Attributes:
        j: mean J of the batches.
        f: mean F of the batches; comparable only between runs that use the same batches.
        j_and_f: (j + f) / 2.
        batches: number of batches.
    """

    j: float
    f: float
    j_and_f: float
    batches: int

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


class BinaryScore:
    """J and F over a data set, as AVSBench computes them: the plain mean over batches, one `update` per batch.

    A batch consists of whole videos (five frames each), as in the published test loop: 4 in test.sh, 1 by default. With
    batches of one size J does not depend on that size; F does (0.63385 with one video, 0.63323 with two, in the
    specification's example). A batch without any object enters the mean of F with 0.

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
    """How blank the masks are under a sound that no visible object makes, in [0, 1]; NaN without frames.

    Attributes:
        miou: J against an empty truth, which is the mean fraction of blank pixels (AVSC, table 6).
        ra: fraction of the frames without any predicted pixel (AVSC, table 6).
        fpr: mean fraction of predicted pixels (AVSBench-Robust); 1 - miou.
        frames: number of frames.
    """

    miou: float
    ra: float
    fpr: float
    frames: int

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


class RobustnessScore:
    """Robustness under silence or unmatched sound, where the truth is empty: pooled over frames, whatever the batches.

    Args:
        probabilities: the scores are probabilities in [0, 1], not logits.
    """

    def __init__(self, probabilities: bool = False):
        self.probabilities = probabilities
        self._activated: list[float] = []

    def update(self, scores: ArrayLike) -> None:
        """Add frames: logits, or probabilities, (N, H, W).

        Raises:
            DataError: the scores are not (N, H, W), there is no frame or pixel, or a score is NaN, or a
                probability is outside [0, 1].
        """
        masks = _as_probabilities(scores, self.probabilities) > 0.5
        _check_shapes(masks, masks)
        self._activated += masks.mean((1, 2)).tolist()

    def result(self) -> RobustnessResult:
        if not self._activated:
            return RobustnessResult(np.nan, np.nan, np.nan, 0)
        active = np.array(self._activated)  # (frames,), fractions of predicted pixels
        miou, ra, fpr = (1 - active).mean(), (active == 0).mean(), active.mean()
        return RobustnessResult(float(miou), float(ra), float(fpr), len(active))


def _count_reached(reached: NDArray) -> NDArray[np.int64]:
    """How many pixels reach each threshold, int64 (255,), from the number of thresholds that each pixel reaches."""
    exactly = np.bincount(reached.ravel(), minlength=len(THRESHOLDS) + 1)
    return exactly[::-1].cumsum()[::-1][1:]


def _as_probabilities(scores: ArrayLike, probabilities: bool) -> NDArray[np.float32]:
    return _probabilities(scores if probabilities else sigmoid(scores))


def _probabilities(values: ArrayLike) -> NDArray[np.float32]:
    values = np.asarray(values).astype(np.float32)
    if not ((values >= -ROUNDING) & (values <= 1 + ROUNDING)).all():
        raise DataError(
            f"probabilities range from {values.min():g} to {values.max():g}, allowed is 0 to 1: pass logits without "
            "probabilities=True, and repair NaN before scoring."
        )
    return values


def _binary(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    values = np.asarray(values)
    if values.dtype != bool and not ((values == 0) | (values == 1)).all():
        raise DataError(f"{name} ranges from {values.min()} to {values.max()}, allowed are 0 and 1: pass {name} > 0.")
    return values.astype(bool)


def _check_shapes(scores: NDArray, truth: NDArray) -> None:
    if scores.ndim != 3 or scores.shape != truth.shape or not scores.size:
        raise DataError(
            f"predictions are of shape {scores.shape} and truth of {truth.shape}: both must be (N, H, W) and equal, "
            "with at least one frame and pixel; resize the prediction to the truth."
        )
