"""AVSBench's J and F and the robustness metrics, against the published code's outputs and by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from acvis_kit.errors import DataError
from acvis_kit.metrics.avs import (
    THRESHOLDS,
    BinaryScore,
    RobustnessScore,
    batch_f,
    batch_j,
    f_measure,
    frame_j,
    precision_recall,
    sigmoid,
)
from tests.conftest import FIXTURES

# The small copy has every binary golden, so the full file (see test_avs_semantic) is not needed here.
GOLDENS = np.load(FIXTURES / "avs_metrics.npz")
CASES = GOLDENS["bin/names"].tolist()
BIG = 20.0  # a logit: in float32 sigmoid(BIG) is 1, and sigmoid(-BIG) is below all thresholds but 0


def golden(case: str) -> tuple[np.ndarray, np.ndarray]:
    return GOLDENS[f"bin/{case}/logits"], GOLDENS[f"bin/{case}/gt"]


def close(expected: np.ndarray | float):
    return pytest.approx(expected, abs=1e-6, rel=0)


@pytest.mark.parametrize("case", CASES)
def test_j_is_the_published_one(case: str) -> None:
    logits, truth = golden(case)
    assert batch_j(logits, truth) == close(GOLDENS[f"bin/{case}/mask_iou"])
    assert frame_j(sigmoid(logits) > 0.5, truth) == close(GOLDENS[f"bin/{case}/mask_iou_frame"])


@pytest.mark.parametrize("case", CASES)
def test_f_is_the_published_one(case: str) -> None:
    logits, truth = golden(case)
    assert batch_f(logits, truth) == close(GOLDENS[f"bin/{case}/F_max"])
    alone = [batch_f(logits[n : n + 1], truth[n : n + 1]) for n in range(len(logits))]
    assert alone == close(GOLDENS[f"bin/{case}/F_max_frame"])
    precision, recall = precision_recall(sigmoid(logits), truth)
    assert precision[0] == close(GOLDENS[f"bin/{case}/prec0"])
    assert recall[0] == close(GOLDENS[f"bin/{case}/rec0"])


@pytest.mark.parametrize("case", CASES)
def test_probabilities_are_scored_without_a_sigmoid_as_cavp_does(case: str) -> None:
    logits, truth = golden(case)
    probabilities = sigmoid(logits)
    assert batch_j(probabilities, truth, probabilities=True) == close(GOLDENS[f"bin/{case}/cavp_mask_iou_hard"])
    assert batch_f(probabilities, truth, probabilities=True) == close(GOLDENS[f"bin/{case}/cavp_F_prob"])


@pytest.mark.parametrize("case", CASES)
def test_fpr_is_the_published_one_and_one_minus_j_against_an_empty_truth(case: str) -> None:
    logits, truth = golden(case)
    score = RobustnessScore()
    score.update(logits)
    assert score.result().fpr == close(GOLDENS[f"bin/{case}/fpr"])
    assert score.result().miou == pytest.approx(batch_j(logits, np.zeros_like(truth)), abs=1e-12)


def test_the_thresholds_are_the_published_ones_to_the_bit() -> None:
    assert THRESHOLDS.dtype == np.float32
    assert np.array_equal(THRESHOLDS, GOLDENS["bin/thresholds"])
    assert THRESHOLDS[0] == 0 and THRESHOLDS[-1] == 1  # 1 - 1e-10 in float32


@pytest.mark.parametrize("videos", [1, 2])
def test_the_score_of_a_data_set_is_the_mean_of_its_batches_and_f_depends_on_them(videos: int) -> None:
    logits, truth = golden("mixed")
    score = BinaryScore()
    for start in range(0, 10, 5 * videos):
        score.update(logits[start : start + 5 * videos], truth[start : start + 5 * videos])
    result = score.result()
    assert result.j == close(GOLDENS[f"bin_loop/batch{videos}/miou"])
    assert result.f == close(GOLDENS[f"bin_loop/batch{videos}/F"])
    assert result.j_and_f == pytest.approx((result.j + result.f) / 2)
    assert result.batches == 2 // videos


def row(*values: float) -> np.ndarray:
    """One frame of one row."""
    return np.array(values, dtype=np.float32).reshape(1, 1, -1)


def test_j_by_hand() -> None:
    """Predicted {0, 1, 2}, true {1, 2, 3}: 2 common of 4."""
    assert batch_j(row(BIG, BIG, BIG, -BIG, -BIG), row(0, 1, 1, 1, 0)) == 2 / 4


def test_a_logit_of_zero_is_background() -> None:
    assert batch_j(row(0.0, 1e-9, BIG, -BIG), row(1, 1, 1, 0)) == 1 / 3  # sigmoid(1e-9) is 0.5 in float32


@pytest.mark.parametrize(("predicted", "expected"), [([-1, -1, -1, -1], 1), ([1, -1, -1, -1], 3 / 4), ([1] * 4, 0)])
def test_j_of_a_silent_frame_is_its_fraction_of_blank_pixels(predicted: list[int], expected: float) -> None:
    assert batch_j(row(*predicted) * BIG, row(0, 0, 0, 0)) == expected


def test_f_by_hand() -> None:
    """Confident {0, 1, 2} of true {1, 2, 3}, five pixels: precision 2/3, recall 2/3, so F = 2/3 at every threshold but
    the first, where precision is 3/5 and recall 1: 1.3 * 0.6 / (0.3 * 0.6 + 1) = 0.78 / 1.18, which is less."""
    score = row(0.9, 0.9, 0.9, 0.0, 0.0)
    precision, recall = precision_recall(score, row(0, 1, 1, 1, 0))
    assert (precision[0, 0], recall[0, 0]) == (3 / 5, 1)
    assert (precision[0, 1], recall[0, 1]) == (2 / 3, 2 / 3)
    assert (precision[0, -1], recall[0, -1]) == (0, 0)  # no pixel reaches 1
    assert f_measure(precision, recall)[0, 0] == pytest.approx(0.78 / 1.18)
    assert batch_f(score, row(0, 1, 1, 1, 0), probabilities=True) == pytest.approx(2 / 3)


def test_f_takes_its_maximum_after_averaging_over_the_frames_of_the_batch() -> None:
    """Frame 0 is perfect at thresholds in (0.2, 0.4], frame 1 in (0.6, 0.8]. Up to 0.2 both mark all 2 pixels, F =
    1.3 / 2 / (0.15 + 1); in between frame 1 (or, above 0.4, frame 0) has F = that (or 0)."""
    truth = np.concatenate([row(1, 0), row(1, 0)])
    scores = np.concatenate([row(0.4, 0.2), row(0.8, 0.6)])
    assert batch_f(scores[:1], truth[:1], probabilities=True) == pytest.approx(1)
    assert batch_f(scores[1:], truth[1:], probabilities=True) == pytest.approx(1)
    all_marked = 1.3 * (1 / 2) / (0.3 * 1 / 2 + 1)
    assert batch_f(scores, truth, probabilities=True) == pytest.approx((1 + all_marked) / 2)


def test_f_leaves_out_silent_frames_and_is_zero_for_a_silent_batch() -> None:
    scores, truth = np.concatenate([row(BIG, -BIG), row(BIG, BIG)]), np.concatenate([row(1, 0), row(0, 0)])
    assert batch_f(scores, truth) == pytest.approx(1)
    score = BinaryScore()
    score.update(scores[:1], truth[:1])
    score.update(scores[1:], truth[1:])
    assert score.result().f == pytest.approx(1 / 2)
    assert score.result().j == 1 / 2  # 1, and 0 where all pixels are marked
    assert score.result().to_dict() == {"j": 0.5, "f": pytest.approx(0.5), "j_and_f": pytest.approx(0.5), "batches": 2}


def test_the_mean_is_over_batches_not_over_frames() -> None:
    score = BinaryScore()
    score.update(np.full((3, 1, 1), BIG), np.ones((3, 1, 1)))
    score.update(np.full((1, 1, 1), -BIG), np.ones((1, 1, 1)))
    assert score.result().j == 1 / 2


def test_an_empty_prediction_has_an_f_above_zero() -> None:
    """Threshold 0 marks all 4 pixels, one of them right."""
    assert batch_f(row(-BIG, -BIG, -BIG, -BIG), row(1, 0, 0, 0)) == pytest.approx(1.3 / 4 / (0.3 / 4 + 1))


def test_a_full_truth_always_has_f_one() -> None:
    assert batch_f(row(-3, 2, -1), row(1, 1, 1)) == pytest.approx(1)


def test_robustness_by_hand() -> None:
    score = RobustnessScore()
    score.update(np.concatenate([row(-1, -1, -1, -1), row(1, -1, -1, -1)]))
    score.update(row(1, 1, 1, -1))
    result = score.result()
    assert result.to_dict() == {"miou": pytest.approx(2 / 3), "ra": 1 / 3, "fpr": pytest.approx(1 / 3), "frames": 3}


def test_without_frames_the_numbers_are_nan() -> None:
    assert np.isnan([BinaryScore().result().j, BinaryScore().result().j_and_f, RobustnessScore().result().ra]).all()
    assert BinaryScore().result().batches == RobustnessScore().result().frames == 0


def test_tensors_bools_and_half_precision_are_accepted() -> None:
    logits, truth = golden("good")
    as_tensors = torch.from_numpy(logits), torch.from_numpy(truth).bool()
    assert batch_j(*as_tensors) == batch_j(logits, truth)
    assert batch_f(*as_tensors) == batch_f(logits, truth)
    assert batch_j(logits.astype(np.float16), truth) == pytest.approx(batch_j(logits, truth), abs=0.01)


def test_invalid_input_raises_an_error_with_the_cause() -> None:
    logits, truth = golden("good")
    for score in (batch_j, batch_f):
        with pytest.raises(DataError, match=r"\(4, 28, 28\) and truth of \(5, 28, 28\)"):
            score(logits[:4], truth)
        with pytest.raises(DataError, match="truth ranges from 0 to 255"):
            score(logits, truth * 255)
        with pytest.raises(DataError, match="pass logits without"):
            score(logits, truth, probabilities=True)
        with pytest.raises(DataError, match="nan"):
            score(logits * np.nan, truth)
        with pytest.raises(DataError, match="at least one frame"):
            score(logits[:0], truth[:0])
        with pytest.raises(DataError):
            score(logits[0], truth[0])
    with pytest.raises(DataError):
        RobustnessScore().update(logits[0])


@given(st.integers(0, 2**32 - 1))
def test_curves_equal_counting_at_every_threshold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.choice(np.append(THRESHOLDS, rng.random(9)), size=(2, 3, 4)).astype(np.float32)
    truth = rng.random((2, 3, 4)) < rng.random()
    precision, recall = precision_recall(scores, truth)
    for n in range(2):
        marked = scores[n] >= THRESHOLDS[:, None, None]
        hits = (marked & truth[n]).sum((1, 2))
        assert precision[n] == pytest.approx(hits / np.maximum(marked.sum((1, 2)), 1))
        assert recall[n] == pytest.approx(hits / max(truth[n].sum(), 1))
