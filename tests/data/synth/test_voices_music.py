"""Instruments: each has its recognisable features with every seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.data.synth import voices_music as music

SEEDS = range(100, 112)


def spectrum(wave: np.ndarray) -> np.ndarray:
    """Power of each Hz, (8001,)."""
    return np.abs(np.fft.rfft(wave * np.hanning(len(wave)), n=SAMPLE_RATE)) ** 2


def centroid(wave: np.ndarray) -> float:
    power = spectrum(wave)
    return (power * np.arange(len(power))).sum() / power.sum()


def over_seeds(instrument: Callable, measure: Callable[[np.ndarray], float]) -> float:
    return float(np.mean([measure(instrument(seed, second)) for seed in SEEDS for second in (2, 5)]))


def loudness(wave: np.ndarray) -> np.ndarray:
    """RMS of grains of 10 ms, (100,)."""
    return np.sqrt((wave.reshape(100, -1) ** 2).mean(axis=1))


@pytest.mark.parametrize(
    "name", ["violin", "flute", "saxophone", "trumpet", "accordion", "guitar", "piano"], ids=lambda n: n
)
def test_seconds_have_about_unit_level_before_they_are_levelled(name: str) -> None:
    levels = [np.sqrt((getattr(music, name)(seed, 3) ** 2).mean()) for seed in range(30)]
    assert min(levels) > 0.3 and max(levels) < 2


def test_a_flute_is_nearly_a_sine_and_brass_is_bright() -> None:
    centroids = {n: over_seeds(getattr(music, n), centroid) for n in ("flute", "violin", "saxophone", "trumpet")}
    assert centroids["flute"] < 0.6 * centroids["violin"]
    assert centroids["trumpet"] > 1.3 * centroids["violin"]


def test_a_saxophone_has_its_formant_between_one_and_two_kilohertz() -> None:
    def share(wave: np.ndarray) -> float:
        power = spectrum(wave)
        return power[950:1900].sum() / power.sum()

    sax = over_seeds(music.saxophone, share)
    assert sax > 0.3
    assert all(sax > 1.5 * over_seeds(other, share) for other in (music.violin, music.flute, music.accordion))


def test_plucked_and_struck_strings_decay_and_reeds_do_not() -> None:
    def rises_and_falls(wave: np.ndarray) -> float:
        """How much faster the loudness rises than it falls: the skew of its steps in decibels."""
        steps = np.diff(20 * np.log10(loudness(wave) + 1e-3))
        return ((steps - steps.mean()) ** 3).mean() / steps.std() ** 3

    struck = [over_seeds(instrument, rises_and_falls) for instrument in (music.guitar, music.piano)]
    assert min(struck) > 1.2
    assert over_seeds(music.accordion, rises_and_falls) < 0.5 * min(struck)


def test_upper_partials_of_a_plucked_string_decay_first() -> None:
    """After each pluck the centroid falls: its steps upwards are few and large."""

    def skew(wave: np.ndarray) -> float:
        grains = wave.reshape(50, -1)
        power = np.abs(np.fft.rfft(grains * np.hanning(320), axis=1)) ** 2
        steps = np.diff(np.log((power * np.arange(161)).sum(axis=1) / power.sum(axis=1)))
        return ((steps - steps.mean()) ** 3).mean() / steps.std() ** 3

    assert over_seeds(music.guitar, skew) > 1


def test_the_pitch_of_a_violin_trembles_and_that_of_a_trumpet_does_not() -> None:
    def wander(wave: np.ndarray) -> float:
        """Relative deviation of the strongest partial's frequency, in the steadiest tenth of a second."""
        deviations = []
        for tenth in wave.reshape(10, -1):
            spectra = np.fft.fft(tenth * np.hanning(1600))
            peak = np.abs(spectra[16:160]).argmax() + 16  # 160-1600 Hz, 10 Hz apart
            spectra[: peak - 6] = spectra[peak + 7 :] = 0  # the partial alone: an analytic signal
            turning = np.diff(np.unwrap(np.angle(np.fft.ifft(spectra))))[400:1200]
            deviations.append(turning.std() / turning.mean())
        return min(deviations)

    assert over_seeds(music.violin, wander) > 3 * over_seeds(music.trumpet, wander)


def test_the_upper_partials_of_a_trumpet_swell_after_the_lower_ones() -> None:
    lags = []
    for seed in SEEDS:
        wave = np.concatenate([music.trumpet(seed, second) for second in (2, 3)])
        grains = np.abs(np.fft.rfft(wave.reshape(200, -1) * np.hanning(160), axis=1))
        low, high = grains[:, 1:8].sum(axis=1), grains[:, 25:60].sum(axis=1)  # 100-800 Hz, 2.5-6 kHz
        starts = np.flatnonzero((low[:-12] < 0.1 * low.max()) & (low[1:-11] >= 0.1 * low.max()))
        for start in starts:
            note = slice(start, start + 12)
            lags.append((high[note] > 0.5 * high[note].max()).argmax() - (low[note] > 0.5 * low[note].max()).argmax())
    assert len(lags) > 20 and np.mean(lags) > 0.5  # in grains of 10 ms


def test_players_differ_in_pitch() -> None:
    for name in ("violin", "flute", "saxophone", "trumpet", "accordion", "guitar", "piano"):
        peaks = [spectrum(getattr(music, name)(seed, 1))[60:].argmax() + 60 for seed in range(20)]
        assert max(peaks) > 2 * min(peaks)
