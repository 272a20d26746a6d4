"""Scenery: what stands before the camera of a filmed scene. A photograph, two joined, or cut-outs before one.

It is a square picture, larger than what the camera sees at once. Its layers are cut-outs that move a little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from acvis_kit.data.synth.annotated import Instance, Photograph
from acvis_kit.data.synth.classes import OTHER
from acvis_kit.data.synth.motion import Camera, Path, wave
from acvis_kit.data.synth.photographs import Bounds, Photographs, View, joined
from acvis_kit.data.synth.placing import Patch, place
from acvis_kit.data.synth.sprites import Sprite

FILL = (0.5, 1.6)  # longer side of the subject, relative to the frame
JOINED = 0.25  # fraction of clips that show two photographs side by side
PLAYED = 0.6  # fraction of instruments that a person holds, where they are pasted
HELD = frozenset({
    "violin", "guitar", "cello", "flute", "ukulele", "accordion", "clarinet", "saxophone", "tuba", "banjo", "pipa",
    "bassoon", "trumpet", "bass", "erhu",
})  # fmt: skip
MORE = {0: 0.35, 1: 0.4, 2: 0.2, 3: 0.05}  # number of further cut-outs -> probability
SUBJECT_SIZES = (0.5, 1.3)  # longer side of a cut-out that a clip is about, relative to the frame
MORE_SIZES = {True: (0.2, 0.5), False: (0.25, 0.8)}  # of further ones, by "before a photograph of the subject"
MORE_OTHER = 0.35  # fraction of them without a class
ENLARGED = 2.6  # photographs are shown at most so much larger than they are
ROOM = 1.05  # of the shorter side of a photograph, what is shown of it, unless the subject were too large then:
LARGEST = 1.9  # longer side of such a subject, relative to the frame
SHADOW = (0.15, 0.55)  # by how much a cut-out darkens what lies behind it


@dataclass(frozen=True)
class Layer:
    """A cut-out: its class, path, gain of R, G, B, and its shadow: strength, and shift in pixels (x, y)."""

    class_name: str
    sprite: Sprite
    path: Path
    gain: np.ndarray
    shadow: float
    drop: tuple[int, int]


@dataclass(frozen=True)
class Scenery:
    """A place of S x S pixels for T seconds, with N objects: those of the photographs, then the layers.

    Attributes:
        view: the photographs and their objects.
        layers: cut-outs before them.
        patches: [layers][T], where the cut-outs are, see `placing`.
        length: seconds, T.
    """

    view: View
    layers: tuple[Layer, ...]
    patches: list[list[Patch | None]]
    length: int

    @property
    def names(self) -> tuple[str, ...]:
        """Class of each object."""
        return (*self.view.names, *(layer.class_name for layer in self.layers))

    @property
    def side(self) -> int:
        """S, pixels."""
        return self.view.picture.width

    def areas(self, t: int) -> np.ndarray:
        """Pixels of each whole object, hidden and outside parts included, float (N,)."""
        scales = [float(layer.path.size[t]) / layer.sprite.extent for layer in self.layers]
        cut = [layer.sprite.area * scale**2 for layer, scale in zip(self.layers, scales, strict=True)]
        return np.append(self.view.areas, cut)

    def ids(self, t: int) -> np.ndarray:
        """Number of the object at each pixel + 1, uint8 (S, S); 0: none."""
        ids = self.view.ids.copy()
        for number in range(len(self.layers)):
            patch = self.patches[number][t]
            if patch is not None:
                ids[patch.window][patch.visible] = len(self.view.names) + number + 1
        return ids

    def picture(self, t: int) -> Image.Image:
        """What stands there in second t, RGB."""
        canvas = np.array(self.view.picture, np.float32)  # (S, S, 3)
        for number in sorted(range(len(self.layers)), key=lambda n: self.layers[n].path.depth):
            patch = self.patches[number][t]
            if patch is not None:
                _paste(canvas, patch, self.layers[number])
        return Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))


def draw_scenery(
    rng: np.random.Generator, source: Photographs, subject: str, size: int, margin: float, length: int
) -> Scenery:
    """Random scenery.

    Args:
        rng: source of all random draws.
        source: the photographs.
        subject: class of the object in the middle.
        size: height and width of the camera's frames, pixels.
        margin: side of the scenery, relative to what the camera sees at once.
        length: seconds, T.
    """
    draw = _Draw(rng, source, round(size * margin), margin, length)
    photograph = draw.photograph(subject)
    view = source.view(photograph)
    own = [pair for pair in source.cut[subject] if pair[0] is photograph]
    as_it_is = not own or (bool(view.subjects(subject)) and view.is_place and rng.random() < 0.4)
    if as_it_is:
        second = draw.second(subject) if rng.random() < JOINED else None
        base = draw.around(view, subject) if second is None else draw.pair(view, subject, second)
    else:
        base = draw.before_a_place(subject)
    holders = [n for n in base.subjects("person") if _extent(base.box(n)) > 0.35 * draw.side / margin]
    layers: list[Layer] = []
    if not as_it_is:
        layers.append(draw.layer(*own[int(rng.integers(len(own)))], subject, base, holders))
    elif holders and rng.random() < 0.3:
        held = [name for name in source.pictured if name in HELD and source.cut[name]]
        if held:
            name = draw.name(held)
            layers.append(draw.layer(*draw.cut(name), name, base, holders))
    more = int(rng.choice(list(MORE), p=list(MORE.values())))
    for _ in range(min(more, 1) if as_it_is else more):
        names = [n for n in source.pictured if source.cut[n] and n not in base.names and n != subject]
        name = OTHER if rng.random() < MORE_OTHER or not names else draw.name(names)
        if source.cut[name]:
            layers.append(draw.layer(*draw.cut(name), name, base, [], MORE_SIZES[as_it_is]))
    layers = layers[: 255 - len(base.names)]
    still = Camera(np.ones(length), np.zeros((length, 2)), np.ones((length, 3)))
    patches = place([layer.sprite for layer in layers], [layer.path for layer in layers], still, draw.side)
    return Scenery(base, tuple(layers), patches, length)


@dataclass(frozen=True)
class _Draw:
    """Draws the parts of one scenery of `side` pixels, of which the camera sees 1 / margin at once."""

    rng: np.random.Generator
    source: Photographs
    side: int
    margin: float
    length: int

    def name(self, names: list[str]) -> str:
        return names[int(self.rng.choice(len(names), p=self.source.weights(names)))]

    def photograph(self, subject: str) -> Photograph:
        """One that shows the class, rather in colour."""
        found = self.source.showing[subject]
        first, second = (found[int(n)] for n in self.rng.integers(len(found), size=2))
        return second if first.grey else first

    def place(self) -> View:
        return self.source.view(self.source.places[int(self.rng.integers(len(self.source.places)))])

    def second(self, subject: str) -> View:
        """A photograph of another class, or of any place."""
        names = [name for name in self.source.pictured if name != subject]
        if names:
            view = self.source.view(self.photograph(self.name(names)))
            if view.is_place:
                return view
        return self.place()

    def cut(self, class_name: str) -> tuple[Photograph, Instance]:
        found = self.source.cut[class_name]
        return found[int(self.rng.integers(len(found)))]

    def around(self, view: View, subject: str) -> View:
        """A photograph framed around an object of a class, or around two of its objects."""
        box = self._subject(view, subject)
        voiced = [n for name in self.source.pictured for n in view.subjects(name)[:2]]
        if len(voiced) > 1 and self.rng.random() < 0.35:
            other = view.box(voiced[int(self.rng.integers(len(voiced)))])
            box = (min(box[0], other[0]), min(box[1], other[1]), max(box[2], other[2]), max(box[3], other[3]))
        return view.framed(self._frame(view, box, 1.0), (self.side, self.side), self._fill(view))

    def pair(self, view: View, subject: str, second: View) -> View:
        """Two photographs side by side."""
        at = round(self.rng.uniform(0.4, 0.6) * self.side)
        left = self._frame(view, self._subject(view, subject), at / self.side)
        seen = sorted(n for name in self.source.pictured for n in second.subjects(name)[:1])
        box = second.box(seen[int(self.rng.integers(len(seen)))]) if seen else self._anywhere(second)
        right = self._frame(second, box, 1 - at / self.side)
        whole = (self.side, self.side)  # of each, the left part is shown
        return joined(view.framed(left, whole, self._fill(view)), second.framed(right, whole, self._fill(second)), at)

    def before_a_place(self, subject: str) -> View:
        """A photograph of a place; for an instrument mostly one with a person, who can hold it."""
        if subject in HELD and self.rng.random() < PLAYED:
            people = [p for p in self.source.places if any(one.name == "person" for one in p.instances)]
            for _ in range(6 if people else 0):
                view = self.source.view(people[int(self.rng.integers(len(people)))])
                if view.subjects("person"):
                    square = self._frame(view, view.box(view.subjects("person")[0]), 1.0, (0.7, 1.1))
                    return view.framed(square, (self.side, self.side), self._fill(view))
        view = self.place()
        return view.framed(self._anywhere(view), (self.side, self.side), self._fill(view))

    def layer(
        self, photograph: Photograph, instance: Instance, name: str, base: View, holders: list[int],
        sizes: tuple[float, float] | None = None,
    ) -> Layer:  # fmt: skip
        """A cut-out that moves a little; see `_pose`."""
        rng = self.rng
        extent, home = self._pose(name, base, holders, sizes)
        sprite = self.source.sprite(photograph, instance, round(min(extent * 1.15, 2.5 * self.side)) // 32 * 32 + 32)
        extent = min(extent, sprite.extent * ENLARGED)
        sway = extent * rng.uniform(0, 0.04) * np.stack([wave(rng, self.length, fast=4.0) for _ in range(2)], 1)
        free = name in HELD or (name == OTHER and rng.random() < 0.3)
        lean = rng.uniform(-0.7, 0.7) if free else rng.uniform(-0.1, 0.1)
        lean += np.pi / 2 * int(rng.integers(-1, 2)) * (name in HELD and rng.random() < 0.3)
        turn = lean + rng.uniform(0, 0.06) * wave(rng, self.length, fast=4.0)
        path = Path(
            home[0] + sway[:, 0], home[1] + sway[:, 1], extent * (1 + 0.02 * wave(rng, self.length)), turn,
            np.full(self.length, rng.random() < 0.5), rng.uniform(0.92, 1.08), rng.random() + (sizes is None),
        )  # fmt: skip
        drop = rng.uniform(-0.05, 0.05, 2) * extent + (0, 0.03 * extent)
        gain = _matching(sprite, base, home, rng.uniform(0.2, 0.8))
        return Layer(name, sprite, path, gain, rng.uniform(*SHADOW), (round(drop[0]), round(drop[1])))

    def _pose(
        self, name: str, base: View, holders: list[int], sizes: tuple[float, float] | None
    ) -> tuple[float, np.ndarray]:
        """Longer side and middle (2,) of a cut-out: held, or with `sizes` anywhere in these sizes, or in the middle."""
        rng, window = self.rng, self.side / self.margin
        corner = (self.side - window) / 2
        if holders and name in HELD:
            left, top, right, bottom = base.box(holders[int(rng.integers(len(holders)))])
            extent = rng.uniform(0.35, 0.75) * min(max(right - left, bottom - top), 1.2 * window)
            at = (0.4, 0.6) if bottom - top > 1.7 * (right - left) else (0.7, 0.95)  # the belly of a person or a bust
            home = np.array([(left + right) / 2, top + rng.uniform(*at) * (bottom - top)])
        elif sizes is None:
            extent = window * np.exp(rng.uniform(*np.log(SUBJECT_SIZES)))
            home = corner + window * np.array([rng.uniform(0.3, 0.7), rng.uniform(0.4, 0.7)])
        else:
            extent = window * np.exp(rng.uniform(*np.log(sizes)))
            homes = corner + window * np.stack([rng.uniform(0.05, 0.95, 6), rng.uniform(0.3, 0.95, 6)], 1)
            home = min(homes, key=lambda at: self._hidden(base, at, extent))
        return extent, home

    def _hidden(self, base: View, at: np.ndarray, extent: float) -> int:
        """Pixels of objects with a class that a cut-out around a point would hide."""
        named = np.append(False, [name != OTHER for name in base.names])
        left, top = (max(int(v - extent / 2), 0) for v in at)
        return int(named[base.ids[top : int(at[1] + extent / 2), left : int(at[0] + extent / 2)]].sum())

    def _subject(self, view: View, class_name: str) -> Bounds:
        """The box of one of the three largest objects of a class; anywhere if others hide them all."""
        numbers = view.subjects(class_name)[:3]
        return view.box(numbers[int(self.rng.integers(len(numbers)))]) if numbers else self._anywhere(view)

    def _frame(self, view: View, box: Bounds, part: float, sizes: tuple[float, float] = FILL) -> Bounds:
        """The square of a photograph that is shown, with an object in the left `part` of it in a random size."""
        width, height = view.picture.size
        longest = ROOM * min(width / part, height)  # side of a square that the photograph fills
        fill = part * np.exp(self.rng.uniform(*np.log(sizes)))
        side = _extent(box) * self.margin / fill
        if part < 1:
            side = min(side, longest)
        elif not view.continues:
            side = min(side, max(longest, _extent(box) * self.margin / LARGEST))
        side = max(side, self.side / ENLARGED)
        shift = self.rng.uniform(-0.12, 0.12, 2) * side / self.margin
        middle = (box[0] + box[2]) / 2 + shift[0] * part, (box[1] + box[3]) / 2 + shift[1]
        ahead = (part / 2 * side, side / 2)  # from the left and upper edge to the object
        return self._inside(view, middle[0] - ahead[0], middle[1] - ahead[1], side, part)

    def _anywhere(self, view: View) -> Bounds:
        """A random square of a photograph."""
        side = max(min(view.picture.size) * self.rng.uniform(0.55, 1.0), self.side / ENLARGED)
        left = self.rng.uniform(0, max(view.picture.width - side, 0))
        return self._inside(view, left, self.rng.uniform(0, max(view.picture.height - side, 0)), side, 1.0)

    def _inside(self, view: View, left: float, top: float, side: float, part: float) -> Bounds:
        """The square with its left `part` moved into the photograph, where it fits in."""

        def moved(begin: float, length: float, room: int) -> float:
            return min(max(begin, 0.0), room - length) if length <= room else min(max(begin, room - length), 0.0)

        left, top = moved(left, side * part, view.picture.width), moved(top, side, view.picture.height)
        return left, top, left + side, top + side

    def _fill(self, view: View) -> str:
        return "edge" if view.continues else "blurred" if self.rng.random() < 0.5 else "black"


def _extent(box: Bounds) -> float:
    return max(box[2] - box[0], box[3] - box[1])


def _matching(sprite: Sprite, base: View, home: np.ndarray, strength: float) -> np.ndarray:
    """Gains of R, G, B that bring a cut-out nearer to the light and colour of the place, float32 (3,)."""
    x, y = (int(np.clip(v, 0, base.picture.width - 1)) for v in home)
    reach = base.picture.width // 4
    near = base.picture.crop((max(x - reach, 0), max(y - reach, 0), x + reach, y + reach)).resize(
        (1, 1), Image.Resampling.BOX
    )
    there, own = np.maximum(np.asarray(near, np.float64)[0, 0], 20), np.maximum(sprite.mean_colour(), 20)
    light = np.clip(there.mean() / own.mean(), 0.7, 1.5) ** (0.5 * strength)
    cast = np.clip((there / there.mean()) / (own / own.mean()), 0.7, 1.4) ** (0.35 * strength)
    return (light * cast).astype(np.float32)


def _paste(canvas: np.ndarray, patch: Patch, layer: Layer) -> None:
    """Paint a cut-out over its soft shadow, in place."""
    alpha = patch.rgba[..., 3]
    if layer.shadow:
        side = canvas.shape[0]
        soft = Image.new("L", (side, side))
        soft.paste(Image.fromarray(alpha), (patch.left + layer.drop[0], patch.top + layer.drop[1]))
        shade = np.asarray(soft.filter(ImageFilter.BoxBlur(max(patch.extent * 0.04, 1))), np.float32)
        canvas *= 1 - shade[..., None] * np.float32(layer.shadow / 255)
    window = canvas[patch.window]
    cover = alpha[..., None].astype(np.float32) / 255
    window += (patch.rgba[..., :3] * layer.gain - window) * cover
