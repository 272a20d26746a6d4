"""The log-mel spectrogram against the reference, sound files of every kind, and the edits."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

from acvis_kit.clip import SAMPLE_RATE, Clip
from acvis_kit.errors import ConfigError, MediaError
from acvis_kit.media.edit import AudioEdit
from acvis_kit.media.mel import frame_seconds, log_mel, log_mel_examples
from acvis_kit.media.sound import load_sound, resample

FIXTURE = Path(__file__).parents[1] / "fixtures" / "mel.npz"
SHARED = Path(__file__).parents[3] / "shared"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the shared reference material is not beside the checkout"
)


def sine(hertz: float, seconds: float, rate: int = SAMPLE_RATE, amplitude: float = 0.5) -> torch.Tensor:
    return amplitude * torch.sin(2 * torch.pi * hertz * torch.arange(round(seconds * rate)) / rate)


def clip_with(waveform: torch.Tensor | None, seconds: int = 2) -> Clip:
    return Clip.from_arrays(torch.zeros(seconds, 3, 4, 6, dtype=torch.uint8), waveform)


def rms(waveform: torch.Tensor) -> float:
    return waveform.square().mean().sqrt().item()


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return torch.corrcoef(torch.stack([a, b]))[0, 1].item()


# --- log-mel --------------------------------------------------------------------------------------------------------


def golden_mel(path: Path, case: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Ours and the reference's log-mel of a case, (T, 96, 64)."""
    data = np.load(path)
    native = torch.from_numpy(data[f"{case}.pcm"].astype(np.float32) / 32768).mean(dim=1)
    golden = torch.from_numpy(data[f"{case}.mel"])
    waveform = resample(native, int(data[f"{case}.sr"]))
    return log_mel(frame_seconds(waveform, len(golden), fps=1.0)), golden


def test_log_mel_at_16_khz_equals_the_reference():
    ours, golden = golden_mel(FIXTURE, "a16k")
    torch.testing.assert_close(ours, golden, atol=1e-4, rtol=0)


def test_log_mel_after_resampling_is_close_to_the_reference():
    ours, golden = golden_mel(FIXTURE, "b44k")
    assert (ours - golden).abs().mean() < 0.02


def test_log_mel_of_one_long_piece_equals_the_reference():
    times = np.linspace(0, 3, 132300)
    waveform = resample(torch.from_numpy(np.sin(2 * np.pi * 1000 * times)).float(), 44100)
    golden = torch.from_numpy(np.load(FIXTURE)["sine.mel"])
    ours = log_mel_examples(waveform)
    assert ours.shape == golden.shape
    assert (ours - golden).abs().mean() < 0.01


@needs_shared
@pytest.mark.parametrize("case", ["a16k", "b44k", "c16k_short"])
def test_log_mel_equals_all_of_the_reference_material(case):
    ours, golden = golden_mel(SHARED / "parity" / "mel.npz", case)
    complete = 2 if case == "c16k_short" else len(golden)  # the reference pads the last second with 0.0, which is loud
    difference = (ours - golden).abs()[:complete]
    assert difference.mean() < 0.02 if case == "b44k" else difference.max() < 1e-4


def test_missing_sound_is_silence_in_the_log_mel_and_not_zero():
    mel = log_mel(frame_seconds(sine(440, 1.0), num_frames=2, fps=1.0))
    torch.testing.assert_close(mel[1], torch.full((96, 64), 0.01).log())


def test_log_mel_keeps_the_dtype_and_any_leading_axes():
    seconds = torch.randn(2, 3, SAMPLE_RATE, dtype=torch.float64)
    mel = log_mel(seconds)
    assert mel.dtype == torch.float64 and mel.shape == (2, 3, 96, 64)
    torch.testing.assert_close(log_mel(seconds.float()).double(), mel, atol=1e-4, rtol=0)


def test_log_mel_has_gradients_even_if_inference_came_first():
    log_mel.__globals__["_front_end"].cache_clear()
    with torch.inference_mode():
        log_mel(torch.randn(1, SAMPLE_RATE))
    waveform = torch.randn(1, SAMPLE_RATE, requires_grad=True)
    log_mel(waveform).sum().backward()
    assert waveform.grad.abs().sum() > 0


def test_at_one_frame_per_second_frame_i_hears_second_i():
    waveform = torch.arange(3 * SAMPLE_RATE, dtype=torch.float32)
    torch.testing.assert_close(frame_seconds(waveform, 3, fps=1.0).flatten(), waveform)


@pytest.mark.parametrize("fps", [0.5, 2.0, 3.0, 29.97])
def test_at_other_rates_every_frame_hears_the_second_around_its_middle(fps):
    waveform = torch.arange(1, 4 * SAMPLE_RATE + 1, dtype=torch.float64)  # sample n holds n + 1, silence 0
    num_frames = int(4 * fps)
    seconds = frame_seconds(waveform, num_frames, fps)
    assert seconds.shape == (num_frames, SAMPLE_RATE)
    for i in (0, num_frames // 2, num_frames - 1):
        first = round((i + 0.5) / fps * SAMPLE_RATE) - SAMPLE_RATE // 2
        heard = [waveform[n].item() if 0 <= n < len(waveform) else 0 for n in (first, first + 8000, first + 15999)]
        assert seconds[i, [0, 8000, 15999]].tolist() == heard


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 47999, 48000, 96000])
def test_any_rate_becomes_16_khz_at_the_same_pitch(tmp_path, rate):
    wavfile.write(tmp_path / "a.wav", rate, sine(1000, 1.0, rate).numpy())
    sound = load_sound(tmp_path / "a.wav")
    assert sound.dtype == torch.float32 and abs(len(sound) - SAMPLE_RATE) <= 1
    spectrum = torch.fft.rfft(sound[:16000], n=16000).abs()
    assert spectrum.argmax() == 1000
    assert rms(sound[1000:15000]) == pytest.approx(0.5 / 2**0.5, rel=0.01)


@pytest.mark.parametrize(
    "dtype, full", [(np.uint8, 128), (np.int16, 2**15), (np.int32, 2**31), (np.float32, 1), (np.float64, 1)]
)
def test_every_sample_format_gives_the_same_amplitude(tmp_path, dtype, full):
    values = sine(500, 0.5).double().numpy() * full + (128 if dtype == np.uint8 else 0)
    wavfile.write(tmp_path / "a.wav", SAMPLE_RATE, values.astype(dtype))
    torch.testing.assert_close(load_sound(tmp_path / "a.wav"), sine(500, 0.5), atol=0.01, rtol=0)


def test_channels_become_their_mean(tmp_path):
    levels = np.array([0.6, 0.0, -0.3, 0.1, 0.2, 0.3], dtype=np.float32)
    wavfile.write(tmp_path / "six.wav", SAMPLE_RATE, np.tile(levels, (4000, 1)))
    torch.testing.assert_close(load_sound(tmp_path / "six.wav"), torch.full((4000,), 0.15))


def test_numbers_that_are_none_become_silence(tmp_path):
    wavfile.write(tmp_path / "nan.wav", SAMPLE_RATE, np.full(4000, np.nan, dtype=np.float32))
    assert load_sound(tmp_path / "nan.wav").abs().max() == 0


def test_a_long_sound_is_cut_with_a_warning(tmp_path):
    wavfile.write(tmp_path / "long.wav", 8000, np.zeros(8000 * 3, dtype=np.int16))
    with pytest.warns(UserWarning, match="more than 2 s"):
        assert len(load_sound(tmp_path / "long.wav", max_seconds=2)) == 2 * SAMPLE_RATE


def test_a_sound_can_be_loaded_from_its_middle(tmp_path):
    whole = torch.randn(3 * SAMPLE_RATE).mul(0.1)
    wavfile.write(tmp_path / "a.wav", SAMPLE_RATE, whole.numpy())
    torch.testing.assert_close(load_sound(tmp_path / "a.wav", start=1.25), whole[20000:])
    with pytest.raises(MediaError, match=r"a\.wav has no sound after second 7"):
        load_sound(tmp_path / "a.wav", start=7)


@pytest.mark.parametrize("content, says", [(b"", "0 bytes"), (b"these are words\n" * 50, "not readable")])
def test_what_is_not_a_sound_is_refused_by_name(tmp_path, content, says):
    (tmp_path / "song.mp3").write_bytes(content)
    with pytest.raises(MediaError, match=rf"song\.mp3.*{says}"):
        load_sound(tmp_path / "song.mp3")


@needs_shared
def test_the_shared_sounds_and_the_sound_of_videos_can_be_loaded():
    sounds = [next((SHARED / "sounds").rglob(f"*.{suffix}"), None) for suffix in ("mp3", "ogg", "flac", "wav")]
    videos = [SHARED / "clips" / "odd" / name for name in ("exo_sample_opus.mp4", "bbb_5.1.mp4", "gr_av1_32khz.mp4")]
    for path in [sound for sound in sounds if sound] + videos:
        sound = load_sound(path)
        assert sound.ndim == 1 and len(sound) > SAMPLE_RATE / 10 and sound.isfinite().all() and sound.abs().max() > 0, (
            path
        )


# --- edits ----------------------------------------------------------------------------------------------------------


def test_edits_work_on_the_class_and_in_a_chain():
    clip = clip_with(sine(440, 2.0))
    edit = AudioEdit.gain(-6).shift(0.5)
    assert repr(edit) == "AudioEdit.gain(-6).shift(0.5)"
    sound = edit.apply(clip)
    assert sound.dtype == torch.float32 and sound.shape == clip.waveform.shape
    torch.testing.assert_close(sound[8000:], clip.waveform[:-8000] * 10 ** (-6 / 20))


def test_an_edit_is_never_changed_by_going_on_with_it():
    base = AudioEdit.gain(3)
    first, second = base.mute(), base.noise(10)
    assert len(base.steps) == 1 and first != second
    assert base == AudioEdit.gain(3)
    with pytest.raises(AttributeError):
        base.steps = ()


def test_every_edit_leaves_the_clip_alone():
    clip = clip_with(sine(440, 2.0))
    before = clip.waveform.clone()
    AudioEdit.original().apply(clip).zero_()
    AudioEdit().apply(clip).zero_()
    AudioEdit.gain(0).keep(0, 1).apply(clip).zero_()
    torch.testing.assert_close(clip.waveform, before)


def test_original_takes_back_what_was_before():
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
def test_noise_has_the_ratio_asked_for_where_it_sounds(snr_db):
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


def test_shift_moves_silence_in_on_either_side():
    clip = clip_with(torch.arange(1.0, 32001.0))
    later, earlier = AudioEdit.shift(0.5).apply(clip), AudioEdit.shift(-0.5).apply(clip)
    torch.testing.assert_close(later, torch.cat([torch.zeros(8000), clip.waveform[:-8000]]))
    torch.testing.assert_close(earlier, torch.cat([clip.waveform[8000:], torch.zeros(8000)]))
    assert AudioEdit.shift(99).apply(clip).abs().max() == AudioEdit.shift(-99).apply(clip).abs().max() == 0


def test_keep_silences_what_is_outside():
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
        lambda: AudioEdit.keep(2, 1),
        lambda: AudioEdit.keep(-1),
        lambda: AudioEdit.swap(torch.zeros(0)),
        lambda: AudioEdit.swap(torch.zeros(100, dtype=torch.int16)),
        lambda: AudioEdit.swap(torch.zeros(16000, 2)),
    ],
)
def test_an_edit_outside_its_range_is_refused_at_once(make):
    with pytest.raises(ConfigError):
        make()


def test_a_missing_file_is_named_when_the_edit_is_applied(tmp_path):
    with pytest.raises(MediaError, match=r"nowhere\.wav does not exist"):
        AudioEdit.swap(tmp_path / "nowhere.wav").apply(clip_with(None))


# --- the command line's spelling ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, edit",
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
def test_the_command_lines_spelling_is_understood(text, edit):
    assert AudioEdit.parse(text) == edit
    assert repr(AudioEdit.parse(text)) == repr(edit)


def test_a_file_that_exists_is_not_cut_at_its_at_sign(tmp_path):
    wavfile.write(tmp_path / "take@2", SAMPLE_RATE, np.zeros(100, dtype=np.int16))
    assert AudioEdit.parse(f"swap:{tmp_path}/take@2") == AudioEdit.swap(tmp_path / "take@2")


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
    with pytest.raises(ConfigError, match=r"write original \| mute|must be"):
        AudioEdit.parse([text])
