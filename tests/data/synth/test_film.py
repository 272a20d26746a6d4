from __future__ import annotations

from pathlib import Path

import numpy as np

from acvis_kit.data.synth.film import draw_film_scene, filmed, filmed_frames, write_film
from acvis_kit.data.synth.filmed import PhotoMaterial
from acvis_kit.media.load import load_clip

SEED = 7


def test_the_middle_of_each_second_is_the_frame_of_the_data_set() -> None:
    scene = draw_film_scene(SEED, 64, 4)
    film = filmed(scene, 5)  # frame 5 t + 2 shows t + 0.5
    assert film.length == 20
    for thing, smooth in zip(scene.things, film.things, strict=True):
        np.testing.assert_allclose(smooth.path.x[2::5], thing.path.x)
        np.testing.assert_allclose(smooth.path.turn[2::5], thing.path.turn)
    np.testing.assert_array_equal(film.sounding[:, ::5], scene.sounding)
    np.testing.assert_allclose(film.share[:, 2::5], scene.share)


def test_nothing_jumps_between_seconds() -> None:
    scene = draw_film_scene(SEED, 64, 4)
    coarse = max(np.abs(np.diff(thing.path.x)).max() for thing in scene.things)
    fine = max(np.abs(np.diff(thing.path.x)).max() for thing in filmed(scene, 10).things)
    assert fine < 0.35 * coarse


def test_a_film_loads_as_a_clip_with_the_scenes_sound(tmp_path: Path) -> None:
    scene = draw_film_scene(SEED, 64, 4)
    clip = load_clip(write_film(tmp_path / "film.mp4", scene, 6))
    assert len(clip) == 4 and clip.size == (64, 64) and clip.source_fps == 6
    expected = np.sqrt(np.square(scene.soundtrack.render().reshape(4, -1)).mean(1))
    found = clip.waveform.view(4, -1).square().mean(1).sqrt().numpy()
    np.testing.assert_allclose(found, expected, rtol=0.15, atol=2e-3)


def test_the_same_seed_paints_the_same_film(tmp_path: Path) -> None:
    files = [write_film(tmp_path / f"{n}.mp4", draw_film_scene(SEED, 64, 2), 4, seed=1) for n in range(2)]
    first, second = (load_clip(file).frames for file in files)
    assert (first == second).all()


def test_a_scene_of_photographs_becomes_a_film_with_its_recordings(
    tmp_path: Path, photographs: tuple[Path, Path], recorded: Path
) -> None:
    material = PhotoMaterial(photographs, recorded)
    seeds = (material.film(np.random.default_rng(seed), 64, (4, 4)) for seed in range(40))
    scene = next(s for s in seeds if s.sounding.any() and np.ptp(s.move.middle, axis=0).max() > 4)
    frames = np.stack(list(filmed_frames(np.random.default_rng(0), scene, 6)))
    assert frames.shape == (24, 64, 64, 3) and frames.dtype == np.uint8
    clip = load_clip(write_film(tmp_path / "film.mp4", scene, 6, recordings=material.recordings))
    assert len(clip) == 4 and clip.source_fps == 6
    expected = np.sqrt(np.square(scene.soundtrack.render(recordings=material.recordings).reshape(4, -1)).mean(1))
    np.testing.assert_allclose(clip.waveform.view(4, -1).square().mean(1).sqrt().numpy(), expected, rtol=0.2, atol=4e-3)
