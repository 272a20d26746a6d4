"""`acvis prepare`: a folder of videos into AVISeg's layout."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_prepare(commands: argparse._SubParsersAction) -> None:
    """Register the subcommand."""
    parser = commands.add_parser(
        "prepare", help="a folder of videos -> frames, sound and JSON in AVISeg's layout, without annotations"
    )
    parser.set_defaults(run=_prepare)
    parser.add_argument("videos", type=Path, metavar="VIDEOS", help="folder of video files")
    parser.add_argument("out", type=Path, metavar="OUT", help="the data set; a second call goes on where one stopped")
    parser.add_argument("--split", default="test", metavar="NAME", help="train, val or a name of your own (test)")
    parser.add_argument("--fps", type=float, default=1.0, help="frames per second (1, what AVISeg has)")
    parser.add_argument("--max-seconds", type=float, default=600.0, help="longer videos are refused (600)")


def _prepare(arguments: argparse.Namespace) -> int:
    from acvis_kit.data.prepare import prepare_videos

    prepared = prepare_videos(
        arguments.videos,
        arguments.out,
        arguments.split,
        fps=arguments.fps,
        max_seconds=arguments.max_seconds,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    total = len(prepared.videos) + len(prepared.failed)
    print(f"{len(prepared.videos)} of {total} videos in {prepared.truth_file}", file=sys.stderr)
    if prepared.failed:
        print(f"failed: {', '.join(prepared.failed)}", file=sys.stderr)
    return 0 if prepared.videos else 1
