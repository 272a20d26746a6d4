"""Loading and writing of video files: frames, sound, repairs, limits and errors."""

import os
import random
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from acvis_kit.clip import SAMPLE_RATE, Clip
from acvis_kit.errors import ConfigError, MediaError
from acvis_kit.inference.soundtrack import soundtrack
from acvis_kit.media.edit import AudioEdit
from acvis_kit.media.load import iter_source_frames, load_clip
from acvis_kit.media.sound import load_sound
from acvis_kit.media.write import write_video
from tests.media.videos import LEVEL, every, make_video, noted, numbers, tone
from tests.media.waveforms import rms

CLIPS = Path(__file__).parents[3] / "shared" / "clips"
needs_clips = pytest.mark.skipif(not CLIPS.is_dir(), reason="the shared clips are not beside the checkout")
real_clips = sorted(CLIPS.glob("*/*.*"))
not_loadable = {  # part of their error messages
    "empty_0byte.webm": "0 bytes",
    "exo_full_blocks.mkv": "neither a picture nor a sound",
    "exo_sample_eac3.mp4": "sound but no picture",
    "exo_sample_opus.mp4": "sound but no picture",
}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # the tests read Clip.notes instead


# --- which picture --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "sound_codec"), [("mp4", "aac"), ("mkv", "pcm_s16le"), ("webm", "libopus"), ("avi", "mp2")]
)
def test_frame_i_shows_the_middle_of_second_i(tmp_path, suffix, sound_codec):
    codec = {"webm": "libvpx", "avi": "mpeg4"}.get(suffix, "libx264")
    rate = 48000 if suffix == "webm" else 16000
    path = make_video(
        tmp_path / f"a.{suffix}",
        every(0.1, 3),
        codec=codec,
        sound=tone(3, rate),
        sound_codec=sound_codec,
        sound_rate=rate,
    )
    clip = load_clip(path)
    assert numbers(clip) == [5, 15, 25]
    assert clip.frames.shape == (3, 3, 32, 48) and clip.frames.dtype == torch.uint8
    assert clip.waveform.shape == (3 * SAMPLE_RATE,) and clip.waveform.dtype == torch.float32
    assert clip.times.tolist() == [0.5, 1.5, 2.5] and clip.times.dtype == torch.float64
    assert clip.has_audio and clip.source == path and clip.notes == ()
    assert clip.duration == pytest.approx(3, abs=0.11) and clip.source_fps == pytest.approx(10, abs=0.1)


def test_the_position_within_the_second_is_a_parameter(tmp_path):
    path = make_video(tmp_path / "a.mkv", every(0.1, 3))
    assert numbers(load_clip(path, position=0.0)) == [0, 10, 20]
    assert numbers(load_clip(path, position=0.25)) == [2, 12, 22]
    assert numbers(load_clip(path, position=1.0)) == [10, 20, 29]


def test_frames_are_chosen_by_time_stamp_where_the_frame_rate_varies(tmp_path):
    stamps = [0.0, 0.1, 0.2, 0.3, 0.4, 0.49, 0.51, 1.4, 1.6, 1.7, 2.6, 2.9]
    clip = load_clip(make_video(tmp_path / "vfr.mkv", stamps))
    assert numbers(clip) == [5, 7, 9]  # stamped 0.49, 1.4 and 1.7: on the screen at 0.5, 1.5 and 2.5
    assert clip.source_fps == pytest.approx(10)


@pytest.mark.parametrize(("seconds", "frames"), [(0.1, 1), (0.5, 1), (1.4, 1), (1.5, 2), (2.4, 2), (2.6, 3)])
def test_a_second_exists_if_the_picture_lasts_to_its_middle(tmp_path, seconds, frames):
    clip = load_clip(make_video(tmp_path / "a.mkv", every(0.1, seconds)))
    assert len(clip) == frames and len(clip.waveform) == frames * SAMPLE_RATE
    assert clip.duration == pytest.approx(seconds, abs=0.02)


def test_other_rates_cut_other_intervals(tmp_path):
    path = make_video(tmp_path / "a.mkv", every(0.1, 3), sound=tone(3))
    half = load_clip(path, fps=0.5)
    assert numbers(half) == [10, 29] and len(half.waveform) == 4 * SAMPLE_RATE
    double = load_clip(path, fps=2)
    assert numbers(double) == [2, 7, 12, 17, 22, 27] and double.times[1] == 0.75
    assert len(load_clip(path, fps=25)) == 75  # more than the source has: pictures repeat


def test_a_stretch_that_ends_before_the_middle_of_its_first_frame_is_refused(tmp_path):
    """The model would be given a picture from behind it, and silence."""
    path = make_video(tmp_path / "a.mkv", every(0.1, 3), sound=tone(3))
    with pytest.raises(MediaError, match=r"at fps=0\.05 a frame stands for 20 s, and 3\.\d+ s are loaded") as caught:
        load_clip(path, fps=0.05)
    assert str(caught.value).endswith("raise fps= to 0.17 or more.")
    assert load_clip(path, fps=0.17).waveform[: 3 * SAMPLE_RATE].any()
    with pytest.raises(MediaError, match=r"fps=0\.2 .* 1\.00 s are loaded"):
        load_clip(path, fps=0.2, end=1)


def test_start_and_end_choose_a_stretch(tmp_path):
    sound = np.concatenate([np.zeros(32000), tone(1), np.zeros(32000)])
    path = make_video(tmp_path / "a.mp4", every(0.1, 5), sound=sound, sound_codec="aac", stream_options={"g": "7"})
    clip = load_clip(path, start=1.5, end=4.0)
    assert numbers(clip) == [20, 30, 39] or numbers(clip) == [20, 30, 40]
    assert clip.start == 1.5 and clip.duration == 2.5 and clip.times.tolist() == [2.0, 3.0, 4.0]
    assert not clip.notes
    for stretch in ({"start": 1.5}, {"end": 4.0}):  # frames hear beyond its edges, which are not loaded
        with pytest.warns(UserWarning, match="at the edges of this stretch"):
            assert any("a frame hears the second around it" in note for note in load_clip(path, fps=4, **stretch).notes)
    assert not load_clip(path, fps=4).notes
    loud = clip.waveform.abs() > 0.05
    first, last = loud.nonzero()[0].item() / SAMPLE_RATE, loud.nonzero()[-1].item() / SAMPLE_RATE
    assert first == pytest.approx(0.5, abs=0.03) and last == pytest.approx(1.5, abs=0.03)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_stretch_shows_what_the_whole_shows_there(tmp_path, suffix):
    path = make_video(tmp_path / f"a.{suffix}", every(0.1, 5), stream_options={"g": "13", "bf": "2"})
    whole = load_clip(path)
    for start in (1.0, 2.0, 4.0):
        assert numbers(load_clip(path, start=start)) == numbers(whole)[int(start) :]


def test_an_end_beyond_the_file_is_noted(tmp_path):
    clip = load_clip(make_video(tmp_path / "a.mkv", every(0.1, 2)), end=9)
    assert len(clip) == 2 and noted(clip, "before end=9")


# --- odd pictures ---------------------------------------------------------------------------------------------------


def turn(path: Path, matrix: list[int]) -> Path:
    """Write a display matrix into the track header of an MP4, as phones do."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # behind version, times, id, duration, layer and volume
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [  # where the bright upper left corner goes: (row, column)
        ([1, 0, 0, 1], (0, 0)),
        ([0, 1, -1, 0], (0, -1)),
        ([-1, 0, 0, -1], (-1, -1)),
        ([0, -1, 1, 0], (-1, 0)),
        ([-1, 0, 0, 1], (0, -1)),
        ([1, 0, 0, -1], (-1, 0)),
        ([0, 1, 1, 0], (0, 0)),
    ],
)
def test_pictures_are_turned_by_the_display_matrix(tmp_path, matrix, corner):
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 64, "yuv420p"
        image = np.zeros((32, 64, 3), np.uint8)
        image[:16, :16] = 255
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode())
    frame = load_clip(turn(path, matrix)).frames[0].float().mean(dim=0)
    assert frame.shape == ((64, 32) if matrix[0] == 0 else (32, 64))
    assert frame[corner] > 200
    others = [c for c in ((0, 0), (0, -1), (-1, 0), (-1, -1)) if c != corner]
    assert all(frame[c] < 50 for c in others)


@pytest.mark.parametrize(
    ("pixels", "codec", "suffix"),
    [("yuv420p10le", "ffv1", "mkv"), ("yuv444p", "ffv1", "mkv"), ("gray", "ffv1", "mkv"), ("rgb24", "png", "mov")],
)
def test_every_pixel_format_gives_the_same_grey(tmp_path, pixels, codec, suffix):
    clip = load_clip(make_video(tmp_path / f"a.{suffix}", every(0.1, 1), codec=codec, pixels=pixels))
    assert (clip.frames.float() - (20 + 5 * LEVEL)).abs().max() <= 2


def test_transparent_pixels_are_black(tmp_path):
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("qtrle", rate=10)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "argb"
        image = np.full((16, 16, 4), 200, np.uint8)
        image[:8, :, 3], image[8:, :, 3] = 0, 255
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgba")))
        container.mux(stream.encode())
    frame = load_clip(tmp_path / "a.mov").frames[0]
    assert frame[:, :8].max() == 0 and frame[:, 8:].min() == 200


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (2, 300)])
def test_odd_sizes_keep_their_size(tmp_path, size):
    clip = load_clip(make_video(tmp_path / "a.mkv", every(0.1, 1), size=size, codec="ffv1", pixels="yuv444p"))
    assert clip.size == size and numbers(clip) == [5]


def test_pixels_that_are_not_square_are_stretched(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 48, 3), np.uint8))))
        container.mux(stream.encode())
    assert load_clip(tmp_path / "a.mp4").size == (32, 64)


def test_a_file_without_a_duration_is_decoded_to_its_end(tmp_path):
    path = make_video(tmp_path / "live.mkv", every(0.1, 3), sound=tone(3), container_options={"live": "1"})
    with av.open(str(path)) as container:
        assert container.duration is None
    clip = load_clip(path)
    assert numbers(clip) == [5, 15, 25] and clip.duration == pytest.approx(3, abs=0.01)
    with pytest.raises(MediaError, match=r"3\.00 s long, the limit is 2 s"):
        load_clip(path, max_seconds=2)


def test_the_rest_of_a_truncated_file_is_loaded_and_the_loss_is_noted(tmp_path):
    path = make_video(
        tmp_path / "cut.mp4", every(0.1, 6), container_options={"movflags": "faststart"}, stream_options={"g": "5"}
    )
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + (len(data) - data.index(b"mdat")) * 2 // 3])
    clip = load_clip(path)
    assert 1 <= len(clip) < 6 and numbers(clip)[0] == 5 and noted(clip, "6.00 s")


# --- sound ----------------------------------------------------------------------------------------------------------


def test_a_clip_without_sound_loads_with_silence(tmp_path):
    clip = load_clip(make_video(tmp_path / "a.mp4", every(0.1, 2)))
    assert not clip.has_audio and clip.waveform.abs().max() == 0 and len(clip.waveform) == 2 * SAMPLE_RATE
    assert noted(clip, "no sound track")


@pytest.mark.parametrize("begin", [5, 300])
@pytest.mark.parametrize(
    ("suffix", "picture", "sound"),
    [
        ("mkv", "libx264", "pcm_s16le"),
        ("nut", "libx264", "pcm_s16le"),
        ("asf", "msmpeg4v3", "mp2"),
        ("ts", "libx264", "mp2"),
        ("mov", "libx264", "pcm_s16le"),
    ],
)
def test_stamps_that_begin_later_lengthen_neither_picture_nor_sound(tmp_path, suffix, picture, sound, begin):
    """A player's clock shows 0 there, as in a part of a longer recording."""
    video = make_video(
        tmp_path / f"part.{suffix}", [begin + t for t in every(0.1, 4)], codec=picture, sound=tone(4, 48000),
        sound_rate=48000, sound_start=begin, sound_codec=sound,
    )  # fmt: skip
    clip = load_clip(video)
    assert clip.notes == () and clip.duration == pytest.approx(4, abs=0.1)
    assert numbers(clip) == pytest.approx([5, 15, 25, 35], abs=1)  # a sound's lead may shift the clock by 20 ms
    later = load_clip(video, start=2)
    assert later.notes == () and numbers(later) == pytest.approx([25, 35], abs=1)


def test_the_excess_of_a_later_sound_counts_from_the_first_picture(tmp_path):
    stamps = [5 + t for t in every(0.1, 4)]
    clip = load_clip(make_video(tmp_path / "part.mkv", stamps, sound=tone(4), sound_start=6))
    assert noted(clip, "The sound begins 1.00 s after") and noted(clip, "The sound is 1.00 s longer")


@pytest.mark.parametrize("level", [0, 5e-5])
def test_a_silent_sound_track_is_noted(tmp_path, level):
    quiet, loud = (
        load_clip(make_video(tmp_path / f"{name}.mkv", every(0.1, 2), sound=factor * tone(2)))
        for name, factor in (("quiet", level), ("loud", 1))
    )
    assert noted(quiet, "The sound is silent") and quiet.has_audio and not loud.notes
    for sound in (None, "mute", "original", quiet):
        assert soundtrack(quiet, sound)[1] == quiet.notes
    assert soundtrack(quiet, loud)[1] == ()


@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "pcm_s16le"), ("mp4", "aac")])
def test_late_sound_is_padded_in_front_and_noted(tmp_path, suffix, codec):
    path = make_video(tmp_path / f"a.{suffix}", every(0.1, 3), sound=tone(2), sound_start=1.0, sound_codec=codec)
    clip = load_clip(path)
    assert rms(clip.waveform[:15000]) < 0.01 and rms(clip.waveform[17000:47000]) == pytest.approx(0.354, rel=0.05)
    assert noted(clip, "begins 1.00 s after") or noted(clip, "begins 0.9")
    assert numbers(clip) == [5, 15, 25]


def test_a_late_picture_is_noted(tmp_path):
    path = make_video(tmp_path / "a.mkv", [2 + time for time in every(0.1, 2)], sound=tone(4), sound_codec="pcm_s16le")
    clip = load_clip(path)
    assert noted(clip, "picture begins at 2.00 s: its first frame stands until then")
    assert numbers(clip)[:2] == [0, 0] and not noted(load_clip(path, start=2), "picture begins")


@pytest.mark.parametrize("fps", [1000, 500, 40, 1])
def test_a_stretch_has_as_many_intervals_as_fit(tmp_path, fps):
    clip = load_clip(make_video(tmp_path / "a.mkv", every(0.025, 2)), fps=fps, end=0.2 if fps > 1 else 2)
    assert len(clip) == (0.2 * fps if fps > 1 else 2)


def test_short_sound_is_padded_behind_and_noted(tmp_path):
    clip = load_clip(make_video(tmp_path / "a.mkv", every(0.1, 3), sound=tone(1)))
    assert rms(clip.waveform[:16000]) > 0.3 and clip.waveform[16100:].abs().max() == 0
    assert noted(clip, "ends 2.00 s before") and clip.has_audio


@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "pcm_s16le"), ("mp4", "aac")])
def test_long_sound_is_cut_and_noted(tmp_path, suffix, codec):
    clip = load_clip(make_video(tmp_path / f"a.{suffix}", every(0.1, 2), sound=tone(5), sound_codec=codec))
    assert len(clip) == 2 and len(clip.waveform) == 2 * SAMPLE_RATE
    assert noted(clip, "longer than the picture: cut") and clip.duration == pytest.approx(2, abs=0.01)


def test_notes_are_warnings_too(tmp_path):
    with pytest.warns(UserWarning, match=r"a\.mkv: The sound ends"):
        load_clip(make_video(tmp_path / "a.mkv", every(0.1, 3), sound=tone(1)))


def test_the_sound_of_a_clip_is_the_sound_of_its_file(tmp_path):
    path = make_video(tmp_path / "a.mkv", every(0.1, 2), sound=tone(2, 44100), sound_rate=44100)
    torch.testing.assert_close(load_clip(path).waveform, load_sound(path))
    torch.testing.assert_close(load_sound(path), torch.from_numpy(tone(2)).float(), atol=0.02, rtol=0)


# --- limits ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def four_seconds(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("media") / "four.mp4", every(0.1, 4), sound=tone(4), sound_codec="aac")


@pytest.mark.parametrize(
    ("limits", "numbers_named"),
    [
        ({"max_seconds": 3}, ["4.00 s", "3 s", "max_seconds="]),
        ({"max_seconds": 1, "start": 0.5, "end": 3.0}, ["2.50 s", "1 s"]),
        ({"max_pixels": 1000}, ["1536", "1000", "max_pixels="]),
        ({"max_bytes": 100}, ["100", "max_bytes="]),
        ({"max_memory": 10_000}, ["4 frames", "18432", "10000", "max_memory="]),
        ({"start": 7.5}, ["4.00 s", "7.5"]),
    ],
)
def test_errors_of_limits_name_the_file_and_both_numbers(four_seconds, limits, numbers_named):
    with pytest.raises(MediaError) as error:
        load_clip(four_seconds, **limits)
    assert all(number in str(error.value) for number in [str(four_seconds), *numbers_named])


def test_a_long_clip_is_trimmed_on_request(four_seconds):
    clip = load_clip(four_seconds, max_seconds=3, too_long="trim")
    assert numbers(clip) == [5, 15, 25] and clip.duration == 3 and noted(clip, "4.00 s long: trimmed to the first 3 s")
    assert len(clip.waveform) == 3 * SAMPLE_RATE


def test_a_stretch_beyond_the_limit_is_trimmed_with_one_note(four_seconds):
    clip = load_clip(four_seconds, start=0.5, end=3.9, max_seconds=2, too_long="trim")
    assert (
        len(clip) == 2 and len(clip.notes) == 1 and noted(clip, "The stretch is 3.40 s long: trimmed to the first 2 s")
    )


def test_a_clip_of_just_the_limit_is_not_too_long(four_seconds):
    assert len(load_clip(four_seconds, max_seconds=4)) == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"fps": 0},
        {"fps": 1e-9},
        {"fps": 1e308},
        {"fps": float("nan")},
        {"fps": "1"},
        {"fps": True},
        {"start": -1},
        {"start": 1e308},
        {"start": 10**400},
        {"start": float("inf")},
        {"start": 2, "end": 2},
        {"end": float("inf")},
        {"end": float("nan")},
        {"max_seconds": 0},
        {"max_seconds": -1},
        {"max_seconds": float("inf")},
        {"max_seconds": float("nan")},
        {"too_long": "cut"},
        {"position": 2},
        {"position": float("nan")},
        {"max_pixels": 0},
        {"max_bytes": float("inf")},
        {"max_memory": float("nan")},
        {"max_memory": None},
    ],
)
def test_arguments_outside_their_range_are_refused_with_the_range(four_seconds, wrong):
    with pytest.raises(ConfigError, match=r"must be|must lie between .* and ") as error:
        load_clip(four_seconds, **wrong)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("wrong", [{"start": -1}, {"start": 1e308}, {"max_seconds": float("inf")}, {"start": "now"}])
def test_numbers_of_load_sound_outside_their_range_are_refused(four_seconds, wrong):
    with pytest.raises(ConfigError, match=r"must lie between .* seconds"):
        load_sound(four_seconds, **wrong)


def test_numpys_numbers_are_numbers(four_seconds):
    clip = load_clip(four_seconds, fps=np.float32(1), start=np.int64(1), max_seconds=np.float64(3))
    assert numbers(clip) == [15, 25, 35]


def test_silence_takes_no_memory_beyond_the_limit(tmp_path):
    """Two small pictures a day apart: the frames fit, but not their sound."""
    path = make_video(tmp_path / "a.mkv", [0.0, 50_000.0])
    with pytest.raises(MediaError, match=r"5000\d frames .* their sound 3\d{9}, the limit is 3000000000"):
        load_clip(path, max_seconds=86_400, max_memory=3_000_000_000)


# --- what cannot be read --------------------------------------------------------------------------------------------


def test_a_missing_path_a_folder_and_a_text_are_refused_by_name(tmp_path):
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    for path, message in [("none.mp4", "does not exist"), (".", "not a file"), ("text.mp4", "not readable")]:
        with pytest.raises(MediaError, match=message) as error:
            load_clip(tmp_path / path)
        assert str(tmp_path / path) in str(error.value)
        assert error.value.__context__ is None or error.value.__suppress_context__  # no traceback of PyAV


def test_a_sound_file_is_refused_with_the_advice_to_swap(tmp_path):
    path = make_video(tmp_path / "a.mkv", every(0.1, 1), sound=tone(1))
    sound_only = tmp_path / "sound.wav"
    with av.open(str(sound_only), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray((tone(1) * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
    with pytest.raises(MediaError, match=r"sound but no picture.*AudioEdit\.swap"):
        load_clip(sound_only)
    clip = load_clip(path)
    torch.testing.assert_close(AudioEdit.swap(sound_only).apply(clip), clip.waveform, atol=1e-3, rtol=0)


def test_a_playlist_in_disguise_fetches_nothing(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        playlist = tmp_path / "upload.m3u8"
        playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{address}\n#EXT-X-ENDLIST\n")
        with pytest.raises(MediaError):
            load_clip(playlist)
        with pytest.raises(TimeoutError):
            server.accept()


def test_ffmpeg_prints_nothing(tmp_path, capfd, four_seconds):
    broken = tmp_path / "broken.mp4"
    data = bytearray(four_seconds.read_bytes())
    data[-900:-300] = bytes(600)
    broken.write_bytes(data)
    with suppress(MediaError):
        load_clip(broken)
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""


def clip_or_error(path: Path) -> Clip | MediaError:
    try:
        return load_clip(path)
    except MediaError as error:
        return error


@pytest.mark.parametrize("suffix", ["mp4", "webm", "avi"])
def test_damaged_bytes_give_a_clip_or_a_media_error(tmp_path, suffix):
    codec, sound_codec, rate = {
        "mp4": ("libx264", "aac", 16000),
        "webm": ("libvpx", "libopus", 48000),
        "avi": ("mpeg4", "mp2", 16000),
    }[suffix]
    path = make_video(
        tmp_path / f"a.{suffix}",
        every(0.1, 1),
        codec=codec,
        sound=tone(1, rate),
        sound_codec=sound_codec,
        sound_rate=rate,
    )
    data, random_ = path.read_bytes(), random.Random(suffix)
    loaded = 0
    for _ in range(70):
        damaged = bytearray(data)
        for _ in range(random_.choice([1, 4, 40])):
            damaged[random_.randrange(len(damaged))] = random_.randrange(256)
        path.write_bytes(damaged[: random_.choice([None, None, random_.randrange(len(damaged))])])
        begun = time.monotonic()
        result = clip_or_error(path)
        if isinstance(result, MediaError):
            assert str(path) in str(result)
        else:
            loaded += 1
            assert len(result) >= 1 and result.waveform.isfinite().all() and result.duration > 0
            assert len(result.waveform) == len(result) * SAMPLE_RATE and 1 <= result.source_fps <= 60
        assert time.monotonic() - begun < 10
    assert loaded > 10


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open descriptors are counted in /proc")
def test_loading_leaves_no_descriptors_open(tmp_path, four_seconds):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(four_seconds.read_bytes()[:2000])
    load_clip(four_seconds)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        clip = load_clip(four_seconds)
        next(iter_source_frames(clip))  # begun and left
        with pytest.raises(MediaError):
            load_clip(broken)
    assert (
        len(os.listdir("/proc/self/fd")) < before + 20
    )  # what other tests have left may be closed, or opened, meanwhile


@needs_clips
@pytest.mark.parametrize("path", real_clips, ids=[path.name for path in real_clips])
def test_real_clips_load_or_are_refused_with_the_reason(path, capfd):
    begun = time.monotonic()
    if path.name in not_loadable:
        with pytest.raises(MediaError, match=not_loadable[path.name]):
            load_clip(path)
    else:
        clip = load_clip(path)
        assert len(clip) == max(1, int(clip.duration + 0.5))
        assert len(clip.waveform) == len(clip) * SAMPLE_RATE
    assert time.monotonic() - begun < 10
    assert capfd.readouterr() == ("", "")


@needs_clips
def test_real_rotated_clips_are_upright():
    sizes = {
        "rot_video_90.mov": (568, 320),
        "exo_rot90_video_1.mp4": (352, 288),
        "exo_sample_with_color_info.mp4": (1920, 1080),
    }
    assert {name: load_clip(CLIPS / "odd" / name).size for name in sizes} == sizes


# --- streaming the source again -------------------------------------------------------------------------------------


def test_the_source_is_streamed_at_its_own_rate_with_the_index_of_the_clips_frame(tmp_path):
    clip = load_clip(make_video(tmp_path / "a.mkv", every(1 / 30, 2.4)))
    assert clip.source_fps == pytest.approx(30, abs=0.01)
    times, indices, images = zip(*iter_source_frames(clip), strict=True)
    assert [round((image.mean() - 20) / LEVEL) for image in images[:50]] == list(range(50))  # each once, in order
    assert len(times) == 72 and times[30] == pytest.approx(1, abs=0.001)
    assert indices == (0,) * 30 + (1,) * 42  # two frames; the last stays on to the end
    assert images[0].shape == (32, 48, 3) and images[0].dtype == np.uint8


def test_streaming_begins_where_the_clip_begins(tmp_path):
    clip = load_clip(make_video(tmp_path / "a.mkv", every(0.1, 4)), start=1.5, end=3.5)
    images = [image for _, _, image in iter_source_frames(clip)]
    assert [round((image.mean() - 20) / LEVEL) for image in images] == list(range(15, 35))


def test_a_clip_from_arrays_streams_its_own_frames():
    frames = torch.arange(3, dtype=torch.uint8)[:, None, None, None].expand(3, 3, 4, 6)
    streamed = list(iter_source_frames(Clip.from_arrays(frames, fps=2.0)))
    assert [(time, i, image.max()) for time, i, image in streamed] == [(0, 0, 0), (0.5, 1, 1), (1, 2, 2)]


def test_a_missing_source_is_named(tmp_path):
    path = make_video(tmp_path / "a.mkv", every(0.1, 1))
    clip = load_clip(path)
    path.unlink()
    with pytest.raises(MediaError, match=r"a\.mkv does not exist"):
        next(iter_source_frames(clip))


def test_a_source_that_was_replaced_since_it_was_loaded_is_refused(tmp_path):
    """Masks of the earlier file would be painted on the pictures of the new one."""
    path = make_video(tmp_path / "a.mkv", every(0.1, 1))
    clip = load_clip(path)
    assert len(list(iter_source_frames(clip))) == 10
    make_video(path, every(0.1, 1), numbered=range(30, 40))
    with pytest.raises(MediaError, match=r"a\.mkv has been changed or replaced since the clip was loaded"):
        next(iter_source_frames(clip))
    assert len(list(iter_source_frames(load_clip(path)))) == 10


# --- writing --------------------------------------------------------------------------------------------------------


def grey_frames(count: int, size: tuple[int, int] = (32, 48)):
    for n in range(count):
        yield np.full((*size, 3), 20 + LEVEL * (n % 50), np.uint8)


@pytest.mark.parametrize(("size", "written"), [((32, 48), (32, 48)), ((121, 161), (122, 162)), ((1, 1), (2, 2))])
def test_a_written_video_plays_in_browsers(tmp_path, size, written):
    path = write_video(tmp_path / "out.mp4", grey_frames(25, size), 10, torch.from_numpy(tone(2.5)))
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.codec_context.profile, video.codec_context.pix_fmt) == (
            "h264",
            "High",
            "yuv420p",
        )
        assert (video.height, video.width) == written and video.average_rate == 10
        assert (audio.codec_context.name, audio.layout.name) == ("aac", "stereo")
        assert video.duration * video.time_base == pytest.approx(2.5, abs=0.001)
        assert audio.duration * audio.time_base == pytest.approx(2.5, abs=0.001)
        assert sum(1 for _ in container.decode(video)) == 25


@pytest.mark.parametrize("sound_seconds", [0.0, 1.0, 2.0, 5.0])
def test_the_sound_ends_with_the_picture_whatever_its_length(tmp_path, sound_seconds):
    path = write_video(tmp_path / "out.mp4", grey_frames(20), 10, torch.from_numpy(tone(sound_seconds)))
    sound = load_sound(path)
    assert len(sound) / SAMPLE_RATE == pytest.approx(2, abs=0.03)
    kept = round(min(sound_seconds, 1.9) * SAMPLE_RATE)
    if kept:
        assert torch.corrcoef(torch.stack([sound[:kept], torch.from_numpy(tone(5))[:kept]]))[0, 1] > 0.99
    assert sound[kept + 3200 :].numel() == 0 or sound[kept + 3200 :].abs().max() < 0.01


def test_a_muted_clip_has_a_silent_track(tmp_path, four_seconds):
    clip = load_clip(four_seconds)
    pictures = (image for _, _, image in iter_source_frames(clip))
    written = write_video(tmp_path / "muted.mp4", pictures, clip.source_fps, AudioEdit.mute().apply(clip))
    again = load_clip(written)
    assert again.has_audio and again.waveform.abs().max() == 0
    assert (again.frames.float().mean(dim=(1, 2, 3)) - clip.frames.float().mean(dim=(1, 2, 3))).abs().max() < 3
    assert again.duration == pytest.approx(clip.duration, abs=0.1) and again.source_fps == clip.source_fps


def test_the_overlay_has_the_sound_that_the_model_receives(tmp_path, four_seconds):
    clip = load_clip(four_seconds)
    edited = AudioEdit.noise(snr_db=10).keep(1, 3).apply(clip)
    pictures = (image for _, _, image in iter_source_frames(clip))
    again = load_clip(write_video(tmp_path / "out.mp4", pictures, clip.source_fps, edited))
    kept = slice(16000, 48000)
    assert torch.corrcoef(torch.stack([again.waveform[kept], edited[kept]]))[0, 1] > 0.9
    assert again.waveform[:14000].abs().max() < 0.01


def test_colours_are_preserved(tmp_path):
    colours = [(255, 0, 0), (0, 200, 40), (30, 60, 220)]
    frames = [np.full((48, 64, 3), colour, np.uint8) for colour in colours]
    clip = load_clip(write_video(tmp_path / "out.mp4", frames, 1, torch.zeros(0)))
    assert (clip.frames[:, :, 24, 32] - torch.tensor(colours)).abs().max() <= 6


def test_large_pictures_are_scaled_to_the_given_short_side(tmp_path):
    path = write_video(tmp_path / "out.mp4", grey_frames(3, (200, 300)), 10, torch.zeros(0), max_short_side=100)
    assert load_clip(path).size == (100, 150)


@pytest.mark.parametrize("length", [200, 250, 255])
def test_the_longest_legal_names_can_be_written(tmp_path, length):
    path = tmp_path / ("x" * (length - 4) + ".mp4")
    write_video(path, grey_frames(3), 10, torch.zeros(0))
    assert list(tmp_path.iterdir()) == [path] and len(load_clip(path)) == 1


@pytest.mark.parametrize("name", ["x" * 252 + ".mp4", "a\0b.mp4", "folder.mp4"])
def test_a_name_that_cannot_be_written_is_refused_before_the_work(tmp_path, name):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(MediaError, match=r"cannot be written|cannot be the name of a file"):
        write_video(tmp_path / name, (pytest.fail("was asked for") for _ in range(1)), 10, torch.zeros(0))


def test_an_error_while_tidying_up_does_not_hide_the_error(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr("acvis_kit.media.write.Path.unlink", refuse)
    with pytest.raises(ZeroDivisionError):
        write_video(
            tmp_path / "a.mp4", (np.zeros((2, 2, 3), np.uint8) * (1 // 0) for _ in range(1)), 10, torch.zeros(0)
        )


@pytest.mark.parametrize("wrong", [{"crf": 99}, {"crf": float("nan")}, {"max_short_side": 1}])
def test_numbers_of_the_writer_outside_their_range_are_refused(tmp_path, wrong):
    with pytest.raises(ConfigError, match="must lie between"):
        write_video(tmp_path / "a.mp4", grey_frames(3), 10, torch.zeros(0), **wrong)


@pytest.mark.parametrize("broken", ["size", "none", "raises", "folder", "suffix"])
def test_a_failed_write_leaves_no_files(tmp_path, broken):
    def frames():
        if broken != "none":
            yield np.zeros((32, 48, 3), np.uint8)
        if broken == "size":
            yield np.zeros((32, 46, 3), np.uint8)
        if broken == "raises":
            raise RuntimeError("the model failed")

    name = {"folder": "none/out.mp4", "suffix": "out.gif"}.get(broken, "out.mp4")
    with pytest.raises(RuntimeError if broken == "raises" else MediaError):
        write_video(tmp_path / name, frames(), 10, torch.zeros(100))
    assert list(tmp_path.iterdir()) == []


def test_a_video_may_have_a_name_of_250_bytes(tmp_path):
    path = write_video(tmp_path / f"{'n' * 246}.mp4", grey_frames(3, (32, 48)), 10, torch.zeros(0))
    assert load_clip(path).size == (32, 48) and list(tmp_path.iterdir()) == [path]


def test_importing_needs_neither_pyav_nor_moviepy():
    code = "import sys; sys.modules.update(av=None, moviepy=None); import acvis_kit.media.load, acvis_kit.media.edit"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_frames_are_requested_once_and_in_order(tmp_path):
    requested = []

    def frames():
        for n in range(60):
            requested.append(n)
            yield np.full((64, 64, 3), n, np.uint8)

    write_video(tmp_path / "out.mp4", frames(), 30, torch.zeros(0))
    assert requested == list(range(60))
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
