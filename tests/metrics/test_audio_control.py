"""Audio control on pictures of one row, in which an object is a few pixels."""

import json

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from acvis_kit.errors import ConfigError, DataError
from acvis_kit.inference.prediction import Prediction, Track
from acvis_kit.masks import encode_masks
from acvis_kit.metrics.audio_control import ControlSums, ShownMasks, Swap, clip_control, control_score

# One letter per frame. "d", the dog, has pixels 0..3, "c", the cat, 4..7; "D" and "C" are half of them.
PIXELS = {"d": range(4), "c": range(4, 8), "D": range(2), "C": range(4, 6), "x": range(8), ".": ()}


def masks(letters: str) -> np.ndarray:
    """bool (T, 1, 8)."""
    out = np.zeros((len(letters), 1, 8), dtype=bool)
    for t, letter in enumerate(letters):
        out[t, 0, list(PIXELS[letter])] = True
    return out


def shown(*tracks: str, length: int = 0) -> ShownMasks:
    """Tracks by falling score, one letter per frame."""
    return ShownMasks.from_tracks(
        [masks(t) for t in tracks], np.arange(len(tracks), 0, -1), len(tracks[0]) if tracks else length
    )


def flags(letters: str) -> np.ndarray:
    """bool (T,), True where a letter is "1"."""
    return np.array([letter == "1" for letter in letters])


def test_a_frame_without_a_mask_is_silent() -> None:
    sums = clip_control(muted=shown("..d.", ".c.."), foreign=shown("d.."))
    assert (sums.muted_silent, sums.muted_frames) == (2, 4)
    assert (sums.foreign_silent, sums.foreign_frames) == (2, 3)
    score = control_score([sums])
    assert (score.silent_when_muted, score.silent_when_foreign) == (1 / 2, 2 / 3)


def test_without_tracks_every_frame_is_silent() -> None:
    assert clip_control(muted=shown(length=5)).muted_silent == 5
    no_arrays = ShownMasks.from_tracks(np.zeros((0, 3, 2, 2), dtype=bool), np.zeros(0), 3)
    assert clip_control(foreign=no_arrays).foreign_silent == 3


def test_a_perfect_swap_masks_the_new_object_in_every_frame_and_never_the_former_one() -> None:
    swap = Swap(shown("ddd"), shown("ccc"), former=masks("ddd"), new=masks("ccc"), audible=flags("111"))
    score = control_score([clip_control(shown("..."), shown("..."), [swap])])
    assert (score.follows_swap, score.iou_original, score.iou_swapped, score.iou_change) == (1, 1, 0, -1)
    assert score.summary == 1


def test_a_model_that_ignores_the_sound_follows_no_swap_and_changes_no_iou() -> None:
    swap = Swap(shown("ddd"), shown("ddd"), former=masks("ddd"), new=masks("ccc"), audible=flags("111"))
    score = control_score([clip_control(shown("ddd"), shown("ddd"), [swap])])
    assert (score.follows_swap, score.iou_change, score.summary) == (0, 0, 0)


def test_a_model_without_masks_has_a_summary_of_two_thirds_and_an_iou_of_zero() -> None:
    nothing = shown(length=3)
    swap = Swap(nothing, nothing, former=masks("ddd"), new=masks("ccc"), audible=flags("111"))
    score = control_score([clip_control(nothing, nothing, [swap])])
    assert (score.summary, score.iou_original, score.iou_change) == (2 / 3, 0, 0)


def test_the_mask_of_highest_score_must_be_on_the_new_object() -> None:
    """Frames 0 and 1: on it. 2: on it, but ranked below the dog. 3: no mask. 4: half of it, IoU 2/4, not above 1/2."""
    swap = Swap(shown("....."), shown("ccd.C", "ddc.."), masks("....."), masks("ccccc"), flags("11111"))
    sums = clip_control(swaps=[swap])
    assert (sums.swap_followed, sums.swap_frames, sums.iou_frames) == (2, 5, 0)
    assert clip_control(swaps=[swap], iou_threshold=0.49).swap_followed == 3
    assert clip_control(swaps=[swap], iou_threshold=0).swap_followed == 3


def test_scores_may_rank_the_masks_differently_in_every_frame() -> None:
    swapped = ShownMasks.from_tracks([masks("ccc"), masks("ddd")], [[0.9, 0.8, 0.1], [0.5, 0.5, 0.5]], 3)
    sums = clip_control(swaps=[Swap(shown("..."), swapped, masks("..."), masks("ccc"), flags("111"))])
    assert sums.swap_followed == 2
    equal = ShownMasks.from_tracks([masks("c"), masks("d")], [0.5, 0.5], 1)
    assert clip_control(swaps=[Swap(shown("."), equal, masks("."), masks("c"), flags("1"))]).swap_followed == 1


def test_an_empty_mask_is_not_ranked() -> None:
    """The best track is empty in that frame, so the next one ranks highest."""
    sums = clip_control(swaps=[Swap(shown("."), shown(".", "c"), masks("."), masks("c"), flags("1"))])
    assert sums.swap_followed == 1


def test_only_frames_with_audible_new_sound_and_visible_new_object_are_scored() -> None:
    swap = Swap(shown("dddd"), shown("d.cd"), former=masks("dddd"), new=masks("c.cc"), audible=flags("1110"))
    sums = clip_control(swaps=[swap])
    assert (sums.swap_followed, sums.swap_frames) == (1, 2)  # frames 0 and 2
    assert (sums.iou_frames, sums.iou_original, sums.iou_swapped) == (3, 3, 1)


def test_the_former_object_is_scored_where_it_sounded_by_its_best_iou() -> None:
    """Frames 0..3 (in 4 the dog is silent). Original: 1 (mask 2), 1/2, 0, 1. Swapped: 1 (mask 2), 4/8, 0, 2/4."""
    swap = Swap(
        original=shown("xD.dd", "d.c.."),
        swapped=shown("cx.D.", "d...."),
        former=masks("dddd."),
        new=masks("ccccc"),
        audible=flags("11111"),
    )
    sums = clip_control(swaps=[swap])
    assert (sums.iou_frames, sums.iou_original, sums.iou_swapped) == (4, 5 / 2, 2)
    score = control_score([sums])
    assert (score.iou_original, score.iou_swapped, score.iou_change) == (5 / 8, 1 / 2, -1 / 8)


def test_several_swaps_of_a_clip_add_up() -> None:
    one = Swap(shown("d"), shown("c"), masks("d"), masks("c"), flags("1"))
    back = Swap(shown("c"), shown("c"), masks("c"), masks("d"), flags("1"))
    sums = clip_control(swaps=[one, back])
    assert (sums.swap_frames, sums.swap_followed, sums.iou_swapped) == (2, 1, 1)


def test_clips_are_pooled_by_frames() -> None:
    score = control_score([clip_control(muted=shown(".")), clip_control(muted=shown("ddd"))])
    assert (score.silent_when_muted, score.clips) == (1 / 4, 2)
    assert score.sums == ControlSums(muted_frames=4, muted_silent=1)


def test_the_summary_is_the_mean_of_what_was_measured() -> None:
    muted, foreign = clip_control(muted=shown(".d")), clip_control(foreign=shown("...d"))
    assert control_score([muted]).summary == 1 / 2
    assert control_score([muted, foreign]).summary == pytest.approx((1 / 2 + 3 / 4) / 2)
    assert np.isnan(control_score([muted]).follows_swap)


@pytest.mark.parametrize("clips", [[], [ControlSums()], [clip_control(muted=ShownMasks(()))]])
def test_without_measurements_all_numbers_are_nan(clips: list[ControlSums]) -> None:
    score = control_score(clips)
    assert np.isnan([score.summary, score.silent_when_muted, score.iou_change, *score.intervals["summary"]]).all()
    assert score.clips == len(clips)


def test_intervals_contain_the_numbers_and_are_reproducible() -> None:
    rng = np.random.default_rng(0)
    clips = []
    for _ in range(20):
        letters = "".join(rng.choice(list(".d"), 5))
        swapped = "".join(rng.choice(list("cd"), 5))
        swap = Swap(shown("ddddd"), shown(swapped), masks("ddddd"), masks("ccccc"), flags("11111"))
        clips.append(clip_control(shown(letters), shown("....."), [swap]))
    score = control_score(clips)
    assert score.intervals == control_score(clips).intervals
    for name, (low, high) in score.intervals.items():
        value = getattr(score, name)
        assert low <= value <= high
        if name in ("silent_when_muted", "follows_swap", "iou_swapped", "summary"):
            assert 0 < high - low < 1 / 2
    assert score.intervals["silent_when_foreign"] == (1, 1)
    narrow = control_score(clips, level=0.5).intervals["summary"]
    assert score.intervals["summary"][0] < narrow[0] < narrow[1] < score.intervals["summary"][1]


def test_draws_without_a_part_of_the_summary_do_not_widen_its_interval() -> None:
    """Muted 1, swap 0. A draw of muted clips alone would have a summary of 1, but is left out."""
    swap = Swap(shown("d"), shown("d"), masks("d"), masks("c"), flags("1"))
    score = control_score([clip_control(muted=shown("..")), clip_control(swaps=[swap])])
    assert score.summary == 1 / 2
    assert score.intervals["summary"] == (1 / 2, 1 / 2)


def test_run_length_codes_with_bytes_text_or_none_score_as_arrays_do() -> None:
    def codes(letters: str, text: bool) -> list[dict | None]:
        coded = [coco_mask.encode(np.asfortranarray(m, dtype=np.uint8)) for m in masks(letters)]
        coded = [c | {"counts": c["counts"].decode()} for c in coded] if text else coded
        return [None if letter == "." and text else c for letter, c in zip(letters, coded, strict=True)]

    expected = clip_control(shown("d."), None, [Swap(shown("dd"), shown("cd"), masks("d."), masks("cc"), flags("11"))])
    for text in (False, True):
        tracks = {name: ShownMasks.from_tracks([codes(name, text)], [0.5], 2) for name in ("d.", "dd", "cd")}
        swap = Swap(tracks["dd"], tracks["cd"], codes("d.", text), codes("cc", text), [True, True])
        assert clip_control(tracks["d."], None, [swap]) == expected


def test_a_prediction_is_ranked_by_track_score_times_mean_mask_probability() -> None:
    def track(number: int, score: float, letters: str, quality: list[float]) -> Track:
        coded = encode_masks(torch.from_numpy(masks(letters)))
        return Track(number, 0, score, tuple(coded), torch.tensor(quality))

    tracks = (track(0, 0.9, "dd.", [0.5, 1.0, 0.0]), track(1, 0.8, "cc.", [1.0, 0.5, 0.0]))
    prediction = Prediction(tracks, torch.zeros(3, dtype=torch.int64), None, ("dog",), (1, 8))
    ranked = ShownMasks.from_prediction(prediction)
    assert [len(frame) for frame in ranked.frames] == [2, 2, 0]
    swap = Swap(shown("..."), ranked, masks("..."), masks("ccc"), flags("111"))
    assert clip_control(swaps=[swap]).swap_followed == 1  # 0.45 < 0.8 in frame 0, 0.9 > 0.4 in frame 1
    empty = Prediction((), torch.zeros(3, dtype=torch.int64), None, ("dog",), (1, 8))
    assert clip_control(muted=ShownMasks.from_prediction(empty)).muted_silent == 3


def test_the_dictionary_can_be_written_as_json() -> None:
    written = json.loads(json.dumps(control_score([clip_control(muted=shown(".d"))]).to_dict()))
    assert written["silent_when_muted"] == 1 / 2
    assert written["intervals"]["silent_when_muted"] == [1 / 2, 1 / 2]
    assert written["sums"]["muted_frames"] == 2


def test_input_that_cannot_be_compared_raises_an_error_with_the_cause() -> None:
    wide = np.ones((1, 1, 9), dtype=bool)
    with pytest.raises(DataError, match=r"masks of \[\(1, 8\), \(1, 9\)\] pixels"):
        clip_control(swaps=[Swap(shown("d"), shown("d"), wide, masks("c"), flags("1"))])
    with pytest.raises(DataError, match=r"masks of \[\(1, 8\), \(1, 9\)\] pixels"):
        ShownMasks.from_tracks([masks("d"), wide], [1, 1], 1)
    with pytest.raises(DataError, match=r"parts of \[1, 2\] frames"):
        clip_control(swaps=[Swap(shown("d"), shown("d"), masks("dd"), masks("c"), flags("1"))])
    with pytest.raises(DataError, match="audible of float64"):
        clip_control(swaps=[Swap(shown("d"), shown("d"), masks("d"), masks("c"), np.ones(1))])
    with pytest.raises(DataError, match=r"1 tracks of \[2\] frames with scores \(1, 3\) for 3 frames"):
        ShownMasks.from_tracks([masks("dd")], [1], 3)
    with pytest.raises(DataError, match=r"scores \(2, 1\)"):
        ShownMasks.from_tracks([masks("d")], [1, 2], 1)
    with pytest.raises(DataError, match="NaN"):
        ShownMasks.from_tracks([masks("d")], [np.nan], 1)
    with pytest.raises(DataError, match=r"masks are uint8 \(1, 8\)"):
        ShownMasks.from_tracks([masks("d")[0].astype(np.uint8)], [1], 1)
    with pytest.raises(ConfigError, match=r"iou_threshold=1\.0"):
        clip_control(iou_threshold=1.0)
