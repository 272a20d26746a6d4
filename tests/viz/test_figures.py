"""The figures of a prediction over time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from acvis_kit.clip import Clip
from acvis_kit.viz.figures import INK, POINTS, count_figure, envelope, sounding_spans, timeline_figure
from acvis_kit.viz.overlay import track_hex
from tests.semantic_models import dog_and_car
from tests.viz.test_overlay import LEFT, RIGHT, SIZE, prediction, track

DUO = prediction(track(0, LEFT, [True, True]), track(1, RIGHT, [False, True]), counts=[1, 2])
UNCERTAIN = torch.tensor([[0.1, 0.6, 0.3], [0.2, 0.2, 0.6]])
NAMES = ["0 sounding", "1 sounding", "2+ sounding"]


def with_sound(seconds: int = 2) -> Clip:
    return Clip.from_arrays(torch.zeros(seconds, 3, *SIZE, dtype=torch.uint8), torch.sin(torch.arange(seconds * 16000)))


def test_the_timeline_has_sound_counts_probabilities_and_a_lane_per_track() -> None:
    figure = timeline_figure(replace(DUO, clip=with_sound(), count_probs=UNCERTAIN))
    wave, counts, *bars = figure.data
    assert max(wave.y) > 0.8 and wave.x[-1] < 2
    assert list(counts.text) == ["<b>1</b>", "<b>2+</b>"]
    assert [bar.name for bar in bars[:3]] == NAMES
    assert np.allclose(np.sum([bar.y for bar in bars[:3]], axis=0), 1)
    left, right = bars[3:]
    assert set(left.y) == {"dog #0"} and set(right.y) == {"cat #1"}
    assert (list(left.base), list(left.x)) == ([0], [2])
    assert (list(right.base), list(right.x)) == ([1], [1])
    assert right.marker.color == track_hex(1)
    assert figure.layout.xaxis.range == (0, 2)


def test_without_a_clip_or_a_count_head_the_timeline_leaves_their_parts_out() -> None:
    counts, *lanes = timeline_figure(replace(DUO, count_probs=None)).data
    assert counts.mode == "text" and [bar.orientation for bar in lanes] == ["h", "h"]


def test_the_timeline_shows_so_many_lanes_at_most() -> None:
    assert [bar.y[0] for bar in timeline_figure(DUO, lanes=1).data if bar.orientation == "h"] == ["dog #0"]


def test_the_timeline_without_tracks_has_a_note() -> None:
    assert timeline_figure(prediction(counts=[0, 0])).layout.annotations[0].text == "no object is marked"


def test_the_waveform_keeps_its_peaks() -> None:
    sound = np.zeros(16000 * 60, np.float32)
    sound[12345] = -0.5
    low, high, times = envelope(sound)
    assert len(low) <= POINTS and low.min() == -1 and high.max() == 0
    assert times[low.argmin()] == pytest.approx(12345 / 16000, abs=0.1)


def test_the_count_figure_has_steps_and_stacked_probabilities() -> None:
    steps, *bars = count_figure(replace(DUO, count_probs=UNCERTAIN)).data
    assert list(steps.x) == [0, 1, 2] and list(steps.y) == [1, 2, 2] and steps.line.shape == "hv"
    assert [bar.name for bar in bars] == NAMES
    assert np.allclose(np.sum([bar.y for bar in bars], axis=0), 1)
    assert list(bars[0].x) == [0.5, 1.5]


def test_without_a_count_head_the_count_figure_has_the_steps_alone() -> None:
    figure = count_figure(replace(prediction(), counts=torch.tensor([0, 3])))
    assert len(figure.data) == 1
    assert list(figure.layout.yaxis.ticktext) == ["0", "1", "2", "3"]


def test_spans_join_neighbouring_frames() -> None:
    blinking = track(0, LEFT, [True, True, False, True])
    assert sounding_spans(blinking, fps=2) == [(0, 1), (1.5, 2)]
    assert sounding_spans(track(0, LEFT, [False, False]), fps=1) == []


def test_texts_are_readable_on_white_and_on_black() -> None:
    """A contrast of 4.5:1, by WCAG 2; a figure does not know the page that it is on."""
    channels = [int(INK[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    light = np.dot([0.2126, 0.7152, 0.0722], [((c + 0.055) / 1.055) ** 2.4 for c in channels])
    assert min(1.05 / (light + 0.05), (light + 0.05) / 0.05) >= 4.5


def test_the_timeline_of_classes_has_counts_and_uncertainty_where_the_system_states_them() -> None:
    wave, counts, *lanes = timeline_figure(dog_and_car()).data
    assert list(counts.text) == ["<b>2</b>", "<b>2</b>", "<b>3</b>", "<b>1</b>"] and max(wave.y) == 1
    assert [(lane.y[0], list(lane.base), list(lane.x)) for lane in lanes] == [("car", [1], [1]), ("dog", [0], [1.5])]
    assert lanes[1].marker.color == track_hex(0)
    _, uncertainty, *lanes = timeline_figure(dog_and_car(counts=False, uncertain=True)).data
    assert uncertainty.name == "mean uncertainty" and list(uncertainty.y) == pytest.approx(
        [0.1, 0.2, 0.3, 0.4], abs=1e-3
    )
    assert len(lanes) == 2
    nothing = timeline_figure(dog_and_car(clip=False, counts=False).above(0.9))
    assert nothing.layout.annotations[0].text == "no class is marked"
