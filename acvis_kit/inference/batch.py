"""Prediction of one clip file or of a folder of clips, written to files; an interrupted run can be resumed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.distributed import collect, is_main, own_share, place
from acvis_kit.errors import MediaError
from acvis_kit.files import read_text, reserved, stamp_of, write_errors, write_text
from acvis_kit.inference.prediction import Prediction
from acvis_kit.inference.predictor import Predictor
from acvis_kit.inference.semantic import SemanticPrediction
from acvis_kit.inference.semantic_predictor import SemanticPredictor
from acvis_kit.media.edit import AudioEdit, OtherSound
from acvis_kit.media.folder import LOG, clips_in, failure, left_out
from acvis_kit.media.load import check_options, load_clip
from acvis_kit.media.sound import MAX_SOUND_SECONDS

RESULT, COUNTS, OVERLAY, FOLDER_RESULT = "result.json", "counts.csv", "overlay.mp4", "results.json"
WRITTEN = (COUNTS, OVERLAY, RESULT)  # of each clip, the result last
COLUMNS = b"start,end,"  # with which every counts.csv begins
BEGINNINGS = ('{"video": ', '{"class_names": ')  # of a clip's result and a folder's
PARTIAL = ".partial"  # folder in which these are written until all are complete


@dataclass(frozen=True)
class PredictionJob:
    """Settings that apply to every clip.

    Attributes:
        predictor: the model with its thresholds.
        audio: edit of each clip's sound.
        weights: name of the weights, recorded in the result.
        clip_options: keyword arguments of `load_clip`.
        video: whether to write the overlay video.
        watched: files and folders that weights and sounds come from; a result is current only while they are unchanged.
    """

    predictor: Predictor | SemanticPredictor
    audio: AudioEdit
    weights: str
    clip_options: dict[str, Any] = field(default_factory=dict)
    video: bool = True
    watched: tuple[Path, ...] = ()

    def settings(self) -> dict[str, Any]:
        """Everything but the files that a result depends on; stored in result.json to check whether it is current."""
        predictor = self.predictor
        inference = asdict(predictor.inference)
        if isinstance(predictor, Predictor):
            inference["short_side"] = predictor.short_side  # may be "keep"
        return {
            "weights": self.weights,
            "config": json.loads(json.dumps(asdict(predictor.model.config))),
            "inference": inference,
            "dtype": str(predictor.autocast_dtype or predictor.model.pixel_mean.dtype),
            "audio": repr(self.audio),
            "clip": self.clip_options,
        }

    def files(self, clip: Path) -> dict[str, list[int]]:
        """Size in bytes and modification time in ns of the clip and of every file that weights and sound come from."""
        watched = [clip, *self.watched]
        watched += [inner for path in self.watched if path.is_dir() for inner in sorted(path.glob("*.safetensors"))]
        return {str(path): [*stamp_of(path)] for path in watched if path.is_file()}


def check_sounds(audio: AudioEdit, max_seconds: float) -> None:
    """Read the sounds of `swap` and `mix` once, for a clip of `max_seconds`: one that fails would fail for every clip.

    Raises:
        MediaError: a file that cannot be read or has no sound.
    """
    samples = round(min(max_seconds, MAX_SOUND_SECONDS) * SAMPLE_RATE)
    for step in audio.steps:
        if step.arguments and isinstance(step.arguments[0], OtherSound):
            source, *_, offset, loop = step.arguments
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the clips' own reading warns
                source.fill(samples, offset, loop, [])


def check_place(out: Path, video: bool = True, folder: bool = False) -> None:
    """Refuse to replace files that `predict_clip` or `predict_folder` did not write.

    A damaged result counts as theirs if it begins like one, and so does what lies beside their result or table.

    Args:
        out: the folder to write to.
        video: whether an overlay is written.
        folder: whether `out` is that of a folder's clips.

    Raises:
        MediaError: names the file.
    """
    if folder:
        theirs = _is_other_json(out / FOLDER_RESULT) and out / FOLDER_RESULT
    elif (out / RESULT).is_file():
        theirs = _is_other_json(out / RESULT) and out / RESULT
    elif (out / COUNTS).is_file():
        with write_errors(out / COUNTS), (out / COUNTS).open("rb") as file:
            theirs = file.read(len(COLUMNS)) != COLUMNS and out / COUNTS
    else:
        theirs = video and (out / OVERLAY).is_file() and not (out / PARTIAL).exists() and out / OVERLAY
    if theirs:
        raise MediaError(
            f"{theirs} is not from acvis predict, which would replace it: choose another output folder, or move it away"
        )


def has_result(out: Path) -> bool:
    """Whether `predict_clip` has written a result to a folder, be it damaged."""
    return (out / RESULT).is_file() and not _is_other_json(out / RESULT)


def _is_other_json(file: Path) -> bool:
    """Whether a file that is there is no result of a clip or a folder, not even a damaged one."""
    if not os.path.lexists(file):
        return False
    try:
        text = read_text(file)
    except (OSError, ValueError):  # it cannot be opened, or is no text
        return True
    try:
        written = json.loads(text)
    except (ValueError, RecursionError):
        return not text.startswith(BEGINNINGS)
    return not (isinstance(written, dict) and "class_names" in written)


def predict_clip(
    job: PredictionJob, clip_path: Path, out: Path, video_id: int = 1, table: Path | None = None
) -> Prediction | SemanticPrediction:
    """Write overlay.mp4, counts.csv and result.json into `out`.

    Those of an earlier run are replaced when all are complete: until then, and after an error, they stay as they are.

    Args:
        job: the settings.
        clip_path: the clip.
        out: the folder to write to, created if missing.
        video_id: of the entries in result.json.
        table: a file about the results of several clips, removed before one of them is replaced.

    Raises:
        AcvisError: the clip or a sound cannot be read, or a file cannot be written, or is somebody else's, or another
            process writes to `out`.
    """
    written = {(out / name).resolve() for name in WRITTEN}
    for source in (clip_path, *job.watched):
        if source.resolve() in written:
            raise MediaError(f"{source} is where a result is written: choose another output folder")
    for name in WRITTEN:
        with write_errors(out / name):
            if (out / name).is_dir() and not (out / name).is_symlink():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    with reserved(out, MediaError):
        return _predict_reserved(job, clip_path, out, video_id, table)


def _predict_reserved(
    job: PredictionJob, clip_path: Path, out: Path, video_id: int, table: Path | None
) -> Prediction | SemanticPrediction:
    """`predict_clip`, while no other process writes to `out`."""
    check_place(out, job.video)
    files = job.files(clip_path)  # as they are read
    clip = load_clip(clip_path, **job.clip_options)
    prediction = job.predictor(clip, audio=job.audio)
    drafts = out / PARTIAL
    with write_errors(out):
        shutil.rmtree(drafts, ignore_errors=True)  # left by an interrupted run
        drafts.mkdir(parents=True)
    try:
        if job.video:
            prediction.to_video(drafts / OVERLAY)
        prediction.to_csv(drafts / COUNTS)
        result = prediction.to_dict(video_id) | {"settings": job.settings(), "files": files}
        write_text(drafts / RESULT, json.dumps(result))
        _put_in_place(drafts, out, table)
    finally:
        shutil.rmtree(drafts, ignore_errors=True)
    return prediction


def _put_in_place(drafts: Path, out: Path, table: Path | None) -> None:
    """Replace the files of an earlier run; an interruption in between leaves no result, and so no mixture of two.

    Without a new overlay that of the earlier run goes. One without a result beside it is not ours, and stays.
    """
    stale = [out / OVERLAY] if (out / RESULT).exists() and not (drafts / OVERLAY).is_file() else []
    for file in (*stale, out / RESULT, *([table] if table else [])):
        with write_errors(file):
            file.unlink(missing_ok=True)
    for name in WRITTEN:
        with write_errors(out / name):
            if (drafts / name).is_file():
                (drafts / name).replace(out / name)


def replaced(out: Path, clip_path: Path) -> str | None:
    """Name of the other clip whose result in `out` `predict_clip` would replace; None if there is none."""
    try:
        files = json.loads(read_text(out / RESULT))["files"]
        earlier = Path(next(iter(files)))
    except (OSError, ValueError, RecursionError, TypeError, KeyError, StopIteration):  # no result, or a damaged one
        return None
    return None if earlier.resolve() == clip_path.resolve() else earlier.name


def predict_folder(job: PredictionJob, folder: Path, out: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Predict every clip of `folder` into a folder of its own below `out`; finished clips are skipped.

    A clip that fails, for whatever reason, is reported and skipped, and what an earlier run wrote of it stays as it is;
    the traceback of an error that was not foreseen is in `errors.log`. Files that are no clips are left out.
    `results.json` holds the results of this run alone, once it is finished; where every clip fails, that of an earlier
    run stays. Video ids count from 1 in the order of file names. Several processes (torchrun) divide the clips among
    themselves.

    Returns:
        What `results.json` holds of this run: "class_names", "videos", "failed" (names of files) and "results".

    Raises:
        MediaError: `folder` holds no clips or is also `out`, `results.json` is somebody else's, or another process
            writes to `out`.
        ConfigError: a clip option outside its range.
    """
    check_options(job.clip_options)
    if out.resolve() == folder.resolve():
        raise MediaError(f"{out} is the folder of the clips: choose another output folder")
    check_place(out, folder=True)
    files, others = clips_in(folder)
    with ExitStack() as reservation:
        taken = None
        if is_main():
            try:
                reservation.enter_context(reserved(out, MediaError))
            except MediaError as error:
                taken = str(error)
        if any(reasons := collect({place()[0]: taken})):
            raise MediaError(reasons[0])
        return _predict_files(job, files, others, out, say)


def _predict_files(
    job: PredictionJob, files: list[Path], others: list[Path], out: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """`predict_folder` of these clips, while no other run writes to `out`; `others` are left out."""
    if others and is_main():
        say(left_out(others))
    found = {}
    for number, path in own_share(files):
        found[number] = _predict_file(job, path, out / path.name, number + 1, f"[{number + 1}/{len(files)}]", say)
    failed: list[str] = []
    videos, results, earlier = [], [], 0
    for video_id, (path, result) in enumerate(zip(files, collect(found), strict=True), start=1):
        if result is None:
            failed.append(path.name)
            continue
        done, before = result
        earlier += before
        kept = {key: done[key] for key in ("length", "k_max", "counts", "count_probs") if key in done}
        videos.append({"id": video_id, "file": path.name} | kept)
        results += [entry | {"video_id": video_id} for entry in done["results"]]
    names = list(job.predictor.model.config.class_names)
    summary = {"class_names": names, "videos": videos, "failed": failed, "results": results}
    if is_main():
        parts = {"new": len(videos) - earlier, "from before": earlier, "failed": len(failed)}
        counted = ", ".join(f"{number} {part}" for part, number in parts.items() if number)
        said = f"{len(videos)} of {len(files)} clips have their result in {out} ({counted})"
        if not videos and (out / FOLDER_RESULT).is_file():
            said += f"; {out / FOLDER_RESULT} is still that of an earlier run"
        else:
            out.mkdir(parents=True, exist_ok=True)
            write_text(out / FOLDER_RESULT, json.dumps(summary))
        say(said)
    return summary


def _predict_file(
    job: PredictionJob, path: Path, target: Path, video_id: int, which: str, say: Callable[[str], None]
) -> tuple[dict[str, Any], bool] | None:
    """Content of result.json for one file of a folder, and whether an earlier run computed it; None if it failed."""
    try:
        done = _earlier_result(target / RESULT, path, job)
        if done is not None:
            say(f"{which} {path.name}: done before")
            return done, True
        again = ""
        if (target / RESULT).is_file():
            again = " (made again: settings or files have changed, or a part was missing)"
        prediction = predict_clip(job, path, target, video_id, table=target.parent / FOLDER_RESULT)
        say(f"{which} {path.name}: {prediction.summary()}{again}")
        return json.loads(read_text(target / RESULT)), False
    except Exception as error:  # whatever goes wrong with one clip, the others are done
        earlier = f" ({target} still holds the result of an earlier run, not of this one)"
        say(
            f"{which} {path.name}: FAILED: {failure(error, path.name, target.parent / LOG)}"
            + (earlier if has_result(target) else "")
        )
        return None


def _earlier_result(result: Path, clip: Path, job: PredictionJob) -> dict[str, Any] | None:
    """The result of an earlier run from the same files with the same settings, or None."""
    needed = [result, result.parent / COUNTS, *([result.parent / OVERLAY] if job.video else [])]
    if not all(file.is_file() for file in needed):
        return None
    try:
        written = json.loads(read_text(result))
    except (ValueError, RecursionError):  # cut short, or not JSON at all
        return None
    if not isinstance(written, dict):
        return None
    current = json.loads(json.dumps({"settings": job.settings(), "files": job.files(clip)}))
    return written if {key: written.get(key) for key in current} == current else None
