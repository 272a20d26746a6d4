"""A model on a data set: predictions of every video, as the results that `metrics` scores."""

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

PUBLISHED_SCORE_THRESHOLD = 0.3  # predictions were cut there before they were scored
PUBLISHED_DTYPE = torch.float16  # and made under autocast


def published_predictor(
    model: ACVIS, device: torch.device | str | None = None, short_side: int | None = None
) -> Predictor:
    """The settings behind the published rows: fp16 autocast, score above 0.3, no count gate.

    The short side is the model's own unless it is given: for ResNet-50 the reference's configuration says 360, the
    ACVIS paper 448.
    """
    threshold = PUBLISHED_SCORE_THRESHOLD
    return Predictor(
        model, short_side, score_threshold=threshold, count_gate=False, device=device, dtype=PUBLISHED_DTYPE
    )


def predict_split(
    predictor: Predictor, split: AVISegSplit, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Predictions of a whole split, masks at the size of the frames. Several processes (torchrun) share the videos.

    Args:
        say: told of every video when it is done, in the process that did it.

    Returns:
        AVISeg's result list under "results"; under "videos", per video, its id, name, counts and count_probs; under
        "k_max" what the highest count means, None for a model that does not count.

    Raises:
        DataError: a class of the model that is none of the data set's, or files that do not fit.
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
    """The data set's category ids by class name.

    Raises:
        DataError: a class of the model that is none of the data set's.
    """
    category_ids = {name: number for number, name in split.categories.items()}
    unknown = [name for name in model.config.class_names if name not in category_ids]
    if unknown:
        raise DataError(
            f"the model's classes {', '.join(unknown[:5])} are none of {split.truth_file.name}'s categories "
            f"({', '.join(list(category_ids)[:5])}, ...): evaluate it on data with its classes, or fine-tune it"
        )
    return category_ids


def results_of(prediction: Prediction, video_id: int, category_ids: Mapping[str, int]) -> list[dict[str, Any]]:
    """AVISeg's results of one video, under the category ids of the data set."""
    return [
        entry | {"category_id": category_ids[prediction.class_names[entry["category_id"] - 1]]}
        for entry in prediction.to_dict(video_id)["results"]
    ]


def count_score(report: Report, predicted: Mapping[str, Any], truth: Mapping[str, Any]) -> CountScore | None:
    """How well `predict_split` counted the objects that sound in the videos of `report`; None without a count head.

    Args:
        report: of these predictions. predicted: from `predict_split`. truth: the loaded ground truth of both.
    """
    if predicted.get("k_max") is None:
        return None
    videos = read_videos(truth["videos"], report.protocol)
    true_counts = {tally.name: tally.true_counts for tally in report.tallies}
    scores = [
        score_counts(true_counts[videos[video["id"]].name], video["count_probs"]) for video in predicted["videos"]
    ]
    return sum(scores, start=CountScore.empty(predicted["k_max"]))
