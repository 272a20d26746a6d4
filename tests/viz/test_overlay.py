"""Painted pictures and the overlay video."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from acvis_kit.clip import Clip
from acvis_kit.errors import AcvisError, ConfigError, DataError
from acvis_kit.inference.prediction import Prediction, Track
from acvis_kit.inference.semantic import SemanticPrediction
from acvis_kit.masks import encode_masks
from acvis_kit.media.load import load_clip
from acvis_kit.media.write import write_video
from acvis_kit.viz.overlay import Painter, paint, palette, track_colour, track_hex, write_overlay
from tests.semantic_models import dog_and_car

GREY = 100
SIZE = (120, 160)
LEFT, RIGHT = (slice(40, 110), slice(10, 70)), (slice(40, 110), slice(90, 150))  # regions of the two masks
IN_LEFT, IN_RIGHT, NOWHERE = (100, 20), (100, 140), (60, 80)  # pixels far from outlines and labels


def track(number: int, region: tuple[slice, slice], sounding: list[bool], score: float = 0.9) -> Track:
    masks = torch.zeros(len(sounding), *SIZE, dtype=torch.bool)
    for t, sounds in enumerate(sounding):
        masks[(t, *region)] = sounds
    return Track(number, number, score, tuple(encode_masks(masks)), torch.ones(len(sounding)))


def prediction(*tracks: Track, counts: list[int] | None = None, clip: Clip | None = None) -> Prediction:
    """With count probabilities of 0 and 1, or without a count head if no counts are given."""
    length = len(tracks[0].masks) if tracks else 2
    if counts is None:
        return Prediction(tracks, torch.zeros(length, dtype=torch.int64), None, ("dog", "cat"), SIZE, clip=clip)
    probabilities = torch.eye(3)[counts]
    return Prediction(tracks, torch.tensor(counts), probabilities, ("dog", "cat"), SIZE, clip=clip)


def picture(size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.full((*size, 3), GREY, np.uint8)


@pytest.fixture
def duo() -> Prediction:
    """The left object sounds in both frames, the right one in the last frame."""
    return prediction(track(0, LEFT, [True, True]), track(1, RIGHT, [False, True]), counts=[1, 2])


@pytest.fixture
def grey_clip(tmp_path: Path) -> Clip:
    """Two seconds of grey at 10 pictures per second, with a tone."""
    tone = 0.3 * torch.sin(torch.arange(2 * 16000) * 2 * torch.pi * 440 / 16000)
    path = write_video(tmp_path / "grey.mp4", [picture()] * 20, 10, tone)
    return load_clip(path)


def pictures_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def loudness(path: Path) -> float:
    with av.open(str(path)) as container:
        samples = np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])
    return float(np.sqrt(np.mean(samples**2)))


def test_the_first_21_tracks_have_different_colours():
    assert len(set(palette(21))) == 21
    assert palette(30)[25] == track_colour(25)
    assert (track_colour(0), track_hex(0)) == ((230, 159, 0), "#e69f00")


def test_a_mask_is_blended_and_the_rest_is_unchanged(duo):
    given = picture()
    painted = paint(given, duo, 0, opacity=0.5)
    colour = np.array(track_colour(0))
    assert np.abs(painted[IN_LEFT] - (colour + GREY) / 2).max() <= 1
    assert (painted[IN_RIGHT] == GREY).all()  # silent in this frame
    assert (painted[NOWHERE] == GREY).all()
    assert (given == GREY).all()


def test_opacity_one_covers_and_zero_leaves_the_outline(duo):
    assert tuple(paint(picture(), duo, 0, opacity=1)[IN_LEFT]) == track_colour(0)
    outlined = paint(picture(), duo, 0, opacity=0)
    assert tuple(outlined[IN_LEFT]) == (GREY, GREY, GREY)
    assert tuple(outlined[109, 20]) == track_colour(0)  # the lowest row of the mask


def test_a_mask_that_reaches_the_edge_has_no_outline_there():
    whole = prediction(track(0, (slice(0, 120), slice(0, 160)), [True]))
    painted = paint(picture(), whole, 0, opacity=0)
    assert (painted[-1] == GREY).all()


def test_a_track_keeps_its_colour_when_others_are_filtered_out(duo):
    alone = replace(duo, tracks=duo.tracks[1:])
    assert tuple(paint(picture(), alone, 1)[IN_RIGHT]) == tuple(paint(picture(), duo, 1)[IN_RIGHT])


def test_the_better_track_is_on_top():
    both = prediction(track(0, LEFT, [True]), track(1, LEFT, [True], score=0.4))
    assert tuple(paint(picture(), both, 0, opacity=1)[IN_LEFT]) == track_colour(0)


def test_the_count_is_in_the_corner_and_or_more_looks_different(duo):
    none, two = prediction(counts=[0, 2]), prediction()
    blank, two_or_more = paint(picture(), none, 0), paint(picture(), none, 1)
    differs = (blank != two_or_more).any(-1)
    assert differs.any()
    assert not differs[30:].any() and not differs[:, :60].any()
    exactly_two = paint(picture(), replace(two, counts=torch.tensor([2, 2])), 0)
    assert (exactly_two != two_or_more).any()


def test_labels_do_not_overlap():
    crowd = prediction(*(track(i, (slice(50, 110), slice(10, 70)), [True]) for i in (0, 1)))
    painted = paint(picture(), crowd, 0, opacity=0)
    full_rows = [(painted == track_colour(i)).all(-1).sum(1) > 20 for i in (0, 1)]
    assert full_rows[0][:50].sum() > 5  # above the masks
    assert full_rows[1][51:100].sum() > 5  # moved down: the place above is taken


@pytest.mark.parametrize("size", [(96, 96), (1920, 1080), (24, 32)])
def test_masks_fit_pictures_of_any_size(duo, size):
    painted = paint(picture(size), duo, 0, opacity=1)
    height, width = size
    assert painted.shape == (*size, 3)
    assert tuple(painted[round(height * 0.85), round(width * 0.15)]) == track_colour(0)
    assert (painted[round(height * 0.85), round(width * 0.85)] == GREY).all()


def test_the_masks_of_a_frame_are_decoded_once(duo, monkeypatch):
    decoded = []
    original = Track.mask
    monkeypatch.setattr(Track, "mask", lambda self, t: decoded.append(t) or original(self, t))
    painter = Painter(duo, SIZE)
    for _ in range(10):
        painter(picture(), 0)
    painter(picture(), 1)
    assert decoded == [0, 0, 1, 1]  # two tracks


def test_wrong_pictures_frames_and_opacities_are_refused(duo):
    with pytest.raises(DataError, match=r"expected uint8 \(120, 160, 3\)"):
        Painter(duo, SIZE)(picture((10, 10)), 0)
    with pytest.raises(DataError, match="no frame 2: the 2 frames"):
        paint(picture(), duo, 2)
    with pytest.raises(ConfigError, match=r"opacity=1\.5"):
        paint(picture(), duo, 0, opacity=1.5)


def test_the_overlay_shows_the_masks_of_each_frame(duo, grey_clip, tmp_path):
    steps = []
    path = write_overlay(replace(duo, clip=grey_clip), tmp_path / "out.mp4", progress=lambda *step: steps.append(step))
    pictures = pictures_of(path)
    marked = [bool(np.abs(image[IN_RIGHT].astype(int) - GREY).max() > 20) for image in pictures]
    assert marked == [False] * 10 + [True] * 10
    assert steps[-1] == ("write", 20, 20)


def test_a_large_overlay_shrinks_to_even_sides(duo, grey_clip, tmp_path):
    path = write_overlay(replace(duo, clip=grey_clip), tmp_path / "small.mp4", max_short_side=50)
    assert pictures_of(path)[0].shape == (50, 66, 3)  # 160 * 50 / 120 = 66.7


def test_the_overlay_has_the_sound_that_the_model_was_given(duo, grey_clip, tmp_path):
    muted = grey_clip.with_audio(torch.zeros_like(grey_clip.waveform))
    assert loudness(write_overlay(replace(duo, clip=grey_clip), tmp_path / "own.mp4")) > 0.1
    assert loudness(write_overlay(replace(duo, clip=muted), tmp_path / "muted.mp4")) == 0


def test_an_overlay_needs_a_picture(duo, tmp_path):
    with pytest.raises(AcvisError, match="made from bare tensors"):
        duo.to_video(tmp_path / "out.mp4")


def test_classes_are_painted_with_a_legend_in_the_upper_left_corner():
    given = dog_and_car()
    small = picture(given.size)
    painted = paint(small, given, 2, opacity=1)
    assert tuple(painted[35, 4]) == track_colour(0) and tuple(painted[30, 55]) == track_colour(2)
    large = picture((200, 300))
    legend = [(paint(large, given, 2)[:60, :80] == track_colour(label)).all(-1).sum() for label in range(3)]
    assert min(legend[0], legend[2]) > 100 and legend[1] == 0  # no cat sounds
    assert not (paint(large, given, 3)[:60, :80] == track_colour(0)).all(-1).any()  # the dog is silent


def test_a_legend_names_shares_and_what_it_has_no_room_for(monkeypatch):
    written = []
    original = Painter._write
    monkeypatch.setattr(
        Painter, "_write", lambda self, d, box, text, c: written.append(text) or original(self, d, box, text, c)
    )
    paint(picture((200, 300)), dog_and_car(), 2)
    assert written == ["3 sounding", "car  13%", "dog  8%"]
    written.clear()
    paint(picture((200, 300)), dog_and_car(counts=False), 0)
    assert written == ["dog  8%"]  # and no count
    written.clear()
    maps = torch.arange(30, dtype=torch.int16).repeat_interleave(20)[None, None].expand(1, 40, 600)
    many = SemanticPrediction(maps, torch.ones(maps.shape).half(), tuple(f"class {n}" for n in range(29)))
    paint(picture((120, 600)), many, 0)
    assert len(written) < 12 and written[-1] == f"+{29 - len(written) + 1} more"


def test_the_overlay_shows_the_classes_of_each_frame(grey_clip, tmp_path):
    given = dog_and_car(fps=1.0)
    maps = given.class_maps[1:3]
    path = replace(given, class_maps=maps, probabilities=given.probabilities[1:3], clip=grey_clip).to_video(
        tmp_path / "out.mp4"
    )
    marked = [bool(np.abs(image[90, 130].astype(int) - GREY).max() > 20) for image in pictures_of(path)]
    assert marked == [False] * 10 + [True] * 10  # the car sounds in the second half
