"""`acvis evaluate`: scores of a result file or of weights, and whether the masks follow the sound."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acvis_kit.cli.options import (
    add_inference,
    add_json,
    add_weights,
    check_preset,
    device,
    load_acvis,
    make_predictor,
    path,
    pronoun,
    say,
    show,
    writable_file,
    writable_folder,
)
from acvis_kit.cli.settings import flag, given
from acvis_kit.config import InferenceConfig
from acvis_kit.errors import ConfigError, kind_of
from acvis_kit.files import read_text, write_text
from acvis_kit.models.semantic_config import SemanticInference

if TYPE_CHECKING:
    from acvis_kit.inference.predictor import Predictor
    from acvis_kit.metrics.checks import Protocol


def add_evaluate(commands: argparse._SubParsersAction) -> None:
    """Register the subcommand."""
    evaluate = commands.add_parser("evaluate", help="mAP, HOTA and FSLA of a result file, or of weights on a data set")
    evaluate.set_defaults(run=_evaluate)
    evaluate.add_argument(
        "--task",
        choices=("avis", "avs"),
        default="avis",
        help="avis: instances, in AVISeg's layout; avs: what sounds and of which class, by AVSC or RAVS, in the layout "
        "of AVSBench or VPO (avis)",
    )
    evaluate.add_argument("--gt", type=path, metavar="GT.json", help="ground truth in AVISeg's format")
    evaluate.add_argument(
        "--results", type=path, metavar="RESULTS.json", help="AVISeg's result list, or that of predict"
    )
    evaluate.add_argument(
        "--protocol",
        choices=("official", "paper", "tpavi", "dataset"),
        default=None,
        help="official: the published evaluator, defects included; paper: as the paper defines the metrics (default). "
        "With --task avs: tpavi, AVSBench's; dataset, that of CAVP and DDESeg (default: both)",
    )
    evaluate.add_argument(
        "--bootstrap", type=int, default=1000, help="draws for 95 %% intervals, protocol paper (1000)"
    )
    evaluate.add_argument("--out", type=path, metavar="REPORT.json", help="the scores as JSON")
    evaluate.add_argument("--html", type=path, metavar="REPORT.html", help="a page with figures")
    add_weights(evaluate)
    evaluate.add_argument("--data", type=path, metavar="DIR", help="with --weights: a data set")
    evaluate.add_argument("--clips", type=path, metavar="FOLDER", help="with --weights and --truth: filmed clips")
    evaluate.add_argument(
        "--truth", type=path, metavar="TRUTH.json", help="with --clips: boxes of some objects, and when they sound"
    )
    evaluate.add_argument(
        "--photos",
        type=path,
        nargs=2,
        metavar=("COCO_JSON", "IMAGES"),
        help="with --weights: masks and names of what photographs show, without sound",
    )
    evaluate.add_argument(
        "--share",
        type=float,
        nargs=2,
        metavar=("FROM", "TO"),
        help="with --photos: which part of them, as in synth (0 1)",
    )
    evaluate.add_argument(
        "--baseline",
        choices=("nothing", "largest"),
        help="in place of listening: mark nothing, or the largest object that the weights see whenever there is sound",
    )
    evaluate.add_argument("--split", help="split of the data set (test)")
    evaluate.add_argument(
        "--allow-outside", action="store_true", help="read frames whose names in the JSON leave the data set's folder"
    )
    evaluate.add_argument("--save-results", type=path, metavar="RESULTS.json", help="write the predictions")
    evaluate.add_argument(
        "--as-published",
        action="store_true",
        help="as the published numbers: fp16 autocast, score above 0.3, protocol official",
    )
    evaluate.add_argument(
        "--listen",
        action="store_true",
        help="also measure whether masks follow the sound (mute, swap, foreign, off-screen, noise); AVIS-Synth only",
    )
    evaluate.add_argument(
        "--diagnose",
        action="store_true",
        help="count why sounding objects are missed: the mask, the name or the sound",
    )
    evaluate.add_argument(
        "--pictures",
        type=path,
        metavar="FOLDER",
        help="with --listen: ten clips under three soundtracks; with --clips: all",
    )
    evaluate.add_argument("--seed", type=int, help="seed of the sounds that --listen draws (0)")
    add_inference(evaluate)
    avs = evaluate.add_argument_group("--task avs")
    avs.add_argument("--subset", metavar="NAMES", help="v1s,v1m,v2 of AVSBench-semantic (all); ss, ms or msmi of VPO")
    avs.add_argument("--threshold", type=float, metavar="X", help="a pixel sounds above it (stored with the weights)")
    avs.add_argument("--resize", type=int, metavar="N", help="compare masks at NxN pixels (the size of the frames)")
    avs.add_argument("--batch-videos", type=int, metavar="N", help="videos over which F is taken, protocol tpavi (1)")
    avs.add_argument("--no-robustness", action="store_true", help="leave out silent, unmatched and swapped sound")
    add_json(evaluate)


SPLIT = "test"  # usual one of a data set
# What is read of a data set besides its scenes; of these folders, all.
AVIS_FOLDERS = ("{split}/JPEGImages", "{split}/WAVAudios", "{split}/FEATAudios")
AVS_FILES = ("s4_meta_data.csv", "ms3_meta_data.csv", "metadata.csv", "label2idx.json")
AVS_FOLDERS = ("s4_data", "ms3_data", "v1s", "v1m", "v2", "VPO", "VGGSound")
# What neither --clips nor --photos is combined with.
APART = ("gt", "results", "data", "listen", "diagnose", "as_published", "protocol", "html", "save_results")
AVS_ONLY = ("subset", "threshold", "resize", "batch_videos", "no_robustness")
AVIS_ONLY = (
    "gt", "results", "html", "clips", "truth", "baseline", "allow_outside", "save_results", "as_published", "listen",
    "diagnose", "pictures", "audio_weights", "photos", "share",
)  # fmt: skip


def _evaluate(arguments: argparse.Namespace) -> int:
    _check_task(arguments)
    _check_outputs(arguments)
    if arguments.weights is not None:  # without, options that were given are refused
        _set_defaults(arguments)
    if arguments.task == "avs":
        _evaluate_avs(arguments)
        return 0
    from acvis_kit.distributed import is_main
    from acvis_kit.evaluation.dataset import count_score
    from acvis_kit.metrics import evaluate_in_full
    from acvis_kit.metrics.report import count_table, table, to_dict, to_html

    if arguments.weights is not None and (arguments.gt or arguments.results):
        raise ConfigError("give either --gt and --results, or --weights and --data")
    if arguments.as_published and arguments.weights is None:
        raise ConfigError("--as-published fixes how weights predict: give --weights and --data, or --protocol official")
    if (arguments.clips is None) != (arguments.truth is None):
        raise ConfigError("--clips and --truth go together: give both, and --weights")
    if arguments.pictures is not None and not arguments.listen and arguments.clips is None:
        raise ConfigError("--pictures shows what --listen or --clips measures: add one of them")
    if arguments.pictures is not None:
        writable_folder(arguments.pictures)
    if arguments.share is not None and arguments.photos is None:
        raise ConfigError("--share is a part of the photographs: add --photos, or leave it out")
    if arguments.clips is not None:
        return _clips(arguments)
    if arguments.photos is not None:
        _photos(arguments)
        return 0
    if arguments.listen:
        _listen(arguments)
        return 0
    if arguments.diagnose:
        _diagnose(arguments)
        return 0
    protocol: Protocol = arguments.protocol or ("official" if arguments.as_published else "paper")
    if arguments.weights is not None:
        gt, results = _predicted(arguments, protocol)
        if not is_main():  # several processes share the clips; one evaluates the results
            return 0
    elif arguments.gt and arguments.results:
        _check_files_only(arguments)
        gt, results = arguments.gt, arguments.results
    else:
        raise ConfigError("give --gt and --results, or --weights and --data")
    draws = arguments.bootstrap if protocol == "paper" else 0
    report = evaluate_in_full(gt, results, protocol, bootstrap=draws)
    counting = count_score(report, results, gt) if arguments.weights is not None else None
    if arguments.json:
        show(to_dict(report, counting))
    else:
        print(table(report))
        if counting is not None:
            print(count_table(counting))
    if arguments.out:
        write_text(arguments.out, json.dumps(to_dict(report, counting), indent=1) + "\n")
    if arguments.html:
        write_text(arguments.html, to_html(report, Path(arguments.weights or arguments.results).name))
    return 0


def _give(arguments: argparse.Namespace, found: dict[str, Any], table: str) -> None:
    """Print what was measured, as JSON or as a table, and write it to --out."""
    if arguments.json:
        show(found)
    else:
        print(table)
    if arguments.out:
        write_text(arguments.out, json.dumps(found, indent=1) + "\n")


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Refuse files to write that this command reads, or two of one name."""
    written = _written(arguments)
    if len({file.resolve() for file in written}) < len(written):
        raise ConfigError("--out, --html and --save-results name one file twice: give each its own")
    for file in written:
        writable_file(file)
        if _is_truth(file):
            raise ConfigError(f"{file} is a ground truth, which this would replace: write to another file")
    read = [arguments.gt, arguments.results, arguments.truth, arguments.audio_weights]
    folders: list[Path] = []
    if arguments.weights is not None:
        weights = Path(arguments.weights)
        beside = weights.parent if weights.is_file() else weights
        read += [weights, beside / "config.json", *weights.glob("*.safetensors*")]
    if arguments.data is not None:
        split = arguments.split or SPLIT
        names, parts = (AVS_FILES, AVS_FOLDERS) if arguments.task == "avs" else ((f"{split}.json",), AVIS_FOLDERS)
        read += [arguments.data / name for name in (*names, f"{split}_scenes.json")]
        folders += [arguments.data / part.format(split=split) for part in parts]
    _refuse_read(arguments, read, folders)


def _refuse_read(arguments: argparse.Namespace, read: Iterable[Path | None], folders: Iterable[Path] = ()) -> None:
    """Refuse files to write that are among those that are read, or lie in a folder of which all is read."""
    files = {file.resolve() for file in read if file is not None}
    whole = [folder.resolve() for folder in folders]
    for file in filter(os.path.exists, _written(arguments)):
        own = file.resolve()
        if own in files or any(own.is_relative_to(folder) for folder in whole):
            raise ConfigError(f"{file} is read by this command: write to another file")


def _is_truth(file: Path) -> bool:
    """Whether a file that is there holds annotations, of this split or another."""
    try:
        there = json.loads(read_text(file))
    except (OSError, ValueError, RecursionError):  # nothing, or no JSON
        return False
    return isinstance(there, dict) and isinstance(there.get("annotations"), list)


def _written(arguments: argparse.Namespace) -> list[Path]:
    return [file for file in (arguments.out, arguments.html, arguments.save_results) if file is not None]


def _set_defaults(arguments: argparse.Namespace) -> None:
    """Set the options of data sets that were not given."""
    for name, value in (("split", SPLIT), ("seed", 0), ("batch_videos", 1)):
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)


def _check_files_only(arguments: argparse.Namespace) -> None:
    """Raise a ConfigError for options that need weights, beside --gt and --results."""
    names = ("data", "baseline", "split", "seed", "allow_outside", "save_results", "audio_weights", "device", "dtype")
    wrong = [name for name in (*names, "preset") if getattr(arguments, name) not in (None, False)]
    wrong += list(given(arguments, InferenceConfig))
    if wrong:
        flags = ", ".join(map(flag, wrong))
        raise ConfigError(f"{flags}: only with --weights, not with --gt and --results, whose masks are there already")


def _check_task(arguments: argparse.Namespace) -> None:
    """Raise a ConfigError for options of the other task."""
    avs = arguments.task == "avs"
    wrong = [name for name in (AVIS_ONLY if avs else AVS_ONLY) if getattr(arguments, name) not in (None, False)]
    if avs:
        wrong += list(given(arguments, InferenceConfig))
    if wrong:
        flags = ", ".join(map(flag, wrong))
        raise ConfigError(f"{flags} cannot be used with --task {arguments.task}: leave {pronoun(wrong)} out")
    protocols = ("tpavi", "dataset") if avs else ("official", "paper")
    if arguments.protocol not in (None, *protocols):
        raise ConfigError(
            f"--protocol {arguments.protocol} is not of --task {arguments.task}: {' or '.join(protocols)}"
        )


def _evaluate_avs(arguments: argparse.Namespace) -> None:
    from acvis_kit.data.semantic_layouts import open_split
    from acvis_kit.distributed import is_main
    from acvis_kit.evaluation.semantic import AVS_PROTOCOLS, evaluate_semantic
    from acvis_kit.evaluation.semantic_report import semantic_table
    from acvis_kit.inference.semantic_predictor import SemanticPredictor
    from acvis_kit.weights.load import open_weights

    if arguments.weights in (None, "random") or arguments.data is None:
        raise ConfigError("--task avs needs --weights of an AVSC or RAVS and --data, a folder of AVSBench or VPO")
    check_preset(arguments)
    if not is_main():  # one process does all
        return
    where = device(arguments)
    split = open_split(arguments.data, arguments.split, arguments.subset)
    split.check_files()
    weights = open_weights(arguments.weights)
    model: Any = weights.model
    if not isinstance(model.config, SemanticInference):
        raise ConfigError(
            f"--weights {arguments.weights} is {kind_of(model)}, which marks objects: leave --task avs out, or give "
            "weights of AVSC or RAVS"
        )
    predictor = SemanticPredictor(model, arguments.threshold, where, arguments.dtype)
    report = evaluate_semantic(
        predictor,
        split,
        protocols=AVS_PROTOCOLS if arguments.protocol is None else (arguments.protocol,),
        robustness=not arguments.no_robustness,
        batch_videos=arguments.batch_videos,
        size=arguments.resize,
        seed=arguments.seed,
        say=say,
    )
    found = {
        "weights": {"name": weights.name, "sha256": weights.sha256},
        "data": {"layout": split.layout, "split": split.name, "subset": arguments.subset},
        "settings": {
            "threshold": predictor.threshold,
            "resize": arguments.resize,
            "batch_videos": arguments.batch_videos,
            "seed": arguments.seed,
        },
        **report.to_dict(),
    }
    _give(arguments, found, semantic_table(report))


def _listen(arguments: argparse.Namespace) -> None:
    from acvis_kit.data.aviseg import AVISegSplit
    from acvis_kit.distributed import is_main
    from acvis_kit.evaluation.listening import listen, listening_table
    from acvis_kit.metrics.report import count_table, plain, table
    from acvis_kit.weights.load import open_weights

    _refuse_beside("--listen", arguments, ("as_published", "protocol", "html", "save_results", "diagnose"))
    if arguments.weights is None or arguments.data is None:
        raise ConfigError("--listen exchanges the clips' sound: give --weights and --data, not --gt and --results")
    arguments.count_gate = False  # `listen` measures with and without the gate
    split = AVISegSplit(arguments.data, arguments.split, allow_outside=arguments.allow_outside)
    split.check_files()
    listened = listen(_predictor(arguments), split, arguments.seed, say, arguments.pictures)
    if not is_main():
        return
    if not arguments.json:
        print(table(listened[False].report))
        print(count_table(listened[False].counting))
        print("\n" + listening_table(listened))
    if arguments.out or arguments.json:
        weights = None if arguments.weights == "random" else open_weights(arguments.weights)
        found: dict[str, Any] = {"weights": weights and {"name": weights.name, "sha256": weights.sha256}}
        found |= {"count_gate" if gate else "no_gate": result.to_dict() for gate, result in listened.items()}
        if arguments.json:
            show(plain(found))
        if arguments.out:
            write_text(arguments.out, json.dumps(plain(found), indent=1) + "\n")


def _diagnose(arguments: argparse.Namespace) -> None:
    from acvis_kit.data.aviseg import AVISegSplit
    from acvis_kit.distributed import is_main
    from acvis_kit.evaluation.diagnosis import diagnose

    _refuse_beside("--diagnose", arguments, ("as_published", "protocol", "html", "save_results", "baseline"))
    if arguments.weights is None or arguments.data is None:
        raise ConfigError("--diagnose looks at hidden masks too: give --weights and --data, not --gt and --results")
    split = AVISegSplit(arguments.data, arguments.split, allow_outside=arguments.allow_outside)
    found = diagnose(_predictor(arguments), split, say)
    if not is_main():
        return
    _give(arguments, found.to_dict(), found.table())


def _clips(arguments: argparse.Namespace) -> int:
    from acvis_kit.evaluation.clips import read_clip_truth, score_clips

    _refuse_beside("--clips", arguments, (*APART, "photos", "share"))
    if arguments.weights is None:
        raise ConfigError("--clips needs --weights")
    truth = read_clip_truth(arguments.truth)
    _refuse_read(arguments, [arguments.clips / file for file in truth.files])
    scores = score_clips(_predictor(arguments), arguments.clips, truth, say, arguments.pictures)
    _give(arguments, scores.to_dict(), scores.table())
    return 1 if scores.failed else 0


def _photos(arguments: argparse.Namespace) -> None:
    from acvis_kit.data.synth.annotated import read_photographs
    from acvis_kit.distributed import is_main
    from acvis_kit.evaluation.photographs import score_photographs

    if not is_main():  # one process does all
        return
    _refuse_beside("--photos", arguments, (*APART, "baseline"))
    if arguments.weights is None:
        raise ConfigError("--photos needs --weights")
    annotations, images = arguments.photos
    first, last = arguments.share or (0.0, 1.0)
    photographs = read_photographs(annotations, images, (first, last))
    _refuse_read(arguments, [annotations, *(photograph.path for photograph in photographs)])
    scores = score_photographs(_predictor(arguments), photographs, say)
    _give(arguments, scores.to_dict(), scores.table())


def _refuse_beside(option: str, arguments: argparse.Namespace, names: Iterable[str]) -> None:
    """Raise a ConfigError if one of these arguments is given beside an option."""
    if given := [flag(name) for name in names if getattr(arguments, name)]:
        raise ConfigError(f"{option} cannot be combined with {', '.join(given)}: leave one of them out")


def _predictor(arguments: argparse.Namespace) -> Predictor:
    """The predictor of the weights, or the baseline with their network."""
    from acvis_kit.evaluation.baselines import Baseline

    predictor = make_predictor(arguments)
    return predictor if arguments.baseline is None else Baseline(arguments.baseline, predictor)


def _predicted(arguments: argparse.Namespace, protocol: Protocol) -> tuple[dict, dict]:
    """The ground truth of a split and the results of the weights on it."""
    from acvis_kit.data.aviseg import AVISegSplit
    from acvis_kit.data.schema import naming
    from acvis_kit.distributed import is_main
    from acvis_kit.evaluation.dataset import predict_split, published_predictor
    from acvis_kit.metrics.checks import read_truth

    if arguments.data is None:
        raise ConfigError("--weights needs --data: a folder in AVISeg's layout")
    split = AVISegSplit(arguments.data, arguments.split, allow_outside=arguments.allow_outside)
    split.check_files()
    if split.truth.get("annotations") is not None or not arguments.save_results:
        with naming(split.truth_file):
            read_truth(split.truth, protocol)  # what cannot be scored fails before the model is loaded
    if arguments.as_published:
        fixed = ("score_threshold", "top_k", "count_gate", "dtype")
        if given := [flag(name) for name in fixed if getattr(arguments, name) is not None]:
            raise ConfigError(
                f"--as-published fixes {', '.join(given)}: leave {pronoun(given)} out, or leave --as-published out"
            )
        where = device(arguments)  # fails before the model is loaded
        predictor = published_predictor(load_acvis(arguments), where, arguments.short_side)
    else:
        predictor = _predictor(arguments)
    if not split.truth.get("annotations"):
        say(f"{split.truth_file} has no annotations: every object of every frame counts as silent")
    results = predict_split(predictor, split, say)
    if arguments.save_results and is_main():
        write_text(arguments.save_results, json.dumps(results))
    return split.truth, results
