"""`acvis benchmark`: speed and memory of the network, speed of the metrics."""

from __future__ import annotations

import argparse

from acvis_kit.cli.options import show
from acvis_kit.config import PRESETS


def add_benchmark(commands: argparse._SubParsersAction) -> None:
    """Register the subcommand."""
    parser = commands.add_parser(
        "benchmark", help="speed (compared with transformers' Mask2Former), memory, or speed of the metrics"
    )
    parser.set_defaults(run=_benchmark)
    parser.add_argument("what", choices=("speed", "memory", "metrics"), nargs="?", default="speed")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="acvis-r50")
    parser.add_argument("--frames", type=int, default=None, help="(12 for speed, 600 for memory)")
    parser.add_argument("--runs", type=int, default=3, help="repetitions (3)")
    parser.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("H", "W"), help="(360 640)")
    parser.add_argument("--tracks", type=int, default=8, help="masks drawn per frame (8)")
    parser.add_argument("--no-peer", action="store_true", help="measure the kit alone")
    parser.add_argument("--device", default=None)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default=None)


def _benchmark(arguments: argparse.Namespace) -> None:
    import torch

    from acvis_kit.evaluation import benchmark

    if arguments.what == "metrics":
        from acvis_kit.metrics.speed import measure

        show(measure(repeats=arguments.runs))
        return
    height, width = arguments.size
    size = (height, width)
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
    show(report)
