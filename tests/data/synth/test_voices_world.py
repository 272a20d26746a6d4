"""Person, cat, dog, horse and car: each has its recognisable features with every seed."""

from __future__ import annotations

import numpy as np
import pytest

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.data.synth import voices_world as world

SEEDS = range(200, 212)


def grains(wave: np.ndarray, milliseconds: int) -> np.ndarray:
    """Magnitudes of short stretches, (n, frequencies), one every `milliseconds`."""
    size = SAMPLE_RATE * milliseconds // 1000
    return np.abs(np.fft.rfft(wave[: len(wave) // size * size].reshape(-1, size) * np.hanning(size), axis=1))


def clip(voice, seed: int, seconds: int = 3) -> np.ndarray:
    return np.concatenate([voice(seed, second) for second in range(2, 2 + seconds)])


@pytest.mark.parametrize("name", ["person", "cat", "dog", "horse", "car"])
def test_seconds_have_about_unit_level_before_they_are_levelled(name: str) -> None:
    levels = [np.sqrt((getattr(world, name)(seed, 3) ** 2).mean()) for seed in range(30)]
    assert min(levels) > 0.25 and max(levels) < 2


def test_a_person_speaks_in_syllables() -> None:
    """Three to seven swells of the voice a second, with hisses between them in most seconds."""
    for seed in SEEDS:
        spectra = grains(clip(world.person, seed, 4), 20)  # (200, 161), 50 Hz apart
        voiced = spectra[:, 2:60].sum(axis=1)
        rises = np.flatnonzero((voiced[:-1] < 0.3 * voiced.max()) & (voiced[1:] >= 0.3 * voiced.max()))
        assert 4 <= len(rises) <= 40
        hissing = spectra[:, 80:].sum(axis=1) > 2 * spectra[:, :60].sum(axis=1)
        assert 1 <= hissing.sum() < 100


def test_a_meow_rises_and_falls() -> None:
    for seed in SEEDS:
        spectra = grains(clip(world.cat, seed), 40)[:, 8:60]  # 200-1500 Hz, 25 Hz apart
        loud = spectra.sum(axis=1) > 0.2 * spectra.sum(axis=1).max()
        first = 8 + np.array([np.flatnonzero(s > 0.3 * s.max())[0] for s in spectra[loud]])
        assert np.quantile(first, 0.9) > 1.12 * np.quantile(first, 0.1)


def test_a_dog_barks_two_to_five_times_a_second_and_each_bark_dies_away() -> None:
    for seed in SEEDS:
        loudness = grains(clip(world.dog, seed, 4), 20).sum(axis=1)
        loud = loudness > 0.25 * loudness.max()
        starts = np.flatnonzero(~loud[:-1] & loud[1:])
        assert 7 <= len(starts) <= 21
        peaks = [loudness[s : s + 8].argmax() for s in starts if s + 20 < len(loudness)]
        assert np.median(peaks) <= 5  # the top within 100 ms


def test_a_bark_is_noisier_than_a_meow() -> None:
    def flatness(voice) -> float:
        powers = np.concatenate([grains(clip(voice, seed), 60)[:, 30:300] ** 2 for seed in SEEDS])
        powers = powers[powers.sum(axis=1) > np.median(powers.sum(axis=1))] + 1e-9
        return float(np.mean(np.exp(np.log(powers).mean(axis=1)) / powers.mean(axis=1)))

    assert flatness(world.dog) > 1.5 * flatness(world.cat)


def test_horses_whinny_or_gallop() -> None:
    """A gallop consists of short knocks: its loudness changes faster."""
    changes = []
    for seed in range(60):
        loudness = np.sqrt((clip(world.horse, seed).reshape(-1, 160) ** 2).mean(axis=1))
        changes.append(np.quantile(np.diff(loudness), 0.97) / loudness.mean())
    gallops = np.array(changes) > 1.0
    assert 0.15 < gallops.mean() < 0.6


def test_the_pitch_of_a_whinny_falls() -> None:
    falls = []
    for seed in range(40):
        spectra = grains(clip(world.horse, seed, 4), 50)[:, 10:80]  # 200-1600 Hz, 20 Hz apart
        clear = spectra.max(axis=1) > 6 * np.median(spectra, axis=1)
        runs = np.split(np.arange(len(clear)), np.flatnonzero(np.diff(clear.astype(int))) + 1)
        for run in runs:
            if clear[run[0]] and len(run) >= 12:
                peak = spectra[run].argmax(axis=1)
                falls.append(np.mean(peak[:4]) > np.mean(peak[-4:]))
    assert len(falls) > 15 and np.mean(falls) > 0.8


def test_an_engine_is_low_and_never_pauses() -> None:
    for seed in SEEDS:
        wave = clip(world.car, seed)
        power = np.abs(np.fft.rfft(wave)) ** 2
        assert power[: 3 * 1500].sum() > 0.7 * power.sum()
        loudness = np.sqrt((wave.reshape(-1, 1600) ** 2).mean(axis=1))
        assert loudness.min() > 0.5 * loudness.mean()


def test_the_speed_of_an_engine_drifts_and_differs_from_car_to_car() -> None:
    def pulse(seed: int, second: int) -> int:
        """Strongest repetition of the loudness, in Hz."""
        loudness = np.abs(world.car(seed, second))
        power = np.abs(np.fft.rfft(loudness - loudness.mean()))
        return 20 + int(power[20:200].argmax())

    drift = [max(speeds) - min(speeds) for speeds in ([pulse(seed, k) for k in range(8)] for seed in SEEDS)]
    assert np.median(drift) >= 3
    assert len({pulse(seed, 0) for seed in SEEDS}) >= 8
