"""The `acvis` command. Each subcommand parses its arguments here and calls the function that does the work."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from acvis_kit.config import CHOICES, PRESETS
from acvis_kit.errors import AcvisError, ConfigError

RANDOM_WARNING = (
    "THE WEIGHTS ARE RANDOM: nothing was learned, the masks, classes and counts mean nothing. They show that the "
    "machinery runs, no more."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `acvis`; returns the exit status: 0, or 1 after an error that the user can mend."""
    arguments = build_parser().parse_args(argv)
    warnings.showwarning = lambda message, *_, **__: _say(f"note: {message}")
    try:
        return arguments.run(arguments) or 0
    except AcvisError as error:
        _say(f"acvis: {error}")
        return 1
    except KeyboardInterrupt:
        _say("acvis: interrupted")
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
    _add_weights(predict, required=True)
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
    _add_inference(predict)
    predict.add_argument("--no-video", action="store_true", help="leave overlay.mp4 out")

    demo = commands.add_parser("demo", help="open the page")
    demo.set_defaults(run=_demo)
    _add_weights(demo, default="acvis-synth-tiny", preset="acvis-synth-tiny")
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

    evaluate = commands.add_parser("evaluate", help="mAP, HOTA and FSLA of a result file, or of weights on a data set")
    evaluate.set_defaults(run=_evaluate)
    evaluate.add_argument("--gt", type=Path, metavar="GT.json", help="ground truth in AVISeg's format")
    evaluate.add_argument("--results", type=Path, metavar="RESULTS.json", help="AVISeg's result list, or predict's own")
    evaluate.add_argument(
        "--protocol",
        choices=("official", "paper"),
        default=None,
        help="official: the published numbers, defects included; paper: the right ones (default)",
    )
    evaluate.add_argument("--bootstrap", type=int, default=1000, help="draws for 95 %% intervals, paper only (1000)")
    evaluate.add_argument("--out", type=Path, metavar="REPORT.json")
    evaluate.add_argument("--html", type=Path, metavar="REPORT.html", help="a page with figures")
    _add_weights(evaluate)
    evaluate.add_argument("--data", type=Path, metavar="DIR", help="with --weights: a folder in AVISeg's layout")
    evaluate.add_argument("--split", default="test", help="of the data set (test)")
    evaluate.add_argument("--save-results", type=Path, metavar="RESULTS.json", help="keep the predictions")
    evaluate.add_argument(
        "--as-published", action="store_true", help="fp16 autocast, score above 0.3, official protocol: a published row"
    )
    _add_inference(evaluate)

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


def _add_weights(
    parser: argparse.ArgumentParser, *, required: bool = False, default: str | None = None, preset: str = "acvis-r50"
) -> None:
    parser.add_argument(
        "--weights",
        required=required,
        default=default,
        metavar="W",
        help="a published id, a repository of the Hub (user/repo[@revision]), a folder or a .safetensors file; "
        "'random' runs the preset untrained",
    )
    parser.add_argument("--preset", choices=tuple(PRESETS), default=preset, help=f"with --weights random ({preset})")
    parser.add_argument("--audio-weights", type=Path, metavar="VGGISH.pth", help="VGGish for models without one inside")


def _add_inference(parser: argparse.ArgumentParser) -> None:
    own = "the weights' own"
    parser.add_argument("--short-side", type=int, default=None, help=f"pixels at the network's input ({own})")
    parser.add_argument("--score-threshold", type=float, default=None, help=f"tracks score higher ({own})")
    parser.add_argument("--top-k", type=int, default=None, help=f"candidates looked at ({own})")
    gate = argparse.BooleanOptionalAction
    parser.add_argument("--count-gate", action=gate, default=None, help=f"let the count decide how many show ({own})")
    parser.add_argument("--feature-budget-mb", type=float, default=2048, help="memory for features; more goes to disk")
    parser.add_argument("--device", default=None, help="cpu, cuda, mps (cuda if there is one)")
    parser.add_argument("--dtype", choices=("float32", "float64", "bfloat16", "float16"), default=None)


def _model(arguments: argparse.Namespace):
    from acvis_kit.hub import load_model, random_model, with_vggish

    if arguments.weights == "random":
        _say(RANDOM_WARNING)
        model = random_model(arguments.preset)
        return with_vggish(model, arguments.audio_weights) if arguments.audio_weights else model
    return load_model(arguments.weights, audio_weights=arguments.audio_weights)


def _predictor(arguments: argparse.Namespace):
    import torch

    from acvis_kit.predict import Predictor

    return Predictor(
        _model(arguments),
        short_side=arguments.short_side,
        score_threshold=arguments.score_threshold,
        top_k=arguments.top_k,
        count_gate=arguments.count_gate,
        feature_budget_mb=arguments.feature_budget_mb,
        device=_device(arguments),
        dtype=getattr(torch, arguments.dtype) if arguments.dtype else None,
    )


def _device(arguments: argparse.Namespace) -> str:
    import torch

    return getattr(arguments, "device", None) or ("cuda" if torch.cuda.is_available() else "cpu")


def _predict(arguments: argparse.Namespace) -> int:
    from acvis_kit.audio import AudioEdit
    from acvis_kit.batch import Job, predict_clip, predict_folder

    job = Job(
        predictor=_predictor(arguments),
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
    _writable_folder(arguments.out)
    if arguments.source.is_dir():
        return 1 if predict_folder(job, arguments.source, arguments.out, _say) else 0
    prediction = predict_clip(job, arguments.source, arguments.out)
    _say(prediction.summary())
    _say(f"written to {arguments.out}")
    return 0


def _watched(arguments: argparse.Namespace) -> tuple[Path, ...]:
    """The files that weights and edits of the sound come from."""
    named = [arguments.weights, *([arguments.audio_weights] if arguments.audio_weights else [])]
    for edit in arguments.audio:
        source = edit.partition(":")[2]
        named += [source, source.rpartition("@")[0]]
    return tuple(Path(name) for name in named if name and Path(name).exists())


def _writable_folder(folder: Path) -> None:
    """Make it now: hours of work must not end at a path that cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be a folder to write to ({error}): choose another") from error


def _demo(arguments: argparse.Namespace) -> None:
    try:
        from acvis_kit.app import launch
    except ImportError as error:
        raise AcvisError(f"the page needs gradio ({error}): pip install 'acvis-kit[demo]'") from error
    launch(
        _loaded(arguments),
        host=arguments.host,
        port=arguments.port,
        share=arguments.share,
        open_browser=not arguments.no_browser,
    )


def _loaded(arguments: argparse.Namespace):
    """The weights of the page: what was asked for; the bundled ones where the Hub is out of reach."""
    from dataclasses import replace

    from acvis_kit.hub import RANDOM, Loaded, open_weights
    from acvis_kit.published import DEMO_WEIGHTS

    if arguments.weights == RANDOM:
        loaded = Loaded(_model(arguments), RANDOM)
    else:
        loaded = open_weights(arguments.weights, audio_weights=arguments.audio_weights, fall_back=DEMO_WEIGHTS)
        if loaded.notice:
            _say(f"note: {loaded.notice}")
    return replace(loaded, model=loaded.model.to(_device(arguments)))


def _convert(arguments: argparse.Namespace) -> None:
    from acvis_kit.convert import from_reference
    from acvis_kit.hub import save_model

    fields = ("count_head", "window_size", "num_heads", "short_side")
    overrides = {name: getattr(arguments, name) for name in fields if getattr(arguments, name) is not None}
    model = from_reference(arguments.checkpoint, trust_pickle=arguments.trust_pickle, **overrides)
    folder = save_model(model, arguments.out)
    config = model.config
    _say(
        f"{folder}: {config.backbone}, query generator {config.query_generator}, count head {config.count_head}, "
        f"{config.num_classes} classes, audio encoder {config.audio_encoder}"
    )
    if config.audio_encoder == "precomputed" and config.hears:
        _say("it reads precomputed VGGish features: for videos, run predict with --audio-weights VGGISH.pth")


def _evaluate(arguments: argparse.Namespace) -> None:
    from acvis_kit.evaluation import count_score
    from acvis_kit.metrics import evaluate_in_full
    from acvis_kit.metrics.report import count_table, table, to_dict, to_html

    for file in (arguments.out, arguments.html, arguments.save_results):
        if file is not None:
            _writable_folder(file.parent)
    if arguments.weights is not None and (arguments.gt or arguments.results):
        raise ConfigError("give either --gt and --results, or --weights and --data")
    if arguments.as_published and arguments.weights is None:
        raise ConfigError("--as-published is about predictions: give --weights and --data, or --protocol official")
    if arguments.weights is not None:
        gt, results = _predicted(arguments)
    elif arguments.gt and arguments.results:
        gt, results = arguments.gt, arguments.results
    else:
        raise ConfigError("give --gt and --results, or --weights and --data")
    protocol = arguments.protocol or ("official" if arguments.as_published else "paper")
    draws = arguments.bootstrap if protocol == "paper" else 0
    report = evaluate_in_full(gt, results, protocol, bootstrap=draws)
    counting = count_score(report, results, gt) if arguments.weights is not None else None
    print(table(report))
    if counting is not None:
        print(count_table(counting))
    if arguments.out:
        arguments.out.write_text(json.dumps(to_dict(report, counting), indent=1) + "\n")
    if arguments.html:
        arguments.html.write_text(to_html(report, Path(arguments.weights or arguments.results).name))


def _predicted(arguments: argparse.Namespace) -> tuple[dict, dict]:
    """Ground truth and results of the weights on a split."""
    from acvis_kit.data.aviseg import AVISegSplit
    from acvis_kit.evaluation import predict_split, published_predictor

    if arguments.data is None:
        raise ConfigError("--weights needs --data: a folder in AVISeg's layout")
    split = AVISegSplit(arguments.data, arguments.split)
    if arguments.as_published:
        fixed = ("score_threshold", "top_k", "count_gate", "dtype")
        if given := [f"--{name.replace('_', '-')}" for name in fixed if getattr(arguments, name) is not None]:
            raise ConfigError(f"--as-published fixes {', '.join(given)}: leave them out, or leave --as-published out")
        predictor = published_predictor(_model(arguments), _device(arguments), arguments.short_side)
    else:
        predictor = _predictor(arguments)
    results = predict_split(predictor, split, _say)
    if arguments.save_results:
        arguments.save_results.write_text(json.dumps(results))
    return split.truth, results


def _benchmark(arguments: argparse.Namespace) -> None:
    import torch

    from acvis_kit import benchmark

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
    from acvis_kit import info

    if arguments.env or arguments.model is None:
        found = info.environment()
        print(json.dumps(found, indent=2) if arguments.json else "\n".join(f"{k:<16} {v}" for k, v in found.items()))
        return
    from acvis_kit.hub import load_model, random_model

    model = random_model(arguments.model) if arguments.model in PRESETS else load_model(arguments.model)
    rows = info.costs(model)
    if arguments.json:
        print(json.dumps([vars(row) for row in rows], indent=2))
        return
    print(info.cost_table(rows))
    print("\n" + "\n".join(f"{name} = {value}" for name, value in model.config.to_dict().items()))


def _say(text: str) -> None:
    """To people, on standard error: standard output is for results."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
