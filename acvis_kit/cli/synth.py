"""`acvis synth`: makes data with exact ground truth."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from acvis_kit.cli.options import path, writable_folder
from acvis_kit.errors import ConfigError

if TYPE_CHECKING:
    from acvis_kit.data.synth.material import Material


def add_synth(commands: argparse._SubParsersAction) -> None:
    """Register the subcommand."""
    parser = commands.add_parser("synth", help="make clips with exact ground truth")
    parser.set_defaults(run=_synth)
    parser.add_argument("out", type=path, metavar="OUT", help="folder to write to")
    parser.add_argument(
        "--split",
        action="append",
        type=_split,
        required=True,
        metavar="NAME:CLIPS",
        help="a split and its number of clips, e.g. train:2000; may be given several times",
    )
    parser.add_argument(
        "--layout",
        choices=("aviseg", "avsbench"),
        default="aviseg",
        help="of the files: AVISeg's, or AVSBench-semantic's, with class maps of what sounds (aviseg)",
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes (0)")
    parser.add_argument("--size", type=int, default=128, help="height and width of the frames, pixels (128)")
    parser.add_argument(
        "--seconds",
        type=int,
        nargs=2,
        metavar=("MIN", "MAX"),
        help="length of the clips (10 60; with --layout avsbench 10 10)",
    )
    parser.add_argument(
        "--counts",
        choices=("usual", "dense"),
        default="usual",
        help="number of objects that sound at once: as in AVISeg, or 3 to 6 (usual)",
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="number of processes (one per core)")
    parser.add_argument(
        "--cutouts",
        type=path,
        nargs=2,
        metavar=("COCO_JSON", "IMAGES"),
        help="objects cut out of photographs instead of drawn ones: masks in COCO's format, and their images",
    )
    parser.add_argument(
        "--photos",
        type=path,
        nargs=2,
        metavar=("COCO_JSON", "IMAGES"),
        help="photographs seen by a moving camera, with cut-outs before them, instead of drawn scenes; see --sounds",
    )
    parser.add_argument("--classes", nargs="+", metavar="CLASS", help="of drawn objects (all twelve)")
    parser.add_argument(
        "--named",
        nargs="+",
        metavar="CLASS",
        help="with --photos: classes that are annotated by name, the rest becomes 'other' (AVISeg's 26)",
    )
    parser.add_argument(
        "--sounds", type=path, metavar="FOLDER", help="recorded voices instead of synthetic ones: a folder per class"
    )
    parser.add_argument(
        "--share",
        type=float,
        nargs=2,
        default=(0.0, 1.0),
        metavar=("FROM", "TO"),
        help="range of the photographs and recordings to use, as fractions: 0 0.8 and 0.8 1 have none in common (0 1)",
    )


def _split(text: str) -> tuple[str, int]:
    name, colon, count = text.rpartition(":")
    if not colon or not name or not count.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:CLIPS, e.g. train:2000")
    return name, int(count)


def _synth(arguments: argparse.Namespace) -> None:
    from acvis_kit.data.synth.workers import one_thread

    with one_thread():  # before NumPy is loaded: this process makes the clips itself where it is the only worker
        _write(arguments)


def _write(arguments: argparse.Namespace) -> None:
    from acvis_kit.data.synth.material import DrawnMaterial
    from acvis_kit.data.synth.writer import write_dataset

    material: Callable[[], Material] = partial(DrawnMaterial, arguments.classes)
    if arguments.classes and (arguments.photos or arguments.cutouts or arguments.sounds):
        raise ConfigError("--classes chooses drawn objects: leave out --photos, --cutouts and --sounds")
    if arguments.photos:
        from acvis_kit.data.synth.filmed import PhotoMaterial

        if arguments.cutouts or arguments.counts != "usual":
            raise ConfigError(
                "--photos cuts out objects itself and knows only the usual counts: leave out --cutouts and --counts"
            )
        material = partial(
            PhotoMaterial, tuple(arguments.photos), arguments.sounds, tuple(arguments.share), arguments.named
        )
    elif arguments.named:
        raise ConfigError("--named chooses classes of --photos: give both, or neither")
    elif arguments.cutouts or arguments.sounds:
        from acvis_kit.data.synth.cutouts import OwnMaterial

        material = partial(
            OwnMaterial, arguments.cutouts and tuple(arguments.cutouts), arguments.sounds, tuple(arguments.share)
        )
    names = [name for name, _ in arguments.split]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ConfigError(f"--split {twice[0]}:... is given twice: give each split one number of clips")
    writable_folder(arguments.out)
    write_dataset(
        arguments.out,
        dict(arguments.split),
        arguments.seed,
        arguments.size,
        tuple(arguments.seconds or ((10, 10) if arguments.layout == "avsbench" else (10, 60))),
        arguments.workers,
        material,
        counts=arguments.counts,
        layout=arguments.layout,
    )
