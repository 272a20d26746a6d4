"""`acvis benchmark`: speed and memory of the network, speed of training, of making data and of the metrics."""

from __future__ import annotations

import argparse

from acvis_kit.cli.options import device, positive, show
from acvis_kit.config import PRESETS


def add_benchmark(commands: argparse._SubParsersAction) -> None:
    """Register the subcommand."""
    parser = commands.add_parser(
        "benchmark", help="speed (compared with transformers' Mask2Former), memory, training, making data, metrics"
    )
    parser.set_defaults(run=_benchmark)
    parser.add_argument("what", choices=("speed", "train", "synth", "metrics", "memory"), nargs="?", default="speed")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="acvis-r50")
    parser.add_argument("--frames", type=positive, default=None, help="(12 for speed, 600 for memory)")
    parser.add_argument("--batch", type=positive, default=None, help="clips per step of train (the recipe's)")
    parser.add_argument("--steps", type=positive, default=20, help="of train (20)")
    parser.add_argument("--clips", type=positive, default=24, help="that synth makes (24)")
    parser.add_argument("--workers", type=int, default=1, help="processes of train and synth (1)")
    parser.add_argument("--runs", type=positive, default=3, help="repetitions (3)")
    parser.add_argument("--size", type=positive, nargs=2, default=(360, 640), metavar=("H", "W"), help="(360 640)")
    parser.add_argument("--tracks", type=positive, default=8, help="masks drawn per frame (8)")
    parser.add_argument("--no-peer", action="store_true", help="measure the kit alone")
    parser.add_argument("--device", default=None)
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default=None)


def _benchmark(arguments: argparse.Namespace) -> None:
    import torch

    from acvis_kit.evaluation import benchmark

    if arguments.what == "metrics":
        from acvis_kit.metrics.speed import measure

        show(measure(repeats=arguments.runs))
        return
    if arguments.what == "synth":
        show(benchmark.synth(arguments.clips, arguments.workers))
        return
    if arguments.what != "train" and arguments.device is not None:
        device(arguments)  # fails before a network is made
    height, width = arguments.size
    size = (height, width)
    if arguments.what == "memory":
        report = benchmark.memory(arguments.preset, arguments.frames or 600, size, arguments.device)
    elif arguments.what == "train":
        from acvis_kit.inference.precision import precision_of
        from acvis_kit.training import speed

        chosen = precision_of(arguments.dtype or "float32", torch.float32, torch.device(device(arguments))).autocast
        report = speed.measure(
            arguments.preset,
            size,
            arguments.batch,
            arguments.steps,
            precision={None: "float32", torch.bfloat16: "bf16", torch.float16: "fp16"}[chosen],
            workers=arguments.workers,
            device=arguments.device,
        )
    else:
        report = benchmark.speed(
            arguments.preset,
            arguments.frames or 12,
            arguments.runs,
            peer=not arguments.no_peer,
            device=arguments.device,
            dtype=arguments.dtype,
            size=size,
            tracks=arguments.tracks,
        )
    show(report)
