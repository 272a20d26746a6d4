"""Photographs as places: what stands where stays right when they are framed, extended and joined."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acvis_kit.data.synth.photographs import Photographs, View, joined, softened
from acvis_kit.data.synth.sprites import Sprite
from acvis_kit.errors import DataError
from tests.data.synth.photo_material import CHAIR, COLOURS, HEIGHT, PERSON, WIDTH

Paths = tuple[Path, Path]


def open_all(photographs: Paths, classes: tuple[str, ...] = ("person", "guitar", "dog")) -> Photographs:
    return Photographs(*photographs, (0, 1), classes)


def view_of(photographs: Paths, kind: str) -> View:
    source = open_all(photographs)
    found = next(p for own in source.showing.values() for p in own if p.path.name.startswith(kind))
    return source.view(found)


def agreement(view: View, number: int) -> float:
    """IoU of an object and the pixels of its colour."""
    colour = COLOURS["chair" if view.names[number] == "other" else view.names[number]]
    pixels = np.asarray(view.picture, int)
    shown, mask = np.abs(pixels - colour).max(2) < 25, view.ids == number + 1
    return float((shown & mask).sum() / (shown | mask).sum())


def test_objects_without_a_class_are_others(photographs: Paths) -> None:
    source = open_all(photographs)
    assert {name: len(found) for name, found in source.showing.items()} == {
        "person": 6, "guitar": 3, "dog": 3, "other": 3,
    }  # fmt: skip
    assert {name: len(found) for name, found in source.cut.items()} == {"person": 0, "guitar": 3, "dog": 3, "other": 0}
    assert sorted({p.path.name[:-6] for p in source.places}) == ["pair", "person"]
    fewer = open_all(photographs, ("dog",))
    assert fewer.pictured == ("dog",) and len(fewer.showing["other"]) == 9


def test_a_view_shows_each_object_under_its_mask(photographs: Paths) -> None:
    view = view_of(photographs, "person")
    assert sorted(view.names) == ["other", "person"]
    assert view.box(view.names.index("person")) == PERSON[1] and view.box(view.names.index("other")) == CHAIR[1]
    assert min(agreement(view, n) for n in range(2)) > 0.98


def test_paper_is_no_place(photographs: Paths) -> None:
    assert view_of(photographs, "dog").is_place and not view_of(photographs, "guitar").is_place


@pytest.mark.parametrize("fill", ["edge", "blurred", "black"])
@pytest.mark.parametrize("box", [(40.0, 10.0, 200.0, 170.0), (-60.5, -30.0, 239.5, 270.0), (80.0, 10.0, 160.0, 90.0)])
def test_framing_keeps_masks_on_objects(photographs: Paths, fill: str, box: tuple) -> None:
    view = view_of(photographs, "dog" if box[0] < 0 else "person")
    framed = view.framed(box, (150, 150), fill)
    assert framed.picture.size == (150, 150) and framed.ids.shape == (150, 150)
    number = next(n for n, name in enumerate(view.names) if name != "other")
    assert agreement(framed, number) > 0.93
    scale = (150 / (box[2] - box[0])) ** 2
    assert framed.areas[number] == pytest.approx(view.areas[number] * scale)


def test_what_lies_beyond_a_photograph_belongs_to_no_object(photographs: Paths) -> None:
    view = view_of(photographs, "person")
    framed = view.framed((-WIDTH, -HEIGHT, 2 * WIDTH, 2 * HEIGHT), (300, 300), "edge")
    inside = np.zeros((300, 300), bool)
    inside[100:200, 100:200] = True
    assert not framed.ids[~inside].any() and framed.ids[inside].any()


def test_two_views_are_joined_at_a_column(photographs: Paths) -> None:
    left, right = view_of(photographs, "person"), view_of(photographs, "dog")
    both = joined(left, right, 150)
    assert both.names == (*left.names, *right.names)
    assert np.array_equal(both.ids[:, :150], left.ids[:, :150])
    dog = both.names.index("dog")
    assert both.box(dog) == (220, 70, 240, 150) and agreement(both, dog) > 0.98
    assert len(both.areas) == 3


def test_a_softened_cut_out_fades_and_loses_its_rim() -> None:
    picture = Image.new("RGBA", (100, 100))
    picture.paste((255, 255, 255, 255), (20, 20, 80, 80))
    picture.paste((200, 0, 0, 255), (21, 21, 79, 79))  # with a rim of its old surroundings
    soft = softened(Sprite(picture))
    alpha = np.asarray(soft.picture.getchannel("A"))
    assert ((alpha > 20) & (alpha < 235)).sum() > 100
    assert (np.asarray(soft.picture)[soft.opaque][:, :3] == (200, 0, 0)).all(1).mean() > 0.99


def test_photographs_without_the_classes_are_refused(photographs: Paths) -> None:
    with pytest.raises(DataError, match=r"no object of tuba.*larger share"):
        open_all(photographs, ("tuba",))


def test_the_json_and_the_folder_in_the_other_order_are_recognised(photographs: Paths) -> None:
    annotations, images = photographs
    with pytest.raises(DataError, match=r"is a folder and .* a file: give the COCO JSON first"):
        Photographs(images, annotations, (0.0, 1.0), ("dog",))


def test_an_empty_mask_is_named(photographs: Paths, tmp_path: Path) -> None:
    data = json.loads(photographs[0].read_text())
    data["annotations"][0]["segmentation"] = [[0, 0, 0, 0, 0, 0]]
    (tmp_path / "empty.json").write_text(json.dumps(data))
    source = Photographs(tmp_path / "empty.json", photographs[1], (0, 1), ("person",))
    photograph = next(p for p in source.showing["person"] if p.path.name == "person_0.png")
    with pytest.raises(DataError, match=r"annotation 0 of person_0\.png"):
        source.view(photograph)


def test_a_class_of_few_photographs_is_chosen_less(photographs: Paths) -> None:
    source = open_all(photographs)
    assert source.weights(["person", "guitar", "dog"]) == pytest.approx([6 / 12, 3 / 12, 3 / 12])
