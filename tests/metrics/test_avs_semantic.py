"""The three protocols with classes, against the published code's outputs and on tables worked out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from acvis_kit.errors import DataError
from acvis_kit.metrics.avs import frame_j, sigmoid
from acvis_kit.metrics.avs_semantic import AvssScore, CavpScore, DdesegScore, frame_scores, is_multi_source
from tests.conftest import FIXTURES, SHARED

FULL = SHARED / "avs/goldens.npz"


@pytest.fixture(scope="module", params=["copy", "full"])
def goldens(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    """The copy has label maps (argmax of the logits) in place of the largest logit arrays; the rest is unchanged."""
    if request.param == "full" and not FULL.exists():
        pytest.skip(f"{FULL} does not exist")
    return np.load(FULL if request.param == "full" else FIXTURES / "avs_metrics.npz")


def case(goldens: dict[str, np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth; logits or, in the copy, sometimes labels."""
    logits = f"{name}/logits_f16"
    if logits in goldens:
        return goldens[logits].astype(np.float32), goldens[f"{name}/gt"]
    return goldens[f"{name}/labels"], goldens[f"{name}/gt"]


def labels(prediction: np.ndarray) -> np.ndarray:
    return prediction if prediction.ndim == 3 else prediction.argmax(1)


def close(expected: np.ndarray | float):
    return pytest.approx(expected, abs=1e-6, rel=0)


@pytest.mark.parametrize("name", ["v2", "v1s_padded"])
def test_avss_sums_are_the_published_ones(goldens, name: str) -> None:
    prediction, truth = case(goldens, f"avss/{name}")
    score = AvssScore(7)
    score.update(prediction, truth)
    assert score.iou_sum == close(goldens[f"avss/{name}/iou_sum"])
    assert score.f_sum == close(goldens[f"avss/{name}/f_sum"])
    assert np.array_equal(score.class_frames, goldens[f"avss/{name}/cls_count"])
    iou, _, _ = frame_scores(prediction, truth, 7)
    assert iou.sum(1) / (iou > 0).sum(1) == close(goldens[f"avss/{name}/frame_miou"])


def test_avss_totals_are_the_published_ones(goldens) -> None:
    score = AvssScore(7)
    for name in ("v2", "v1s_padded"):
        score.update(*case(goldens, f"avss/{name}"))
    result = score.result()
    total = {key.removeprefix("avss/total/"): goldens[key] for key in goldens if key.startswith("avss/total/")}
    assert result.miou == close(total["miou"])
    assert result.f == close(total["F"])
    assert result.miou_seen == close(total["miou_seen_only"])
    assert result.f_seen == close(total["F_seen_only"])
    assert result.miou_official_without_last_class == close(total["miou_official_noBg"])
    assert result.f_official_without_last_class == close(total["F_official_noBg"])
    assert result.class_iou == close(total["miou_pc"])
    assert result.class_f == close(total["F_pc"])


@pytest.mark.parametrize("name", ["v2", "v1s_padded"])
def test_the_published_binary_miou_is_j_with_the_last_class_as_background(goldens, name: str) -> None:
    """It is left out because it is 1 whenever that class does not occur."""
    prediction, truth = case(goldens, f"avss/{name}")
    assert frame_j(labels(prediction) != 6, truth != 6).mean() == close(goldens[f"avss/{name}/calc_binary_miou"]) == 1


@pytest.mark.parametrize(("name", "classes"), [("vpo22", 22), ("bin2", 2), ("small", 5)])
def test_cavp_is_the_published_one(goldens, name: str, classes: int) -> None:
    prediction, truth = case(goldens, f"cavp/{name}")
    before = truth.copy()
    score = CavpScore(classes)
    for frame, mask in zip(prediction, truth, strict=True):
        score.update(frame, mask)
    assert np.array_equal(score.confusion, goldens[f"cavp/{name}/confusion"])
    assert np.array_equal(truth, before)  # the published code turns 255 into -1 in place
    result = score.result()
    assert result.class_iou == close(goldens[f"cavp/{name}/iou_pc"])
    numbers = [result.miou, result.accuracy, result.fdr, result.f1, result.f03]
    assert np.round(numbers, 4) == close(goldens[f"cavp/{name}/miou_acc_fdr_f1_f03"])


def test_two_classes_that_never_occur_change_nothing_in_cavps_f(goldens) -> None:
    prediction, truth = case(goldens, "cavp/vpo22")
    score = CavpScore(24)
    score.update(labels(prediction), truth)
    result = score.result()
    assert np.round([result.fdr, result.f1, result.f03], 4) == close(goldens["cavp/vpo22/fd24_fdr_f1_f03"])


def test_the_three_protocols_on_the_same_frames_with_an_absent_class(goldens) -> None:
    prediction, truth = case(goldens, "absent")
    cavp, dde, avss = CavpScore(4), DdesegScore(4), AvssScore(4)
    for score in (cavp, dde, avss):
        score.update(prediction, truth)
    c, d, a = cavp.result(), dde.result(), avss.result()
    assert c.class_iou == close(goldens["absent/cavp_iou_pc"])
    assert np.round([c.miou, c.accuracy, c.fdr, c.f1, c.f03], 4) == close(goldens["absent/cavp_miou_acc_fdr_f1_f03"])
    assert [d.miou, d.f1, d.f03] == close(goldens["absent/dde_miou_f1_f03"])
    assert [a.miou, a.f] == close(goldens["absent/avss_miou_F"])
    assert [a.miou_seen, a.f_seen] == close(goldens["absent/avss_seen_only"])


@pytest.mark.parametrize("name", ["sem", "bin"])
def test_ddeseg_is_the_published_one(goldens, name: str) -> None:
    if name == "sem":
        prediction, truth = case(goldens, "avss/v2")
        score = DdesegScore(7)
    else:
        prediction, truth = (sigmoid(goldens["bin/mixed/logits"]) > 0.5).astype(int), goldens["bin/mixed/gt"]
        score = DdesegScore(2)
    for frame in range(len(truth)):
        score.update(prediction[frame], truth[frame])
    tp = score.confusion.diagonal()
    fp, fn = score.confusion.sum(0) - tp, score.confusion.sum(1) - tp
    assert np.array_equal([tp, tp + fp + fn, tp, fp, fn], goldens[f"dde/{name}/inter_union_tp_fp_fn"])
    result = score.result()
    assert [result.miou, result.f1, result.f03] == close(
        [goldens[f"dde/{name}/{key}"].item() for key in ("mean_iou", "mean_fscore", "mean_fscore_03")]
    )
    assert result.class_iou == close(goldens[f"dde/{name}/per_class_iou"])
    assert result.class_f1 == close(goldens[f"dde/{name}/per_class_fscore"])
    assert result.class_f03 == close(goldens[f"dde/{name}/per_class_fscore_03"])


def frame(*rows: list[int]) -> np.ndarray:
    return np.array([rows])


# Two frames of four pixels, C = 4. Class 1: 1 of 2 right in frame 0, absent in frame 1. Class 2: only predicted, in
# frame 0. Class 3: absent. Background: 2 of 2 right in frame 0, all in frame 1.
TRUTH = np.concatenate([frame([0, 0, 1, 1]), frame([0, 0, 0, 0])])
PREDICTION = np.concatenate([frame([0, 0, 1, 2]), frame([0, 0, 0, 0])])


def test_avss_by_hand() -> None:
    """Background IoU (1 + 1) / 2, class 1 IoU 1/2 in its one frame, with precision 1 and recall 1/2; class 2 has 0."""
    score = AvssScore(4)
    score.update(PREDICTION, TRUTH)
    result = score.result()
    f = 1.3 * (1 / 2) / (0.3 + 1 / 2)
    assert result.class_frames.tolist() == [2, 1, 1, 0]
    assert result.class_iou.tolist() == [1, 1 / 2, 0, 0]
    assert result.class_f.tolist() == pytest.approx([1, f, 0, 0])
    assert result.miou == (3 / 2) / 4
    assert result.miou_seen == result.miou_official_without_last_class == (3 / 2) / 3
    assert (result.f, result.f_seen) == (pytest.approx((1 + f) / 4), pytest.approx((1 + f) / 3))


def test_cavp_and_ddeseg_by_hand() -> None:
    """Eight pixels, seven right. F1: background 1, class 1 2/3, class 2 0, class 3 undefined; FDR 0, 0, 1, none."""
    cavp, dde = CavpScore(4), DdesegScore(4)
    for score in (cavp, dde):
        score.update(PREDICTION, TRUTH)
    c, d = cavp.result(), dde.result()
    assert cavp.confusion.tolist() == [[6, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert (c.miou, d.miou) == ((3 / 2) / 4, (3 / 2) / 3)
    assert (c.accuracy, c.fdr) == (7 / 8, 1 / 3)
    assert c.f1 == d.f1 == pytest.approx((1 + 2 / 3) / 3)
    assert c.f03 == pytest.approx(d.f03) == pytest.approx((1 + 1.3 / 1.6) / 3)  # 1.3 tp / (1.3 tp + 0.3 fn + fp)
    assert d.class_f1.tolist() == pytest.approx([1, 2 / 3, 0, 0])
    assert c.to_dict()["class_iou"] == [1, 1 / 2, 0, 0] and d.to_dict()["miou"] == d.miou


def test_pixels_labelled_255_are_not_scored() -> None:
    truth = frame([0, 1, 255, 255])
    for score in (CavpScore(2), DdesegScore(2)):
        score.update(frame([0, 1, 1, 0]), truth)
        assert score.confusion.tolist() == [[1, 0], [0, 1]]
        assert score.result().miou == 1
    assert truth.tolist() == [[[0, 1, 255, 255]]]


def test_another_label_can_be_ignored_or_none() -> None:
    score = CavpScore(2, ignore=0)
    score.update(frame([1, 1, 0]), frame([0, 1, 1]))
    assert score.confusion.tolist() == [[0, 0], [1, 1]]
    with pytest.raises(DataError, match="label 255"):
        CavpScore(2, ignore=None).update(frame([0]), frame([255]))


def test_only_ignored_pixels_or_no_frames_give_nan() -> None:
    cavp, dde = CavpScore(3), DdesegScore(3)
    for score in (cavp, dde):
        score.update(frame([0, 1]), frame([255, 255]))
    assert np.isnan([cavp.result().miou, cavp.result().accuracy, cavp.result().fdr, cavp.result().f1]).all()
    assert np.isnan([dde.result().miou, dde.result().f03, AvssScore(3).result().miou, AvssScore(3).result().f]).all()


def test_frames_of_different_sizes_are_pooled_by_pixels_in_cavp_and_by_frames_in_avss() -> None:
    small, large = (frame([1]), frame([0])), (frame([0, 0, 0]), frame([0, 0, 0]))
    cavp, avss = CavpScore(2), AvssScore(2)
    for prediction, truth in (small, large):
        cavp.update(prediction[0], truth[0])  # (H, W)
        avss.update(prediction, truth)
    assert cavp.result().class_iou.tolist() == [3 / 4, 0]
    assert avss.result().class_iou.tolist() == [1 / 2, 0]


def test_all_background_is_perfect_for_ddeseg_and_one_class_of_c_for_the_others() -> None:
    scores = AvssScore(3), CavpScore(3), DdesegScore(3)
    for score in scores:
        score.update(frame([0, 0]), frame([0, 0]))
    assert [score.result().miou for score in scores] == [1 / 3, 1 / 3, 1]


def test_class_scores_label_maps_and_tensors_score_alike() -> None:
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(2, 3, 4, 5)), rng.integers(0, 3, (2, 4, 5))
    forms = [
        (logits, truth),
        (logits.argmax(1).astype(np.uint8), truth.astype(np.uint8)),
        (torch.from_numpy(logits), torch.from_numpy(truth)),
    ]
    confusions = []
    for prediction, labels_ in forms:
        score = CavpScore(3)
        score.update(prediction, labels_)
        confusions.append(score.confusion.tolist())
    assert confusions[0] == confusions[1] == confusions[2]


def test_invalid_input_raises_an_error_with_the_cause() -> None:
    for score in (AvssScore(3), CavpScore(3), DdesegScore(3)):
        with pytest.raises(DataError, match=r"shape \(1, 1, 2\) and the truth of \(1, 1, 3\)"):
            score.update(frame([0, 1]), frame([0, 1, 2]))
        with pytest.raises(DataError, match="3, allowed is 0 to 2"):
            score.update(frame([3]), frame([0]))
        with pytest.raises(DataError, match="label 7, allowed is 0 to 2"):
            score.update(frame([0]), frame([7]))
        with pytest.raises(DataError, match="label -1"):
            score.update(frame([0]), frame([-1]))
        with pytest.raises(DataError, match="float64, allowed are integers"):
            score.update(frame([0.0]), frame([0]))
        with pytest.raises(DataError, match="NaN"):
            score.update(np.full((1, 3, 1, 1), np.nan), frame([0]))
        with pytest.raises(DataError, match="at least one pixel"):
            score.update(np.zeros((0, 2, 2), int), np.zeros((0, 2, 2), int))
    with pytest.raises(DataError, match="label 255, allowed is 0 to 2:"):
        AvssScore(3).update(frame([0]), frame([255]))


def test_a_multi_source_frame_has_more_than_two_labels_of_over_100_pixels() -> None:
    """Frames: 101 pixels each of 0, 1 and 2; only 100 of class 2; 255 in place of 2; one label."""
    first = np.repeat([0, 1, 2], 101)
    second = first.copy()
    second[-1] = 1
    third = np.where(first == 2, 255, first)
    frames = np.stack([first, second, third, np.zeros_like(first)]).reshape(4, 3, 101)
    assert is_multi_source(frames).tolist() == [True, False, False, False]
    assert is_multi_source(frames[0]).tolist() == [True]
    assert is_multi_source(third.reshape(3, 101), ignore=None).tolist() == [True]


@given(st.integers(0, 2**32 - 1))
def test_frame_scores_equal_counting_pixel_by_pixel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prediction, truth = rng.integers(0, 4, (2, 2, 3, 4))
    iou, f, seen = frame_scores(prediction, truth, 5)
    for n, c in np.ndindex(2, 5):
        p, t = prediction[n] == c, truth[n] == c
        assert iou[n, c] == (p & t).sum() / max((p | t).sum(), 1)
        assert seen[n, c] == (p | t).any()
        denominator = 0.3 * t.sum() + p.sum()  # F = 1.3 tp / (1.3 tp + 0.3 fn + fp)
        assert f[n, c] == pytest.approx(1.3 * (p & t).sum() / denominator if denominator else 0)
