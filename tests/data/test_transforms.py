"""Windows, colours and loudness: as in the paper, the same for all frames, and applied to masks too."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from acvis_kit.data.transforms import (
    AUGMENTATIONS,
    FILL,
    FILMED,
    PAPER,
    SYNTH,
    Augmentation,
    Views,
    change_sound,
    change_spectrum,
    draw_views,
    recolour,
    scaled_size,
)
from acvis_kit.errors import ConfigError

SOURCE = (720, 1280)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_papers_sizes_are_from_its_list_and_the_long_side_is_bounded() -> None:
    sizes = {draw_views(PAPER, SOURCE, 5, rng(n)).size for n in range(400)}
    assert {min(size) for size in sizes if max(size) < 768} <= set(PAPER.short_sides)
    assert {288, 512} & {min(size) for size in sizes} and max(max(size) for size in sizes) == 768
    whole = {draw_views(Augmentation(short_sides=PAPER.short_sides), SOURCE, 5, rng(n)).size for n in range(99)}
    # 720 x 1280 at 448 pixels would be 796 wide: 768 wide is 432 high
    assert whole == {(288, 512), (320, 569), (352, 626), (384, 683), (416, 740), (432, 768)}


def test_half_of_the_papers_clips_are_cropped_within_its_bounds() -> None:
    views = [draw_views(PAPER, SOURCE, 5, rng(n)) for n in range(600)]
    cropped = [v for v in views if v.boxes[0].tolist() != [0, 0, 1280, 720]]
    assert 0.44 < len(cropped) / len(views) < 0.56
    for view in cropped:
        widths, heights = view.boxes[:, 2] - view.boxes[:, 0], view.boxes[:, 3] - view.boxes[:, 1]
        assert np.ptp(widths) < 1e-9 and np.ptp(heights) < 1e-9  # one size for the clip
        assert (view.boxes >= -1e-9).all() and (view.boxes[:, 2] <= 1280 + 1e-9).all()
        fits = [
            384 - 1e-6 <= heights[0] * side / 720 <= min(side, 600) + 1e-6
            and 384 - 1e-6 <= widths[0] * scaled_size(SOURCE, side)[1] / 1280 <= 600 + 1e-6
            for side in (400, 500, 600)
        ]
        assert any(fits)
    assert 0.44 < sum(view.mirrored for view in views) / len(views) < 0.56


@pytest.mark.parametrize("augmentation", [PAPER, SYNTH])
def test_the_window_moves_on_a_straight_line(augmentation: Augmentation) -> None:
    moved = 0
    for n in range(50):
        corners = draw_views(augmentation, (128, 128) if augmentation is SYNTH else SOURCE, 5, rng(n)).boxes[:, :2]
        steps = np.diff(corners, axis=0)
        assert np.allclose(steps, steps[0])
        moved += bool(np.abs(steps).max() > 0.5)
    assert moved > 10


def test_zoom_keeps_the_size_and_shows_the_whole_frame_or_a_part_of_it() -> None:
    for n in range(100):
        view = draw_views(Augmentation(zoom=(0.8, 1.25)), (100, 200), 4, rng(n))
        height = view.boxes[:, 3] - view.boxes[:, 1]
        assert view.size == (100, 200) and 79.9 < height[0] < 125.1
        inside = (view.boxes[:, 1] >= -1e-9) & (view.boxes[:, 3] <= 100 + 1e-9)
        around = (view.boxes[:, 1] <= 1e-9) & (view.boxes[:, 3] >= 100 - 1e-9)
        assert (inside if height[0] <= 100 else around).all()


def test_masks_follow_the_picture_exactly() -> None:
    """A rectangle on whole pixels, doubled in size, cropped and mirrored: every pixel is known."""
    mask = np.zeros((6, 8), bool)
    mask[2:4, 3:7] = True
    view = Views(np.array([[2.0, 1.0, 8.0, 5.0]]), (8, 12))  # columns 2..8, rows 1..5, twice as large
    expected = np.zeros((8, 12), bool)
    expected[2:6, 2:10] = True
    assert np.array_equal(view.mask(mask, 0), expected)
    mirrored = Views(view.boxes, view.size, mirrored=True)
    assert np.array_equal(mirrored.mask(mask, 0), expected[:, ::-1])


@pytest.mark.parametrize("augmentation", [PAPER, SYNTH, Augmentation(zoom=(0.5, 0.6), flip=1.0)])
def test_masks_lie_where_the_colour_lies(augmentation: Augmentation) -> None:
    """The picture is white where the mask is. Pixels at edges are mixed, hence the tolerances."""
    mask = np.zeros((200, 300), bool)
    mask[40:150, 60:220] = True
    picture = Image.fromarray(np.repeat(mask[..., None] * np.uint8(255), 3, axis=2))
    for n in range(20):
        view = draw_views(augmentation, (200, 300), 3, rng(n))
        for t in range(3):
            inside, white = view.mask(mask, t), view.image(picture, t)[..., 0].astype(int)
            assert inside.shape == view.size
            assert (white[inside] > 55).all() and (white[~inside] < 200).all()  # a quarter at a corner
            assert (inside == (white > 127)).mean() > 0.98


def test_outside_the_frame_is_the_mean_colour_and_no_mask() -> None:
    picture = Image.new("RGB", (10, 10), (0, 0, 0))
    view = Views(np.array([[-5.0, -5.0, 15.0, 15.0]]), (20, 20))
    pixels = view.image(picture, 0)
    assert (pixels[:5] == FILL).all() and (pixels[:, 15:] == FILL).all() and (pixels[5:15, 5:15] == 0).all()
    inside = view.mask(np.ones((10, 10), bool), 0)
    assert inside.sum() == 100 and inside[5:15, 5:15].all()


def test_no_augmentation_changes_nothing() -> None:
    frames = rng().integers(0, 256, (3, 20, 30, 3), dtype=np.uint8)
    view = draw_views(AUGMENTATIONS["none"], (20, 30), 3, rng())
    assert np.array_equal(view.image(Image.fromarray(frames[0]), 0), frames[0])
    assert recolour(Augmentation(), frames, rng()) is frames
    seconds = rng().standard_normal((3, 16000), np.float32)
    assert change_sound(Augmentation(), seconds, rng()) is seconds


def test_colours_change_alike_in_all_frames() -> None:
    still = np.repeat(rng().integers(40, 200, (1, 16, 16, 3), dtype=np.uint8), 4, axis=0)
    changed = recolour(Augmentation(brightness=0.2, contrast=0.2, tint=0.1), still, rng(3))
    assert (changed == changed[:1]).all() and not np.array_equal(changed, still)
    brighter = [recolour(Augmentation(brightness=0.2), still, rng(n)).mean() / still.mean() for n in range(40)]
    assert 0.79 < min(brighter) < 0.9 and 1.1 < max(brighter) < 1.21
    grey = np.full((4, 64, 64, 3), 128, np.uint8)
    grainy = recolour(Augmentation(grain=6.0), grey, rng(5)).astype(float)
    assert 0 < grainy.std() <= 6.2 and abs(grainy.mean() - 128) < 0.2
    assert not np.array_equal(grainy[0], grainy[1])  # one level per clip, other noise in each frame


def test_noise_has_the_level_asked_for() -> None:
    seconds = np.zeros((3, 16000), np.float32)
    seconds[1] = 0.1
    noisy = change_sound(Augmentation(noise_share=1.0, noise_snr_db=(20.0, 20.0)), seconds, rng())
    added = noisy - seconds
    assert np.allclose(added.std(axis=1), 0.01, rtol=0.05)  # 20 dB below the loudest second, in all of them
    silent = change_sound(Augmentation(noise_share=1.0, noise_snr_db=(20.0, 20.0)), np.zeros_like(seconds), rng())
    assert np.allclose(silent.std(axis=1), 0.01, rtol=0.05)
    louder = [change_sound(Augmentation(gain_db=6.0), seconds, rng(n))[1, 0] / 0.1 for n in range(60)]
    assert 0.5 < min(louder) < 0.6 and 1.7 < max(louder) < 2.0


def test_a_wrong_value_is_named() -> None:
    for wrong in ({"flip": 1.5}, {"zoom": (1.2, 0.8)}, {"zoom": (0.0, 1.0)}, {"noise_share": -0.1}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Augmentation(**wrong)


def test_spectra_are_shifted_tilted_and_covered_only_for_filmed_scenes() -> None:
    rng = np.random.default_rng(0)
    log_mel = rng.standard_normal((30, 96, 64)).astype(np.float32)
    assert change_spectrum(SYNTH, log_mel, rng) is log_mel
    changed = change_spectrum(FILMED, log_mel, rng)
    assert changed.shape == log_mel.shape and changed.dtype == np.float32
    covered = (changed.std(axis=1) < 1e-5).sum(axis=1)  # bands without any change in time
    assert covered.max() < 12 and 0.1 < (covered > 0).mean() < 0.6
    whole = np.flatnonzero(covered == 0)
    # the rows of a second are those before, in a circle, each with the same slope over the bands
    before, after = log_mel[whole[0]], changed[whole[0]]
    shift = int(np.argmin([np.abs(np.roll(before, n, axis=0) - after).max() for n in range(96)]))
    slope = (after - np.roll(before, shift, axis=0))[0]
    assert np.allclose(after - np.roll(before, shift, axis=0), slope, atol=1e-5)
    assert np.allclose(np.diff(slope), np.diff(slope)[0], atol=1e-5) and np.abs(slope).max() <= 0.6 + 1e-5
