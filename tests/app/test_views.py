"""The views of a take: timeline, frame, table, summary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from acvis_kit.app import views
from acvis_kit.app.sound_settings import SoundSettings
from acvis_kit.app.studio import FLOOR, Take, TakeView
from acvis_kit.models.acvis.count import CountSource
from tests.app.conftest import quiet

VIEW = TakeView(0.0)


@pytest.fixture
def take(studio, clip) -> Take:
    return studio.run("s", Path(clip), SoundSettings(), VIEW, quiet)


def test_the_timeline_has_the_tracks_of_the_view(take) -> None:
    lanes = [bar.y[0] for bar in views.timeline(take, VIEW).data if bar.orientation == "h"]
    assert lanes == [row["object"] for row in views.track_rows(take, VIEW)]
    assert not [bar for bar in views.timeline(take, TakeView(0.94)).data if bar.orientation == "h"]


def test_a_second_shows_its_masks_at_the_opacity_of_the_view(take) -> None:
    picture, masks, colours = views.second(take, TakeView(0.0, opacity=0.25), 1)
    assert picture.shape == (64, 96, 3)
    shown = [track for track in take.prediction.tracks if track.areas()[1]]
    assert len(masks) == len(shown) and len(colours) == len(masks)
    for (mask, label), track in zip(masks, shown, strict=True):
        assert mask.shape == (64, 96) and set(np.unique(mask)) <= {0, 0.25}
        assert (mask > 0).mean() == pytest.approx(int(track.areas()[1]) / (64 * 96), abs=0.02)
        assert colours[label].startswith("#")
    assert "Second 1 to 2" in views.second_caption(take, VIEW, 1)


def test_rows_give_class_score_seconds_and_share(take) -> None:
    rows = views.track_rows(take, VIEW)
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    track = take.prediction.tracks[0]
    assert rows[0]["class"] == take.prediction.class_names[track.label]
    assert rows[0]["seconds"] == int((track.areas() > 0).sum())
    assert 0 <= rows[0]["share"] <= 1
    table = views.track_table(take, VIEW)
    assert table.count("<tr>") == 4 and rows[0]["object"] in table
    assert "No object scores above the threshold. Lower" in views.track_table(take, TakeView(0.94))
    empty = replace(take, prediction=replace(take.prediction, tracks=()))
    assert "Lower" not in views.track_table(empty, TakeView(FLOOR)), "the slider begins there"


def test_the_summary_gives_durations_and_escapes_names(studio, clip, tmp_path) -> None:
    odd_name = tmp_path / "<img src=x>.mp4"
    odd_name.write_bytes(Path(clip).read_bytes())
    first = views.summary(studio.run("s", odd_name, SoundSettings(), VIEW, quiet), VIEW)
    assert "<img" not in first and "once per clip" in first and "3 objects are marked" in first
    second = views.summary(studio.run("s", odd_name, SoundSettings("mute"), VIEW, quiet), VIEW)
    assert "encoding 0 s (done for take 1)" in second and "silence" in second


def test_the_liveliest_frame_has_the_most_masks(take) -> None:
    shown = [sum(bool(track.areas()[t]) for track in take.prediction.tracks) for t in range(2)]
    assert shown[views.liveliest(take, VIEW)] == max(shown)
    assert views.liveliest(take, TakeView(0.94)) == 0


def counted(take: Take, counts: list[int]) -> Take:
    """The take with these counts, of which 2 means "or more"."""
    probabilities = torch.eye(3)[counts]
    prediction = replace(take.prediction, counts=torch.tensor(counts), count_probs=probabilities, count_source=None)
    return replace(take, prediction=prediction)


def test_masks_beside_another_count_are_explained_and_the_option_named(take) -> None:
    shown = [sum(bool(track.areas()[t]) for track in take.prediction.tracks) for t in range(2)]
    assert shown == [3, 3]
    few = counted(take, [0, 1])
    reason, option = "the count is predicted separately.", f'"{views.GATE}" hides the rest.'
    assert f"**0 sounding** (probability 100%). 3 masks are shown: {reason} {option}" in (
        views.second_caption(few, VIEW, 0)
    )
    note = "the masks are more or fewer than the count, which is predicted separately."
    assert f"* In 2 of 2 seconds {note}" in views.summary(few, VIEW)
    none = TakeView(0.94)
    assert views.second_caption(few, none, 0).endswith("**0 sounding** (probability 100%)")
    assert views.second_caption(few, none, 1).endswith(f"(probability 100%). No mask is shown: {reason}")
    assert f"* In 1 of 2 seconds {note}" in views.summary(few, none)


def test_a_count_of_the_tracks_is_said_to_follow_from_them(take) -> None:
    """The threshold decides which tracks are counted, so the page must not call such a count a separate one."""
    source = CountSource(torch.eye(3)[[0, 0]], torch.full((1, 2), 0.4), torch.tensor([0.9]), "queries")
    few = counted(take, [0, 1])
    few = replace(few, prediction=replace(few.prediction, count_source=source))
    assert "the count weighs how probably each track above the score sounds." in views.second_caption(few, VIEW, 0)


def test_masks_that_fit_the_count_are_not_explained(take) -> None:
    for view, counts in ((VIEW, [2, 2]), (TakeView(0.94), [0, 0]), (TakeView(0.0, gate=True), [0, 1])):
        fitting = counted(take, counts)
        assert "predicted" not in views.second_caption(fitting, view, 1) + views.summary(fitting, view)
    uncounted = replace(take, prediction=replace(take.prediction, count_probs=None))  # masks are counted
    for view in (VIEW, TakeView(0.94)):
        assert "predicted" not in views.second_caption(uncounted, view, 1) + views.summary(uncounted, view)


def test_the_summary_says_if_the_timeline_has_not_all(take, monkeypatch) -> None:
    assert "timeline" not in views.summary(take, VIEW)
    monkeypatch.setattr(views, "LANES_SHOWN", 2)
    assert "* The timeline shows the first 2 of 3 objects." in views.summary(take, VIEW)


def test_a_tiny_share_is_not_shown_as_nothing() -> None:
    texts = [views.share_text(share) for share in (0, 1e-6, 0.00049, 0.0006, 0.25)]
    assert texts == ["0.0%", "<0.1%", "<0.1%", "0.1%", "25.0%"]
