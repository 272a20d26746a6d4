"""The building blocks of voices."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.data.synth.synthesis import (
    BLOCK,
    BLOCKS,
    COLOURS,
    STEP,
    Second,
    cycles,
    draws,
    envelope,
    events,
    noise,
    partials,
    stretch,
    unit,
    wavetable,
)
from acvis_kit.data.synth.workers import THREADS


def test_a_random_number_does_not_depend_on_the_others_that_are_drawn() -> None:
    together = draws(3, 1, [-2, 0, 5], 4)
    np.testing.assert_array_equal(together[2:], draws(3, 1, [5], 4))
    np.testing.assert_array_equal(together[:, :2], draws(3, 1, [-2, 0, 5], 2))


def test_random_numbers_of_different_seeds_streams_and_events_are_unrelated() -> None:
    many = [draws(seed, stream, range(-50, 50), 10) for seed in (0, 1, 2**40) for stream in (0, 1)]
    flat = np.concatenate([m.reshape(-1) for m in many])
    assert len(np.unique(flat)) == len(flat)
    assert (flat >= 0).all() and (flat < 1).all()
    assert abs(flat.mean() - 0.5) < 0.02 and abs(flat.std() - 12**-0.5) < 0.01
    assert abs(np.corrcoef([m.reshape(-1) for m in many]) - np.eye(6)).max() < 0.12


def test_a_wave_table_is_the_sum_of_its_harmonics() -> None:
    phase = np.arange(4000) * (131.7 / SAMPLE_RATE) + 0.3
    amplitudes = np.array([1.0, 0.0, 0.5, 0.0, 0.25])
    expected = sum(a * np.cos(2 * np.pi * (h + 1) * phase) for h, a in enumerate(amplitudes))
    np.testing.assert_allclose(wavetable(phase, amplitudes, pulse=True), expected, atol=1e-3)


def test_a_wave_table_moves_from_one_spectrum_to_the_next() -> None:
    phase = np.arange(3000) * (200 / SAMPLE_RATE)
    spectra = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    half = wavetable(phase, spectra, np.full(3000, 1.5), pulse=True)
    expected = 0.5 * np.cos(4 * np.pi * phase) + 0.5 * np.cos(6 * np.pi * phase)
    np.testing.assert_allclose(half, expected, atol=1e-3)


def test_unit_amplitudes_sound_with_an_rms_of_one() -> None:
    wave = wavetable(np.arange(SAMPLE_RATE) * (200 / SAMPLE_RATE), unit(np.array([3.0, 1, 2, 0.2])))
    assert np.sqrt((wave**2).mean()) == pytest.approx(1, abs=1e-3)


def test_partials_are_sines_whose_levels_are_linear_between_control_points() -> None:
    rng = np.random.default_rng(0)
    frequencies, phases = np.array([220.3, 1333.3, 5000.1]), rng.random(3)
    levels = rng.random((3, BLOCKS + 1))
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    points = np.arange(BLOCKS + 1) * STEP
    expected = sum(
        np.interp(time, points, level) * np.sin(2 * np.pi * (f * time + p))
        for f, p, level in zip(frequencies, phases, levels, strict=True)
    )
    np.testing.assert_allclose(partials(frequencies, phases, levels), expected, atol=2e-4)


def test_phase_of_a_pitch_is_its_integral() -> None:
    time = np.arange(100) * STEP
    np.testing.assert_allclose(cycles(100 + 50 * time), 100 * time + 25 * time**2, atol=1e-9)


def test_control_points_are_interpolated_linearly() -> None:
    wave = stretch(np.array([0.0, 1.0, 0.0]))
    np.testing.assert_allclose(wave, np.interp(np.arange(2 * BLOCK), [0, BLOCK, 2 * BLOCK], [0, 1, 0]))


def test_neighbouring_seconds_have_the_same_events() -> None:
    def listed(second: int) -> dict[int, tuple]:
        row = events(7, second, period=0.4, split=0.5, tail=0.5)
        return {n: (s, e, f) for n, s, e, f in zip(row.number, row.start, row.end, row.following, strict=True)}

    shared = 0
    for second in range(20):
        here, there = listed(second), listed(second + 1)
        for number in here.keys() & there.keys():
            assert here[number] == there[number]
            shared += 1
        spans = sorted(here.values())
        assert all(a[1] == b[0] for a, b in pairwise(spans))  # one begins where the other ends
        assert spans[0][0] <= second * BLOCKS and spans[-1][1] >= (second + 1) * BLOCKS
    assert shared > 20


def test_a_note_across_a_border_of_seconds_is_unbroken() -> None:
    pitch = np.linspace(300, 500, 120)
    level = envelope(120, 0.05, 0.1)
    parts = []
    for number in (4, 5):
        sound = Second(0, number)
        sound.play(4 * BLOCKS + 60, cycles(pitch), level, np.array([1.0, 0.5]))
        parts.append(sound.finish())
    whole = wavetable(stretch(cycles(pitch)), np.array([1.0, 0.5])) * stretch(level.astype(np.float32))
    placed = np.zeros(2 * SAMPLE_RATE, dtype=np.float32)
    placed[60 * BLOCK : 60 * BLOCK + len(whole)] = whole
    np.testing.assert_allclose(np.concatenate(parts), placed, atol=1e-6)


@pytest.mark.parametrize("colour", COLOURS)
def test_noise_has_unit_level_and_no_click_between_seconds(colour: str) -> None:
    sound = np.concatenate([noise(colour, 5, second) for second in range(12)])
    assert np.sqrt((sound**2).mean()) == pytest.approx(1, abs=0.15)
    steps = np.abs(np.diff(sound))
    borders = steps[SAMPLE_RATE - 1 :: SAMPLE_RATE]
    assert len(borders) == 11 and borders.max() < steps.max()
    assert np.sqrt((borders**2).mean()) < 2 * np.sqrt((steps**2).mean())


def test_noise_of_two_seconds_differs() -> None:
    first, second = noise("white", 1, 0), noise("white", 1, 1)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05


def test_a_burst_of_noise_has_the_given_level() -> None:
    sound = Second(0, 0)
    sound.hiss(0, np.full(BLOCKS + 1, 0.3), "white")
    assert np.sqrt((sound.finish() ** 2).mean()) == pytest.approx(0.3, rel=0.05)


@pytest.mark.slow
def test_a_sum_of_sines_is_the_same_with_any_number_of_threads() -> None:
    """A BLAS that shares one product among threads rounds it differently."""
    code = """
import hashlib
import numpy as np
from acvis_kit.data.synth.synthesis import partials
numbers = np.random.default_rng(0)
wave = partials(numbers.uniform(50, 7000, 300), numbers.random(300), numbers.random((300, 126)))
print(hashlib.sha256(wave.tobytes()).hexdigest())
"""
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | dict.fromkeys(THREADS, threads), capture_output=True,
            text=True, check=True,
        ).stdout
        for threads in ("1", "2", "4")
    }  # fmt: skip
    assert len(found) == 1
