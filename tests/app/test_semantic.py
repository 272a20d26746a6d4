"""The page with weights of AVSC and RAVS: class maps with a legend, counts of instances or none."""

from __future__ import annotations

import csv
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from acvis_kit.app import about, downloads, views
from acvis_kit.app.handlers import ORIGINAL, OUTPUTS, Handlers
from acvis_kit.app.layout import build_app
from acvis_kit.app.sound_settings import SoundSettings
from acvis_kit.app.studio import Studio, Take, TakeView
from acvis_kit.weights.load import Loaded, save_model
from tests.app.conftest import make_clip, quiet
from tests.semantic_models import dog_and_car, marking_avsc, marking_ravs

LOADED = {"avsc": Loaded(marking_avsc(), "random"), "ravs": Loaded(marking_ravs(), "random")}
VIEW = TakeView(0.5)


@pytest.fixture(scope="module", params=["avsc", "ravs"])
def system(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def studio(system: str, examples: Path) -> Studio:
    """With an example of another content than the clip."""
    (examples / "two.mp4").unlink()
    return Studio(LOADED[system], examples=examples)


@pytest.fixture
def take(studio: Studio, clip: str) -> Take:
    return studio.run("s", Path(clip), SoundSettings(), VIEW, quiet)


def test_a_take_is_seen_and_downloaded(take: Take, system: str, cache: Path) -> None:
    names = LOADED[system].model.config.class_names
    picture, masks, colours = views.second(take, VIEW, 0)
    assert picture.shape == (64, 96, 3) and masks and all(mask.shape == (64, 96) for mask, _ in masks)
    assert {label.rsplit(" ", 1)[0] for label in colours} <= set(names) and all("%" in label for label in colours)
    table = views.track_table(take, VIEW)
    assert "aria-label='Classes'" in table and ">class</th>" in table and "class='chip'" in table
    assert "is marked" in views.found(take, VIEW) or "classes are marked" in views.found(take, VIEW)
    lanes = [bar.y[0] for bar in views.timeline(take, VIEW).data if bar.orientation == "h"]
    assert lanes == [row["class"] for row in views.track_rows(take, VIEW)] and set(lanes) <= set(names)
    overlay, result, counts, archive = downloads.write_files(take, VIEW, take.videos[VIEW], LOADED[system])
    assert tuple(file.name for file in (overlay, result, counts, archive)) == downloads.NAMES
    assert str(cache.parent) not in result.read_text() and json.loads(result.read_text())["results"]
    assert [row["start"] for row in csv.DictReader(counts.open())] == ["0", "1"]
    with zipfile.ZipFile(archive) as opened:
        assert all(re.fullmatch(r"(\w+-\d/\d{5}\.png|README\.txt)", name) for name in opened.namelist())
        assert len(opened.namelist()) > 1


def test_counts_are_those_of_instances_for_avsc_and_absent_for_ravs(take: Take, system: str) -> None:
    caption, prediction = views.second_caption(take, VIEW, 1), take.shown(VIEW)
    assert caption.startswith("Second 1 to 2: **")
    scatters = [trace for trace in views.timeline(take, VIEW).data if trace.type == "scatter"]
    texts = [text for trace in scatters if trace.mode == "text" for text in trace.text]
    if system == "avsc":
        heard = prediction.class_scores > VIEW.threshold
        assert prediction.counts.tolist() == (prediction.instances * heard).sum(1).tolist()
        assert f"**{int(prediction.counts[1])} sounding**" in caption
        assert texts == [f"<b>{count}</b>" for count in prediction.counts.tolist()]
    else:
        assert prediction.counts is None and "sounding**" not in caption and texts == []


def test_a_class_that_is_shown_and_not_counted_is_named() -> None:
    """Frames 0 and 1: a dog in two parts; 2: a dog and a car; 3: a car."""

    def taken(seen: list[list[int]], heard: list[list[float]]) -> Take:
        prediction = replace(dog_and_car(fps=1.0), instances=torch.tensor(seen), class_scores=torch.tensor(heard))
        prediction = replace(prediction, counts=(prediction.instances * (prediction.class_scores > 0.5)).sum(1))
        prediction = replace(prediction, clip=replace(prediction.clip, source=Path("x.mp4")))
        return Take(1, "x.mp4", SoundSettings(), prediction, prediction.clip, [], 0.0, 0.0)

    dog, both, car = [0.75, 0.0, 0.0], [0.75, 0.0, 0.75], [0.0, 0.0, 0.75]
    agreed = taken([[2, 0, 1]] * 4, [dog, dog, both, car])
    texts = [views.second_caption(agreed, VIEW, t) for t in range(4)]
    assert texts[2] == "Second 2 to 3: **dog, car**, **3 sounding**" and all(text.endswith("**") for text in texts)
    assert "counted" not in views.summary(agreed, VIEW)
    small = taken([[2, 0, 0]] * 4, [dog, both, both, car])
    texts = [views.second_caption(small, VIEW, t) for t in range(4)]
    assert texts[3] == "Second 3 to 4: **car**, **0 sounding**. Not counted: car (too small)."
    assert "* In 2 of 4 seconds a class is marked that is not counted, or counted that is not marked." in (
        views.summary(small, VIEW)
    )
    other = taken([[2, 1, 1]] * 4, [dog, [0.75, 0.75, 0.0], dog, car])
    texts = [views.second_caption(other, VIEW, t) for t in range(4)]
    assert texts[1].endswith("**3 sounding**. Counted, but not marked: cat.")
    assert texts[2].endswith("**2 sounding**. Not counted: car (its class scores too low).")


def test_the_threshold_takes_pixels_without_another_run(take: Take, system: str) -> None:
    shares = [take.shown(TakeView(value)).shares().sum() for value in (0.1, 0.5, 0.9)]
    assert shares[0] > shares[1] > shares[2] or (system == "avsc" and shares[0] > shares[2])
    nothing = TakeView(1.0)
    assert views.found(take, nothing) == "Nothing is marked." and views.liveliest(take, nothing) == 0
    assert "No class scores above" in views.track_table(take, nothing)
    assert views.second_caption(take, nothing, 0).startswith("Second 0 to 1: **nothing**")


def test_a_clip_is_encoded_once_for_all_sounds(studio: Studio, system: str, clip: str) -> None:
    first, muted, swapped = (
        studio.run("s", Path(clip), settings, VIEW, quiet)
        for settings in (SoundSettings(), SoundSettings("mute"), SoundSettings("swap", str(studio.examples["one"])))
    )
    assert first.encoding > 0 and muted.encoding == swapped.encoding == 0
    assert len({take.videos[VIEW] for take in (first, muted, swapped)}) == 3
    assert not np.array_equal(first.prediction.clip.waveform, muted.prediction.clip.waveform)
    session = studio.session("s")
    maps = 2 if system == "avsc" else 3  # of classes and probabilities, and of uncertainty: 2 bytes a pixel
    height, width = first.prediction.size
    assert list(session.takes) == [1, 2, 3] and first.bytes_in_memory == 2 * height * width * 2 * maps


def test_class_maps_are_kept_at_the_size_of_the_network(studio: Studio, tmp_path: Path) -> None:
    """They are not compressed; the overlay is as large as the clip."""
    clip = make_clip(tmp_path / "large.mp4")
    side = studio.predictor.inference.input_size
    take = studio.run("s", Path(clip), SoundSettings(), VIEW, quiet)
    assert min(take.prediction.size) == min(side, 64) and take.prediction.size[1] > take.prediction.size[0]


def test_the_python_lines_repeat_the_run(take: Take, system: str, tmp_path: Path, monkeypatch) -> None:
    folder = save_model(LOADED[system].model, tmp_path / "weights")
    monkeypatch.chdir(tmp_path)
    code = downloads.python_lines(take, VIEW, Loaded(LOADED[system].model, folder.name), 120)
    assert "ak.SemanticPredictor(model, threshold=0.5)" in code
    exec(code, {})
    files = downloads.write_files(take, VIEW, take.videos[VIEW], LOADED[system])
    ours, theirs = (json.loads(path.read_text()) for path in (files[1], tmp_path / "result.json"))
    settings = {"sound": "original", "threshold": 0.5, "weights": "random"}  # these weights have no count gate
    assert ours == theirs | {"settings": settings}


def test_the_page_has_no_gate_and_says_what_the_weights_mark(studio: Studio, system: str) -> None:
    config = build_app(LOADED[system], studio=studio).get_config_file()
    parts = {part["props"].get("elem_id"): part["props"] for part in config["components"]}
    assert parts["threshold"]["label"] == "Pixel score above" and parts["threshold"]["value"] == 0.5
    assert not parts["gate"]["visible"]
    assert not studio.has_count_head and not studio.view.gate
    assert "pixels of which class" in about.header(LOADED[system])
    panel = about.panel(LOADED[system])
    assert {"avsc": "connected parts of at least 0.1% of the picture", "ravs": "not how many objects"}[system] in panel
    assert ", ".join(LOADED[system].model.config.class_names) in panel


def test_a_run_fills_every_output_of_the_page(studio: Studio, clip: str) -> None:
    handlers = Handlers(studio)
    outputs = handlers.run(clip, "original", "", None, 0, 0, 0, 0, 0.5, False, 0.5, ORIGINAL, None, quiet_progress)
    assert len(outputs) == 1 + OUTPUTS and outputs[0] == ""
    video, summary, rows, *files = handlers.predict(clip, "mute", progress=quiet_progress)
    assert Path(video).is_file() and "silence" in summary and rows and len(files) == 3


def quiet_progress(*_: object, **__: object) -> None:
    """A gr.Progress that does nothing."""
