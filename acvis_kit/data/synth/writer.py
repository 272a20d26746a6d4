"""AVIS-Synth on disk, in one of `LAYOUTS`: the same bytes from the same seed, with any number of processes."""

from __future__ import annotations

import json
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import wavfile

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.data.schema import read_json
from acvis_kit.data.synth.classes import categories
from acvis_kit.data.synth.filmed import FilmedScene, PhotoMaterial
from acvis_kit.data.synth.layouts import LAYOUTS
from acvis_kit.data.synth.material import DrawnMaterial, Material
from acvis_kit.data.synth.records import VERSION, describe
from acvis_kit.data.synth.rendering import render_frames
from acvis_kit.data.synth.scenes import Scene, draw_scene
from acvis_kit.data.synth.who_sounds import COUNTS
from acvis_kit.data.synth.workers import pool
from acvis_kit.errors import ConfigError, DataError, brief
from acvis_kit.files import write_errors, write_text

SMALLEST, LARGEST = 64, 1024  # pixels of a frame
LONGEST = 600  # seconds of a clip
USUAL = {"counts": "usual", "layout": "aviseg"}  # a recipe names only what differs

WrittenClip = tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]  # entries for videos, scenes and annotations


@dataclass(frozen=True)
class ClipJob:
    """One clip to make; `out`, `size`, `seconds`, `counts` and `layout` as in `write_dataset`."""

    out: Path
    split: str
    index: int
    seed: int
    size: int
    seconds: tuple[int, int]
    counts: str = "usual"
    layout: str = "aviseg"


def write_dataset(
    out: str | Path,
    splits: Mapping[str, int],
    seed: int = 0,
    size: int = 128,
    seconds: tuple[int, int] = (10, 60),
    workers: int = 1,
    material: Callable[[], Material] = DrawnMaterial,
    progress: bool = True,
    counts: str = "usual",
    layout: str = "aviseg",
) -> None:
    """Write splits of AVIS-Synth.

    OUT/{split}.json, OUT/{split}_scenes.json, OUT/{split}/JPEGImages/<video>/<frame:05d>.jpg,
    OUT/{split}/WAVAudios/<video>.wav. {split}.json is written last: where it exists, the split is complete.
    With layout "avsbench": that of AVSBench-semantic, see `data.avsbench`, and OUT/{split}_scenes.json. Where
    metadata.csv lists a split, it is complete.

    Args:
        out: folder to write to.
        splits: name of the split -> number of clips.
        seed: 0 or more; a clip depends on seed, split and index alone.
        size: height and width, 64..1024 pixels.
        seconds: shortest and longest clip, 1..600.
        workers: number of processes.
        material: makes the source of pictures and voices, once in each process.
        progress: whether to show a progress bar.
        counts: how many sound at once, "usual" or "dense", see `who_sounds`.
        layout: "aviseg" or "avsbench".

    Raises:
        ConfigError: a number outside its range, or an unknown word.
        DataError: the folder holds another data set.
    """
    out, seconds = Path(out), (int(seconds[0]), int(seconds[1]))
    _check(splits, seed, size, seconds, workers)
    if counts not in COUNTS:
        raise ConfigError(f"counts={counts!r} is unknown: choose from {', '.join(COUNTS)}")
    if layout not in LAYOUTS:
        raise ConfigError(f"layout={layout!r} is unknown: choose from {', '.join(LAYOUTS)}")
    source = material()
    LAYOUTS[layout].check(out, categories(source.classes))
    recipe = {"version": VERSION, "seed": seed, "size": size, "seconds": list(seconds), **source.recipe}
    recipe |= {name: value for name, value in (("counts", counts), ("layout", layout)) if value != USUAL[name]}
    recipes = {split: {**recipe, "split": split, "clips": count} for split, count in splits.items()}
    todo = {split: splits[split] for split, own in recipes.items() if not _is_done(out, split, own)}
    # One worker is this process itself.
    several: AbstractContextManager[ProcessPoolExecutor | None]
    several = pool(workers, _Worker.begin, material) if todo and workers > 1 else nullcontext()
    with several as processes:
        for split, count in todo.items():
            clips = partial(_run, pool=processes, source=source, chunk=max(1, min(16, count // (4 * workers))))
            _write_split(out, split, count, recipes[split], source, clips, progress)


def _write_split(
    out: Path, split: str, count: int, recipe: dict[str, Any], source: Material,
    run: Callable[[list[ClipJob]], Iterator[WrittenClip]], progress: bool,
) -> None:  # fmt: skip
    layout = LAYOUTS[recipe.get("layout", USUAL["layout"])]
    layout.clear(out, split)  # `_is_done` has checked that it is AVIS-Synth's
    marker = layout.marker(out, split)
    with write_errors(marker.parent, DataError):
        marker.parent.mkdir(parents=True, exist_ok=True)
    write_text(marker, json.dumps(recipe), DataError)

    size, seconds = recipe["size"], tuple(recipe["seconds"])
    counts = recipe.get("counts", USUAL["counts"])
    jobs = [ClipJob(out, split, n, recipe["seed"], size, seconds, counts, layout.name) for n in range(count)]
    videos: list[dict[str, Any]] = []
    scenes: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    made = run(jobs)
    if progress:
        from tqdm import tqdm

        made = tqdm(made, total=count, desc=split, unit="clip")
    for video, scene, own in made:
        for annotation in own:
            number = len(annotations) + 1
            scene["objects"][annotation.pop("object")]["annotation_id"] = number
            annotations.append({"id": number, **annotation})
        videos.append(video)
        scenes.append(scene)

    info = {"description": "AVIS-Synth, made by acvis_kit", "seed": recipe["seed"]}
    truth = {"info": info, "videos": videos, "categories": categories(source.classes), "annotations": annotations}
    described = {**recipe, "voices": source.voice_files, "scenes": scenes}
    write_text(out / f"{split}_scenes.json", json.dumps(described, separators=(",", ":")), DataError)
    layout.write_truth(out, split, truth, [scene["name"] for scene in scenes])
    marker.unlink()


def make_clip(job: ClipJob, material: Material) -> WrittenClip:
    """Write the frames and the sound of one clip; returns its entries for `videos`, `scenes` and `annotations`.

    Raises:
        DataError: a file cannot be written.
    """
    streams = np.random.SeedSequence([job.seed, zlib.crc32(job.split.encode()), job.index]).spawn(2)
    plan, paint = (np.random.default_rng(stream) for stream in streams)
    scene: Scene | FilmedScene
    if isinstance(material, PhotoMaterial):
        scene = material.film(plan, job.size, job.seconds)
        pictures = scene.frames(paint)
    else:
        scene = draw_scene(plan, material, job.size, job.seconds, job.counts)
        pictures = render_frames(paint, scene)
    name = f"{job.split}_{job.index:05d}"
    layout = LAYOUTS[job.layout]
    frames = layout.frame(job.out, job.split, name, 0).parent
    quality, names = int(paint.integers(72, 96)), []
    with write_errors(frames, DataError):
        frames.mkdir(parents=True, exist_ok=True)
        for number, frame in enumerate(pictures):
            file = layout.frame(job.out, job.split, name, number)
            names.append(f"{name}/{file.name}")
            Image.fromarray(frame).save(file, quality=quality)
    sound = scene.soundtrack.render(recordings=material.recordings)
    samples = np.round(sound * 32767).astype(np.int16)
    file = layout.sound(job.out, job.split, name)
    with write_errors(file, DataError, samples.nbytes):
        file.parent.mkdir(parents=True, exist_ok=True)
        wavfile.write(file, SAMPLE_RATE, samples)
    video_id = job.index + 1
    video = {"id": video_id, "file_names": names, "length": scene.length, "height": job.size, "width": job.size}
    described, annotations = describe(scene, video_id, name)
    layout.write_labels(job.out, {**video, "name": name}, annotations, categories(material.classes))
    return video, described, annotations


def _run(jobs: list[ClipJob], pool: ProcessPoolExecutor | None, source: Material, chunk: int) -> Iterator[WrittenClip]:
    if pool is None:
        yield from (make_clip(job, source) for job in jobs)
    else:
        yield from pool.map(_Worker.make_clip, jobs, chunksize=chunk)


class _Worker:
    """State that a worker process keeps from clip to clip."""

    material: Material

    @classmethod
    def begin(cls, make: Callable[[], Material]) -> None:
        warnings.simplefilter("ignore")  # the main process has shown the warnings
        cls.material = make()

    @classmethod
    def make_clip(cls, job: ClipJob) -> WrittenClip:
        return make_clip(job, cls.material)


def _is_done(out: Path, split: str, recipe: dict[str, Any]) -> bool:
    """Whether the split is there and complete.

    Raises:
        DataError: something else is there.
    """
    layout = LAYOUTS[recipe.get("layout", USUAL["layout"])]
    scenes, marker, complete = out / f"{split}_scenes.json", layout.marker(out, split), layout.is_complete(out, split)
    remedy = "choose an empty folder, or remove what is there"
    if complete or (scenes.exists() and not marker.exists()):
        try:
            found = read_json(scenes, "the split's scenes")
        except DataError:
            found = None
        if not isinstance(found, dict):
            raise DataError(f"{out} holds a split {split!r} that is not AVIS-Synth's: {remedy}")
        for key, value in {**USUAL, **recipe}.items():
            there = found.get(key, USUAL.get(key))
            if there != value:
                raise DataError(f"{out} holds {split!r} with {key}={brief(there)}, you asked for {value!r}: {remedy}")
        return complete
    if layout.clips(out, split) and not marker.exists():
        raise DataError(f"{out / split} holds files that are not AVIS-Synth's: {remedy}")
    return False


def _check(splits: Mapping[str, int], seed: int, size: int, seconds: tuple[int, int], workers: int) -> None:
    if not splits:
        raise ConfigError("no split is given: give at least one, e.g. train:2000")
    for split, count in splits.items():
        if not split or not split.replace("_", "").replace("-", "").isalnum() or split.endswith("_scenes"):
            raise ConfigError(f"{split!r} cannot be the name of a split: use letters, digits, - and _, e.g. train")
        if count < 1:
            raise ConfigError(f"split {split!r} has {count} clips: give at least 1")
    if seed < 0:
        raise ConfigError(f"seed={seed} is below 0: give 0 or more")
    if not SMALLEST <= size <= LARGEST:
        raise ConfigError(f"size={size} pixels: frames have {SMALLEST} to {LARGEST}")
    if not 1 <= seconds[0] <= seconds[1] <= LONGEST:
        raise ConfigError(f"seconds={seconds[0]} to {seconds[1]}: give 1 <= shortest <= longest <= {LONGEST}")
    if workers < 1:
        raise ConfigError(f"workers={workers}: give at least 1")
