"""Predictions: their properties, filters, count gate and exports."""

import csv
import json
from dataclasses import replace

import pytest
import torch
from pycocotools import mask as coco_mask

from acvis_kit.inference.prediction import Prediction, Track
from acvis_kit.masks import encode_masks


def track(number: int, score: float, areas: list[int], quality: list[float], label: int = 0) -> Track:
    """A track whose mask of frame t covers the first areas[t] cells of a 4x5 picture."""
    masks = torch.zeros(len(areas), 20, dtype=torch.bool)
    for row, area in zip(masks, areas, strict=True):
        row[:area] = True
    return Track(number, label, score, tuple(encode_masks(masks.view(-1, 4, 5))), torch.tensor(quality))


@pytest.fixture
def prediction() -> Prediction:
    """Four frames, counted as 0, 1, 2+ and 1, with three tracks."""
    tracks = (
        track(0, 0.9, [5, 5, 5, 0], [0.6, 0.6, 0.9, 0.0], label=1),
        track(1, 0.8, [3, 3, 3, 3], [0.9, 0.9, 0.9, 0.9]),
        track(2, 0.5, [0, 1, 1, 1], [0.0, 0.9, 0.9, 0.9]),
    )
    probabilities = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1]])
    return Prediction(tracks, probabilities.argmax(1), probabilities, ("dog", "cat"), (4, 5))


def areas(prediction: Prediction) -> list[list[int]]:
    return [track.areas().tolist() for track in prediction.tracks]


def test_masks_scores_and_labels_have_one_entry_per_track(prediction: Prediction) -> None:
    assert prediction.masks().shape == (3, 4, 4, 5) and prediction.masks().dtype == torch.bool
    assert prediction.masks().sum((2, 3)).tolist() == areas(prediction)
    assert prediction.labels.tolist() == [1, 0, 0]
    assert prediction.scores.tolist() == pytest.approx([0.9, 0.8, 0.5])


def test_a_clip_may_have_more_than_255_frames(prediction: Prediction, tmp_path) -> None:
    """pycocotools cannot measure more than 255 masks at once."""
    long = track(0, 0.9, [3] * 300, [0.9] * 300)
    assert long.areas().tolist() == [3] * 300


def test_the_highest_count_is_displayed_as_or_more(prediction: Prediction) -> None:
    assert [prediction.count_text(t) for t in range(4)] == ["0", "1", "2+", "1"]
    assert prediction.summary() == "4 frames, 3 tracks; objects sounding: 0 in 1, 1 in 2, 2+ in 1 frames"


def test_the_gate_keeps_as_many_of_the_best_masks_as_an_exact_count(
    prediction: Prediction,
) -> None:
    """Frame 1, count 1: 0.9 x 0.6 = 0.54 < 0.8 x 0.9 = 0.72. Frame 2, "2+": all stay. Frame 3, count 1: the empty mask
    of track 0 does not count as a candidate."""
    assert areas(prediction.gated()) == [[0, 0, 5, 0], [0, 3, 3, 3], [0, 0, 1, 0]]
    assert areas(prediction) == [[5, 5, 5, 0], [3, 3, 3, 3], [0, 1, 1, 1]]  # the original stays


def test_a_track_without_remaining_masks_is_dropped(prediction: Prediction) -> None:
    silence = replace(prediction, counts=torch.zeros(4, dtype=torch.int64))
    assert silence.gated().tracks == ()


def test_without_a_count_head_the_gate_does_nothing(prediction: Prediction) -> None:
    uncounted = replace(prediction, count_probs=None)
    assert areas(uncounted.gated()) == areas(uncounted)
    assert [uncounted.count_text(t) for t in range(4)] == ["0", "1", "2", "1"]


def test_a_threshold_drops_tracks_and_keeps_the_ids_of_the_others(prediction: Prediction) -> None:
    assert [t.id for t in prediction.above(0.6).tracks] == [0, 1]
    assert prediction.above(0.95).masks().shape == (0, 4, 4, 5)


def test_json_is_avisegs_result_format_with_counts_and_names(prediction: Prediction, tmp_path) -> None:
    written = json.loads(prediction.to_json(tmp_path / "r.json", video_id=7).read_text())
    assert written["counts"] == [0, 1, 2, 1] and written["class_names"] == ["dog", "cat"]
    first = written["results"][0]
    assert (first["video_id"], first["category_id"], first["score"]) == (7, 2, 0.9)
    assert [int(coco_mask.area(rle)) for rle in first["segmentations"]] == [5, 5, 5, 0]
    assert all(isinstance(rle["counts"], str) and rle["size"] == [4, 5] for rle in first["segmentations"])


def test_csv_has_a_row_per_frame_with_the_sounding_tracks(prediction: Prediction, tmp_path) -> None:
    with prediction.to_csv(tmp_path / "c.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["count"] for row in rows] == ["0", "1", "2+", "1"]
    assert (rows[1]["start"], rows[1]["end"], rows[1]["p_1"], rows[1]["masks"]) == ("1", "2", "0.8000", "3")
    assert rows[3]["sounding"] == "dog #1; dog #2"
