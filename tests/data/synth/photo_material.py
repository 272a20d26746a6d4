"""A small set of photographs with masks and of recordings, for tests of filmed scenes.

Every object is a rectangle of one colour: a frame shows its mask.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import wavfile

COLOURS = {"person": (200, 40, 40), "guitar": (40, 160, 40), "dog": (220, 220, 40), "chair": (40, 60, 200)}
NAMES = list(COLOURS)
HEIGHT, WIDTH = 180, 240
# class, box (left, top, right, bottom) of every object; whether they can be cut out; whether the surroundings are paper
PERSON, CHAIR = ("person", (90, 20, 140, 170)), ("chair", (170, 90, 220, 170))
KINDS = {
    "person": ([PERSON, CHAIR], False, False),
    "guitar": ([("guitar", (50, 60, 190, 110))], True, True),
    "dog": ([("dog", (70, 70, 170, 150))], True, False),
    "pair": ([("person", (20, 30, 80, 170)), ("person", (130, 30, 190, 170))], False, False),
}


def write_photographs(folder: Path, each: int = 3) -> tuple[Path, Path]:
    """Write `each` photographs of each kind in COCO's format; returns the JSON and the folder of images."""
    rng, images, annotations = np.random.default_rng(0), [], []
    for kind, (objects, cutout_ok, paper) in KINDS.items():
        for number in range(each):
            pixels = rng.integers(90, 150, (HEIGHT, WIDTH, 3), np.uint8)
            pixels[:] = 255 if paper else pixels
            name = f"{kind}_{number}.png"
            images.append(
                {"id": name, "file_name": name, "height": HEIGHT, "width": WIDTH, "cutout_ok": cutout_ok, "grey": False}
            )
            for class_name, (left, top, right, bottom) in objects:
                pixels[top:bottom, left:right] = COLOURS[class_name]
                annotations.append({
                    "id": len(annotations), "image_id": name, "category_id": NAMES.index(class_name), "iscrowd": 0,
                    "area": (right - left) * (bottom - top),
                    "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
                })  # fmt: skip
            Image.fromarray(pixels).save(folder / name)
    categories = [{"id": k, "name": name} for k, name in enumerate(NAMES)]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path, folder


def write_sounds(folder: Path, each: int = 3) -> Path:
    """Write recordings: of persons, guitars and dogs, of a flute, rain, hammers and a choir; returns the folder."""
    rng = np.random.default_rng(1)
    for name in ("person", "guitar", "dog", "flute", "rain", "hammer", "choir"):
        (folder / name).mkdir()
        for k in range(each):
            wave = (rng.standard_normal(32000) * 3000).astype(np.int16)
            wavfile.write(folder / name / f"{k}.wav", 16000, wave)
    return folder
