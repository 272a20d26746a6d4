"""Scores on the validation split during training, by which the best weights are chosen."""

from __future__ import annotations

import copy
import math

from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.errors import DataError
from acvis_kit.evaluation.dataset import predict_split
from acvis_kit.inference.predictor import Predictor
from acvis_kit.metrics.evaluate import evaluate
from acvis_kit.models.acvis.model import ACVIS

SELECTION_SCORES = ("AP_all", "HOTA", "FA")  # mAP, HOTA, FSLA, by the protocol "paper"


class Validation:
    """The first videos of a split, on which weights are scored.

    Args:
        split: with ground truth.
        videos: number of videos.
        class_names: of the network.

    Raises:
        DataError: an empty split, or a class that is not among its categories.
    """

    def __init__(self, split: AVISegSplit, videos: int, class_names: tuple[str, ...]) -> None:
        if not len(split):
            raise DataError(f"{split.truth_file} lists no videos: give another --val-split, or --eval-clips 0")
        if unknown := [name for name in class_names if name not in split.categories.values()]:
            raise DataError(f"the classes {', '.join(unknown[:5])} are not among the categories of {split.truth_file}")
        self.split = copy.copy(split)
        self.split.videos = split.videos[:videos]
        ids = {video.id for video in self.split.videos}
        self.split.truth = {
            **split.truth,
            "videos": [video for video in split.truth["videos"] if video["id"] in ids],
            "annotations": [entry for entry in split.truth.get("annotations") or [] if entry["video_id"] in ids],
        }

    def score(self, model: ACVIS) -> dict[str, float]:
        """Percent: "AP_all" (mAP), "HOTA", "FA" (FSLA), and "mean", the mean of those that are defined (not NaN)."""
        scores = evaluate(self.split.truth, predict_split(Predictor(model), self.split), "paper")
        found = {key: scores[key] for key in SELECTION_SCORES}
        defined = [value for value in found.values() if not math.isnan(value)]
        return found | {"mean": sum(defined) / len(defined) if defined else math.nan}
