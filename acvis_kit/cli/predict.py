"""`acvis predict`: masks, classes and counts of a clip, or of every clip of a folder, by weights of any system."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acvis_kit.cli.options import (
    add_inference,
    add_json,
    add_semantic_inference,
    add_weights,
    make_any_predictor,
    path,
    say,
    show,
    writable_folder,
)
from acvis_kit.errors import AcvisError
from acvis_kit.weights.published import DEFAULT_WEIGHTS

if TYPE_CHECKING:
    from acvis_kit.inference.prediction import Prediction
    from acvis_kit.inference.semantic import SemanticPrediction


def add_predict(commands: argparse._SubParsersAction) -> None:
    """Register the subcommand."""
    parser = commands.add_parser(
        "predict", help="a clip, or every clip of a folder -> overlay.mp4, result.json, counts.csv"
    )
    parser.set_defaults(run=_predict)
    parser.add_argument("source", type=path, metavar="CLIP_OR_FOLDER")
    parser.add_argument("-o", "--out", type=path, required=True, metavar="OUT", help="folder to write to")
    add_weights(parser, default=DEFAULT_WEIGHTS)
    parser.add_argument(
        "--audio",
        action="append",
        default=[],
        metavar="EDIT",
        help="mute | swap:FILE[@OFFSET] | mix:FILE[@DB] | noise:DB | gain:DB | shift:SECONDS | keep:START-END, in "
        "seconds of the file, as in counts.csv; may be given several times, applied in order",
    )
    parser.add_argument("--fps", type=float, default=1.0, help="frames per second that are processed (1)")
    parser.add_argument("--start", type=float, default=0.0, help="start of the stretch, in seconds (0)")
    parser.add_argument("--end", type=float, default=None, help="end of the stretch, in seconds (the clip's end)")
    parser.add_argument("--max-seconds", type=float, default=120.0, help="longest stretch that is accepted (120)")
    parser.add_argument("--trim", action="store_true", help="cut longer clips instead of refusing them")
    add_inference(parser)
    add_semantic_inference(parser)
    parser.add_argument("--no-video", action="store_true", help="do not write overlay.mp4")
    add_json(parser)


def _predict(arguments: argparse.Namespace) -> int:
    from acvis_kit.distributed import is_main
    from acvis_kit.inference.batch import (
        PredictionJob,
        check_place,
        check_sounds,
        has_result,
        predict_clip,
        predict_folder,
        replaced,
    )
    from acvis_kit.media.edit import AudioEdit
    from acvis_kit.media.load import check_options
    from acvis_kit.media.opening import check_file

    audio = AudioEdit.parse(arguments.audio)
    clip_options = {
        "fps": arguments.fps,
        "start": arguments.start,
        "end": arguments.end,
        "max_seconds": arguments.max_seconds,
        "too_long": "trim" if arguments.trim else "error",
    }
    check_options(clip_options)  # before the model is loaded
    if not os.path.isdir(arguments.source):
        check_file(arguments.source)
    check_sounds(audio, arguments.max_seconds)
    writable_folder(arguments.out)
    check_place(arguments.out, not arguments.no_video, folder=os.path.isdir(arguments.source))
    job = PredictionJob(
        predictor=make_any_predictor(arguments),
        audio=audio,
        weights=str(arguments.weights),
        clip_options=clip_options,
        video=not arguments.no_video,
        watched=_watched(arguments),
    )
    if os.path.isdir(arguments.source):
        summary = predict_folder(job, arguments.source, arguments.out, say)
        if arguments.json and is_main():
            show({"out": str(arguments.out), "videos": summary["videos"], "failed": summary["failed"]})
        return 1 if summary["failed"] else 0
    if not is_main():  # several processes share the clips of a folder; a single clip needs only one of them
        return 0
    if (other := replaced(arguments.out, Path(arguments.source))) is not None:
        say(f"{arguments.out} holds the result of {other}, which is replaced when this one is complete")
    try:
        prediction = predict_clip(job, arguments.source, arguments.out)
    except AcvisError:
        if has_result(arguments.out):
            say(f"{arguments.out} still holds the result of an earlier run, not of this one")
        raise
    say(prediction.summary())
    say(f"written to {arguments.out}")
    if arguments.json:
        counts = prediction.counts.tolist() if prediction.counts is not None else None
        show({"out": str(arguments.out), "counts": counts} | _marks(prediction))
    return 0


def _marks(prediction: Prediction | SemanticPrediction) -> dict[str, Any]:
    """The tracks, or the classes with their mean share of the frames in which they sound."""
    from acvis_kit.inference.prediction import Track

    rows: list[dict[str, Any]] = []
    for mark in prediction.marks:
        areas = mark.areas()
        rows.append({"class": mark.class_name, "score": round(mark.score, 4)})
        if isinstance(mark, Track):
            rows[-1] = {"id": mark.id} | rows[-1]
        else:
            pixels = prediction.size[0] * prediction.size[1]
            rows[-1]["share"] = round(float(areas[areas > 0].double().mean()) / pixels, 4)
        rows[-1]["frames"] = (areas > 0).nonzero()[:, 0].tolist()
    return {{"track": "tracks", "class": "classes"}[prediction.mark_word]: rows}


def _watched(arguments: argparse.Namespace) -> tuple[Path, ...]:
    """The files that the weights and the edits of the sound are read from."""
    named = [arguments.weights, *([arguments.audio_weights] if arguments.audio_weights else [])]
    for edit in arguments.audio:
        source = edit.partition(":")[2]
        named += [source, source.rpartition("@")[0]]
    return tuple(Path(name) for name in named if name and Path(name).exists())
