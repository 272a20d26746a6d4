"""Audio-visual segmentation with classes: the three published protocols, which average differently.

| protocol | averaged over | a class that never occurs | background |
|---|---|---|---|
| `AvssScore`, AVSBench-semantic | IoU and F of single frames in which the class occurs | 0 in the mean | counted |
| `CavpScore`, CAVP and VPO | pixels of the whole set | 0 in mIoU, left out of F and FDR | counted |
| `DdesegScore`, DDESeg and presumably RAVS | pixels of the whole set | left out | counted |

Their numbers are not comparable with each other, nor with the J of `avs`: one published model scores 78.78 by J and
89.43 by pixels of the whole set.

Shapes: H, W pixels, N frames, C classes with background 0. A prediction is a label map of the truth's shape, (N, H, W)
or (H, W), or class scores (N, C, H, W) or (C, H, W), whose argmax is taken. Inputs are arrays or CPU tensors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from acvis_kit.errors import DataError
from acvis_kit.metrics.avs import BETA_SQUARED, f_measure

IGNORE = 255  # a label of the truth that means "not annotated"; CAVP and VPO use it, AVSBench does not
MIN_SOURCE_PIXELS = 100  # a label with more pixels than this is a source of its frame (CAVP's "MS" subset)


def label_map(prediction: ArrayLike, truth: ArrayLike, classes: int) -> tuple[NDArray, NDArray]:
    """Prediction and truth as int64 label maps (N, H, W); neither input is changed.

    Raises:
        DataError: the shapes do not fit, the scores have a number of classes other than `classes` or contain NaN,
            labels are not integers, or a predicted label is outside 0..C-1.
    """
    predicted, true = np.asarray(prediction), np.asarray(truth)
    if predicted.ndim == true.ndim + 1 and predicted.shape[-3] == classes:
        if np.isnan(predicted).any():
            raise DataError("the scores of the prediction contain NaN, so no class is highest: repair them first.")
        predicted = predicted.argmax(-3)
    if true.ndim not in (2, 3) or predicted.shape != true.shape or not true.size:
        raise DataError(
            f"the prediction is of shape {predicted.shape} and the truth of {true.shape}: the truth must be (N, H, W) "
            f"or (H, W) with at least one pixel, the prediction the same or with {classes} classes before H, W."
        )
    for name, labels in (("prediction", predicted), ("truth", true)):
        if labels.dtype.kind not in "biu":
            raise DataError(f"the labels of the {name} are {labels.dtype}, allowed are integers: convert them first.")
    if predicted.min() < 0 or predicted.max() >= classes:
        raise DataError(
            f"predicted labels range from {predicted.min()} to {predicted.max()}, allowed is 0 to {classes - 1}."
        )
    shape = (-1, *true.shape[-2:])
    return predicted.astype(np.int64).reshape(shape), true.astype(np.int64).reshape(shape)  # (N, H, W) each


def frame_scores(prediction: ArrayLike, truth: ArrayLike, classes: int) -> tuple[NDArray, NDArray, NDArray]:
    """IoU and F (beta squared 0.3) of every class in every frame, and whether the frame's truth or prediction has it.

    IoU and F are 0 for a class that is in neither, and for one that is only predicted.

    Returns:
        IoU and F, float64 (N, C) each; whether the class occurs, bool (N, C).

    Raises:
        DataError: as in `label_map`, or a true label is outside 0..C-1 (AVSBench has no ignored label).
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
        """The fields, with arrays as lists."""
        return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in vars(self).items()}


@dataclass(frozen=True, eq=False)
class AvssResult(_Result):
    """Scores of AVSBench-semantic, in [0, 1]; NaN without frames.

    Attributes:
        miou: mean IoU over all C classes, background included, with 0 for classes that never occur; as published.
        f: mean F over the same classes; as published.
        miou_seen: mean IoU over the classes that occur in truth or prediction; not published.
        f_seen: mean F over the same classes.
        miou_official_without_last_class: published as "without background", but the published code drops the last class
            although background is the first. Use it only to compare with such numbers.
        f_official_without_last_class: F over the same classes.
        class_iou: float64 (C,).
        class_f: float64 (C,).
        class_frames: int64 (C,), number of frames with the class in truth or prediction.
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

    A class that is predicted in a frame but not true there counts in that frame, with 0. The result does not depend on
    the batches. The published test also scores padding (clips of five frames are padded to ten with background) and all
    five frames of single-source clips: pass every frame that is to count. The published `calc_binary_miou` is left out:
    it treats the last class as background and gives 1 unless that class occurs.

    Args:
        classes: C with background; 71 in AVSBench-semantic.
    """

    def __init__(self, classes: int):
        self.classes = classes
        self.iou_sum = np.zeros(classes)
        self.f_sum = np.zeros(classes)
        self.class_frames = np.zeros(classes, dtype=np.int64)

    def update(self, prediction: ArrayLike, truth: ArrayLike) -> None:
        """Add frames; shapes as in the module docstring, errors as in `frame_scores`."""
        iou, f, occurs = frame_scores(prediction, truth, self.classes)
        self.iou_sum += iou.sum(0)
        self.f_sum += f.sum(0)
        self.class_frames += occurs.sum(0)

    def result(self) -> AvssResult:
        frames = np.maximum(self.class_frames, 1)
        occurs = self.class_frames > 0
        iou, f = self.iou_sum / frames, self.f_sum / frames
        if not occurs.any():
            iou, f = iou * np.nan, f * np.nan
        return AvssResult(
            miou=_mean(iou),
            f=_mean(f),
            miou_seen=_mean(iou[occurs]),
            f_seen=_mean(f[occurs]),
            miou_official_without_last_class=_mean(iou[:-1]),
            f_official_without_last_class=_mean(f[:-1]),
            class_iou=iou,
            class_f=f,
            class_frames=self.class_frames.copy(),
        )


class _PixelSums:
    """The confusion matrix of all pixels of a set of frames.

    Args:
        classes: C with background.
        ignore: true label that is not scored; None if there is none.

    Attributes:
        confusion: int64 (C, C), pixels; rows are the truth, columns the prediction.
    """

    def __init__(self, classes: int, ignore: int | None = IGNORE):
        self.classes, self.ignore = classes, ignore
        self.confusion = np.zeros((classes, classes), dtype=np.int64)

    def update(self, prediction: ArrayLike, truth: ArrayLike) -> None:
        """Add frames of any size; shapes as in the module docstring. The truth is not changed.

        Raises:
            DataError: as in `label_map`, or a true label is neither in 0..C-1 nor ignored.
        """
        predicted, true = label_map(prediction, truth, self.classes)
        _check_truth(true, self.classes, self.ignore)
        scored = true != self.ignore
        pairs = self.classes * true[scored] + predicted[scored]
        self.confusion += np.bincount(pairs, minlength=self.classes**2).reshape(self.classes, self.classes)

    def _counts(self) -> tuple[NDArray, NDArray, NDArray]:
        """True positives, false positives and false negatives, int64 (C,) each."""
        hits = self.confusion.diagonal()
        return hits, self.confusion.sum(0) - hits, self.confusion.sum(1) - hits


@dataclass(frozen=True, eq=False)
class CavpResult(_Result):
    """Scores of CAVP and VPO, in [0, 1]; NaN without pixels. The published numbers are these, rounded to 4 decimals.

    Attributes:
        miou: mean IoU over all C classes, background included, with 0 for classes that never occur.
        accuracy: fraction of the annotated pixels whose label is right.
        fdr: false discovery rate fp / (fp + tp), mean over the predicted classes.
        f1: F with beta squared 1, mean over the classes in truth or prediction.
        f03: F with beta squared 0.3, mean over the same classes.
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
    AVSBench-object with C = 2. (VPO's training code computes F over 24 classes; the two that never occur change
    nothing.)
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
    """Scores of DDESeg, in [0, 1]: means over the classes in truth or prediction, background included.

    Means are NaN without pixels. Per-class values are 0 for a class that never occurs.

    Attributes:
        miou: mean IoU.
        f1: mean F with beta squared 1.
        f03: mean F with beta squared 0.3.
        class_iou: float64 (C,).
        class_f1: float64 (C,).
        class_f03: float64 (C,).
    """

    miou: float
    f1: float
    f03: float
    class_iou: NDArray[np.float64]
    class_f1: NDArray[np.float64]
    class_f03: NDArray[np.float64]


class DdesegScore(_PixelSums):
    """The protocol of DDESeg, presumably also that of RAVS' main tables: pixels summed over the whole set.

    Binary tasks use C = 2, so their J is the mean IoU of background and foreground. (The published code raises an error
    there; C = 2 is the value of its variable.) Label 255 is ignored; the published code does not treat it. Its 1e-10 in
    precision, recall and F is left out: it only turns 0 / 0 into 0.
    """

    def result(self) -> DdesegResult:
        tp, fp, fn = self._counts()
        occurs = tp + fp + fn > 0
        precision, recall = tp / np.maximum(tp + fp, 1), tp / np.maximum(tp + fn, 1)
        iou = tp / np.maximum(tp + fp + fn, 1)
        f1, f03 = f_measure(precision, recall, 1.0), f_measure(precision, recall, BETA_SQUARED)
        return DdesegResult(_mean(iou[occurs]), _mean(f1[occurs]), _mean(f03[occurs]), iou, f1, f03)


def is_multi_source(truth: ArrayLike, ignore: int | None = IGNORE) -> NDArray[np.bool_]:
    """Which frames belong to CAVP's "MS" subset: more than 2 labels, background included, of over 100 pixels each.

    Args:
        truth: integer labels (N, H, W) or (H, W).
        ignore: label that is not counted; None if there is none.

    Returns:
        bool (N,); (1,) for one frame.
    """
    true = np.asarray(truth)
    found = []
    for frame in true.reshape(-1, *true.shape[-2:]):  # (N, H, W)
        labels, pixels = np.unique(frame, return_counts=True)
        found.append(int(((pixels > MIN_SOURCE_PIXELS) & (labels != ignore)).sum()) > 2)
    return np.array(found, dtype=bool)


def _areas(labels: NDArray, classes: int) -> NDArray[np.int64]:
    """Pixels of every class in every frame, int64 (N, C), of label maps (N, H, W)."""
    shifted = labels + classes * np.arange(len(labels))[:, None, None]
    return np.bincount(shifted.ravel(), minlength=classes * len(labels)).reshape(-1, classes)


def _check_truth(truth: NDArray, classes: int, ignore: int | None) -> None:
    unknown = truth[((truth < 0) | (truth >= classes)) & (truth != ignore)]
    if unknown.size:
        also = "" if ignore is None else f" and {ignore}"
        raise DataError(f"the truth has label {unknown[0]}, allowed is 0 to {classes - 1}{also}: check the classes.")


def _ratio(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    """The ratios part / whole of the entries where whole is above 0."""
    return part[whole > 0] / whole[whole > 0]


def _mean(values: NDArray) -> float:
    return float(values.mean()) if values.size else float("nan")
