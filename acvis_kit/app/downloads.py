"""Downloads of a take: overlay, result, counts, masks, and the lines of Python that repeat it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from acvis_kit.app.clips import clip_of, file_of
from acvis_kit.app.sound_settings import SoundSettings
from acvis_kit.app.storage import shown_name
from acvis_kit.app.studio import CANDIDATES, Take, TakeView, without_folders
from acvis_kit.files import atomic_write, write_text
from acvis_kit.inference.clip_prediction import ClipPrediction
from acvis_kit.inference.prediction import Prediction
from acvis_kit.models.presets import ALL_PRESETS
from acvis_kit.viz.pixels import image_file
from acvis_kit.weights.load import RANDOM, Loaded
from acvis_kit.weights.published import ASSETS, DRAWN_WEIGHTS

BUNDLED = "files('acvis_kit') / 'assets"  # the beginning of the expression of a clip that ships
NAMES = ("overlay.mp4", "result.json", "counts.csv", "masks.zip")


def write_files(take: Take, view: TakeView, overlay: Path, loaded: Loaded) -> list[Path]:
    """The overlay, and a JSON, a CSV and a zip: see `NAMES`.

    The JSON has AVISeg's result format under "results", of tracks, and what `settings_of` gives under "settings".

    Raises:
        AcvisError: the page's disk is full.
    """
    folder = take.view_folder(view)
    prediction = without_folders(take.shown(view))
    _, result, counts, masks = (folder / name for name in NAMES)
    settings = settings_of(take, view, loaded)
    write_text(result, json.dumps(prediction.to_dict() | {"settings": settings}))
    return [overlay, result, prediction.to_csv(counts), write_masks(prediction, masks, settings)]


def settings_of(take: Take, view: TakeView, loaded: Loaded) -> dict[str, Any]:
    """What a take was made with, for JSON: parameters of the endpoint by their names, and the weights.

    Without opacity, which only the overlay has, and without a count gate for weights that have no count head.
    """
    gate = {} if take.prediction.count_probs is None else {"count_gate": view.gate}
    sha256 = {"sha256": loaded.sha256} if loaded.sha256 else {}
    weights = {"weights": _source_of(loaded)} | sha256
    return take.settings.parameters() | {"threshold": view.threshold} | gate | weights


def write_masks(prediction: ClipPrediction, path: Path, settings: dict[str, Any]) -> Path:
    """A zip with a black-and-white PNG for each track, or class, and frame in which it has a mask: dog-0/00003.png."""
    with atomic_write(path) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:  # of compressed PNGs
        number = "track" if isinstance(prediction, Prediction) else "number of the class"
        file = shown_name(file_of(clip_of(prediction)))
        readme = f"masks of {file}: <class>-<{number}>/<frame>.png\nsettings: {json.dumps(settings)}\n"
        archive.writestr("README.txt", readme)
        for mark in prediction.marks:
            name = f"{prediction.class_names[mark.label]}-{mark.id}"
            for t, area in enumerate(mark.areas().tolist()):
                if area:
                    archive.writestr(f"{name}/{t:05d}.png", image_file(mark.mask(t), "PNG"))  # one bit a pixel
    return path


def python_lines(take: Take, view: TakeView, loaded: Loaded, max_seconds: float) -> str:
    """The run as a Python script: bundled clips by their place in the package, other files by their names alone."""
    settings, size = take.settings, take.prediction.size
    if isinstance(take.prediction, Prediction):
        top_k = min(loaded.model.config.top_k, CANDIDATES)
        predictor = f"ak.Predictor(model, score_threshold={view.threshold:g}, count_gate={view.gate}, top_k={top_k})"
    else:
        predictor = f"ak.SemanticPredictor(model, threshold={view.threshold:g})"
    weights = f"ak.load_model({_source_of(loaded)!r})"
    if loaded.name == RANDOM:
        presets = [name for name, config in ALL_PRESETS.items() if config == loaded.model.config]
        weights = f'random_model("{next(iter(presets), DRAWN_WEIGHTS)}")  # untrained'
    clip, sound = _file_code(file_of(take.source)), _edit_code(settings)
    bundled = any(BUNDLED in code for code in (clip, sound))
    lines = [
        *(["from importlib.resources import files", ""] if bundled else []),
        "import acvis_kit as ak",
        *(["from acvis_kit.weights.load import random_model"] if loaded.name == RANDOM else []),
        "",
        f"model = {weights}",
        f'clip = ak.load_clip({clip}, max_seconds={max_seconds:g}, too_long="trim")',
        f"predictor = {predictor}",
        "features = predictor.encode(clip)  # once per clip; decode it with as many sounds as you like",
        f"sound = {sound}",
        f"prediction = predictor.decode(features, sound, output_size={size})",
        "print(prediction.summary())",
        f'prediction.to_video("overlay.mp4", opacity={view.opacity:g})',
        'prediction.to_json("result.json")',
    ]
    return "\n".join(lines)


def _source_of(loaded: Loaded) -> str:
    """The argument of `load_model` for these weights."""
    if loaded.repository:
        return f"{loaded.repository}@{loaded.commit}"
    return loaded.entry.id if loaded.entry else loaded.name


def _file_code(path: Path) -> str:
    """A file as a Python expression: its place in the package if it ships with it, else its name alone."""
    return (
        f"{BUNDLED}/{path.relative_to(ASSETS).as_posix()}'" if path.is_relative_to(ASSETS) else repr(shown_name(path))
    )


def _edit_code(settings: SoundSettings) -> str:
    """The edit as a Python expression."""
    other = _file_code(Path(settings.other or ""))
    return {
        "original": "ak.AudioEdit.original()",
        "mute": "ak.AudioEdit.mute()",
        "swap": f"ak.AudioEdit.swap({other})",
        "mix": f"ak.AudioEdit.mix({other}, gain_db={settings.level:g})",
        "noise": f"ak.AudioEdit.noise(snr_db={settings.level:g})",
        "shift": f"ak.AudioEdit.shift({settings.seconds:g})",
        "keep": f"ak.AudioEdit.keep({settings.start:g}, {settings.end or None})",
    }[settings.sound]
