"""A folder of videos converted to AVISeg's layout, as `AVISegSplit` reads it, without annotations."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import wavfile

from acvis_kit.clip import SAMPLE_RATE, Clip
from acvis_kit.config import AVISEG_CLASSES
from acvis_kit.data.aviseg import IMAGES, SOUNDS
from acvis_kit.data.schema import read_json, video_entry
from acvis_kit.errors import DataError, MediaError
from acvis_kit.files import atomic_write, write_errors, write_text
from acvis_kit.media.folder import LOG, clips_in, failure, left_out
from acvis_kit.media.load import check_options, load_clip
from acvis_kit.media.mel import frame_seconds

MADE_BY = "acvis prepare"
CATEGORIES = [{"id": number, "name": name} for number, name in enumerate(AVISEG_CLASSES, start=1)]
RECORD = "prepared.jsonl"  # in the split's folder: finished videos, one a line, so that an interrupted call can resume
JPEG_QUALITY = 95
PARTIAL = ".partial"  # what is being written; a name of its own, since a video's name may be as long as names can be
# In the record, in place of the entry of a video whose files are about to be put in place.
UNFINISHED = {"file_names": ["unfinished/00000.jpg"], "length": 1, "height": 1, "width": 1}


@dataclass(frozen=True)
class Prepared:
    """Result of `prepare_videos`: the JSON, the videos of this call in it, and the reason for each file that failed.

    Without videos there is no JSON, or it is that of an earlier call.
    """

    truth_file: Path
    videos: tuple[str, ...]
    failed: dict[str, str]


def prepare_videos(
    videos: Path,
    out: Path,
    split: str,
    *,
    fps: float = 1.0,
    max_seconds: float = 600.0,
    say: Callable[[str], None] = lambda _: None,
) -> Prepared:
    """Cut every clip of a folder into frames and sound, and list them in `{split}.json` with AVISeg's categories.

    A frame is the picture in the middle of its interval, a JPEG at the size of the video. The sound is 16 kHz, mono,
    16 bit, one second per frame: the second around it. At other than one frame per second these overlap or leave gaps,
    as in the network's input; such a file is not meant for playback.

    Finished clips are kept: a second call only cuts files that are new or have changed. The JSON is written last.
    A clip that fails, for whatever reason, is skipped; the traceback of an error that was not foreseen is in
    `errors.log`. What an earlier call cut of a clip is replaced when the new cut is complete: of a clip that fails it
    stays, though the JSON does not list it. Where every clip fails, the JSON of an earlier call stays too.

    Args:
        videos: a folder of clips; subfolders, hidden files and files that are no clips are left out.
        out: the data set, created if missing.
        split: name of the split.
        fps: frames per second, 0.01 to 1000.
        max_seconds: a longer video counts as failed; up to a day.
        say: called with one line of text per clip.

    Raises:
        DataError: `out` has a split of this name that was made otherwise, or the name is not valid for a folder.
        MediaError: `videos` is no folder, has no clips, or is the folder to write to.
        ConfigError: `fps` or `max_seconds` outside its range.
    """
    check_options({"fps": fps, "max_seconds": max_seconds})
    if not videos.is_dir():
        raise MediaError(f"{videos} is not a folder: give a folder of videos")
    files, others = clips_in(videos)
    if others:
        say(left_out(others))
    if out.resolve() == videos.resolve():
        raise MediaError(f"{out} is the folder of the videos: write to another folder")
    if not split or Path(split).name != split or split.startswith("."):
        raise DataError(f"split {split!r} cannot be the name of a folder: use letters, digits, - and _")
    truth_file, folder = out / f"{split}.json", out / split
    listed = _check_own(truth_file)
    with write_errors(folder, DataError):
        for part in (IMAGES, SOUNDS):
            (folder / part).mkdir(parents=True, exist_ok=True)

    done = _read_record(folder / RECORD)
    stems = Counter(path.stem for path in files)
    entries: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    for number, path in enumerate(files, start=1):
        name = path.stem if stems[path.stem] == 1 else path.name  # song.mp4 beside song.mov
        which = f"[{number}/{len(files)}] {path.name}"
        try:
            _check_name(path)
            state = path.stat()
            key = {"source": path.name, "bytes": state.st_size, "changed": state.st_mtime_ns, "fps": fps}
            earlier, entry = done.get(name, (None, None))
            if earlier == key and entry is not None and _is_complete(folder, name, entry):
                say(f"{which}: done before")
            else:
                if name not in done and name not in listed:
                    _check_free(folder, name)
                replacing = partial(_forget, truth_file, folder, name, entry)
                entry = _cut(path, folder, name, fps, max_seconds, replacing)
                _record(folder, name, key, entry)
                rate = earlier.get("fps", fps) if isinstance(earlier, dict) else fps
                other = f", in place of those at {rate} frames per second" * (rate != fps)
                say(f"{which}: {entry['length']} frames{other}")
        except Exception as error:  # whatever goes wrong with one clip, the others are done
            failed[path.name] = failure(error, path.name, out / LOG)
            has_earlier = name in done and (folder / IMAGES / name).is_dir()
            stays = f" ({folder} still holds an earlier cut)" if has_earlier else ""
            say(f"{which}: FAILED: {failed[path.name]}{stays}")
            continue
        entries.append({"id": len(entries) + 1} | entry)
    truth = {
        "info": {"made_by": MADE_BY, "fps": fps},
        "videos": entries,
        "categories": CATEGORIES,
        "annotations": [],
    }
    if entries:
        write_text(truth_file, json.dumps(truth), DataError)
    return Prepared(truth_file, tuple(Path(entry["file_names"][0]).parent.name for entry in entries), failed)


def _check_name(path: Path) -> None:
    """Raise MediaError for a name that no JSON can hold: bytes that are not UTF-8."""
    try:
        path.name.encode("utf-8")
    except UnicodeEncodeError:
        raise MediaError("its name is not UTF-8, and the JSON names its frames by it: rename the file") from None


def _check_own(truth_file: Path) -> set[str]:
    """Refuse to overwrite a data set that was made otherwise: it may be annotated. Returns the names of its videos."""
    if not truth_file.exists():
        return set()
    try:
        written = read_json(truth_file, "the split")
    except DataError:
        written = None
    info = written.get("info") if isinstance(written, dict) else None
    if not isinstance(info, dict) or info.get("made_by") != MADE_BY:
        raise DataError(f"{truth_file} exists and was not made by {MADE_BY}: write to another folder, or name --split")
    if written.get("annotations") or written.get("categories") != CATEGORIES:
        raise DataError(
            f"{truth_file} was annotated, or its categories were changed, since it was made, and a repeated call would "
            "remove that: write to another folder, or name --split"
        )
    with suppress(DataError, AttributeError, TypeError):
        return {video_entry(one, "video").name for one in written["videos"]}
    return set()  # videos that cannot be read


def _read_record(path: Path) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Videos finished by earlier calls: name -> its latest key and entry of the JSON. Damaged lines are skipped."""
    done = {}
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            written = json.loads(line)
            entry = written["entry"]
            if not video_entry({"id": 0, **entry}, "entry").frames:
                continue
            done[written["name"]] = written["key"], entry
        except (ValueError, KeyError, TypeError, RecursionError, DataError):
            continue
    return done


def _is_complete(folder: Path, name: str, entry: dict[str, Any]) -> bool:
    files = [folder / SOUNDS / f"{name}.wav", *(folder / IMAGES / frame for frame in entry["file_names"])]
    return all(path.is_file() for path in files)


def _record(folder: Path, name: str, key: dict[str, Any] | None, entry: dict[str, Any]) -> None:
    """Add a line to the record of finished videos; without a key the video is to be cut again."""
    with write_errors(folder / RECORD, DataError), (folder / RECORD).open("a", encoding="utf-8") as record:
        # the line break comes first, in case the last line is incomplete
        record.write("\n" + json.dumps({"name": name, "key": key, "entry": entry}))


def _check_free(folder: Path, name: str) -> None:
    """Refuse to replace frames or a sound of this name of which the record of earlier calls says nothing.

    Raises:
        DataError: names them.
    """
    for theirs in (folder / IMAGES / name, folder / SOUNDS / f"{name}.wav"):
        if os.path.lexists(theirs):
            raise DataError(f"{theirs} is not from {MADE_BY}, which would replace it: move it away, or name --split")


def _forget(truth_file: Path, folder: Path, name: str, entry: dict[str, Any] | None) -> None:
    """Before a cut is put in place: neither JSON nor record may name an earlier one, in case the call is interrupted.

    Args:
        truth_file: the JSON of an earlier call.
        folder: of the split.
        name: of the video.
        entry: what the record has of it.
    """
    if entry is not None or (folder / IMAGES / name).exists():
        with write_errors(truth_file, DataError):
            truth_file.unlink(missing_ok=True)
    # Of a new video too: a call that is interrupted in between must know its own files again.
    _record(folder, name, None, entry or UNFINISHED)


def _cut(
    path: Path, folder: Path, name: str, fps: float, max_seconds: float, replacing: Callable[[], None]
) -> dict[str, Any]:
    """Write frames and sound of one video; both get their final names when complete. Returns its entry of the JSON.

    `replacing` is called when both are complete, before those of an earlier call are removed.
    """
    clip = load_clip(path, fps=fps, max_seconds=max_seconds)
    frames, sound = folder / IMAGES / name, folder / SOUNDS / f"{name}.wav"
    drafts = frames.with_name(PARTIAL)
    shutil.rmtree(drafts, ignore_errors=True)  # left by an interrupted call
    try:
        with write_errors(frames, DataError):
            drafts.mkdir()
            for t, frame in enumerate(clip.frames):
                image = Image.fromarray(np.ascontiguousarray(frame.permute(1, 2, 0).numpy()))  # (3, H, W) -> (H, W, 3)
                image.save(drafts / f"{t:05d}.jpg", quality=JPEG_QUALITY)
        samples = _samples(clip)
        with atomic_write(sound, DataError, samples.nbytes) as draft:
            wavfile.write(draft, SAMPLE_RATE, samples)
            replacing()
            with write_errors(frames, DataError):
                shutil.rmtree(frames, ignore_errors=True)
                drafts.rename(frames)
    finally:
        shutil.rmtree(drafts, ignore_errors=True)  # nothing is left of a clip that failed
    height, width = clip.size
    names = [f"{name}/{t:05d}.jpg" for t in range(len(clip))]
    return {"file_names": names, "length": len(clip), "height": height, "width": width}


def _samples(clip: Clip) -> np.ndarray:
    """The sound as 16-bit samples (T * 16000,): for every frame the second around it."""
    seconds = frame_seconds(clip.waveform, len(clip), clip.fps)  # (T, 16000)
    return (seconds.flatten().numpy() * 32768).round().clip(-32768, 32767).astype(np.int16)
