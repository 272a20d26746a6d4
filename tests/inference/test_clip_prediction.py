"""What predictions of all systems share, on a semantic one; `test_prediction` has the same of tracks."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageShow

from acvis_kit.clip import Clip
from acvis_kit.errors import DataError, MediaError
from acvis_kit.inference.semantic import SemanticPrediction
from acvis_kit.inference.soundtrack import soundtrack
from acvis_kit.media.edit import AudioEdit
from acvis_kit.media.load import load_clip
from acvis_kit.media.write import write_video
from acvis_kit.viz.explorer import ExplorerState, explore
from acvis_kit.viz.figures import count_figure
from acvis_kit.viz.overlay import write_overlay
from tests.semantic_models import dog_and_car


def test_the_marks_are_the_classes_that_sound_the_largest_first() -> None:
    dog, car = dog_and_car().marks[::-1]
    assert (car.name, car.id, car.areas().tolist()) == ("car", 2, [0, 0, 312, 312])
    assert (dog.name, dog.label, dog.areas().tolist()) == ("dog", 0, [184, 184, 184, 0])
    assert (dog.score, car.score) == (0.75, 0.5625) and dog.mask(2).sum() == 184
    assert repr(car) == "SoundingClass(car, score 0.56, in 2 of 4 frames)"
    assert dog_and_car().above(0.8).marks == ()


def test_a_higher_threshold_takes_pixels_and_instances_and_a_lower_one_nothing() -> None:
    given = dog_and_car()
    assert given.counts.tolist() == [2, 2, 3, 1]
    higher = given.above(0.6)
    assert [mark.name for mark in higher.marks] == ["dog"] and higher.counts.tolist() == [2, 2, 2, 0]
    assert given.above(0.0) is given and higher.above(0.55) is higher
    assert given.gated() is given and given.k_max is None
    uncounted = dog_and_car(counts=False).above(0.6)
    assert uncounted.counts is None and uncounted.count_text(0) is None


def test_classes_can_be_hidden() -> None:
    assert [mark.name for mark in dog_and_car().without({0}).marks] == ["car"]
    assert dog_and_car().without({0, 2}).summary() == "4 frames; sounding: nothing"


def test_a_class_can_be_hidden_by_its_number() -> None:
    assert [mark.name for mark in dog_and_car().without(2).marks] == ["dog"]
    assert dog_and_car().without(1).summary() == dog_and_car().summary(), "cat, which does not sound"
    for strange in (9, [0, -1], 10**6):
        with pytest.raises(DataError, match=r"no class has the id .*: choose from 0, 1, 2$"):
            dog_and_car().without(strange)


def test_a_number_in_brackets_gives_what_is_marked_in_that_frame() -> None:
    given = dog_and_car()
    frame = given[2]
    assert (frame.t, frame.start, frame.end, frame.count, frame.count_text) == (2, 1, 1.5, 3, "3")
    assert [mark.name for mark in frame.marks] == ["car", "dog"]
    assert frame.masks.shape == (2, 40, 60) and frame.masks.sum((1, 2)).tolist() == [312, 184]
    assert repr(frame) == "MarkedFrame(2, second 1 to 1.5, 3 sounding: car 0.56, dog 0.75)"
    assert [mark.name for mark in given[-1].marks] == ["car"] and given.above(0.8)[0].masks.shape == (0, 40, 60)
    uncounted = dog_and_car(counts=False)[0]
    assert uncounted.count is None and repr(uncounted) == "MarkedFrame(0, second 0 to 0.5: dog 0.75)"


def test_a_frame_begins_where_the_tables_say() -> None:
    clip = Clip.from_arrays(torch.zeros(4, 3, 40, 60, dtype=torch.uint8), torch.zeros(32_000), fps=2)
    given = replace(dog_and_car(), clip=replace(clip, start=3.0))
    assert [frame.start for frame in given] == [given.interval(t)["start"] for t in range(4)] == [3, 3.5, 4, 4.5]


def test_the_last_row_ends_with_the_clip() -> None:
    """Of a file that ends within a frame's interval, and of a stretch at its end."""
    given = dog_and_car()
    given = replace(given, clip=replace(given.clip, start=8.3, duration=1.7))
    assert [frame.end for frame in given] == pytest.approx([8.8, 9.3, 9.8, 10.0])
    assert given[-1].start == pytest.approx(9.8)
    longer = replace(given, clip=replace(given.clip, duration=2.2))
    assert longer[-1].end == pytest.approx(10.3)


def test_a_prediction_is_a_sequence_of_its_frames() -> None:
    given = dog_and_car()
    assert [frame.t for frame in given] == [0, 1, 2, 3] and [frame.t for frame in given[1:3]] == [1, 2]
    assert [frame.count for frame in reversed(given)] == [1, 3, 2, 2]
    for t in (4, -5):
        with pytest.raises(IndexError, match=f"no frame {t}: the 4 frames"):
            given[t]
    with pytest.raises(DataError, match="expected the number of a frame, 0 to 3, not 'dog'"):
        given["dog"]


def test_shares_are_those_of_the_frame() -> None:
    assert dog_and_car().shares()[2].tolist() == pytest.approx([184 / 2400, 0, 312 / 2400])


def test_a_notebook_shows_summary_picture_and_classes() -> None:
    html = dog_and_car()._repr_html_()
    assert "dog in 3, car in 2 frames" in html and html.count("data:image/jpeg;base64,") == 1
    assert "<th>class</th>" in html and "<td>dog</td><td>0.75</td><td>3 of 4</td>" in html
    assert "second 1" in html  # frame 2, at two frames per second, has both
    bare = dog_and_car(clip=False)
    assert "<img" not in bare._repr_html_()
    named = replace(bare, class_names=("<b>", "cat", "car"))
    assert "&lt;b&gt;" in named._repr_html_()


def test_a_picture_is_the_frame_at_a_second_with_its_classes() -> None:
    given = dog_and_car()
    first, second, liveliest = (np.asarray(given.frame(at)) for at in (0, 1.0, None))
    assert np.array_equal(second, liveliest) and not np.array_equal(first, second)
    with pytest.raises(DataError, match="second=2 must lie in the clip, from 0 to below 2"):
        given.frame(2)
    with pytest.raises(DataError, match="make it from a Clip"):
        dog_and_car(clip=False).frame()


@pytest.mark.parametrize(("start", "fps"), [(3.0, 2.0), (5.9, 3.0), (61.3, 0.7)])
def test_pictures_are_those_of_the_second_in_the_tables(start: float, fps: float) -> None:
    """Seconds are those of the file everywhere, also where a stretch of it was loaded."""
    given = dog_and_car(fps=fps)
    shades = torch.arange(4, dtype=torch.uint8).mul(60).view(4, 1, 1, 1).expand(4, 3, 40, 60)
    given = replace(given, clip=replace(given.clip, start=start, frames=shades))
    for t, row in enumerate(given.to_dataframe().to_dict("records")):
        for second in (row["start"], float(f"{row['start']:g}"), row["end"] - 0.1):
            assert np.asarray(given.frame(second))[0, -1].tolist() == [60 * t] * 3
    for second in (start - 0.1, start + 4 / fps, 0):
        with pytest.raises(DataError, match=f"must lie in the clip, from {start:g} to below {start + 4 / fps:g}"):
            given.frame(second)


def test_figures_and_captions_show_seconds_of_the_file() -> None:
    given = dog_and_car()
    given = replace(given, clip=replace(given.clip, start=3.0))
    figure = given.plot(3.5)
    assert {shape.x0 for shape in figure.layout.shapes} == {3.5} and list(figure.layout.xaxis.range) == [3, 5]
    wave, counts, *lanes = figure.data
    assert min(wave.x) > 3 and list(counts.x) == [3.25, 3.75, 4.25, 4.75]
    assert [list(lane.base) for lane in lanes] == [[4], [3]]
    assert list(count_figure(given).data[0].x) == [3, 3.5, 4, 4.5, 5]
    assert "second 4" in given._repr_html_()
    assert "second 3.5" in explore(given).caption(ExplorerState("original", t=1))


def test_a_plot_has_a_lane_per_class_and_marks_a_second() -> None:
    figure = dog_and_car().plot(1.25)
    assert [bar.y[0] for bar in figure.data if bar.orientation == "h"] == ["car", "dog"]
    assert {shape.x0 for shape in figure.layout.shapes} == {1.25}


def test_show_opens_a_picture_or_in_a_notebook_the_explorer(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[object] = []
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.setattr(ImageShow, "show", lambda picture: shown.append(picture) or True)
    monkeypatch.setenv("DISPLAY", ":0")
    dog_and_car().show()
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=shown.append))
    dog_and_car().show()
    assert isinstance(shown[0], Image.Image) and type(shown[1]).__name__ == "Explorer"


@pytest.mark.parametrize("display", [True, False])
def test_where_nothing_can_be_shown_a_sentence_says_what_to_do(display: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the complaints of programs that look for a browser."""
    asked: list[object] = []
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ImageShow, "show", lambda picture: bool(asked.append(picture)))
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if display:
        monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    with pytest.warns(UserWarning, match=r"no display, or no viewer.* prediction\.frame\(\)\.save"):
        dog_and_car().show()
    assert bool(asked) == display


@pytest.mark.parametrize("counts", [True, False])
def test_a_dataframe_has_the_columns_of_the_csv_as_numbers(counts: bool, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    given = dog_and_car(counts=counts, uncertain=True)
    frame = given.to_dataframe()
    written = pandas.read_csv(given.to_csv(tmp_path / "c.csv"), keep_default_na=False)
    assert list(frame.columns) == list(written.columns) and ("count" in frame) == counts
    assert frame["area"].tolist() == pytest.approx([184 / 2400] * 2 + [496 / 2400, 312 / 2400], abs=1e-4)
    assert frame["uncertainty"].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=1e-3)
    assert written["sounding"].tolist() == ["dog", "dog", "dog; car", "car"]
    assert written["shares"][2] == "0.0767; 0.1300"


def test_a_prediction_can_be_pickled_before_and_after_it_is_drawn() -> None:
    given = dog_and_car()
    for _ in range(2):
        again = pickle.loads(pickle.dumps(given))
        assert repr(again) == repr(given) and torch.equal(again.class_maps, given.class_maps)
        given.frame()


@pytest.mark.parametrize("write", ["to_video", "to_csv", "to_json"])
def test_the_clip_itself_is_not_overwritten(tmp_path: Path, write: str) -> None:
    path = write_video(tmp_path / "a.mp4", [np.zeros((40, 60, 3), np.uint8)] * 20, 10, torch.zeros(32000))
    film = path.read_bytes()
    with pytest.raises(MediaError, match="is the clip itself"):
        getattr(replace(dog_and_car(), clip=load_clip(path, fps=2)), write)(path)
    assert path.read_bytes() == film


@pytest.mark.parametrize("write", [SemanticPrediction.to_video, SemanticPrediction.to_csv, write_overlay])
@pytest.mark.parametrize(
    "give", [AudioEdit.swap, AudioEdit.mix, lambda path: AudioEdit.swap(load_clip(path)), load_clip]
)
def test_another_sound_that_the_model_was_given_is_not_overwritten(
    tmp_path: Path, give: Callable[[Path], AudioEdit | Clip], write: Callable[..., Path]
) -> None:
    path = write_video(tmp_path / "a.mp4", [np.zeros((40, 60, 3), np.uint8)] * 20, 10, torch.ones(32000))
    film, given = path.read_bytes(), dog_and_car()
    assert given.clip is not None
    heard = replace(given, clip=soundtrack(given.clip, give(path))[0])
    with pytest.raises(MediaError, match=r"a\.mp4 is a sound that the model was given: choose another name"):
        write(heard, tmp_path / "." / "a.mp4")
    assert path.read_bytes() == film and write(heard, tmp_path / "b.mp4").is_file()
