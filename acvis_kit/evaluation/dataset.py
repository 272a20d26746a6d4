"""Predictions of every video of a data set, in the format that `metrics` scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.distributed import collect, own_share
from acvis_kit.errors import DataError
from acvis_kit.inference.prediction import Prediction
from acvis_kit.inference.predictor import Predictor
from acvis_kit.metrics.checks import read_videos
from acvis_kit.metrics.counting import CountScore, score_counts
from acvis_kit.metrics.evaluate import Report
from acvis_kit.models.acvis.model import ACVIS

PUBLISHED_SCORE_THRESHOLD = 0.3  # lower-scoring tracks were dropped before scoring
PUBLISHED_DTYPE = torch.float16  # of autocast


def published_predictor(
    model: ACVIS, device: torch.device | str | None = None, short_side: int | None = None
) -> Predictor:
    """Predictor with the settings of the published results: fp16 autocast, score above 0.3, no count gate.

    By default the short side is that of the model's configuration: for ResNet-50 the reference's configuration has 360,
    the ACVIS paper 448.
    """
    threshold = PUBLISHED_SCORE_THRESHOLD
    return Predictor(
        model, short_side, score_threshold=threshold, count_gate=False, device=device, dtype=PUBLISHED_DTYPE
    )


def predict_split(
    predictor: Predictor, split: AVISegSplit, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Predict a whole split, with masks at the size of the frames.

    Several processes (torchrun) divide the videos among themselves.

    Args:
        predictor: the model with its thresholds.
        split: the videos.
        say: called with a line of text after every video, in the process that predicted it.

    Returns:
        "results": AVISeg's result list. "videos": id, name, counts and count_probs of every video. "k_max": the count
        that means "or more", None for a model without a count head.

    Raises:
        DataError: the data set lacks a class of the model, or files do not fit.
    """
    category_ids = category_ids_of(predictor.model, split)
    found = {}
    for number, video in own_share(split.videos):
        prediction = predictor(split.clip(video))
        written = prediction.to_dict(video.id)
        counted = {key: written[key] for key in ("counts", "count_probs")}
        entry = {"id": video.id, "name": video.name} | counted
        found[number] = entry, written["k_max"], results_of(prediction, video.id, category_ids)
        say(f"[{number + 1}/{len(split)}] {video.name}: {prediction.summary()}")
    together = collect(found)
    return {
        "videos": [entry for entry, _, _ in together],
        "k_max": together[-1][1] if together else None,
        "results": [result for _, _, results in together for result in results],
    }


def category_ids_of(model: ACVIS, split: AVISegSplit) -> dict[str, int]:
    """The data set's category ids by class name. It need not have the voiceless classes, which are never predicted.

    Raises:
        DataError: the data set lacks a class that the model predicts.
    """
    category_ids = {name: number for number, name in split.categories.items()}
    predicted = [name for name in model.config.class_names if name not in model.config.voiceless]
    unknown = [name for name in predicted if name not in category_ids]
    if unknown:
        raise DataError(
            f"{split.truth_file.name} lacks the model's classes {', '.join(unknown[:5])}; its categories are "
            f"{', '.join(list(category_ids)[:5])}, ...: evaluate the model on data with its classes, or fine-tune it"
        )
    return category_ids


def results_of(prediction: Prediction, video_id: int, category_ids: Mapping[str, int]) -> list[dict[str, Any]]:
    """AVISeg's results of one video, with the category ids of the data set."""
    return [
        entry | {"category_id": category_ids[prediction.class_names[entry["category_id"] - 1]]}
        for entry in prediction.to_dict(video_id)["results"]
    ]


def count_score(report: Report, predicted: Mapping[str, Any], truth: Mapping[str, Any]) -> CountScore | None:
    """Score the predicted counts of sounding objects in the videos of `report`; None without a count head.

    Args:
        report: scores of the same predictions.
        predicted: from `predict_split`.
        truth: the loaded ground truth of both.
    """
    if predicted.get("k_max") is None:
        return None
    videos = read_videos(truth["videos"], report.protocol)
    true_counts = {tally.name: tally.true_counts for tally in report.tallies}
    scores = [
        score_counts(true_counts[videos[video["id"]].name], video["count_probs"]) for video in predicted["videos"]
    ]
    return sum(scores, start=CountScore.empty(predicted["k_max"]))
