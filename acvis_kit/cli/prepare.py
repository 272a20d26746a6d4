"""`acvis prepare`: converts a folder of videos to AVISeg's layout."""

from __future__ import annotations

import argparse

from acvis_kit.cli.options import add_json, path, say, show, writable_folder


def add_prepare(commands: argparse._SubParsersAction) -> None:
    """Register the subcommand."""
    parser = commands.add_parser(
        "prepare", help="a folder of videos -> frames, sound and JSON in AVISeg's layout, without annotations"
    )
    parser.set_defaults(run=_prepare)
    parser.add_argument("videos", type=path, metavar="VIDEOS", help="folder of clips; other files are left out")
    parser.add_argument("out", type=path, metavar="OUT", help="folder of the data set; a repeated call resumes")
    parser.add_argument("--split", default="test", metavar="NAME", help="train, val or any other name (test)")
    parser.add_argument("--fps", type=float, default=1.0, help="frames per second (1, as in AVISeg)")
    parser.add_argument("--max-seconds", type=float, default=600.0, help="longer videos are refused (600)")
    add_json(parser)


def _prepare(arguments: argparse.Namespace) -> int:
    from acvis_kit.data.prepare import prepare_videos

    writable_folder(arguments.out)
    prepared = prepare_videos(
        arguments.videos,
        arguments.out,
        arguments.split,
        fps=arguments.fps,
        max_seconds=arguments.max_seconds,
        say=say,
    )
    total = len(prepared.videos) + len(prepared.failed)
    if prepared.videos:
        where = f"in {prepared.truth_file}"
    elif prepared.truth_file.is_file():
        where = f"are prepared: {prepared.truth_file} is still that of an earlier call"
    else:
        where = f"are prepared: there is no {prepared.truth_file}"
    say(f"{len(prepared.videos)} of {total} videos {where}")
    if arguments.json:
        show({"json": str(prepared.truth_file), "videos": prepared.videos, "failed": prepared.failed})
    if prepared.failed:
        say(f"failed: {', '.join(prepared.failed)}")
    return 1 if prepared.failed else 0
