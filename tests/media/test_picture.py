"""Side data and metadata of any type, and the colours of untagged pictures."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

from acvis_kit.media.load import load_clip
from acvis_kit.media.sound import load_sound
from tests.media.test_joined import part, seen
from tests.media.videos import heard

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

MAKE, ORIENTATION = 0x10F, 0x112  # tags of EXIF
CORNERS = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}


def photo(path: Path, orientation: int = 1, **more) -> Path:
    """A dark picture of 48x64 whose upper left corner is bright before it is turned, with EXIF data."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:16, :16] = 255
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[MAKE], exif[ORIENTATION] = "a phone", orientation
    image.save(path, exif=exif, **more)
    return path


def bright_corner(frame: torch.Tensor) -> list[tuple[int, int]]:
    grey = frame.float().mean(dim=0)
    return [(row, column) for row in (0, -1) for column in (0, -1) if grey[row, column] > 150]


@pytest.mark.parametrize("orientation", CORNERS)
def test_a_photo_is_turned_as_its_exif_data_say(tmp_path, orientation):
    clip = load_clip(photo(tmp_path / "photo.jpg", orientation, quality=95))
    assert clip.size == ((48, 64) if orientation < 5 else (64, 48))
    assert bright_corner(clip.frames[0]) == [CORNERS[orientation]]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_photos_with_exif_data_and_a_colour_profile_are_read(tmp_path, suffix):
    profile = b"a profile" * 100  # FFmpeg passes it on unread, with its name: PyAV freed that twice
    clip = load_clip(photo(tmp_path / f"photo.{suffix}", 1, icc_profile=profile))
    assert clip.size == (48, 64) and bright_corner(clip.frames[0]) == [(0, 0)]


@pytest.mark.parametrize("suffix", ["mov", "mkv", "avi", "mjpeg"])
def test_a_video_of_photos_is_read(tmp_path, suffix):
    with av.open(str(tmp_path / f"a.{suffix}"), "w") as video, av.open(str(photo(tmp_path / "a.jpg"))) as source:
        stream = video.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        packet = next(source.demux(video=0))
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1)
        video.mux(packet)
    clip = load_clip(tmp_path / f"a.{suffix}")
    assert len(clip) == 1 and bright_corner(clip.frames[0]) == [(0, 0)]


SIDE_DATA = {  # a type of FFmpeg's side data, and what writes it
    "SEI_UNREGISTERED": ("mp4", {"codec": "libx264", "sound_codec": "aac"}),
    "STEREO3D": ("mkv", {"codec": "libx264", "stream_options": {"x264-params": "frame-packing=3"}}),
    "GOP_TIMECODE": ("mpg", {}),
    "PANSCAN": ("ts", {"codec": "mpeg2video", "stream_options": {"seq_disp_ext": "always"}}),
    "SKIP_SAMPLES": ("webm", {"codec": "libvpx", "sound_codec": "libopus"}),
    "DOWNMIX_INFO": ("mkv", {"codec": "mpeg4", "sound_codec": "ac3"}),
    "MATRIXENCODING": ("ts", {"sound_codec": "eac3"}),
}


@pytest.mark.parametrize("kind", SIDE_DATA)
def test_side_data_of_any_type_do_not_matter(tmp_path, kind):
    suffix, options = SIDE_DATA[kind]
    path = part(tmp_path / f"a.{suffix}", 2, **options)
    found: set[str] = set()
    with av.open(str(path)) as container:
        for frame in container.decode():
            found |= {data.type.name for data in frame.side_data}
    assert kind in found or kind in ("SKIP_SAMPLES", "MATRIXENCODING", "DOWNMIX_INFO")  # these FFmpeg may use up itself
    clip = load_clip(path)
    assert seen(clip) == heard(clip.waveform) == heard(load_sound(path)) == [0, 1] and clip.notes == ()


COVER = ["-c:v:1", "copy", "-disposition:v:1", "attached_pic"]
BESIDE = {  # what else a file may contain, and FFmpeg's options that write it
    "subtitles and a font": ("mkv", ["-i", "{words}", "-attach", "{font}", "-metadata:s:t", "mimetype=font/ttf"]),
    "a time code": ("mov", ["-timecode", "01:00:00:00"]),
    "a cover": ("mp4", ["-i", "{cover}", "-map", "0", "-map", "1", "-map", "2", *COVER]),
    "chapters": ("mp4", ["-i", "{chapters}", "-map_metadata", "2"]),
    "metadata in no encoding": ("avi", ["-metadata", "title=\udcff\udcfe", "-metadata", "artist=" + "x" * 5000]),
    "two sounds and two pictures": ("mkv", ["-map", "0", "-map", "1", "-map", "1", "-map", "0"]),
    "a turn in the track's header": ("mkv", ["-metadata:s:v", "rotate=0", "-metadata:s:v", "stereo_mode=left_right"]),
}


@pytest.mark.parametrize("what", BESIDE)
def test_what_else_a_file_contains_does_not_matter(tmp_path, what):
    suffix, options = BESIDE[what]
    (tmp_path / "words.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nwords\n")
    (tmp_path / "font.ttf").write_bytes(bytes(1000))
    (tmp_path / "chapters.txt").write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND=1\ntitle=first\n")
    photo(tmp_path / "cover.jpg")
    names = {"words": "words.srt", "font": "font.ttf", "cover": "cover.jpg", "chapters": "chapters.txt"}
    given = [option.format(**{name: tmp_path / file for name, file in names.items()}) for option in options]
    source = ["-f", "lavfi", "-i", "color=gray:s=64x48:d=2:r=5", "-f", "lavfi", "-i", "sine=440:d=2"]
    path = tmp_path / f"a.{suffix}"
    subprocess.run([get_ffmpeg_exe(), "-loglevel", "error", *source, *given, path], check=True)
    clip = load_clip(path)
    assert clip.size == (48, 64) and len(clip) == 2 and clip.has_audio and clip.notes == ()
    assert abs(int(clip.frames.float().mean()) - 128) < 3


def test_the_data_of_high_dynamic_range_do_not_matter(tmp_path):
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    source = ["-f", "lavfi", "-i", "color=gray:s=64x48:d=2:r=5", "-f", "lavfi", "-i", "sine=440:d=2"]
    coded = ["-c:v", "libx265", "-x265-params", f"log-level=none:max-cll=1000,400:master-display={display}"]
    path = tmp_path / "hdr.mp4"  # written by another process: PyAV's x265 damages the memory of this one
    subprocess.run([get_ffmpeg_exe(), "-loglevel", "error", *source, *coded, path], check=True)
    clip = load_clip(path)
    assert len(clip) == 2 and clip.notes == ()


@pytest.mark.parametrize(("lines", "matrix"), [(576, "ITU601"), (719, "ITU601"), (720, "ITU709"), (1080, "ITU709")])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p", "yuv422p10le"])
def test_untagged_pictures_are_in_the_colours_that_players_assume(tmp_path, lines, matrix, pixels):
    colour = np.array([32, 200, 40])
    path = write_plain(tmp_path / "a.mkv", colour, lines, matrix, pixels, tag=None)
    assert (load_clip(path).frames[0, :, 9, 9].numpy() - colour).tolist() == pytest.approx([0, 0, 0], abs=3)


@pytest.mark.parametrize(("lines", "matrix", "tag"), [(576, "ITU709", 1), (1080, "ITU601", 5), (720, "SMPTE170M", 6)])
def test_tagged_pictures_are_in_their_own_colours(tmp_path, lines, matrix, tag):
    colour = np.array([32, 200, 40])
    path = write_plain(tmp_path / "a.mkv", colour, lines, matrix, "yuv420p", tag)
    assert (load_clip(path).frames[0, :, 9, 9].numpy() - colour).tolist() == pytest.approx([0, 0, 0], abs=3)


@pytest.mark.parametrize(("name", "pixels", "codec"), [("a.mkv", "bgr0", "ffv1"), ("a.gif", "rgb8", "gif")])
def test_pictures_in_rgb_are_not_affected(tmp_path, name, pixels, codec):
    path = write_plain(tmp_path / name, np.array([255, 0, 0]), 720, None, pixels, None, codec)
    assert load_clip(path).frames[0, :, 9, 9].tolist() == pytest.approx([255, 0, 0], abs=4)  # of 8 bits per pixel


def write_plain(
    path: Path, colour: np.ndarray, lines: int, matrix: str | None, pixels: str, tag: int | None, codec: str = "ffv1"
) -> Path:
    """One picture of one colour, coded with a matrix; `tag` is FFmpeg's number of the matrix that the file states."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, lines, pixels
        if tag is not None:
            stream.codec_context.colorspace = tag
        image = np.broadcast_to(colour.astype(np.uint8), (lines, 64, 3))
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format=pixels, dst_colorspace=matrix)
        frame.colorspace = 2 if tag is None else tag
        frame.pts, frame.time_base = 0, Fraction(1, 5)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
