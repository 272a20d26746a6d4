"""Scores on the validation split while training: which weights are the best so far."""

from __future__ import annotations

import copy
import math

from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.errors import DataError
from acvis_kit.evaluation.dataset import predict_split
from acvis_kit.inference.predictor import Predictor
from acvis_kit.metrics.evaluate import evaluate
from acvis_kit.models.acvis.model import ACVIS

JUDGED_BY = ("AP_all", "HOTA", "FA")  # mAP, HOTA, FSLA, by the protocol "paper"


class Validation:
    """The first videos of a split, to be scored again and again.

    Args:
        split: with ground truth. videos: how many of it.

    Raises:
        DataError: an empty split, or classes of the network that are none of its categories.
    """

    def __init__(self, split: AVISegSplit, videos: int, class_names: tuple[str, ...]) -> None:
        if not len(split):
            raise DataError(f"{split.truth_file} lists no videos: give another --val-split, or --eval-clips 0")
        if unknown := [name for name in class_names if name not in split.categories.values()]:
            raise DataError(f"the classes {', '.join(unknown[:5])} are none of {split.truth_file}'s categories")
        self.split = copy.copy(split)
        self.split.videos = split.videos[:videos]
        ids = {video.id for video in self.split.videos}
        self.split.truth = {
            **split.truth,
            "videos": [video for video in split.truth["videos"] if video["id"] in ids],
            "annotations": [entry for entry in split.truth.get("annotations") or [] if entry["video_id"] in ids],
        }

    def score(self, model: ACVIS) -> dict[str, float]:
        """mAP, HOTA, FSLA and "mean", that of the three which are defined."""
        predictor = Predictor(copy.deepcopy(model))  # which changes mode and memory layout, and with it the next step
        scores = evaluate(self.split.truth, predict_split(predictor, self.split), "paper")
        found = {key: scores[key] for key in JUDGED_BY}
        defined = [value for value in found.values() if not math.isnan(value)]
        return found | {"mean": sum(defined) / len(defined) if defined else math.nan}
