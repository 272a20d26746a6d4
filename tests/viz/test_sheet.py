from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor, ImageDraw

from acvis_kit.clip import Clip
from acvis_kit.errors import AcvisError, DataError
from acvis_kit.inference.predictor import Predictor
from acvis_kit.viz.overlay import COUNT_SCALE
from acvis_kit.viz.sheet import BAND, GAP, MARGIN, STRIP, TITLE, save_sheet, soundtrack_sheet
from tests.conftest import TINY, make_model
from tests.semantic_models import dog_and_car


def test_a_row_per_soundtrack_and_a_column_per_frame(noise_clip: Clip) -> None:
    prediction = Predictor(make_model(TINY))(noise_clip)
    nothing = replace(prediction, tracks=())
    sheet = soundtrack_sheet({"original": prediction, "muted": nothing}, columns=3, side=60)
    wide = round(60 * noise_clip.size[1] / noise_clip.size[0])
    assert sheet.size == (3 * wide + 2 * GAP, 2 * (TITLE + 60 + STRIP + 2 * BAND + MARGIN) + GAP)


def test_a_row_without_masks_is_the_plain_frame_and_masks_change_it(noise_clip: Clip) -> None:
    prediction = Predictor(make_model(TINY))(noise_clip)
    assert prediction.tracks
    side = noise_clip.size[0]
    plain = soundtrack_sheet({"x": replace(prediction, tracks=())}, columns=1, side=side)
    painted = soundtrack_sheet({"x": prediction}, columns=1, side=side)
    box = (0, TITLE, noise_clip.size[1], TITLE + side - 20)
    want = noise_clip.frames[0].permute(1, 2, 0).numpy()[: side - 20]
    # the count is written into the upper left corner
    difference = np.abs(np.asarray(plain.crop(box)).astype(int) - want).max(-1)
    assert (difference > 0).mean() < 0.5
    assert np.abs(np.asarray(painted.crop(box)).astype(int) - want).max(-1).mean() > difference.mean()


def test_the_bands_show_predicted_counts_above_true_ones(noise_clip: Clip) -> None:
    prediction = replace(Predictor(make_model(TINY))(noise_clip), counts=torch.tensor([0, 1, 2, 0, 1, 2, 0, 1]))
    true = [2, 2, 2, 2, 0, 0, 0, 0]
    sheet = np.asarray(soundtrack_sheet({"x": prediction}, {"x": true}, columns=2, side=64))
    cells = (np.arange(8) + 0.5) * sheet.shape[1] / 8
    top = TITLE + 64 + STRIP + BAND // 2 - 1
    for row, counts in enumerate((prediction.counts.tolist(), true)):
        colours = [sheet[top + row * BAND, int(x)].tolist() for x in cells]
        assert colours == [list(ImageColor.getrgb(COUNT_SCALE[count])) for count in counts]


def test_a_wrong_count_is_marked(noise_clip: Clip) -> None:
    prediction = Predictor(make_model(TINY))(noise_clip)
    right = soundtrack_sheet({"x": prediction}, {"x": prediction.counts.tolist()}, columns=2)
    wrong = soundtrack_sheet({"x": prediction}, {"x": [int(c == 0) for c in prediction.counts]}, columns=2)
    assert right.size == wrong.size and right.tobytes() != wrong.tobytes()


def test_predictions_of_different_clips_are_refused(noise_clip: Clip) -> None:
    prediction = Predictor(make_model(TINY))(noise_clip)
    with pytest.raises(DataError, match="one clip"):
        soundtrack_sheet({"a": prediction, "b": replace(prediction, counts=prediction.counts[:2])})
    with pytest.raises(DataError, match="made from a clip"):
        soundtrack_sheet({"a": replace(prediction, clip=None)})


def texts_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    texts: list[str] = []
    draw = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw, "text", lambda self, at, text, **kw: texts.append(text) or draw(self, at, text, **kw)
    )
    return texts


def test_below_a_frame_of_a_semantic_prediction_are_its_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = texts_of(monkeypatch)
    counted = soundtrack_sheet({"counted": dog_and_car()}, columns=4)
    assert {"0 s: dog", "1 s: dog, car", "1.5 s: car"} <= set(texts)
    muted = dog_and_car(counts=False).above(0.9)
    uncounted = soundtrack_sheet({"muted": muted}, columns=4)
    assert "0.5 s: nothing" in texts and uncounted.size == counted.size
    bands = np.asarray(uncounted)[TITLE + 176 + STRIP :]
    assert (bands == 255).all()  # of a system that does not count


def test_times_below_frames_are_seconds_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = texts_of(monkeypatch)
    given = dog_and_car()
    soundtrack_sheet({"x": replace(given, clip=replace(given.clip, start=7.0))}, columns=4)
    assert {"7 s: dog", "8 s: dog, car", "8.5 s: car"} <= set(texts)


def test_a_text_that_is_wider_than_its_frame_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = texts_of(monkeypatch)
    soundtrack_sheet({"x": replace(dog_and_car(), class_names=("a dog that barks at a car", "cat", "car"))}, side=60)
    assert any(text.startswith("0 s: a dog") and text.endswith("…") for text in texts)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_sheet_replaces_an_earlier_one_and_no_file_of_others(tmp_path: Path, suffix: str) -> None:
    sheet, place = Image.new("RGB", (8, 6), "red"), tmp_path / "pictures" / f"clip{suffix}"
    save_sheet(sheet, place)
    save_sheet(Image.new("RGB", (8, 6), "blue"), place)
    with Image.open(place) as there:
        assert there.convert("RGB").getpixel((0, 0))[2] > 200
    sheet.save(place)  # somebody's own picture
    photo = place.read_bytes()
    with pytest.raises(AcvisError, match="is not from acvis evaluate"):
        save_sheet(sheet, place)
    assert place.read_bytes() == photo
    place.write_text("notes", encoding="utf-8")
    with pytest.raises(AcvisError, match="choose another folder"):
        save_sheet(sheet, place)
