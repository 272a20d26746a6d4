"""Recordings that were joined: time stamps that jump, sound and pictures whose format changes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from acvis_kit.clip import SAMPLE_RATE, Clip
from acvis_kit.media.load import iter_source_frames, load_clip
from acvis_kit.media.sound import load_sound
from tests.media.videos import LEVEL, every, heard, make_video, noted, numbers, scale, write_sound

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # the tests read Clip.notes instead


def part(
    path: Path,
    seconds: int,
    first: int = 0,
    sound_seconds: float | None = None,
    extra_seconds: int = 0,
    rate: int = 48000,
    sound_codec: str = "mp2",
    **options,
) -> Path:
    """Second i of the file shows the number 8 (`first` + i) and sounds like second `first` + i of the scale."""
    sound = scale(seconds + extra_seconds, rate, first)[: round((sound_seconds or seconds + extra_seconds) * rate)]
    stamps = every(0.04, seconds)
    return make_video(
        path,
        stamps,
        sound=sound,
        sound_rate=rate,
        sound_codec=sound_codec,
        numbered=[8 * (first + int(stamp + 0.001)) for stamp in stamps],
        ticks=25,
        **{"codec": "mpeg2video", "stream_options": {"bf": "2"}} | options,
    )


def seen(clip: Clip) -> list[int]:
    """The second that each frame shows."""
    return [round(number / 8) for number in numbers(clip)]


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize("codec", ["mpeg2video", "mpeg4"])
@pytest.mark.parametrize("sound_codec", ["mp2", "aac"])
def test_stamps_that_begin_anew_go_on_for_picture_and_sound(tmp_path, codec, sound_codec):
    one = part(tmp_path / "a.ts", 4, codec=codec, sound_codec=sound_codec)
    two = part(tmp_path / "b.ts", 3, first=4, codec=codec, sound_codec=sound_codec)
    clip = load_clip(joined(tmp_path / "ab.ts", one, two))
    assert seen(clip) == [0, 1, 2, 3, 4, 5, 6]
    assert heard(clip.waveform) == [0, 1, 2, 3, 4, 5, 6]
    assert clip.duration == pytest.approx(7, abs=0.1) and noted(clip, "time stamps jump once")
    assert not noted(clip, "Damaged") and not noted(clip, "states")
    assert heard(load_sound(tmp_path / "ab.ts")) == [0, 1, 2, 3, 4, 5, 6]


def test_a_shorter_sound_is_followed_by_silence_not_by_the_next_part(tmp_path):
    one = part(tmp_path / "a.ts", 4, sound_seconds=2.0)
    clip = load_clip(joined(tmp_path / "ab.ts", one, part(tmp_path / "b.ts", 3, first=4)))
    assert seen(clip) == [0, 1, 2, 3, 4, 5, 6] and heard(clip.waveform) == [0, 1, None, None, 4, 5, 6]


def test_stamps_that_jump_far_forward_go_on(tmp_path):
    one, two = (
        part(tmp_path / "a.ts", 2),
        part(tmp_path / "b.ts", 2, first=2, container_options={"output_ts_offset": "5000"}),
    )
    clip = load_clip(joined(tmp_path / "ab.ts", one, two))
    assert seen(clip) == heard(clip.waveform) == [0, 1, 2, 3] and noted(clip, "jump once")
    clip = load_clip(joined(tmp_path / "ba.ts", two, one))
    assert seen(clip) == heard(clip.waveform) == [2, 3, 0, 1] and noted(clip, "jump once")


@pytest.mark.parametrize("suffix", ["ts", "mpg", "ogv"])
def test_a_sound_that_outlasts_the_picture_is_noted(tmp_path, suffix):
    codecs = {"codec": "libvpx", "sound_codec": "libopus", "stream_options": {}} if suffix == "ogv" else {}
    path = part(tmp_path / f"a.{suffix}", 2, extra_seconds=3, **codecs)
    clip = load_clip(path)
    assert len(clip) == 2 and noted(clip, "longer than the picture: cut")


def test_every_seam_counts(tmp_path):
    parts = [part(tmp_path / f"{n}.ts", 2, first=2 * n) for n in range(3)]
    clip = load_clip(joined(tmp_path / "all.ts", *parts))
    assert heard(clip.waveform) == [0, 1, 2, 3, 4, 5] and noted(clip, "jump 2 times")


@pytest.mark.parametrize("suffix", ["ts", "mpg"])
@pytest.mark.parametrize("start", [1.0, 4.0, 5.0, 6.5])
def test_a_stretch_of_a_joined_file_is_what_the_whole_has_there(tmp_path, suffix, start):
    one, two = part(tmp_path / f"a.{suffix}", 4), part(tmp_path / f"b.{suffix}", 3, first=4)
    path = joined(tmp_path / f"ab.{suffix}", one, two)
    whole, cut = load_clip(path), load_clip(path, start=start, end=start + 1)
    assert seen(whole) == heard(whole.waveform) == [0, 1, 2, 3, 4, 5, 6]
    assert seen(cut) == [int(start + 0.5)] or start % 1
    assert heard(cut.waveform) == [int(start)] or start % 1
    images = [round((image.mean() - 20) / LEVEL / 8) for _, _, image in iter_source_frames(cut)]
    assert images[12] == seen(cut)[0] == seen(whole)[min(6, int(start + 0.5))]


def test_a_limit_counts_the_whole_joined_file(tmp_path):
    path = joined(tmp_path / "ab.ts", part(tmp_path / "a.ts", 4), part(tmp_path / "b.ts", 3, first=4))
    clip = load_clip(path, max_seconds=5, too_long="trim")
    assert len(clip) == 5 and heard(clip.waveform) == [0, 1, 2, 3, 4] and noted(clip, "trimmed to the first 5 s")


def test_stamps_without_jumps_are_not_touched(tmp_path):
    for suffix in ("ts", "mpg", "mkv", "mp4"):
        clip = load_clip(part(tmp_path / f"a.{suffix}", 2))
        assert not noted(clip, "jump") and heard(clip.waveform) == [0, 1]


@pytest.mark.parametrize("rates", [(44100, 48000), (48000, 44100), (32000, 48000)])
def test_a_sound_whose_rate_changes_is_resampled_stretch_by_stretch(tmp_path, rates):
    parts = [part(tmp_path / f"{n}.ts", 2, first=2 * n, rate=rate) for n, rate in enumerate(rates)]
    path = joined(tmp_path / "ab.ts", *parts)
    clip = load_clip(path)
    assert heard(clip.waveform) == [0, 1, 2, 3] and not noted(clip, "Damaged")
    assert heard(load_sound(path)) == [0, 1, 2, 3]
    assert heard(load_sound(path, start=1.0)) == [1, 2, 3]


def test_a_sound_file_whose_rate_changes_keeps_its_second_part(tmp_path):
    parts = []
    for n, rate in enumerate((44100, 48000)):
        path = tmp_path / f"{n}.mp3"
        write_sound(path, scale(2, rate, 2 * n), rate, "libmp3lame", options={"write_xing": "0", "id3v2_version": "0"})
        parts.append(path)
    sound = load_sound(joined(tmp_path / "ab.mp3", *parts))
    assert heard(sound) == [0, 1, 2, 3] and len(sound) / SAMPLE_RATE == pytest.approx(4.07, abs=0.06)


def test_channels_that_change_are_averaged(tmp_path):
    for n, layout in enumerate(("mono", "stereo")):
        write_sound(tmp_path / f"{n}.aac", scale(2, 44100, 2 * n), 44100, "aac", layout=layout)
    sound = load_sound(joined(tmp_path / "ab.aac", tmp_path / "0.aac", tmp_path / "1.aac"))
    assert heard(sound) == [0, 1, 2, 3]
    levels = [sound[n * SAMPLE_RATE + 4000 : n * SAMPLE_RATE + 12000].square().mean().item() for n in (1, 3)]
    assert levels[0] / 2 == pytest.approx(levels[1], rel=0.1)  # FFmpeg lowers a mono sound by 3 dB in stereo


def test_pictures_whose_size_changes_are_scaled_to_the_first(tmp_path):
    one, two = part(tmp_path / "a.ts", 2, size=(32, 48)), part(tmp_path / "b.ts", 2, first=2, size=(64, 96))
    clip = load_clip(joined(tmp_path / "ab.ts", one, two))
    assert clip.size == (32, 48) and seen(clip) == heard(clip.waveform) == [0, 1, 2, 3]


def test_sound_that_is_laid_is_never_overwritten(tmp_path):
    """The stamps of the third frame lie one second before the end of the second."""
    from acvis_kit.media.decoding import Findings
    from acvis_kit.media.sound import _lay_out

    frames = []
    for time, level in ((0.0, 0.1), (1.0, 0.2), (1.0, 0.3)):
        frame = av.AudioFrame.from_ndarray(np.full((1, SAMPLE_RATE), level, np.float32), format="fltp", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frames.append((time, frame))
    waveform, begins, ends = _lay_out(frames, 0.0, 10.0, Findings())
    assert (begins, ends) == (0.0, 3.0)
    assert waveform.view(3, -1).mean(1).tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_a_long_sound_is_held_piece_by_piece(monkeypatch):
    from acvis_kit.media import sound

    monkeypatch.setattr(sound, "PIECE", 2**14)
    stretch = sound._Resampled(768_000)
    for begin in range(0, 3_000_000, 1000):
        stretch.write(begin, np.full(1000, 0.5, np.float32))
        assert len(stretch._buffer) <= 2**14 + 2 * stretch._context
    stretch.write(30_000_000, np.zeros(1000, np.float32))  # after a long gap
    assert len(stretch._buffer) <= 2**14 + 2 * stretch._context and len(stretch.finish()) == 625_021


def test_pieces_that_are_resampled_one_by_one_join_without_a_seam(monkeypatch):
    from acvis_kit.media import sound

    for rate in (44100, 48000, 8000, 96000, 16000, 11025):
        samples = np.random.default_rng(0).standard_normal(2 * rate).astype(np.float32) * 0.1
        results = []
        for piece in (2**23, 2**12):
            monkeypatch.setattr(sound, "PIECE", piece)
            stretch = sound._Resampled(rate)
            for begin, end in pairwise(range(0, len(samples) + 1000, 1000)):
                stretch.write(begin, samples[begin:end])
            results.append(stretch.finish())
        whole = sound.resample(torch.from_numpy(samples), rate)
        assert torch.equal(results[0], whole)
        torch.testing.assert_close(results[1], whole, atol=1e-6, rtol=0)
