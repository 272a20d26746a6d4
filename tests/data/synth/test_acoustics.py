"""What a room, a microphone and a codec do to the loop of a recording."""

from __future__ import annotations

import json

import numpy as np
import pytest

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.data.synth.acoustics import Acoustics, coarse, draw_room, draw_source

NOISE = np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE).astype(np.float32)


def level_db(sound: np.ndarray, low: float, high: float) -> float:
    """Power between two frequencies, dB."""
    power = np.abs(np.fft.rfft(sound)) ** 2
    frequency = np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)
    return float(10 * np.log10(power[(frequency >= low) & (frequency < high)].mean()))


def test_the_default_changes_only_the_level() -> None:
    np.testing.assert_allclose(Acoustics().apply(3 * NOISE), NOISE / np.sqrt((NOISE**2).mean()), atol=1e-4)


def test_the_pass_band_and_the_tilt_are_as_given() -> None:
    band = Acoustics(low=200, high=4000).apply(NOISE)
    assert level_db(band, 1000, 2000) - level_db(band, 6000, 7000) > 30
    assert level_db(band, 1000, 2000) - level_db(band, 20, 60) > 15
    tilted = Acoustics(tilt_db=-3).apply(NOISE)
    assert level_db(tilted, 950, 1050) - level_db(tilted, 3900, 4100) == pytest.approx(6, abs=1)


def test_echoes_fade_in_the_given_time_and_a_distant_source_has_more() -> None:
    click = np.zeros(2 * SAMPLE_RATE, np.float32)
    click[0] = 1
    near, far = (Acoustics(reverberation=0.8, direct_db=db).apply(click) for db in (15, 0))

    def echoes_db(sound: np.ndarray, at: float) -> float:
        window = sound[round(at * SAMPLE_RATE) :][: SAMPLE_RATE // 20].astype(np.float64)
        return float(10 * np.log10((window**2).mean() / sound[0] ** 2))

    assert echoes_db(far, 0.1) - echoes_db(near, 0.1) == pytest.approx(15, abs=0.5)
    assert echoes_db(far, 0.1) - echoes_db(far, 0.5) == pytest.approx(60 * 0.4 / 0.8, abs=4)


@pytest.mark.parametrize("below_db", [10.0, 20.0])
def test_the_codecs_rounding_lies_below_the_sound_as_given(below_db: float) -> None:
    error = coarse(NOISE, below_db) - NOISE
    assert -10 * np.log10((error**2).mean() / (NOISE**2).mean()) == pytest.approx(below_db, abs=1.5)


def test_the_codec_removes_weak_lines() -> None:
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    sound = np.sin(2 * np.pi * 1000 * time) + 0.02 * np.sin(2 * np.pi * 1187 * time)
    assert level_db(sound, 1182, 1192) - level_db(coarse(sound, 9), 1182, 1192) > 6


@pytest.mark.parametrize("length", [4000, 16001, 25600])
def test_a_loop_still_closes_and_has_unit_level(length: int) -> None:
    time = np.arange(length) / length
    loop = np.sin(2 * np.pi * 40 * time).astype(np.float32)
    heard = Acoustics(reverberation=1.2, high=5000, low=50, coarse_db=20, direct_db=0, rate=0.95).apply(loop)
    assert len(heard) == round(length / 0.95) and np.sqrt((heard**2).mean()) == pytest.approx(1, abs=1e-3)
    assert abs(float(heard[0] - heard[-1])) <= 1.5 * np.abs(np.diff(heard)).max()


def test_a_faster_recording_is_higher() -> None:
    loop = np.sin(2 * np.pi * 500 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    faster = Acoustics(rate=1.05).apply(loop)
    assert np.abs(np.fft.rfft(faster)).argmax() * SAMPLE_RATE / len(faster) == pytest.approx(525, abs=2)


def test_random_acoustics_survive_json_and_share_their_room() -> None:
    rng = np.random.default_rng(1)
    room = draw_room(rng)
    sources = [draw_source(rng, room) for _ in range(2)]
    assert sources[0] != sources[1]
    for source in sources:
        assert Acoustics.from_dict(json.loads(json.dumps(source.to_dict()))) == source
        assert (source.reverberation, source.high, source.echoes) == (room.reverberation, room.high, room.echoes)
