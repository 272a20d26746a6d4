"""Voices: deterministic, audible in every second, and distinguished by more than their pitch."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.config import AVISEG_CLASSES
from acvis_kit.data.synth.sounds import VOICES, Voice, level_out, render_second, render_voice
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.media.mel import log_mel

INSTRUMENTS = ("violin", "guitar", "flute", "piano", "accordion", "saxophone", "trumpet")


def test_there_are_twelve_classes_of_aviseg() -> None:
    assert len(VOICES) == 12 and set(VOICES) <= set(AVISEG_CLASSES)


@pytest.mark.parametrize("name", VOICES)
def test_any_second_rendered_alone_is_the_slice_of_the_whole(name: str) -> None:
    voice = Voice(name, 11)
    whole = render_voice(voice, 0, 7)
    assert whole.shape == (7 * SAMPLE_RATE,) and whole.dtype == np.float32
    for second in (6, 0, 3):
        np.testing.assert_array_equal(
            render_voice(voice, second, second + 1), whole[second * SAMPLE_RATE : (second + 1) * SAMPLE_RATE]
        )


@pytest.mark.parametrize("name", VOICES)
def test_every_second_is_loud_half_of_the_time_and_never_silent_for_long(name: str) -> None:
    sound = np.concatenate([render_voice(Voice(name, seed), 3, 5) for seed in range(30)]).reshape(-1, SAMPLE_RATE)
    np.testing.assert_allclose(np.sqrt((sound**2).mean(axis=1)), 1, atol=1e-3)
    grains = np.sqrt((sound.reshape(len(sound), 50, 320) ** 2).mean(axis=2))  # 20 ms
    active = grains > 0.1  # within 20 dB of the level
    assert active.mean(axis=1).min() >= 0.48
    for row in active:
        pauses = "".join("x" if loud else " " for loud in row).split("x")
        assert max(map(len, pauses)) * 0.02 <= 0.36


@pytest.mark.parametrize("name", VOICES)
def test_there_is_no_click_between_seconds(name: str) -> None:
    """A click is a bend that is sharper than any within the seconds around it."""
    for seed in range(8):
        sound = render_voice(Voice(name, seed), 0, 6)
        bends = np.abs(np.diff(sound, n=2))
        for border in range(SAMPLE_RATE, len(sound), SAMPLE_RATE):
            around = bends[border - SAMPLE_RATE // 2 : border + SAMPLE_RATE // 2]
            assert bends[border - 2 : border].max() <= 1.05 * np.quantile(around, 0.9999)


def test_voices_of_two_seeds_differ() -> None:
    for name in VOICES:
        a, b = render_voice(Voice(name, 1), 0, 2), render_voice(Voice(name, 2), 0, 2)
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.3


def test_the_same_seed_gives_another_pitch_in_another_class() -> None:
    def pitches(name: str) -> np.ndarray:
        """Lowest strong peak over four seconds, octaves, of 40 seeds."""
        sounds = np.stack([render_voice(Voice(name, seed), 0, 4) for seed in range(40)])
        power = np.abs(np.fft.rfft(sounds * np.hanning(4 * SAMPLE_RATE)))[:, 400:4000]  # 100-1000 Hz
        return np.log2([400 + np.flatnonzero(row > 0.3 * row.max())[0] for row in power])

    flutes, violins = pitches("flute"), pitches("violin")
    assert flutes.std() > 0.2 and violins.std() > 0.2
    assert abs(np.corrcoef(flutes, violins)[0, 1]) < 0.45


def test_two_seconds_of_a_voice_differ() -> None:
    for name in VOICES:
        a, b = render_second(Voice(name, 4), 0), render_second(Voice(name, 4), 1)
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.6


def test_levelling_leaves_both_ends_as_they_are() -> None:
    wave = np.sin(np.arange(SAMPLE_RATE) * 0.1).astype(np.float32) * 0.5 + 0.2
    levelled = level_out(wave)
    assert np.sqrt((levelled**2).mean()) == pytest.approx(1, abs=1e-4)
    assert levelled[0] == wave[0] and levelled[-1] == wave[-1]


def features(seeds: range) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Mean and deviation of log-mel bands (n, 128), labels (n,), strongest peak in Hz (n,), two seconds per voice."""
    seconds = [render_second(Voice(n, seed), k) * 0.1 for n in VOICES for seed in seeds for k in (0, 9)]
    waves = torch.from_numpy(np.stack(seconds))
    mel = torch.cat([log_mel(part) for part in waves.split(64)])  # (n, 96, 64)
    labels = torch.arange(len(VOICES)).repeat_interleave(2 * len(seeds))
    peaks = torch.fft.rfft(waves * torch.hann_window(SAMPLE_RATE)).abs()[:, 60:1500].argmax(dim=1) + 60
    return torch.cat([mel.mean(dim=1), mel.std(dim=1)], dim=1), labels, peaks.numpy()


def test_classes_are_recognised_by_their_sound_but_not_by_their_pitch_alone() -> None:
    train, labels, peaks = features(range(16))
    test, answers, test_peaks = features(range(1000, 1010))
    mean, deviation = train.mean(dim=0), train.std(dim=0) + 1e-6
    train, test = (train - mean) / deviation, (test - mean) / deviation
    linear = torch.nn.Linear(128, len(VOICES))
    torch.nn.init.zeros_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(linear(train), labels) + 1e-3 * linear.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    assert (linear(test).argmax(dim=1) == answers).float().mean() > 0.85

    # the same with the strongest peak alone, in quarters of an octave, among the instruments
    indices = [list(VOICES).index(name) for name in INSTRUMENTS]
    votes = np.zeros((30, len(VOICES)))
    np.add.at(votes, ((4 * np.log2(peaks / 60)).astype(int), labels.numpy()), 1)
    guesses = np.array(indices)[votes[:, indices].argmax(axis=1)][(4 * np.log2(test_peaks / 60)).astype(int)]
    among = np.isin(answers.numpy(), indices)
    assert (guesses == answers.numpy())[among].mean() < 0.4


def test_a_voice_survives_json() -> None:
    for voice in (Voice("dog", 2**40), Voice("cello", 3, "cello/a.wav")):
        assert Voice.from_dict(json.loads(json.dumps(voice.to_dict()))) == voice


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match=r"tuba.*person, violin"):
        render_voice(Voice("tuba", 0), 0, 1)
    with pytest.raises(ConfigError, match="RecordedVoices"):
        render_voice(Voice("tuba", 0, "tuba/a.wav"), 0, 1)
    with pytest.raises(ConfigError, match=r"\[3, 1\)"):
        render_voice(Voice("dog", 0), 3, 1)
    with pytest.raises(DataError, match="class"):
        Voice.from_dict({"seed": 3})


def test_an_empty_range_has_no_samples() -> None:
    assert render_voice(Voice("dog", 0), 2, 2).shape == (0,)
