"""Only files that contain the media themselves are opened, and nothing is read but the given file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from av.format import ContainerFormat
from PIL import Image

from acvis_kit.data.prepare import prepare_videos
from acvis_kit.errors import MediaError
from acvis_kit.media.edit import AudioEdit
from acvis_kit.media.load import load_clip
from acvis_kit.media.opening import FORMATS, opened
from acvis_kit.media.sound import load_sound
from tests.media.videos import every, make_video, numbers, tone
from tests.media.watched import opened_files

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
needs_inotify = pytest.mark.skipif(sys.platform != "linux", reason="opened files are counted by inotify")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A video with sound that lies on the same machine and was never given to the kit."""
    (tmp_path / "server").mkdir()
    path = make_video(tmp_path / "server" / "secret.ts", every(0.1, 2), sound=tone(2), sound_codec="mp2")
    (tmp_path / "uploads").mkdir()
    return path


def hls(secret: Path, address: str) -> str:
    return f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{address}\n#EXT-X-ENDLIST\n"


LISTS = {
    "list.m3u8": lambda secret: hls(secret, str(secret)),
    "LIST.M3U8": lambda secret: hls(secret, str(secret)),
    "list.m3u": lambda secret: hls(secret, str(secret)),
    "address.m3u8": lambda secret: hls(secret, secret.as_uri()),
    "relative.m3u8": lambda secret: hls(secret, "../server/secret.ts"),
    "list.mp4": lambda secret: hls(secret, str(secret)),
    "concat.mp4": lambda secret: f"ffconcat version 1.0\nfile '{secret}'\n",
    "sibling.mp4": lambda secret: "ffconcat version 1.0\nfile sibling.ts\n",
    "list.ffconcat": lambda secret: f"ffconcat version 1.0\nfile '{secret}'\n",
    "stream.sdp": lambda secret: "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "stream.mpd": lambda secret: (
        '<?xml version="1.0"?>\n<MPD type="static"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1">'
        f"<BaseURL>{secret}</BaseURL></Representation></AdaptationSet></Period></MPD>"
    ),
    "words.srt": lambda secret: "1\n00:00:00,000 --> 00:00:02,000\nwords\n",
    "words.vtt": lambda secret: "WEBVTT\n\n00:00.000 --> 00:02.000\nwords\n",
    "words.ass": lambda secret: "[Script Info]\nScriptType: v4.00+\n",
    "words.idx": lambda secret: "# VobSub index file, v7\nsize: 720x576\n",
    "words.txt": lambda secret: "just words\n" * 100,
    "drawing.svg": lambda secret: f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{secret}"/></svg>',
    "beats.sbg": lambda secret: "-SE\nbase: 200+10/50\nNOW base\n",
}
READERS: dict[str, Callable[[Path], object]] = {
    "load_clip": load_clip,
    "load_sound": load_sound,
    "swap": lambda path: AudioEdit.swap(path).apply(load_clip(path.parent / "clip.mkv")),
    "prepare": lambda path: _prepared(path),
}


def _prepared(path: Path) -> None:
    prepared = prepare_videos(path.parent, path.parent.parent / "set", "test")
    if prepared.failed.get(path.name):
        raise MediaError(prepared.failed[path.name])
    assert path.stem not in prepared.videos and path.name not in prepared.videos
    raise MediaError(f"{path} was left out")


@needs_inotify
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", LISTS)
def test_a_file_that_names_other_files_is_refused_and_they_are_not_opened(secret, tmp_path, name, reader):
    path = tmp_path / "uploads" / name
    path.write_text(LISTS[name](secret))
    make_video(path.parent / "clip.mkv", every(0.1, 1))
    (path.parent / "sibling.ts").write_bytes(secret.read_bytes())
    with (
        opened_files(secret.parent) as elsewhere,
        opened_files(path.parent) as here,
        pytest.raises(MediaError, match=path.stem),
    ):
        READERS[reader](path)
    assert elsewhere == set()
    assert reader == "prepare" or here <= {name, "clip.mkv"}


@needs_inotify
def test_a_video_is_read_from_its_own_file_alone(secret):
    with opened_files(secret.parent) as files:
        clip = load_clip(secret)
    assert files == {"secret.ts"} and len(clip) == 2


def test_the_message_says_what_the_file_is(tmp_path):
    for name, words in (("list.m3u8", "a playlist"), ("concat.mp4", "a list of files"), ("words.vtt", "subtitles")):
        (tmp_path / name).write_text(LISTS[name](tmp_path / "a.ts"))
        with pytest.raises(MediaError, match=rf"{name} is .*{words}.*give the media file"):
            load_clip(tmp_path / name)


@pytest.mark.parametrize("address", ["https://example.org/a.mp4", "file:///tmp/a.mp4", "rtsp://camera/1", "data:/x"])
def test_an_address_is_no_file_and_is_said_to_be_one(address):
    for read in (load_clip, load_sound):
        with pytest.raises(MediaError, match=r"is an address \(\w+\), not a file: download it"):
            read(address)


@pytest.mark.parametrize("name", ["a%03d.jpg", "a*.jpg", "[ab].jpg", "photo.jpg", "photo.JPEG", "photo", "photo.mp4"])
def test_a_name_is_never_taken_for_a_series_of_pictures(tmp_path, name):
    for number in (1, 2):
        Image.new("RGB", (32, 48), (0, 0, 0)).save(tmp_path / f"a{number:03d}.jpg")
    Image.new("RGB", (64, 48), (255, 0, 0)).save(tmp_path / name, format="JPEG")
    clip = load_clip(tmp_path / name)
    assert clip.size == (48, 64) and len(clip) == 1


@pytest.mark.parametrize("format", ["png", "bmp", "gif", "webp", "tiff", "jpeg", "ppm"])
def test_pictures_are_opened_under_their_own_suffix(tmp_path, format):
    Image.fromarray(np.full((48, 64, 3), (200, 30, 30), np.uint8)).save(tmp_path / f"photo.{format}")
    assert load_clip(tmp_path / f"photo.{format}").size == (48, 64)


@pytest.mark.parametrize("name", ["a:b.mkv", "pipe:0.mkv", "-i.mkv", "a %20.mkv", "concat:a|b.mkv", "ü.mkv", "x" * 251])
def test_every_legal_name_is_a_name(tmp_path, name):
    path = make_video(tmp_path / "a.mkv", every(0.1, 1)).rename(tmp_path / name)
    assert numbers(load_clip(path)) == [5]


def test_a_name_that_no_file_can_have_is_refused(tmp_path):
    with pytest.raises(MediaError, match="cannot be the name of a file"):
        load_clip(tmp_path / ("x" * 300))
    with pytest.raises(MediaError):
        load_clip(tmp_path / "a\0b.mp4")


def test_every_format_on_the_list_is_one_that_ffmpeg_reads():
    assert all(ContainerFormat(name, "r").is_input for name in FORMATS)
    assert len(set(FORMATS)) == len(FORMATS)
    others = {"hls", "dash", "concat", "sdp", "rtp", "rtsp", "image2", "image2pipe", "srt", "ass", "webvtt", "vobsub"}
    assert not (others | {"lavfi", "tty", "svg_pipe", "sbg", "ffmetadata", "data"}) & set(FORMATS)


def test_a_demuxer_that_wants_another_file_is_refused(secret, monkeypatch):
    monkeypatch.setattr("acvis_kit.media.opening.FORMATS", ["hls"])
    path = secret.parent.parent / "uploads" / "list.m3u8"
    path.write_text(hls(secret, str(secret)))
    with opened_files(secret.parent) as files, pytest.raises(MediaError), opened(path):
        pass
    assert files == set()
