"""Counting scores on tables worked out by hand."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from acvis_kit.errors import ConfigError, DataError
from acvis_kit.metrics.counting import CountScore, score_counts

# Six frames, K_max = 2. True classes 0 0 1 2 2 2 (3 and 5 are "2 or more"), most probable ones 0 1 1 2 0 1.
TRUE = [0, 0, 1, 2, 3, 5]
PROBS = np.array(
    [
        [0.9, 0.1, 0.0],
        [0.4, 0.5, 0.1],
        [0.0, 1.0, 0.0],
        [0.1, 0.3, 0.6],
        [0.7, 0.2, 0.1],
        [0.0, 0.5, 0.5],  # equal: the lower class counts
    ]
)


def test_accuracy_error_and_confusion_by_hand() -> None:
    """Most probable classes: 0 1 1 2 0 1. Frames 0, 2, 3 are right; the others are off by 1, 2 and 1."""
    score = score_counts(TRUE, PROBS)
    assert score.confusion.tolist() == [[1, 1, 0], [0, 1, 0], [1, 1, 1]]
    assert score.accuracy == 3 / 6
    assert score.mean_absolute_error == (1 + 2 + 1) / 6
    assert (score.k_max, score.frames) == (2, 6)


def test_calibration_by_hand() -> None:
    """Five bins. (0.4, 0.6]: 0.5 wrong, 0.6 right, 0.5 wrong; (0.6, 0.8]: 0.7 wrong; (0.8, 1]: 0.9 and 1.0 right."""
    score = score_counts(TRUE, PROBS, bins=5)
    curve = score.reliability
    assert curve["edges"].tolist() == [0, 1 / 5, 2 / 5, 3 / 5, 4 / 5, 1]
    assert curve["frames"].tolist() == [0, 0, 3, 1, 2]
    assert curve["accuracy"] == pytest.approx([np.nan, np.nan, 1 / 3, 0, 1], nan_ok=True)
    assert curve["confidence"] == pytest.approx([np.nan, np.nan, 1.6 / 3, 0.7, 1.9 / 2], nan_ok=True)
    assert score.calibration_error == pytest.approx((3 * (1.6 / 3 - 1 / 3) + 1 * 0.7 + 2 * (1 - 0.95)) / 6)


def test_one_bin_compares_mean_confidence_with_accuracy() -> None:
    assert score_counts(TRUE, PROBS, bins=1).calibration_error == pytest.approx(4.2 / 6 - 3 / 6)


def test_right_predictions_of_probability_one_are_calibrated_and_wrong_ones_are_not() -> None:
    certain = np.eye(3)[[0, 1, 2]]
    assert score_counts([0, 1, 2], certain).calibration_error == 0
    assert score_counts([1, 2, 0], certain).calibration_error == 1


def test_counts_of_k_max_and_above_are_one_class() -> None:
    score = score_counts([3, 7, 2], predicted_counts=[7, 2, 1], k_max=2)
    assert score.confusion[2].tolist() == [0, 1, 2]
    assert (score.accuracy, score.mean_absolute_error) == (2 / 3, 1 / 3)


def test_counts_alone_have_no_calibration() -> None:
    score = score_counts([0, 1], predicted_counts=np.array([0, 1]), k_max=3)
    assert score.accuracy == 1 and np.isnan(score.calibration_error)
    assert score.to_dict()["frames_with_probabilities"] == 0


def test_other_counts_than_the_most_probable_can_be_scored_and_leave_the_calibration() -> None:
    both = score_counts(TRUE, PROBS, predicted_counts=TRUE)
    assert both.accuracy == 1
    assert both.calibration_error == score_counts(TRUE, PROBS).calibration_error


def test_videos_are_pooled_by_frames() -> None:
    parts = [score_counts(TRUE[:1], PROBS[:1]), score_counts(TRUE[1:], PROBS[1:])]
    pooled, whole = sum(parts, CountScore.empty(2)), score_counts(TRUE, PROBS)
    assert pooled.accuracy == 3 / 6 != np.mean([part.accuracy for part in parts])
    for name in ("confusion", "bin_frames", "bin_confidence", "bin_correct"):
        assert getattr(pooled, name) == pytest.approx(getattr(whole, name))
    assert parts[0].frames == 1  # unchanged


def test_without_frames_the_scores_are_nan() -> None:
    score = score_counts([], np.zeros((0, 3)))
    assert np.isnan([score.accuracy, score.mean_absolute_error, score.calibration_error]).all()
    assert score.confusion.tolist() == [[0] * 3] * 3


def test_one_frame() -> None:
    score = score_counts([0], [[0.25, 0.75]])
    assert (score.accuracy, score.mean_absolute_error, score.calibration_error) == (0, 1, 3 / 4)


def test_a_probability_on_an_edge_belongs_to_the_lower_bin() -> None:
    score = score_counts([0, 0, 0], [[0.5, 0.5], [0.75, 0.25], [1, 0]], bins=4)
    assert score.bin_frames.tolist() == [0, 1, 1, 1]


def test_the_dictionary_can_be_written_as_json() -> None:
    written = json.loads(json.dumps(score_counts(TRUE, PROBS).to_dict()))
    assert written["classes"] == ["0", "1", "2+"] and written["confusion"][0] == [1, 1, 0]
    assert len(written["reliability"]["edges"]) == 16


def test_tensors_in_half_precision_are_accepted() -> None:
    logits = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    score = score_counts(torch.arange(50) % 6, logits.softmax(1).half())
    assert score.frames == 50 and score.bin_frames.sum() == 50


def test_invalid_input_raises_an_error_with_the_cause() -> None:
    with pytest.raises(DataError, match=r"\(6, 3\) for 5 true counts"):
        score_counts(TRUE[:5], PROBS)
    with pytest.raises(DataError, match="1 predicted counts for 2"):
        score_counts([0, 1], predicted_counts=[0], k_max=2)
    with pytest.raises(DataError, match="lowest -1"):
        score_counts([-1], [[1, 0, 0]])
    with pytest.raises(DataError, match=r"true_counts is float64 \(1,\)"):
        score_counts([0.5], [[1, 0, 0]])
    for rows in ([[2.0, -1.0]], [[0.5, 0.2]], [[np.nan, 1.0]]):
        with pytest.raises(DataError, match="not probabilities"):
            score_counts([0], rows)
    with pytest.raises(ConfigError, match="pass k_max"):
        score_counts([0], predicted_counts=[0])
    with pytest.raises(ConfigError, match="nothing to score"):
        score_counts([0], k_max=2)
    with pytest.raises(ConfigError, match=r"k_max=3, but count_probs has 3 columns"):
        score_counts(TRUE, PROBS, k_max=3)
    with pytest.raises(ConfigError, match="bins=0"):
        score_counts(TRUE, PROBS, bins=0)
    with pytest.raises(ConfigError, match="k_max=2, bins=15 with k_max=3, bins=15"):
        CountScore.empty(2) + CountScore.empty(3)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.floats(0, 1)), min_size=1, max_size=30))
def test_scores_are_in_their_ranges(frames: list[tuple[int, int, float]]) -> None:
    true, predicted, first = (list(column) for column in zip(*frames, strict=True))
    probabilities = np.stack([np.array(first), 1 - np.array(first)], axis=1)
    score = score_counts(true, probabilities, predicted)
    assert score.mean_absolute_error == pytest.approx(1 - score.accuracy)  # with two classes
    assert 0 <= score.calibration_error <= 1
    assert score.bin_frames.sum() == len(frames)
