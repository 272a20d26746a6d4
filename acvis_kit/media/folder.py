"""The clips of a folder, and what is said and logged when one of them fails."""

from __future__ import annotations

import traceback
from datetime import datetime
from pathlib import Path

from acvis_kit.errors import AcvisError, MediaError
from acvis_kit.media.decoding import find_stream
from acvis_kit.media.opening import opened

LOG = "errors.log"  # in the output folder: tracebacks of failures that nobody foresaw
NAMED = 5  # files that a message lists by name
CLIP_SUFFIXES = (
    ".3g2 .3gp .asf .avi .f4v .flv .m2ts .m2v .m4v .mjpeg .mkv .mov .mp4 .mpeg .mpg .mts .mxf .nut .ogv .rm .rmvb .ts "
    ".vob .webm .wmv"
)
SOUND_SUFFIXES = (
    ".aac .ac3 .aif .aiff .amr .ape .au .caf .flac .m4a .mka .mp2 .mp3 .oga .ogg .opus .spx .tta .w64 .wav .wma .wv"
)
STILL_SUFFIXES = ".bmp .jpeg .jpg .png .tif .tiff"
PICTURE_SUFFIXES = f".gif .webp .apng .avif .heic .heif .jxl {STILL_SUFFIXES}"  # of which some move


def clips_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """A folder's clips and what else is in it, each in the order of names; hidden files are skipped.

    A file is a clip if its suffix says so, whether it can be read or not, or if it has a picture, whatever its name.
    Still pictures, notes, tables, sound files, subfolders and links to nothing are not clips.

    Raises:
        MediaError: the folder cannot be listed, or has no clips.
    """
    try:
        found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise MediaError(f"{folder} cannot be listed ({error.strerror}): give a folder of video clips") from None
    suffixes = CLIP_SUFFIXES.split()
    stills = STILL_SUFFIXES.split()
    clips = [
        path
        for path in found
        if path.is_file()
        and path.suffix.lower() not in stills
        and (path.suffix.lower() in suffixes or _has_picture(path))
    ]
    if not clips:
        raise MediaError(f"{folder} holds no clips: give a folder of video clips")
    return clips, [path for path in found if path not in clips]


def left_out(others: list[Path]) -> str:
    """A sentence that names what is in a folder and is no clip; subfolders end with a slash."""
    names = ", ".join(path.name + "/" * path.is_dir() for path in others[:NAMED])
    more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
    return f"not clips, left out: {names}{more}"


def failure(error: Exception, name: str, log: Path) -> str:
    """What to tell the user about a clip that failed; the traceback of an error that is not an AcvisError is logged."""
    if isinstance(error, AcvisError):
        return str(error)
    said = f"{type(error).__name__}: {error}"
    trace = "".join(traceback.format_exception(error))
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {name}\n{trace}\n")
    except OSError:  # the disk may be full: that must not end the run
        return said
    return f"{said} (traceback in {log})"


def _has_picture(path: Path) -> bool:
    try:
        with opened(path) as container:
            return find_stream(container, "video") is not None
    except MediaError:
        return False
