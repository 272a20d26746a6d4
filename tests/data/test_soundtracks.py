"""Soundtracks of training clips: silence, and sounds of other videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.data.soundtracks import SCENE_KINDS, Counterfactual, RecordedSounds
from acvis_kit.data.training_clips import TrainingClips
from acvis_kit.data.transforms import Augmentation
from acvis_kit.errors import ConfigError
from tests.data.rectangles import Rectangle, tone_of, write_rectangles

VIOLIN, DOG = Rectangle("violin", (8, 10, 40, 42), (2, 5)), Rectangle("dog", (20, 50, 60, 90))


@pytest.fixture
def split(tmp_path: Path) -> AVISegSplit:
    return AVISegSplit(write_rectangles(tmp_path, [[VIOLIN, DOG], [DOG], [VIOLIN]]), "train")


def test_muted_and_foreign_recordings_have_no_sounding_objects(split: AVISegSplit) -> None:
    sounds = Counterfactual(1.0, {"mute": 1.0, "foreign": 1.0})
    clips = TrainingClips(split, augmentation=Augmentation(), counterfactual_audio=sounds)
    samples = [clips.sample(draw) for draw in range(60)]
    assert {sample.sound for sample in samples} == {"mute", "foreign"}
    for sample in samples:
        assert not sample.targets.counts.any() and len(sample.targets.labels) == 0
        assert sample.targets.masks.shape == (0, 5, 64, 96) and sample.targets.audio_labels is None
    # video 1 has both classes, so no other video is foreign to it
    assert {sample.sound for sample in samples if sample.video_id == 1} == {"mute"}


def test_a_foreign_sound_is_one_of_another_class_while_it_sounds(split: AVISegSplit) -> None:
    sounds = RecordedSounds(split, Counterfactual(1.0, {"foreign": 1.0}))
    drawn = sounds.draw(split.videos[1], np.arange(5), np.random.default_rng(0))
    levels = drawn.seconds.mean(axis=1, dtype=float).round(3)
    assert drawn.kind == "foreign" and set(levels.tolist()) <= {round(tone_of(2, t), 3) for t in (2, 5)}


def test_silence_is_zeros_or_faint_noise(split: AVISegSplit) -> None:
    sounds = RecordedSounds(split, Counterfactual(1.0, {"mute": 1.0}))
    drawn = [sounds.draw(split.videos[0], np.arange(5), np.random.default_rng(n)).seconds for n in range(60)]
    levels = np.array([seconds.std() for seconds in drawn])
    assert 0.25 < (levels == 0).mean() < 0.75
    assert (levels < 10 ** (-50 / 20) * 1.1).all() and (levels[levels > 0] > 10 ** (-80 / 20) * 0.9).all()


def test_kinds_are_drawn_with_the_given_frequencies() -> None:
    rng, sounds = np.random.default_rng(0), Counterfactual(0.4)
    drawn = [sounds.draw(SCENE_KINDS, rng) for _ in range(8000)]
    shares = {kind: drawn.count(kind) / 8000 for kind in ("original", *SCENE_KINDS)}
    expected = {"original": 0.6, "mute": 0.08, "swap": 0.16, "foreign": 0.1, "offscreen": 0.06}
    assert all(abs(shares[kind] - share) < 0.015 for kind, share in expected.items())
    assert {Counterfactual().draw(SCENE_KINDS, rng) for _ in range(100)} == {"original"}


def test_a_kind_that_cannot_be_made_is_refused(split: AVISegSplit) -> None:
    with pytest.raises(ConfigError, match="only mute, foreign"):
        RecordedSounds(split, Counterfactual(0.4, {"swap": 1.0}))
    with pytest.raises(ConfigError, match="only foreign"):
        RecordedSounds(split, Counterfactual(0.4, {"mute": 1.0}), features="FEATAudios")
    with pytest.raises(ConfigError, match="'loud' is no kind"):
        Counterfactual(0.4, {"loud": 1.0})
