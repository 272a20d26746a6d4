"""The `acvis` command. Each subcommand parses its arguments here and calls the function that does the work."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from acvis_kit.cli.ablate import add_ablate
from acvis_kit.cli.evaluate import add_evaluate
from acvis_kit.cli.options import (
    add_inference,
    add_weights,
    load_for_the_page,
    make_predictor,
    say,
    writable_folder,
)
from acvis_kit.cli.prepare import add_prepare
from acvis_kit.cli.synth import add_synth
from acvis_kit.cli.train import add_train
from acvis_kit.config import CHOICES, PRESETS
from acvis_kit.errors import AcvisError
from acvis_kit.weights.published import DEMO_WEIGHTS


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `acvis`; returns the exit status: 0, or 1 after an error that the user can mend."""
    arguments = build_parser().parse_args(argv)
    warnings.showwarning = lambda message, *_, **__: say(f"note: {message}")
    try:
        return arguments.run(arguments) or 0
    except AcvisError as error:
        say(f"acvis: {error}")
        return 1
    except KeyboardInterrupt:
        say("acvis: interrupted")
        return 130
    except BrokenPipeError:  # `acvis info ... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def build_parser() -> argparse.ArgumentParser:
    """All subcommands; a test walks through their help."""
    parser = argparse.ArgumentParser(prog="acvis", description="Which objects sound, second by second.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    predict = commands.add_parser(
        "predict", help="a clip, or every clip of a folder -> overlay.mp4, result.json, counts.csv"
    )
    predict.set_defaults(run=_predict)
    predict.add_argument("source", type=Path, metavar="CLIP_OR_FOLDER")
    predict.add_argument("-o", "--out", type=Path, required=True, metavar="OUT", help="folder to write to")
    add_weights(predict, default=DEMO_WEIGHTS)
    predict.add_argument(
        "--audio",
        action="append",
        default=[],
        metavar="EDIT",
        help="mute | swap:FILE[@OFFSET] | mix:FILE[@DB] | noise:DB | gain:DB | shift:SECONDS | keep:START-END; may be "
        "given several times, applied in order",
    )
    predict.add_argument("--fps", type=float, default=1.0, help="frames per second to look at (1)")
    predict.add_argument("--start", type=float, default=0.0, help="second to begin at (0)")
    predict.add_argument("--end", type=float, default=None, help="second to end at (the clip's end)")
    predict.add_argument("--max-seconds", type=float, default=120.0, help="longest stretch taken (120)")
    predict.add_argument("--trim", action="store_true", help="cut longer clips instead of refusing them")
    add_inference(predict)
    predict.add_argument("--no-video", action="store_true", help="leave overlay.mp4 out")

    demo = commands.add_parser("demo", help="open the page")
    demo.set_defaults(run=_demo)
    add_weights(demo, default=DEMO_WEIGHTS, preset=DEMO_WEIGHTS)
    demo.add_argument("--host", default="127.0.0.1")
    demo.add_argument("--port", type=int, default=7860)
    demo.add_argument("--share", action="store_true", help="a public link through gradio's servers")
    demo.add_argument("--no-browser", action="store_true", help="do not open a browser")

    convert = commands.add_parser(
        "convert", help="a checkpoint of the reference code -> model.safetensors + config.json"
    )
    convert.set_defaults(run=_convert)
    convert.add_argument("checkpoint", type=Path)
    convert.add_argument("out", type=Path, metavar="FOLDER")
    convert.add_argument("--count-head", choices=CHOICES["count_head"], help="where 3 count logits leave it open")
    convert.add_argument("--window-size", type=int, help="seconds of the tracker's windows (6)")
    convert.add_argument("--num-heads", type=int, help="attention heads (8)")
    convert.add_argument("--short-side", type=int, help="pixels at inference (360; 448 for Swin-L)")
    convert.add_argument(
        "--trust-pickle", action="store_true", help="open files that can run code; only if you trust their maker"
    )

    add_evaluate(commands)
    add_synth(commands)
    add_prepare(commands)
    add_train(commands)
    add_ablate(commands)

    benchmark = commands.add_parser("benchmark", help="speed beside transformers' Mask2Former, memory, metrics")
    benchmark.set_defaults(run=_benchmark)
    benchmark.add_argument("what", choices=("speed", "memory", "metrics"), nargs="?", default="speed")
    benchmark.add_argument("--preset", choices=tuple(PRESETS), default="acvis-r50")
    benchmark.add_argument("--frames", type=int, default=None, help="12 for speed, 600 for memory")
    benchmark.add_argument("--runs", type=int, default=3)
    benchmark.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("H", "W"))
    benchmark.add_argument("--tracks", type=int, default=8, help="masks drawn per frame (8)")
    benchmark.add_argument("--no-peer", action="store_true", help="measure the kit alone")
    benchmark.add_argument("--device", default=None)
    benchmark.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default=None)

    info = commands.add_parser("info", help="parameters and GFLOPs of a model, or --env")
    info.set_defaults(run=_info)
    info.add_argument("model", nargs="?", help="a preset, a folder or a .safetensors file")
    info.add_argument("--env", action="store_true", help="versions and hardware, for a bug report")
    info.add_argument("--json", action="store_true", help="as JSON")
    return parser


def _predict(arguments: argparse.Namespace) -> int:
    from acvis_kit.distributed import is_main
    from acvis_kit.inference.batch import PredictionJob, predict_clip, predict_folder
    from acvis_kit.media.edit import AudioEdit

    job = PredictionJob(
        predictor=make_predictor(arguments),
        audio=AudioEdit.parse(arguments.audio),
        weights=str(arguments.weights),
        clip_options={
            "fps": arguments.fps,
            "start": arguments.start,
            "end": arguments.end,
            "max_seconds": arguments.max_seconds,
            "too_long": "trim" if arguments.trim else "error",
        },
        video=not arguments.no_video,
        watched=_watched(arguments),
    )
    writable_folder(arguments.out)
    if arguments.source.is_dir():
        return 1 if predict_folder(job, arguments.source, arguments.out, say) else 0
    if not is_main():  # several processes share the clips of a folder; one clip is for one of them
        return 0
    prediction = predict_clip(job, arguments.source, arguments.out)
    say(prediction.summary())
    say(f"written to {arguments.out}")
    return 0


def _watched(arguments: argparse.Namespace) -> tuple[Path, ...]:
    """The files that weights and edits of the sound come from."""
    named = [arguments.weights, *([arguments.audio_weights] if arguments.audio_weights else [])]
    for edit in arguments.audio:
        source = edit.partition(":")[2]
        named += [source, source.rpartition("@")[0]]
    return tuple(Path(name) for name in named if name and Path(name).exists())


def _demo(arguments: argparse.Namespace) -> None:
    try:
        from acvis_kit.app import launch
    except ImportError as error:
        raise AcvisError(f"the page needs gradio ({error}): pip install 'acvis-kit[demo]'") from error
    launch(
        load_for_the_page(arguments),
        host=arguments.host,
        port=arguments.port,
        share=arguments.share,
        open_browser=not arguments.no_browser,
    )


def _convert(arguments: argparse.Namespace) -> None:
    from acvis_kit.weights.convert import from_reference
    from acvis_kit.weights.load import save_model

    fields = ("count_head", "window_size", "num_heads", "short_side")
    overrides = {name: getattr(arguments, name) for name in fields if getattr(arguments, name) is not None}
    model = from_reference(arguments.checkpoint, trust_pickle=arguments.trust_pickle, **overrides)
    folder = save_model(model, arguments.out)
    config = model.config
    say(
        f"{folder}: {config.backbone}, query generator {config.query_generator}, count head {config.count_head}, "
        f"{config.num_classes} classes, audio encoder {config.audio_encoder}"
    )
    if config.audio_encoder == "precomputed" and config.uses_audio:
        say("it reads precomputed VGGish features: for videos, run predict with --audio-weights VGGISH.pth")


def _benchmark(arguments: argparse.Namespace) -> None:
    import torch

    from acvis_kit.evaluation import benchmark

    if arguments.what == "metrics":
        from acvis_kit.metrics.speed import measure

        print(json.dumps(measure(repeats=arguments.runs), indent=2))
        return
    size = tuple(arguments.size)
    if arguments.what == "memory":
        report = benchmark.memory(arguments.preset, arguments.frames or 600, size)
    else:
        report = benchmark.speed(
            arguments.preset,
            arguments.frames or 12,
            arguments.runs,
            peer=not arguments.no_peer,
            device=arguments.device,
            dtype=getattr(torch, arguments.dtype) if arguments.dtype else None,
            size=size,
            tracks=arguments.tracks,
        )
    print(json.dumps(report, indent=2))


def _info(arguments: argparse.Namespace) -> None:
    from acvis_kit.evaluation import cost as info

    if arguments.env or arguments.model is None:
        found = info.environment()
        print(json.dumps(found, indent=2) if arguments.json else "\n".join(f"{k:<16} {v}" for k, v in found.items()))
        return
    from acvis_kit.weights.load import load_model, random_model

    model = random_model(arguments.model) if arguments.model in PRESETS else load_model(arguments.model)
    rows = info.costs(model)
    if arguments.json:
        print(json.dumps([vars(row) for row in rows], indent=2))
        return
    print(info.cost_table(rows))
    print("\n" + "\n".join(f"{name} = {value}" for name, value in model.config.to_dict().items()))
