"""Audio-visual segmentation with classes: the three published protocols, which disagree on what an average is.

| protocol | sums over | a class that never occurs | background |
|---|---|---|---|
| `AvssScore`, AVSBench-semantic | IoU and F of single frames in which the class occurs | 0 in the mean | counted |
| `CavpScore`, CAVP and VPO | pixels of the whole set | 0 in mIoU, left out of F and FDR | counted |
| `DdesegScore`, DDESeg and by inference RAVS | pixels of the whole set | left out | counted |

Their numbers are not comparable with each other, nor with the J of `avs`: one published model scores 78.78 by that
and 89.43 by pixels of the whole set.

Shapes: H, W pixels, N frames, C classes with background 0. A prediction is a label map of the truth's shape, (N, H, W)
or (H, W), or scores with one axis more, (N, C, H, W) or (C, H, W), of which the highest counts. Arrays or CPU tensors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from acvis_kit.errors import DataError
from acvis_kit.metrics.avs import BETA_SQUARED, f_measure

IGNORE = 255  # a label of the truth that means "not annotated"; CAVP and VPO use it, AVSBench does not
MIN_SOURCE_PIXELS = 100  # of a label, for a frame to count it as a source (CAVP's "MS" subset)


def label_map(prediction: ArrayLike, truth: ArrayLike, classes: int) -> tuple[NDArray, NDArray]:
    """Prediction and truth as int64 label maps (N, H, W); neither input is changed.

    Raises:
        DataError: shapes that do not fit, scores of a number of classes other than `classes`, NaN, labels that are not
            integers, a predicted label outside 0..C-1.
    """
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.ndim == truth.ndim + 1 and prediction.shape[-3] == classes:
        if np.isnan(prediction).any():
            raise DataError("the scores of the prediction hold NaN: there is no highest class, mend them first.")
        prediction = prediction.argmax(-3)
    if truth.ndim not in (2, 3) or prediction.shape != truth.shape or not truth.size:
        raise DataError(
            f"the prediction is of shape {prediction.shape} and the truth of {truth.shape}: the truth must be "
            f"(N, H, W) or (H, W) with a pixel or more, the prediction the same or with {classes} classes before H, W."
        )
    for name, labels in (("prediction", prediction), ("truth", truth)):
        if labels.dtype.kind not in "biu":
            raise DataError(f"the labels of the {name} are {labels.dtype}, allowed are integers: convert them first.")
    if prediction.min() < 0 or prediction.max() >= classes:
        raise DataError(f"predicted labels run to {prediction.max()}, allowed is 0 to {classes - 1}.")
    frames = (-1, *truth.shape[-2:])
    return prediction.astype(np.int64).reshape(frames), truth.astype(np.int64).reshape(frames)


def frame_scores(prediction: ArrayLike, truth: ArrayLike, classes: int) -> tuple[NDArray, NDArray, NDArray]:
    """IoU and F (beta squared 0.3) of every class in every frame, and where a class is in truth or prediction.

    Both are 0 for a class that is in neither, and for one that is only predicted.

    Returns:
        iou and f, float64 (N, C); seen, bool (N, C).

    Raises:
        DataError: as in `label_map`, or a true label outside 0..C-1 (AVSBench has no label to ignore).
    """
    prediction, truth = label_map(prediction, truth, classes)
    _check_truth(truth, classes, ignore=None)
    predicted, true = _areas(prediction, classes), _areas(truth, classes)
    inter = _areas(np.where(prediction == truth, truth, classes), classes + 1)[:, :classes]
    union = predicted + true - inter
    iou = inter / np.maximum(union, 1)
    f = f_measure(inter / np.maximum(predicted, 1), inter / np.maximum(true, 1))
    return iou, f, union > 0


class _Result:
    def to_dict(self) -> dict[str, float | list]:
        """The fields, arrays as lists."""
        return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in vars(self).items()}


@dataclass(frozen=True, eq=False)
class AvssResult(_Result):
    """Scores of AVSBench-semantic, in [0, 1]; NaN without frames.

    Attributes:
        miou, f: mean over all C classes, background included, classes that never occur as 0: the published numbers.
        miou_seen, f_seen: mean over the classes that occur in truth or prediction; our own.
        miou_official_without_last_class, f_official_without_last_class: published as "without background", but it
            drops the last class while background is the first. For comparison with such numbers only.
        class_iou, class_f: float64 (C,).
        class_frames: int64 (C,), in how many frames a class was in truth or prediction.
    """

    miou: float
    f: float
    miou_seen: float
    f_seen: float
    miou_official_without_last_class: float
    f_official_without_last_class: float
    class_iou: NDArray[np.float64]
    class_f: NDArray[np.float64]
    class_frames: NDArray[np.int64]


class AvssScore:
    """J and F of AVSBench-semantic: each class's mean over the frames that have it, then the mean over the classes.

    A class that is predicted in a frame without being there counts in that frame, with 0. How frames are batched does
    not matter. The published test scores padding too (clips of five frames are padded to ten with background) and all
    five frames of single-source clips: pass what is to count. (Its `calc_binary_miou` is not offered: it takes the last
    class for the background and gives 1 unless that class occurs.)

    Args:
        classes: C with background; 71 in AVSBench-semantic.
    """

    def __init__(self, classes: int):
        self.classes = classes
        self.iou_sum = np.zeros(classes)
        self.f_sum = np.zeros(classes)
        self.class_frames = np.zeros(classes, dtype=np.int64)

    def update(self, prediction: ArrayLike, truth: ArrayLike) -> None:
        """Add frames; shapes in the module's text, errors in `frame_scores`."""
        iou, f, seen = frame_scores(prediction, truth, self.classes)
        self.iou_sum += iou.sum(0)
        self.f_sum += f.sum(0)
        self.class_frames += seen.sum(0)

    def result(self) -> AvssResult:
        frames = np.maximum(self.class_frames, 1)
        seen = self.class_frames > 0
        iou, f = self.iou_sum / frames, self.f_sum / frames
        if not seen.any():
            iou, f = iou * np.nan, f * np.nan
        return AvssResult(
            miou=_mean(iou),
            f=_mean(f),
            miou_seen=_mean(iou[seen]),
            f_seen=_mean(f[seen]),
            miou_official_without_last_class=_mean(iou[:-1]),
            f_official_without_last_class=_mean(f[:-1]),
            class_iou=iou,
            class_f=f,
            class_frames=self.class_frames.copy(),
        )


class _PixelSums:
    """Which label was predicted where which was true, over a whole set of frames.

    Args:
        classes: C with background.
        ignore: the true label that is not scored; None if there is none.

    Attributes:
        confusion: int64 (C, C), pixels; rows are the truth, columns the prediction.
    """

    def __init__(self, classes: int, ignore: int | None = IGNORE):
        self.classes, self.ignore = classes, ignore
        self.confusion = np.zeros((classes, classes), dtype=np.int64)

    def update(self, prediction: ArrayLike, truth: ArrayLike) -> None:
        """Add frames of any size; shapes in the module's text. The truth is not changed.

        Raises:
            DataError: as in `label_map`, or a true label that is neither in 0..C-1 nor the one to ignore.
        """
        prediction, truth = label_map(prediction, truth, self.classes)
        _check_truth(truth, self.classes, self.ignore)
        scored = truth != self.ignore
        pairs = self.classes * truth[scored] + prediction[scored]
        self.confusion += np.bincount(pairs, minlength=self.classes**2).reshape(self.classes, self.classes)

    def _counts(self) -> tuple[NDArray, NDArray, NDArray]:
        """True positives, false positives and false negatives, int64 (C,) each."""
        hits = self.confusion.diagonal()
        return hits, self.confusion.sum(0) - hits, self.confusion.sum(1) - hits


@dataclass(frozen=True, eq=False)
class CavpResult(_Result):
    """Scores of CAVP and VPO, in [0, 1]; NaN without pixels. The published ones are these, rounded to 4 decimals.

    Attributes:
        miou: mean over all C classes, background included, classes that never occur as 0.
        accuracy: share of the annotated pixels that are right.
        fdr: false discovery rate fp / (fp + tp), mean over the predicted classes.
        f1, f03: F with beta squared 1 and 0.3, mean over the classes in truth or prediction.
        class_iou: float64 (C,).
    """

    miou: float
    accuracy: float
    fdr: float
    f1: float
    f03: float
    class_iou: NDArray[np.float64]


class CavpScore(_PixelSums):
    """The protocol of CAVP, also used for VPO: pixels summed over the whole test set, label 255 ignored.

    Published for VPO with C = 22, for AVSBench-semantic with C = 71 (annotated frames only, no padding), for
    AVSBench-object with C = 2. (VPO's trainers count F over 24 classes; the two that never occur change nothing.)
    """

    def result(self) -> CavpResult:
        tp, fp, fn = self._counts()
        pixels = self.confusion.sum()
        iou = tp / np.maximum(tp + fp + fn, 1) if pixels else np.full(self.classes, np.nan)
        return CavpResult(
            miou=_mean(iou),
            accuracy=float(tp.sum() / pixels) if pixels else np.nan,
            fdr=_mean(_ratio(fp, fp + tp)),
            f1=_mean(_ratio(2 * tp, 2 * tp + fn + fp)),
            f03=_mean(_ratio((1 + BETA_SQUARED) * tp, (1 + BETA_SQUARED) * tp + BETA_SQUARED * fn + fp)),
            class_iou=iou,
        )


@dataclass(frozen=True, eq=False)
class DdesegResult(_Result):
    """Scores of DDESeg, in [0, 1], each a mean over the classes in truth or prediction; NaN without pixels.

    Attributes:
        miou: mean IoU, background included.
        f1, f03: mean F with beta squared 1 and 0.3, background included.
        class_iou, class_f1, class_f03: float64 (C,), 0 for a class that never occurs.
    """

    miou: float
    f1: float
    f03: float
    class_iou: NDArray[np.float64]
    class_f1: NDArray[np.float64]
    class_f03: NDArray[np.float64]


class DdesegScore(_PixelSums):
    """The protocol of DDESeg, by inference that of RAVS' main tables: pixels summed over the whole set.

    Binary tasks use C = 2, so that their J is the mean of background's and foreground's IoU. (The published code raises
    there; C = 2 is what its variable says.) Label 255 is ignored, on which the published code is silent. Its 1e-10 in
    precision, recall and F is left out: it makes 0 of 0 / 0 and changes nothing else.
    """

    def result(self) -> DdesegResult:
        tp, fp, fn = self._counts()
        seen = tp + fp + fn > 0
        precision, recall = tp / np.maximum(tp + fp, 1), tp / np.maximum(tp + fn, 1)
        iou = tp / np.maximum(tp + fp + fn, 1)
        f1, f03 = f_measure(precision, recall, 1.0), f_measure(precision, recall, BETA_SQUARED)
        return DdesegResult(_mean(iou[seen]), _mean(f1[seen]), _mean(f03[seen]), iou, f1, f03)


def is_multi_source(truth: ArrayLike, ignore: int | None = IGNORE) -> NDArray[np.bool_]:
    """Which frames belong to CAVP's "MS" subset: more than 2 labels, background among them, of over 100 pixels each.

    Args:
        truth: integer labels (N, H, W) or (H, W).
        ignore: the label that does not count as one.

    Returns:
        bool (N,); (1,) for one frame.
    """
    truth = np.asarray(truth)
    found = []
    for frame in truth.reshape(-1, *truth.shape[-2:]):
        labels, pixels = np.unique(frame, return_counts=True)
        found.append(int(((pixels > MIN_SOURCE_PIXELS) & (labels != ignore)).sum()) > 2)
    return np.array(found, dtype=bool)


def _areas(labels: NDArray, classes: int) -> NDArray[np.int64]:
    """Pixels of every class in every frame, int64 (N, C), of label maps (N, H, W)."""
    shifted = labels + classes * np.arange(len(labels))[:, None, None]
    return np.bincount(shifted.ravel(), minlength=classes * len(labels)).reshape(-1, classes)


def _check_truth(truth: NDArray, classes: int, ignore: int | None) -> None:
    strange = truth[((truth < 0) | (truth >= classes)) & (truth != ignore)]
    if strange.size:
        also = "" if ignore is None else f" and {ignore}"
        raise DataError(f"the truth holds label {strange[0]}, allowed is 0 to {classes - 1}{also}: check the classes.")


def _ratio(above: NDArray, below: NDArray) -> NDArray[np.float64]:
    """Above / below without the entries that are 0 / 0."""
    return above[below > 0] / below[below > 0]


def _mean(values: NDArray) -> float:
    return float(values.mean()) if values.size else float("nan")
