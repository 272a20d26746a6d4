"""Small folders in exactly the layouts of AVSBench and VPO: one coloured rectangle per object, one tone per video."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import wavfile

SIZE = (40, 56)  # (H, W)
CLASSES = ("dog", "lawn-mower", "man")  # of AVSBench-semantic, beside the background
BOXES = ((4, 6, 20, 24), (22, 30, 38, 50), (2, 34, 16, 54))  # top, left, bottom, right of each class


def box_mask(number: int) -> np.ndarray:
    """The mask of a box, bool (H, W)."""
    mask = np.zeros(SIZE, bool)
    top, left, bottom, right = BOXES[number]
    mask[top:bottom, left:right] = True
    return mask


def write_picture(path: Path, pixels: np.ndarray, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path, quality=95)


def frame(shown: Sequence[int]) -> np.ndarray:
    """Red boxes on grey, uint8 (H, W, 3)."""
    pixels = np.full((*SIZE, 3), 96, np.uint8)
    for number in shown:
        pixels[box_mask(number)] = (250, 20, 20)
    return pixels


def write_tone(path: Path, seconds: float, hertz: float = 440.0, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.3 * np.sin(np.arange(round(seconds * rate)) / rate * hertz * 2 * np.pi)
    wavfile.write(path, rate, (wave * 32767).astype(np.int16))


def write_s4(root: Path, videos: Sequence[tuple[str, str, str]] | None = None) -> Path:
    """Videos as (name, category, split); the mask of frame k covers box 0 with the value 255."""
    videos = videos or [
        ("a_0", "dog_barking", "train"),
        ("b-1", "race_car", "train"),
        ("c", "dog_barking", "val"),
        ("d", "male_speech", "test"),
        ("e", "race_car", "test"),
    ]
    lines, data = ["name,start,category,split"], root / "s4_data"
    for n, (name, category, split) in enumerate(videos):
        lines.append(f"{name},{n},{category},{split}")
        place = Path(split) / category / name
        for k in range(1, 6):
            write_picture(data / "visual_frames" / place / f"{name}_{k}.png", frame([0]))
            if split != "train" or k == 1:
                mask = (box_mask(0) * 255).astype(np.uint8)
                write_picture(data / "gt_masks" / place / f"{name}_{k}.png", mask, "1")
        write_tone(data / "audio_wav" / split / category / f"{name}.wav", 5, 300 + 100 * n)
    (root / "s4_meta_data.csv").write_text("\n".join(lines) + "\n")
    return root


def write_ms3(root: Path, videos: Sequence[tuple[str, str]] = (("x_1", "train"), ("y", "val"), ("z", "test"))) -> Path:
    """Videos as (id, split); in frames 2 and 3 the mask is empty, elsewhere boxes 0 and 1 hold 9 and 41."""
    lines, data = ["video_id,split"], root / "ms3_data"
    for n, (name, split) in enumerate(videos):
        lines.append(f"{name},{split}")
        for k in range(1, 6):
            write_picture(data / "visual_frames" / name / f"{name}.mp4_{k}.png", frame([0, 1]))
            mask = np.zeros(SIZE, np.uint8)
            if k not in (2, 3):
                mask[box_mask(0)], mask[box_mask(1)] = 9, 41
            image = Image.frombytes("P", SIZE[::-1], mask.tobytes())
            image.putpalette([v for i in range(256) for v in (i, 255 - i, 0)])
            path = data / "gt_masks" / split / name / f"{name}_{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
        write_tone(data / "audio_wav" / split / f"{name}.wav", 5, 300 + 100 * n)
    (root / "ms3_meta_data.csv").write_text("\n".join(lines) + "\n")
    return root


def write_avss(
    root: Path,
    videos: Sequence[tuple[str, str, str, Sequence[int]]] | None = None,
    *,
    colours: np.ndarray | None = None,
    lengths: dict[str, int] | None = None,
) -> Path:
    """Videos as (uid, subset, split, classes that sound in even frames; in odd ones the first alone).

    With `colours` (C, 3) labels are written in labels_rgb, else in labels_semantic.
    """
    videos = videos or [
        ("t1", "v1s", "train", [0]),
        ("t2", "v2", "train", [0, 2]),
        ("u1", "v1s", "test", [1]),
        ("u2", "v1m", "test", [0, 1]),
        ("u3", "v2", "test", [2]),
    ]
    root.mkdir(parents=True, exist_ok=True)
    (root / "label2idx.json").write_text(json.dumps({"background": 0} | {c: i + 1 for i, c in enumerate(CLASSES)}))
    lines = ["vid,uid,s_min,s_sec,a_obj,split,label"]
    for n, (uid, subset, split, sounding) in enumerate(videos):
        lines.append(f"vid{n},{uid},0,{n},{'_'.join(CLASSES[c] for c in sounding)},{split},{subset}")
        folder, length = root / subset / uid, (lengths or {"v1s": 5, "v1m": 5, "v2": 10})[subset]
        for t in range(length):
            write_picture(folder / "frames" / f"{t}.jpg", frame(range(len(CLASSES))))
            if subset == "v1s" and split == "train" and t:
                continue
            labels = label_map(sounding if t % 2 == 0 else sounding[:1])
            if colours is None:
                write_picture(folder / "labels_semantic" / f"{t}.png", labels)
            else:
                write_picture(folder / "labels_rgb" / f"{t}.png", colours[labels])
        write_tone(folder / "audio.wav", length, 300 + 100 * n)
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    return root


def label_map(sounding: Sequence[int]) -> np.ndarray:
    """Class k is k + 1 in its box, uint8 (H, W)."""
    labels = np.zeros(SIZE, np.uint8)
    for number in sounding:
        labels[box_mask(number)] = number + 1
    return labels


def write_vpo(root: Path) -> Path:
    """The three subsets: a row each for train and test in SS, an image with two sources in MS and MSMI."""
    header = "img_Id,ann_Ids,cateName,cateId,vgg_file,split,audio_pos,multi_instance"
    vpo = root / "VPO"

    def write(subset: str, rows: list[str]) -> None:
        (vpo / f"VPO-{subset.upper()}").mkdir(parents=True, exist_ok=True)
        table = vpo / f"VPO-{subset.upper()}" / f"vpo_{subset}_data_stereo.csv"
        table.write_text("\n".join([header, *rows]) + "\n")

    write("ss", ["7,21,dog,18,dog_a,train,0.2,0", "8,22,male,92,man_a,val,0.7,0"])
    for image, annotation, name, value in ((7, 21, "dog", 18), (8, 22, "male", 92)):
        folder = vpo / "VPO-SS"
        write_picture(folder / "data" / name / f"{image:012d}.jpg", frame([0]))
        mask = np.zeros(SIZE, np.uint8)
        mask[box_mask(0)], mask[0] = value, 255
        write_picture(folder / "mask" / name / f"{image:012d}_{annotation:012d}.png", mask)
    both = ["9,31,dog,18,dog_a,{0},0.2,0", "9,32,cell phone,77,phone_a,{0},0.9,0"]
    write("ms", [row.format("test") for row in both])
    write("msmi", [row.format("val") for row in both] + ["10,41,zebra,24,man_a,val,0.1,1"])
    for folder, image, values in ((vpo / "VPO-MS", 9, (18, 77)), (vpo / "VPO-MSMI", 10, (24, 24))):
        write_picture(folder / "data" / f"{image:012d}.jpg", frame([0, 1]))
        mask = np.zeros(SIZE, np.uint8)
        mask[box_mask(0)], mask[box_mask(1)] = values
        write_picture(folder / "mask" / f"{image:012d}.png", mask)
    for n, (name, seconds) in enumerate((("dog_a", 10.0), ("man_a", 1.25), ("phone_a", 4.0))):
        write_tone(root / "VGGSound" / "audios" / f"{name}.wav", seconds, 300 + 100 * n, rate=48_000 if n else 16_000)
    return root
