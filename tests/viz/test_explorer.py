"""The explorer: its pictures and texts, and its widgets."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from acvis_kit.clip import Clip
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.inference.prediction import Prediction, Track
from acvis_kit.masks import encode_masks
from acvis_kit.viz import explorer as widgets
from acvis_kit.viz.explorer import Explorer, ExplorerState, explore
from tests.semantic_models import dog_and_car

FRAMES = 4


def prediction(length: int = FRAMES, loud: float = 0.5, tracks: int = 2) -> Prediction:
    """Squares of 8 pixels: track 0 at the upper left in even frames, track 1 at the lower right in all."""
    masks = torch.zeros(2, length, 32, 32, dtype=torch.bool)
    masks[0, ::2, 4:12, 4:12] = True
    masks[1, :, 20:28, 20:28] = True
    made = tuple(
        Track(n, n, score, tuple(encode_masks(masks[n])), masks[n].flatten(1).any(1).float() * 0.9)
        for n, score in list(enumerate((0.9, 0.4)))[:tracks]
    )
    frames = torch.full((length, 3, 32, 32), 100, dtype=torch.uint8)
    waveform = loud * torch.ones(length * 16_000)
    probabilities = torch.tensor([[0.1, 0.7, 0.2]]).repeat(length, 1)
    clip = Clip.from_arrays(frames, waveform)
    return Prediction(made, probabilities.argmax(1), probabilities, ("dog", "<cat>"), (32, 32), clip=clip)


@pytest.fixture
def explorer() -> Explorer:
    return explore(prediction(), muted=prediction(loud=0.0, tracks=0))


def test_hiding_a_track_removes_only_its_mask(explorer: Explorer) -> None:
    both = explorer.picture(ExplorerState("original"), short_side=32)
    one = explorer.picture(ExplorerState("original", hidden=frozenset({0})), short_side=32)
    bare = explorer.picture(ExplorerState("original", hidden=frozenset({0, 1})), short_side=32)
    assert (both[8, 8] != one[8, 8]).any() and (one[8, 8] == bare[8, 8]).all()
    assert (one[26, 26] != bare[26, 26]).any()


def test_the_threshold_and_the_count_gate_filter_tracks(explorer: Explorer) -> None:
    assert [t.id for t in explorer.shown(ExplorerState("original")).tracks] == [0, 1]
    assert [t.id for t in explorer.shown(ExplorerState("original", score_threshold=0.5)).tracks] == [0]
    gated = explorer.shown(ExplorerState("original", count_gate=True))  # one object sounds: one mask per frame is kept
    assert [(t.areas() > 0).tolist() for t in gated.tracks] == [[True, False] * 2, [False, True] * 2]


def test_another_soundtrack_shows_its_own_prediction_and_plays_its_own_sound(explorer: Explorer) -> None:
    assert not explorer.shown(ExplorerState("muted")).tracks
    assert not np.frombuffer(explorer.sound("muted")[44:], np.int16).any()
    assert (np.frombuffer(explorer.sound("original")[44:], np.int16) == 16383).all()
    assert len(explorer.sound("original")) == 44 + 2 * 16_000 * FRAMES


def test_the_caption_has_the_probability_of_each_count(explorer: Explorer) -> None:
    assert explorer.caption(ExplorerState("original", t=2)) == (
        "second 2: <b>1 sounding</b> (0: 10 %, 1: 70 %, 2+: 20 %)"
    )


def test_the_timeline_has_a_row_per_track_and_escapes_names(explorer: Explorer) -> None:
    rows = explorer.timeline(ExplorerState("original")).split("<tr>")[1:]
    assert [row.count("background:#") for row in rows] == [FRAMES // 2, FRAMES]
    assert "&lt;cat&gt; #1" in rows[1]
    assert "nothing" in explorer.timeline(ExplorerState("muted"))


def test_without_a_kernel_it_is_a_still_picture(explorer: Explorer) -> None:
    bundle = explorer._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/png"}
    still = explorer.still()
    assert still.size[0] > 4 * widgets.STILL_SIDE and still.size[1] > 2 * widgets.STILL_SIDE


def test_without_ipywidgets_a_kernel_gets_the_still_picture(explorer: Explorer, monkeypatch) -> None:
    monkeypatch.setattr(widgets, "_in_kernel", lambda: True)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert set(explorer._repr_mimebundle_()) == {"text/plain", "image/png"}


def test_predictions_of_different_length_or_none_are_refused() -> None:
    with pytest.raises(DataError, match=r"'longer' has 6 frames .* 'original' has 4"):
        explore(prediction(), longer=prediction(length=6))
    with pytest.raises(ConfigError, match="at least one"):
        explore({})


def test_a_prediction_without_a_clip_is_refused() -> None:
    from dataclasses import replace

    with pytest.raises(DataError, match="no clip"):
        explore(replace(prediction(), clip=None))


class TestWidgets:
    """In a kernel, with ipywidgets."""

    @pytest.fixture
    def controls(self, explorer: Explorer):
        pytest.importorskip("ipywidgets")
        return explorer.widget.controls

    def test_the_bundle_holds_the_widget_beside_the_still_picture(self, explorer, controls, monkeypatch) -> None:
        monkeypatch.setattr(widgets, "_in_kernel", lambda: True)
        bundle = explorer._repr_mimebundle_()
        assert {"application/vnd.jupyter.widget-view+json", "image/png"} <= set(bundle)

    def test_the_slider_steps_through_the_frames(self, controls) -> None:
        before = self.pixels(controls)
        controls.frame.value = 1  # where track 0 is silent
        assert controls.view().t == 1 and "second 1" in controls.caption.value
        assert abs(self.pixels(controls).astype(int) - before).max() > 20

    def test_a_tracks_checkbox_hides_it(self, controls) -> None:
        first, _ = controls.tracks.children
        first.value = False
        assert controls.view().hidden == {0} and "dog" not in controls.timeline.value

    def test_toggling_the_sound_changes_masks_tracks_and_audio(self, controls) -> None:
        original = controls.audio.value
        controls.soundtrack.value = "muted"
        assert controls.tracks.children == () and controls.audio.value != original
        assert "nothing" in controls.timeline.value
        controls.soundtrack.value = "original"
        assert len(controls.tracks.children) == 2 and controls.audio.value == original

    def test_thresholds_and_gate_act_at_once(self, controls) -> None:
        controls.threshold.value = 0.5
        assert "cat" not in controls.timeline.value
        controls.threshold.value = 0.0
        controls.gate.value = True
        assert controls.timeline.value.count("background:#") == FRAMES  # one mask per frame

    @staticmethod
    def pixels(controls) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(controls.image.value)))


def test_classes_are_explored_as_tracks_are() -> None:
    explorer = explore(dog_and_car(), muted=dog_and_car(counts=False).above(0.9))
    view = ExplorerState("original", t=2)
    assert explorer.caption(view) == "second 1: <b>3 sounding</b>"
    assert explorer.caption(ExplorerState("muted", t=2)) == "second 1"
    assert explorer.timeline(view).count("background:#") == 5 and "car  0.56" in explorer.timeline(view)
    hidden = ExplorerState("original", t=2, hidden=frozenset({0}), score_threshold=0.52)
    assert [mark.name for mark in explorer.shown(hidden).marks] == ["car"]
    assert np.abs(explorer.picture(view).astype(int) - explorer.picture(hidden)).max() > 20
    assert explorer.still().size[0] > 0 and "dog in 3" in repr(explorer)


def test_the_widget_of_classes_has_a_box_for_each() -> None:
    pytest.importorskip("ipywidgets")
    controls = explore(dog_and_car()).widget.controls
    assert [box.description for box in controls.tracks.children] == ["car", "dog"] and controls.gate.disabled
    controls.threshold.value = 0.6
    assert "car" not in controls.timeline.value
