"""Opening of media files: only files that contain the media themselves, and nothing is read but the given file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from acvis_kit.errors import MediaError

if TYPE_CHECKING:
    from av.container import InputContainer

# FFmpeg's names of the formats that are opened. All are self-contained: playlists, manifests and scripts (hls, dash,
# concat, sdp, sbg, ...), series of pictures (image2), subtitles, text art, devices and network protocols are left out.
VIDEO_FORMATS = (
    "mov matroska avi mpegts mpeg flv asf wtv ogg nut rm ivf mxf gxf dv nsv nuv ty pva dhav mlv swf cine "
    "yuv4mpegpipe h261 h263 h264 hevc vvc evc apv av1 obu m4v mpegvideo vc1 vc1test dirac cavsvideo mjpeg smjpeg "
    "mpjpeg ingenient dnxhd avs2 avs3 ipu film_cpk flic smk bink roq"
)
PICTURE_FORMATS = (
    "gif apng webp_pipe jpeg_pipe jpegls_pipe jpegxl_pipe jpegxl_anim j2k_pipe png_pipe bmp_pipe tiff_pipe ppm_pipe "
    "pgm_pipe pam_pipe qoi_pipe exr_pipe dpx_pipe sgi_pipe sunrast_pipe psd_pipe dds_pipe pcx_pipe ico"
)
SOUND_FORMATS = (
    "wav w64 aiff au caf flac mp3 aac loas ac3 eac3 ac4 dts dtshd mlp truehd amr amrnb amrwb ape wv tta tak shn mpc "
    "mpc8 oma aea voc qcp dsf iff ircam nistsphere sox avr paf gsm g722 xwma qoa osq spdif act lc3 aptx aptx_hd sbc"
)
FORMATS = (VIDEO_FORMATS + " " + PICTURE_FORMATS + " " + SOUND_FORMATS).split()

URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")  # a path has lost the second slash; "C:/" is a drive
SIGNATURES = {  # how files begin that name other files, or hold text; None of them is opened
    b"#EXTM3U": "a playlist",
    b"[playlist]": "a playlist",
    b"<asx": "a playlist",
    b"ffconcat": "a list of files to be joined",
    b"v=0": "a description of a network stream",
    b"RTSPtext": "a link to a network stream",
    b"<MPD": "a manifest of a stream",
    b"<SmoothStreamingMedia": "a manifest of a stream",
    b"WEBVTT": "a file of subtitles",
    b"[Script Info]": "a file of subtitles",
}


@contextmanager
def opened(path: Path, max_bytes: float = float("inf")) -> Iterator[InputContainer]:
    """The file as a PyAV container, closed afterwards.

    Raises:
        MediaError: no such file, not a file, empty, larger than `max_bytes`, or not a media file.
    """
    check_file(path, max_bytes)
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise MediaError(f"{path} cannot be opened ({cause(error)}): check the permissions of the file.") from None
    with file:
        container = _container(path, file.fileno())
    with container:
        yield container


def cause(error: Exception) -> str:
    """The reason in an exception of PyAV, without error numbers and log lines."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def check_file(path: Path, max_bytes: float = float("inf")) -> None:
    """Raise errors that are clearer than those of FFmpeg."""
    try:
        exists = path.exists()  # PermissionError: in a folder that may not be read
    except (OSError, ValueError) as error:  # a name that is too long, or has a null character
        raise MediaError(f"{str(path)[:200]!r} cannot be the name of a file ({cause(error)}).") from None
    if not exists and (scheme := URL.match(str(path))):
        address = str(path).replace(":/", "://", 1)
        raise MediaError(
            f"{address} is an address ({scheme[1]}), not a file: download it and give the path of the copy."
        )
    if not exists:
        raise MediaError(f"{path} does not exist: check the name and the folder ({path.absolute().parent}).")
    if not path.is_file():
        raise MediaError(f"{path} is not a file: give the path of one video or sound file.")
    size = path.stat().st_size
    if size == 0:
        raise MediaError(f"{path} is empty (0 bytes): copy or download it again.")
    if size > max_bytes:
        raise MediaError(f"{path} has {size} bytes, the limit is {max_bytes:.0f}: cut the file or raise max_bytes=.")


def _container(path: Path, descriptor: int) -> InputContainer:
    """The open file as a container.

    FFmpeg receives the descriptor, not the path, and no protocol but that of descriptors: it can open no other file,
    and does not take a name like "a%03d.jpg" for a series of files or "a:b.mp4" for a protocol. The bytes decide on the
    format; where they do not tell, the suffix does (a sound file may begin with megabytes of cover picture).
    """
    import av

    failure: Exception | None = None
    for format in (None, *_formats_of(path.suffix)):
        os.lseek(descriptor, 0, os.SEEK_SET)
        options = {"fd": str(descriptor), "protocol_whitelist": "fd", "format_whitelist": ",".join(FORMATS)}
        try:
            return av.open("fd:", mode="r", format=format, metadata_errors="replace", options=options)
        except av.InvalidDataError as error:
            failure = failure or error
        except Exception as error:  # PyAV: FFmpegError, ValueError, UnicodeDecodeError, MemoryError, ...
            failure = failure or error
            break
    assert failure is not None, "the loop has run"
    raise MediaError(f"{path} {_unreadable(path, cause(failure))}") from None


def _formats_of(suffix: str) -> Iterator[str]:
    """The formats on the list whose files have this suffix."""
    from av.format import ContainerFormat

    for name in FORMATS:
        if suffix[1:].lower() in ContainerFormat(name, "r").extensions:
            yield name


def _unreadable(path: Path, reason: str) -> str:
    """Why a file is not opened, and the remedy; to be put behind its name."""
    with path.open("rb") as file:
        head = file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"<?xml"):
        head = head.partition(b"?>")[2].lstrip()
    kind = next((kind for begin, kind in SIGNATURES.items() if head[:32].lower().startswith(begin.lower())), None)
    if kind is not None:
        return f"is {kind}, which contains no picture and no sound itself: give the media file that it belongs to."
    return (
        f"is not readable as video or sound ({reason}): check that the file is complete and plays in a media player, "
        "or convert it to MP4 (H.264, AAC)."
    )
