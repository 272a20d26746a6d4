"""Edits of the sound, from Python and in the syntax of the command line."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

from acvis_kit.clip import SAMPLE_RATE, Clip
from acvis_kit.errors import ConfigError, MediaError
from acvis_kit.media.edit import AudioEdit
from tests.media.waveforms import rms, sine


def clip_with(waveform: torch.Tensor | None, seconds: int = 2) -> Clip:
    return Clip.from_arrays(torch.zeros(seconds, 3, 4, 6, dtype=torch.uint8), waveform)


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return torch.corrcoef(torch.stack([a, b]))[0, 1].item()


def test_edits_work_on_the_class_and_in_a_chain():
    clip = clip_with(sine(440, 2.0))
    edit = AudioEdit.gain(-6).shift(0.5)
    assert repr(edit) == "AudioEdit.gain(-6).shift(0.5)"
    sound = edit.apply(clip)
    assert sound.dtype == torch.float32 and sound.shape == clip.waveform.shape
    torch.testing.assert_close(sound[8000:], clip.waveform[:-8000] * 10 ** (-6 / 20))


def test_an_edit_is_never_changed_by_further_edits():
    base = AudioEdit.gain(3)
    first, second = base.mute(), base.noise(10)
    assert len(base.steps) == 1 and first != second
    assert base == AudioEdit.gain(3)
    with pytest.raises(AttributeError):
        base.steps = ()


def test_every_edit_leaves_the_clip_unchanged():
    clip = clip_with(sine(440, 2.0))
    before = clip.waveform.clone()
    AudioEdit.original().apply(clip).zero_()
    AudioEdit().apply(clip).zero_()
    AudioEdit.gain(0).keep(0, 1).apply(clip).zero_()
    torch.testing.assert_close(clip.waveform, before)


def test_original_undoes_earlier_edits():
    clip = clip_with(sine(440, 2.0))
    torch.testing.assert_close(AudioEdit.mute().original().apply(clip), clip.waveform)
    assert repr(AudioEdit()) == "AudioEdit.original()"


def test_mute_is_silence():
    assert AudioEdit.mute().apply(clip_with(sine(440, 2.0))).abs().max() == 0


def test_swap_takes_a_file_a_clip_or_a_waveform(tmp_path):
    clip, other = clip_with(sine(440, 2.0)), sine(1000, 2.0)
    wavfile.write(tmp_path / "other.wav", SAMPLE_RATE, other.numpy())
    stereo = torch.stack([other * 2, torch.zeros_like(other)])
    for source in (tmp_path / "other.wav", str(tmp_path / "other.wav"), clip_with(other), other, other.numpy(), stereo):
        torch.testing.assert_close(AudioEdit.swap(source).apply(clip), other)


def test_swap_pads_a_short_sound_with_silence_or_loops_it():
    clip, short = clip_with(sine(440, 2.0)), torch.arange(1.0, 8001.0)
    padded = AudioEdit.swap(short).apply(clip)
    torch.testing.assert_close(padded, torch.cat([short, torch.zeros(24000)]))
    torch.testing.assert_close(AudioEdit.swap(short, loop=True).apply(clip), short.repeat(4))
    torch.testing.assert_close(AudioEdit.swap(short, offset=0.25, loop=True).apply(clip), short.roll(-4000).repeat(4))


def test_swap_offset_skips_the_beginning_or_delays_it():
    clip, other = clip_with(None), torch.arange(1.0, 48001.0)
    torch.testing.assert_close(AudioEdit.swap(other, offset=0.5).apply(clip), other[8000:40000])
    delayed = AudioEdit.swap(other, offset=-0.5).apply(clip)
    torch.testing.assert_close(delayed, torch.cat([torch.zeros(8000), other[:24000]]))
    with pytest.raises(ConfigError, match="offset=9 lies beyond"):
        AudioEdit.swap(other, offset=9).apply(clip)


def test_swap_with_a_clip_without_sound_is_silence():
    assert AudioEdit.swap(clip_with(None)).apply(clip_with(sine(440, 2.0))).abs().max() == 0


def test_mix_adds_the_other_sound_at_its_gain():
    clip, other = clip_with(sine(440, 2.0)), sine(1000, 1.0)
    mixed = AudioEdit.mix(other, gain_db=-20).apply(clip)
    torch.testing.assert_close(mixed[:16000], clip.waveform[:16000] + 0.1 * other)
    torch.testing.assert_close(mixed[16000:], clip.waveform[16000:])


@pytest.mark.parametrize("snr_db", [-10, 0, 20])
def test_noise_has_the_given_ratio_to_the_sounding_part(snr_db):
    half_silent = torch.cat([sine(440, 1.0), torch.zeros(SAMPLE_RATE)])
    clip = clip_with(half_silent)
    noise = AudioEdit.noise(snr_db=snr_db).apply(clip) - half_silent
    assert 20 * np.log10(rms(sine(440, 1.0)) / rms(noise)) == pytest.approx(snr_db, abs=0.2)
    assert rms(noise[16000:]) == pytest.approx(rms(noise), rel=0.05)  # in the pause too


def test_noise_is_the_same_for_the_same_seed_only():
    clip = clip_with(sine(440, 2.0))
    first, again, other = (AudioEdit.noise(10, seed=s).apply(clip) for s in (1, 1, 2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert abs(correlation(first - clip.waveform, other - clip.waveform)) < 0.05


def test_noise_on_silence_refers_to_a_speaking_level():
    assert rms(AudioEdit.mute().noise(snr_db=20).apply(clip_with(None))) == pytest.approx(0.01, rel=0.02)


def test_shift_fills_the_gap_with_silence_on_either_side():
    clip = clip_with(torch.arange(1.0, 32001.0))
    later, earlier = AudioEdit.shift(0.5).apply(clip), AudioEdit.shift(-0.5).apply(clip)
    torch.testing.assert_close(later, torch.cat([torch.zeros(8000), clip.waveform[:-8000]]))
    torch.testing.assert_close(earlier, torch.cat([clip.waveform[8000:], torch.zeros(8000)]))
    assert AudioEdit.shift(99).apply(clip).abs().max() == AudioEdit.shift(-99).apply(clip).abs().max() == 0


def test_keep_silences_the_sound_outside():
    clip = clip_with(torch.ones(32000))
    kept = AudioEdit.keep(0.5, 1.5).apply(clip)
    assert kept[8000:24000].min() == 1 and kept.sum() == 16000
    assert AudioEdit.keep(start=1).apply(clip).sum() == 16000


@given(seconds=st.floats(-5, 5), db=st.floats(-60, 60), offset=st.floats(-3, 0.9), loop=st.booleans())
@settings(max_examples=30, deadline=None)
def test_any_chain_keeps_the_length_and_stays_finite(seconds, db, offset, loop):
    clip = clip_with(sine(440, 2.0))
    other = sine(300, 1.0)
    sound = AudioEdit.shift(seconds).gain(db).mix(other, offset=offset, loop=loop).noise(5).shift(-seconds).apply(clip)
    assert sound.shape == clip.waveform.shape and sound.isfinite().all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: AudioEdit.noise(float("nan")),
        lambda: AudioEdit.gain(1e9),
        lambda: AudioEdit.shift(float("inf")),
        lambda: AudioEdit.shift(1e308),
        lambda: AudioEdit.shift(-1e300),
        lambda: AudioEdit.keep(0, 1e300),
        lambda: AudioEdit.keep(float("nan")),
        lambda: AudioEdit.swap(torch.zeros(100), offset=1e300),
        lambda: AudioEdit.noise(10, seed=2**64),
        lambda: AudioEdit.noise(10, seed=-1),
        lambda: AudioEdit.gain("loud"),
        lambda: AudioEdit.keep(2, 1),
        lambda: AudioEdit.keep(-1),
        lambda: AudioEdit.swap(torch.zeros(0)),
        lambda: AudioEdit.swap(torch.zeros(100, dtype=torch.int16)),
        lambda: AudioEdit.swap(torch.zeros(16000, 2)),
        lambda: AudioEdit.swap(torch.tensor([0.0, float("nan")])),
        lambda: AudioEdit.mix(torch.tensor([0.0, float("inf")])),
    ],
)
def test_an_edit_outside_its_range_is_refused_at_once(make):
    with pytest.raises(ConfigError):
        make()


def test_a_missing_file_is_named_when_the_edit_is_applied(tmp_path):
    with pytest.raises(MediaError, match=r"nowhere\.wav does not exist"):
        AudioEdit.swap(tmp_path / "nowhere.wav").apply(clip_with(None))


# --- the syntax of the command line ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "edit"),
    [
        ("original", AudioEdit.original()),
        ("mute", AudioEdit.mute()),
        ("swap:dog.wav", AudioEdit.swap("dog.wav")),
        ("swap:dog.wav@1.5", AudioEdit.swap("dog.wav", offset=1.5)),
        ("swap:C:\\me@home:2.wav@-2", AudioEdit.swap("C:\\me@home:2.wav", offset=-2)),
        ("mix:rain.ogg@-12", AudioEdit.mix("rain.ogg", gain_db=-12)),
        ("noise:10", AudioEdit.noise(10)),
        ("gain:-3.5", AudioEdit.gain(-3.5)),
        ("shift:-0.25", AudioEdit.shift(-0.25)),
        ("keep:1.5-3", AudioEdit.keep(1.5, 3)),
        ("keep:2-", AudioEdit.keep(2)),
        (["swap:dog.wav", "noise:10"], AudioEdit.swap("dog.wav").noise(10)),
        ([], AudioEdit()),
    ],
)
def test_the_syntax_of_the_command_line_is_parsed(text, edit):
    assert AudioEdit.parse(text) == edit
    assert repr(AudioEdit.parse(text)) == repr(edit)


def test_a_file_that_exists_is_not_cut_at_its_at_sign(tmp_path):
    wavfile.write(tmp_path / "dog@2", SAMPLE_RATE, np.zeros(100, dtype=np.int16))
    assert AudioEdit.parse(f"swap:{tmp_path}/dog@2") == AudioEdit.swap(tmp_path / "dog@2")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "loud",
        "swap:",
        "mix",
        "noise:much",
        "noise:nan",
        "gain:",
        "keep:3",
        "keep:5-2",
        "keep:.-",
        "mute:now",
        "parse:x",
    ],
)
def test_a_misspelt_edit_is_refused_with_the_grammar_or_the_range(text):
    with pytest.raises(ConfigError, match=r"write original \| mute|must be|must lie"):
        AudioEdit.parse([text])


# --- edits as data ---------------------------------------------------------------------------------------------------

EDITS = [
    (AudioEdit(), "AudioEdit.original()"),
    (AudioEdit.mute().original(), "AudioEdit.mute().original()"),
    (AudioEdit.noise(10), "AudioEdit.noise(snr_db=10)"),
    (AudioEdit.noise(10.5, seed=3).gain(-3), "AudioEdit.noise(snr_db=10.5, seed=3).gain(-3)"),
    (AudioEdit.gain(0.12345678), "AudioEdit.gain(0.12345678)"),
    (AudioEdit.shift(-0.25).keep(0, 2), "AudioEdit.shift(-0.25).keep(0, 2)"),
    (AudioEdit.keep(2), "AudioEdit.keep(2)"),
    (AudioEdit.swap("dog.wav", offset=1.5, loop=True), "AudioEdit.swap('dog.wav', offset=1.5, loop=True)"),
    (AudioEdit.mix("dog.wav", gain_db=-6), "AudioEdit.mix('dog.wav', gain_db=-6)"),
    (AudioEdit.swap(sine(440, 2.0)), "AudioEdit.swap(<waveform of 2 s>)"),
    (AudioEdit.mix(clip_with(sine(440, 2.0))), "AudioEdit.mix(<clip of 2 s>)"),
]


@pytest.mark.parametrize(("edit", "text"), EDITS)
def test_an_edit_is_printed_as_it_is_written_and_is_equal_after_pickling(edit: AudioEdit, text: str) -> None:
    again = pickle.loads(pickle.dumps(edit))
    assert repr(edit) == repr(again) == text
    assert edit == again and hash(edit) == hash(again)


def test_a_pickled_edit_does_the_same() -> None:
    clip = clip_with(sine(440, 2.0))
    edit = AudioEdit.mix(sine(1000, 1.0), -6, 0.25, loop=True).noise(20, seed=1).shift(0.1).keep(0.2, 1.5).gain(3)
    assert torch.equal(pickle.loads(pickle.dumps(edit)).apply(clip), edit.apply(clip))


def test_a_step_is_its_name_and_its_arguments() -> None:
    gain, swap = AudioEdit.gain(-6).swap("dog.wav", offset=1).steps
    assert (gain.name, gain.arguments) == ("gain", (-6,))
    assert (swap.name, swap.arguments[1:]) == ("swap", (1, False))


def test_edits_are_equal_if_arguments_and_sounds_are() -> None:
    tone = sine(440, 1.0)
    assert AudioEdit.swap(tone) == AudioEdit.swap(tone.clone()) == AudioEdit.swap(tone.numpy())
    different = [AudioEdit.swap(tone), AudioEdit.swap(tone * 0.5), AudioEdit.swap("a.wav"), AudioEdit.swap("b.wav")]
    different += [AudioEdit.mix("a.wav"), AudioEdit.swap("a.wav", 1), AudioEdit.gain(1), AudioEdit.shift(1)]
    assert all((a == b) == (a is b) for a in different for b in different)
    assert len({AudioEdit.swap("a.wav"), AudioEdit.swap("a.wav"), AudioEdit.swap(tone), AudioEdit.swap(tone)}) == 2


@pytest.mark.parametrize("start", [2.0, 5.0])
def test_a_part_behind_the_end_of_the_clip_is_refused(start: float) -> None:
    """It left silence, which the model takes for a result."""
    clip = clip_with(torch.ones(32_000))
    with pytest.raises(ConfigError, match=f"keep from {start:g} to {start + 1:g} s leaves silence: .* seconds 0 to 2,"):
        AudioEdit.keep(start, start + 1).apply(clip)
    assert AudioEdit.keep(1.9).apply(clip).any()


def test_seconds_of_a_part_are_those_of_the_file() -> None:
    """As in the tables of a prediction; they counted from the clip's beginning."""
    clip = replace(clip_with(torch.ones(32_000)), start=10.0)
    for edit, kept in (
        (AudioEdit.keep(10.5, 11), (8_000, 16_000)),
        (AudioEdit.keep(11), (16_000, 32_000)),
        (AudioEdit.keep(0, 11), (0, 16_000)),
        (AudioEdit.keep(11, 99), (16_000, 32_000)),
        (AudioEdit.keep(), (0, 32_000)),
    ):
        sounding = edit.apply(clip).nonzero()
        assert (int(sounding[0]), int(sounding[-1]) + 1) == kept, edit
    for start, end in ((0, 2), (1, 10), (12, 13), (12, None)):
        with pytest.raises(ConfigError, match="leaves silence: the clip has the seconds 10 to 12, which count"):
            AudioEdit.keep(start, end).apply(clip)
