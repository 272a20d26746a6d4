"""A stretch of a file is what the whole file has there, in every container, and nothing true is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from acvis_kit.errors import MediaError
from acvis_kit.media.load import load_clip
from acvis_kit.media.sound import load_sound
from tests.media.test_joined import part, seen
from tests.media.videos import every, heard, make_video, noted, numbers

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

MPEG = {"stream_options": {"bf": "2", "g": "50"}}
CONTAINERS = {
    "mpg": {"codec": "mpeg1video", **MPEG},
    "vob": {"sound_codec": "ac3", **MPEG},
    "ts": {"codec": "libx264", "sound_codec": "aac", "stream_options": {"bf": "3", "g": "60"}},
    "mkv": {"codec": "libx264", "sound_codec": "aac", "stream_options": {"bf": "3", "g": "60"}},
    "mp4": {"codec": "libx264", "sound_codec": "aac", "stream_options": {"bf": "3", "g": "60"}},
    "mov": {"codec": "libx264", "sound_codec": "pcm_s16le", "stream_options": {"g": "60"}},
    "avi": {"codec": "mpeg4", "sound_codec": "mp3", "stream_options": {"g": "60"}},
    "flv": {"codec": "flv", "sound_codec": "mp3", "rate": 44100, "stream_options": {"g": "60"}},
    "wmv": {"codec": "wmv2", "sound_codec": "mp3", "stream_options": {"g": "60"}},
    "ogv": {"codec": "libvpx", "sound_codec": "libopus", "stream_options": {"g": "60"}},
    "webm": {"codec": "libvpx", "sound_codec": "libopus", "stream_options": {"g": "60"}},
    "nut": {"codec": "mpeg4", "sound_codec": "mp2", "stream_options": {"g": "60"}},
    "mxf": {"sound_codec": "pcm_s16le", **MPEG},
}


@pytest.fixture(scope="module", params=CONTAINERS)
def six_seconds(request, tmp_path_factory) -> Path:
    return part(tmp_path_factory.mktemp("six") / f"a.{request.param}", 6, **CONTAINERS[request.param])


@pytest.mark.parametrize("start", [1, 3, 4])
def test_a_stretch_has_the_pictures_and_the_sound_of_its_seconds(six_seconds, start):
    clip = load_clip(six_seconds, start=start, end=start + 2)
    assert seen(clip) == heard(clip.waveform) == [start, start + 1] and clip.notes == ()
    assert heard(load_sound(six_seconds, start=start, max_seconds=2)) == [start, start + 1]


def test_a_start_near_the_end_is_loaded_and_one_beyond_it_is_refused_with_the_true_length(six_seconds):
    clip = load_clip(six_seconds, start=5.2)
    assert seen(clip) == [5] and not noted(clip, "amage")
    with pytest.raises(MediaError, match=r"lasts (5\.9|6\.0)\d s: start=7 lies beyond its end"):
        load_clip(six_seconds, start=7)
    with pytest.raises(MediaError, match=r"(5\.9|6\.0)\d s long, the limit is 3 s"):
        load_clip(six_seconds, max_seconds=3)


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("h264", "libx264"), ("m4v", "mpeg4"), ("mjpeg", "mjpeg"), ("m2v", "mpeg2video"), ("ivf", "libvpx")],
)
def test_a_raw_stream_without_stamps_has_its_true_length(tmp_path, suffix, codec):
    first = 11 if suffix == "m2v" else 12  # FFmpeg lets raw MPEG-2 begin one picture late
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = make_video(tmp_path / f"a.{suffix}", every(0.04, 2.4), codec=codec, pixels=pixels, ticks=25)
    whole = load_clip(path)
    assert numbers(whole) == [first, first + 25] and whole.duration == pytest.approx(2.4, abs=0.05)
    assert numbers(load_clip(path, start=1.0)) == [first + 25] and numbers(load_clip(path, start=1.6)) == [first + 40]
    with pytest.raises(MediaError, match=r"lasts 2\.4\d s: start=2\.5"):
        load_clip(path, start=2.5)
    with pytest.raises(MediaError, match=r"2\.4\d s long, the limit is 2 s"):
        load_clip(path, max_seconds=2)


def test_a_picture_that_is_repeated_by_empty_packets_lasts_to_the_end(tmp_path):
    path = tmp_path / "a.ogv"  # PyAV has no encoder of Theora
    source = ["-f", "lavfi", "-i", "color=gray:s=64x48:d=3:r=10", "-f", "lavfi", "-i", "sine=440:d=3"]
    subprocess.run([get_ffmpeg_exe(), "-loglevel", "error", *source, "-c:v", "libtheora", path], check=True)
    clip = load_clip(path)
    assert len(clip) == 3 and clip.duration == pytest.approx(3.0, abs=0.05) and clip.notes == ()
    assert len(load_clip(path, start=1.5)) == 2


def test_damage_outside_the_stretch_is_not_noted(tmp_path):
    path = part(tmp_path / "a.mp4", 6, codec="libx264", sound_codec="pcm_s16le", stream_options={"g": "25"})
    data = bytearray(path.read_bytes())
    begin = data.index(b"mdat") + 300
    data[begin : begin + 3000] = bytes(3000)
    path.write_bytes(data)
    clip = load_clip(path, start=4, end=6)
    assert seen(clip) == [4, 5] and clip.notes == ()
