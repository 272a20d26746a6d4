"""Soundtracks: silence is exact, levels hold, slices are exact, nothing clips."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.data.synth import soundtrack as module
from acvis_kit.data.synth.sounds import VOICES, Voice
from acvis_kit.data.synth.soundtrack import FADE, NOISES, Noise, Part, Soundtrack, limit
from acvis_kit.errors import ConfigError, DataError


def decibels(wave: np.ndarray) -> float:
    return 20 * np.log10(np.sqrt((wave.astype(np.float64) ** 2).mean()))


def mixture(noise: Noise | None = None) -> Soundtrack:
    return Soundtrack(
        6,
        (
            Part(Voice("dog", 3), (True, False, True, True, False, False), -20.0, 0),
            Part(Voice("violin", 5), (False, False, True, True, True, False), -15.0, None),
        ),
        noise,
    )


@pytest.mark.parametrize("kind", [None, *NOISES])
def test_any_stretch_is_the_slice_of_the_whole(kind: str | None) -> None:
    track = mixture(None if kind is None else Noise(kind, -40.0, 7))
    whole = track.render()
    assert whole.shape == (6 * SAMPLE_RATE,) and whole.dtype == np.float32
    np.testing.assert_array_equal(track.render(2, 5), whole[2 * SAMPLE_RATE : 5 * SAMPLE_RATE])
    np.testing.assert_array_equal(track.render_seconds([5, 2, 2]), whole.reshape(6, -1)[[5, 2, 2]])


def test_where_nothing_sounds_there_is_exact_silence() -> None:
    seconds = mixture().render().reshape(6, -1)
    assert not seconds[[1, 5]].any()
    assert seconds[[0, 2, 3, 4]].any(axis=1).all()


def test_parts_add_up() -> None:
    track = Soundtrack(6, tuple(replace(part, level_db=-40.0) for part in mixture().parts))  # below the limiter
    alone = [Soundtrack(6, (part,)).render() for part in track.parts]
    np.testing.assert_allclose(track.render(), alone[0] + alone[1], atol=1e-6)


@pytest.mark.parametrize("name", VOICES)
def test_each_sounding_second_has_its_level(name: str) -> None:
    pattern = (True, False, True, True, True, False, True)
    for seed in range(4):
        seconds = Soundtrack(7, (Part(Voice(name, seed), pattern, -26.0, 0),)).render_seconds(range(7))
        for second, sounds in zip(seconds, pattern, strict=True):
            assert not sounds or abs(decibels(second) + 26) < 1.5


def test_sound_fades_inside_its_own_seconds() -> None:
    voice = Voice("car", 2)  # an engine has no pauses
    rendered = Soundtrack(4, (Part(voice, (False, True, True, False), -30.0),)).render().reshape(4, -1)
    full = np.stack([module.render_second(voice, second) for second in (1, 2)]) * 10**-1.5
    np.testing.assert_allclose(rendered[1, FADE:], full[0, FADE:], atol=1e-6)  # no fade between two sounding seconds
    np.testing.assert_allclose(rendered[2, :-FADE], full[1, :-FADE], atol=1e-6)
    rise = 0.5 - 0.5 * np.cos(np.pi * np.arange(FADE) / FADE)
    np.testing.assert_allclose(rendered[1, :FADE], full[0, :FADE] * rise, atol=1e-6)
    np.testing.assert_allclose(rendered[2, -FADE:], full[1, -FADE:] * rise[::-1], atol=1e-6)


def test_loud_mixtures_never_leave_the_range() -> None:
    parts = tuple(Part(Voice(name, seed), (True,) * 3, 0.0) for name in VOICES for seed in range(2))
    track = Soundtrack(3, parts, Noise("white", 0.0))
    whole = track.render()
    assert np.abs(whole).max() <= 1 and np.abs(whole).max() > 0.99
    np.testing.assert_array_equal(track.render(1, 2), whole[SAMPLE_RATE : 2 * SAMPLE_RATE])


def test_the_limiter_changes_only_loud_samples_and_keeps_their_order() -> None:
    wave = np.linspace(-4, 4, 2001, dtype=np.float32)
    limited = limit(wave)
    quiet = np.abs(wave) <= 0.8
    np.testing.assert_array_equal(limited[quiet], wave[quiet])
    assert (np.diff(limited) >= 0).all() and np.abs(limited).max() <= 1
    np.testing.assert_array_equal(limited, -limited[::-1])


@pytest.mark.parametrize("kind", NOISES)
def test_noise_has_its_level_and_never_clicks(kind: str) -> None:
    sound = Soundtrack(30, (), Noise(kind, -30.0, 1)).render()
    assert decibels(sound) == pytest.approx(-30, abs=2.0 if kind == "wind" else 0.7)
    steps = np.abs(np.diff(sound))
    assert steps[SAMPLE_RATE - 1 :: SAMPLE_RATE].max() <= steps.max()
    borders = steps[SAMPLE_RATE - 1 :: SAMPLE_RATE]
    assert np.sqrt((borders**2).mean()) < 2 * np.sqrt((steps**2).mean())


def test_noises_have_the_colours_of_their_names() -> None:
    def share_below(kind: str, hertz: int) -> float:
        power = np.abs(np.fft.rfft(Soundtrack(8, (), Noise(kind, -30.0, 1)).render())) ** 2
        return power[: hertz * 8].sum() / power.sum()

    shares = [share_below(kind, 500) for kind in ("white", "pink", "brown")]
    assert shares[0] < 0.1 < shares[1] < 0.8 < shares[2]
    assert share_below("hum", 49) < 1e-3 < share_below("hum", 500)


def test_wind_comes_in_gusts_and_brown_noise_does_not() -> None:
    levels = {
        k: [decibels(s) for s in Soundtrack(40, (), Noise(k, -30.0, 2)).render_seconds(range(40))] for k in NOISES
    }
    assert np.std(levels["wind"]) > 1.3 * np.std(levels["brown"]) and np.ptp(levels["wind"]) > 5


def test_only_sounding_parts_are_synthesised(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = module.render_second
    monkeypatch.setattr(module, "render_second", lambda v, s, r: made.append((v.class_name, s)) or original(v, s, r))
    mixture().render_seconds([0, 1, 4])
    assert made == [("dog", 0), ("violin", 4)]


def test_a_soundtrack_survives_json() -> None:
    for track in (mixture(), mixture(Noise("hum", -50.5, 9)), Soundtrack(3)):
        assert Soundtrack.from_dict(json.loads(json.dumps(track.to_dict()))) == track


def test_mistakes_are_named() -> None:
    part = Part(Voice("dog", 0), (True,) * 4, -20.0)
    with pytest.raises(ConfigError, match="4 seconds, the soundtrack 5"):
        Soundtrack(5, (part,))
    with pytest.raises(ConfigError, match="second 4 of a soundtrack of 4"):
        Soundtrack(4, (part,)).render(0, 5)
    with pytest.raises(ConfigError, match=r"level_db=3\.0"):
        Part(Voice("dog", 0), (True,), 3.0)
    with pytest.raises(ConfigError, match=r'"purple".*white, pink'):
        Noise("purple", -30.0)
    with pytest.raises(ConfigError, match=r'"dragon".*person, violin'):
        Part(Voice("dragon", 0), (True,), -20.0)
    with pytest.raises(ConfigError, match="0 seconds"):
        Soundtrack(0)
    entry = Soundtrack(4, (part,)).to_dict()
    for damaged in ({**entry, "length": 9}, {**entry, "parts": [{}]}, {**entry, "noise": {"kind": "white"}}):
        with pytest.raises(DataError):
            Soundtrack.from_dict(damaged)


class Ramp:
    """A source of recordings: each second rises from -1 to 1, and is louder than the one before."""

    def second(self, voice: Voice, second: int) -> np.ndarray:
        return np.linspace(-1, 1, SAMPLE_RATE, dtype=np.float32) * np.float32(1 + second)


def test_noise_may_be_a_recording_with_the_given_level() -> None:
    noise = Noise("recorded", -30.0, voice=Voice("background", 1, "rain.wav"))
    track = Soundtrack.from_dict(json.loads(json.dumps(Soundtrack(3, (), noise).to_dict())))
    assert track.noise == noise
    sound = track.render(recordings=Ramp())
    assert [round(decibels(second), 1) for second in sound.reshape(3, -1)] == [-30.0] * 3
    with pytest.raises(ConfigError, match="RecordedVoices"):
        track.render()


@pytest.mark.parametrize(("kind", "voice"), [("recorded", None), ("pink", Voice("background", 1, "rain.wav"))])
def test_only_recorded_noise_has_a_voice(kind: str, voice: Voice | None) -> None:
    with pytest.raises(ConfigError, match='give a voice with "recorded"'):
        Noise(kind, -30.0, voice=voice)
