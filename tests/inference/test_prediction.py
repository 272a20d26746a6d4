"""Predictions: their properties, filters, count gate and exports."""

import csv
import json
import pickle
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageShow
from pycocotools import mask as coco_mask

from acvis_kit.clip import Clip
from acvis_kit.errors import AcvisError, DataError
from acvis_kit.inference.prediction import Prediction, Track
from acvis_kit.masks import encode_masks


def track(number: int, score: float, areas: list[int], quality: list[float], label: int = 0) -> Track:
    """A track whose mask of frame t covers the first areas[t] cells of a 4x5 picture."""
    masks = torch.zeros(len(areas), 20, dtype=torch.bool)
    for row, area in zip(masks, areas, strict=True):
        row[:area] = True
    codes = tuple(encode_masks(masks.view(-1, 4, 5)))
    return Track(number, label, score, codes, torch.tensor(quality), ("dog", "cat")[label])


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


def test_without_a_count_head_those_masks_are_counted_that_score_above_the_threshold(prediction: Prediction) -> None:
    uncounted = replace(prediction, count_probs=None, counts=torch.tensor([2, 3, 3, 2]))
    assert [uncounted.above(t).counts.tolist() for t in (0.0, 0.6, 0.95)] == [[2, 3, 3, 2], [2, 2, 2, 1], [0, 0, 0, 0]]
    assert prediction.above(0.6).counts.tolist() == [0, 1, 2, 1]


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
    later = replace(prediction, clip=replace(Clip.from_arrays(torch.zeros(4, 3, 8, 8, dtype=torch.uint8)), start=2.5))
    with later.to_csv(tmp_path / "later.csv").open() as file:
        assert [(row["start"], row["end"]) for row in csv.DictReader(file)][:2] == [("2.5", "3.5"), ("3.5", "4.5")]
    assert later.to_dict()["start"] == 2.5 and prediction.to_dict()["start"] == 0


@pytest.fixture
def filmed(prediction: Prediction) -> Prediction:
    """The same at two frames per second, with a grey clip."""
    clip = Clip.from_arrays(torch.full((4, 3, 4, 5), 90, dtype=torch.uint8), torch.ones(32000), fps=2)
    return replace(prediction, clip=clip, fps=2.0)


# --- frames, tracks, and how they are displayed -----------------------------------------------------------------------


def test_a_number_in_brackets_gives_what_is_marked_in_that_frame(prediction: Prediction) -> None:
    frame = replace(prediction, fps=2.0)[3]
    assert (frame.t, frame.start, frame.end, frame.count, frame.count_text) == (3, 1.5, 2, 1, "1")
    assert [track.name for track in frame.tracks] == ["dog #1", "dog #2"]  # the cat has no mask there
    assert frame.masks.shape == (2, 4, 5) and frame.masks.sum((1, 2)).tolist() == [3, 1]
    assert prediction[-1].tracks == prediction[np.int64(3)].tracks
    assert prediction.above(0.95)[0].masks.shape == (0, 4, 5)


def test_a_prediction_is_a_sequence_of_its_frames(prediction: Prediction) -> None:
    assert [frame.t for frame in prediction] == [0, 1, 2, 3]
    assert [frame.t for frame in prediction[1:3]] == [1, 2]
    assert [frame.count for frame in reversed(prediction)] == [1, 2, 1, 0]


def test_a_frame_that_is_not_there_is_refused(prediction: Prediction) -> None:
    for t in (4, -5):
        with pytest.raises(IndexError, match=f"no frame {t}: the 4 frames"):
            prediction[t]
    with pytest.raises(DataError, match="expected the number of a frame, 0 to 3, not 'dog'"):
        prediction["dog"]
    with pytest.raises(AcvisError, match="no frame 4"):
        prediction[4]
    with pytest.raises(DataError, match=r"expected whole numbers in a slice of frames, prediction\[2:5\], not 'a'"):
        prediction["a":]
    with pytest.raises(DataError, match="a slice of frames has the step 0"):
        prediction[::0]


def test_without_a_count_head_hidden_tracks_are_not_counted(prediction: Prediction) -> None:
    bare = replace(prediction, counts=torch.tensor([9] * 4), count_probs=None)
    shown = bare.without(0)
    assert shown.counts.tolist() == [sum(t.areas()[n] > 0 for t in shown.tracks) for n in range(4)]
    assert torch.equal(shown.above(0).counts, shown.counts)
    assert torch.equal(prediction.without(0).counts, prediction.counts)


def test_one_track_or_several_can_be_hidden(prediction: Prediction) -> None:
    assert [track.id for track in prediction.without(0).tracks] == [1, 2]
    assert [track.id for track in prediction.without(np.int64(0)).tracks] == [1, 2]
    assert [track.id for track in prediction.without(range(2)).tracks] == [2]
    with pytest.raises(DataError, match="expected the id of a track or class, or several of them, not 'dog'"):
        prediction.without("dog")


def test_a_track_that_there_is_not_cannot_be_hidden(prediction: Prediction) -> None:
    with pytest.raises(DataError, match="no track has the id 7: choose from 0, 1, 2"):
        prediction.without([0, 7])
    with pytest.raises(DataError, match="no track has the id 0: there is none in this prediction"):
        replace(prediction, tracks=()).without(0)


def test_predictions_frames_and_tracks_are_displayed_in_a_line(prediction: Prediction) -> None:
    assert repr(prediction.tracks[0]) == "Track(cat #0, score 0.90, in 3 of 4 frames)"
    assert repr(prediction[1]) == "MarkedFrame(1, second 1 to 2, 1 sounding: cat #0 0.90, dog #1 0.80, dog #2 0.50)"
    assert repr(prediction.above(0.95)[0]) == "MarkedFrame(0, second 0 to 1, 0 sounding: -)"
    assert repr(prediction) == f"Prediction({prediction.summary()}; cat #0 0.90, dog #1 0.80, dog #2 0.50)"
    assert repr(prediction.above(0.95)) == f"Prediction({prediction.above(0.95).summary()})"
    assert len(repr(replace(prediction, tracks=prediction.tracks * 30))) < 200


def test_a_track_without_a_class_name_is_displayed_with_its_number(prediction: Prediction) -> None:
    assert replace(prediction.tracks[0], class_name="").name == "class 1 #0"


def test_a_prediction_can_be_pickled(filmed: Prediction) -> None:
    again = pickle.loads(pickle.dumps(filmed))
    assert repr(again) == repr(filmed) and torch.equal(again.masks(), filmed.masks())


def test_a_notebook_shows_summary_picture_and_tracks(filmed: Prediction, prediction: Prediction) -> None:
    html = filmed._repr_html_()
    assert filmed.summary() in html and html.count("data:image/jpeg;base64,") == 1 and "second 0.5" in html
    assert "<td>cat #0</td><td>0.90</td><td>3 of 4</td>" in html
    assert "<img" not in prediction._repr_html_()  # made from bare tensors
    named = replace(filmed, tracks=(replace(filmed.tracks[0], class_name="<b>"),))
    assert "&lt;b&gt; #0" in named._repr_html_()


def test_a_picture_is_the_frame_at_a_second_with_its_masks(filmed: Prediction) -> None:
    pictures = [np.asarray(filmed.frame(second)) for second in (0, 0.4, 1.99, None)]
    assert all(picture.shape == (4, 5, 3) for picture in pictures)
    assert np.array_equal(pictures[0], pictures[1]) and not np.array_equal(pictures[0], pictures[2])
    assert np.array_equal(pictures[3], np.asarray(filmed.frame(0.5)))  # frame 1 is the first with all three tracks
    assert not np.array_equal(pictures[0], np.full((4, 5, 3), 90))


@pytest.mark.parametrize("second", [-0.1, 2, 9])
def test_a_second_outside_the_clip_is_refused(filmed: Prediction, second: float) -> None:
    for draw in (filmed.frame, filmed.plot):
        with pytest.raises(DataError, match=f"second={second:g} must lie in the clip, from 0 to below 2"):
            draw(second)


def test_without_a_clip_there_is_no_picture(prediction: Prediction) -> None:
    for draw in (prediction.frame, prediction.show):
        with pytest.raises(DataError, match="make it from a Clip"):
            draw()


def test_a_plot_marks_a_second(filmed: Prediction) -> None:
    assert len(filmed.plot().layout.shapes) == 0
    assert {shape.x0 for shape in filmed.plot(1.25).layout.shapes} == {1.25}


def test_show_opens_a_picture_or_in_a_notebook_the_explorer(
    filmed: Prediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[object] = []
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.setattr(ImageShow, "show", lambda picture: shown.append(picture) or True)
    monkeypatch.setenv("DISPLAY", ":0")
    filmed.show()
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=shown.append))
    filmed.show()
    assert isinstance(shown[0], Image.Image) and type(shown[1]).__name__ == "Explorer"


def test_a_dataframe_has_the_columns_of_the_csv_as_numbers(prediction: Prediction, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = prediction.to_dataframe()
    written = pandas.read_csv(prediction.to_csv(tmp_path / "c.csv"), dtype={"count": str})
    assert list(frame.columns) == list(written.columns)
    assert frame["count"].tolist() == [0, 1, 2, 1] and frame["p_1"].tolist() == pytest.approx(written["p_1"].tolist())
    assert frame["sounding"].tolist() == ["cat #0; dog #1", *["cat #0; dog #1; dog #2"] * 2, "dog #1; dog #2"]


def test_a_dataframe_without_pandas_says_what_to_install(prediction: Prediction, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(AcvisError, match="pip install pandas, or use to_csv"):
        prediction.to_dataframe()
