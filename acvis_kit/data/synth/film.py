"""A scene of AVIS-Synth as a film: motion is interpolated smoothly between the seconds.

    python -m acvis_kit.data.synth.film OUT.mp4 --seed 3 --seconds 10
    python -m acvis_kit.data.synth.film OUT.mp4 --seed 3 --photos COCO.json IMAGES --sounds FOLDER

The data set has one frame per second. A film shows the same scene, with its sound, at more frames per second: for
people, and to try a model on a file. The demo clips of the kit are made in this way.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.interpolate import CubicSpline

from acvis_kit.data.synth.filmed import FilmedScene, PhotoMaterial
from acvis_kit.data.synth.handheld import Move
from acvis_kit.data.synth.material import DrawnMaterial
from acvis_kit.data.synth.motion import Camera
from acvis_kit.data.synth.motion import Path as ObjectPath
from acvis_kit.data.synth.placing import place
from acvis_kit.data.synth.rendering import render_frames
from acvis_kit.data.synth.scenes import Scene, draw_scene
from acvis_kit.data.synth.sounds import Recordings


def draw_film_scene(seed: int, size: int = 256, seconds: int = 10) -> Scene:
    """The scene of a seed, with one frame per second."""
    return draw_scene(np.random.default_rng(seed), DrawnMaterial(), size, (seconds, seconds))


def filmed(scene: Scene, fps: int) -> Scene:
    """The scene with `fps` frames per second; frame k shows the moment (k + 0.5) / fps, in seconds.

    Frame t of the scene shows the moment t + 0.5. Between these moments objects and camera follow cubic splines; before
    the first and after the last they stand still.
    """
    smooth, second = _between(scene.length, fps)
    things = tuple(replace(thing, path=_smoothed(thing.path, smooth, second)) for thing in scene.things)
    camera = Camera(*(smooth(part) for part in (scene.camera.zoom, scene.camera.shift, scene.camera.light)))
    patches = place([t.sprite for t in things], [t.path for t in things], camera, scene.size)
    share = np.array([[patch.share if patch else 0.0 for patch in row] for row in patches])
    return replace(
        scene,
        length=len(second),
        things=things,
        camera=camera,
        patches=patches,
        share=share,
        sounding=scene.sounding[:, second],
        cue=scene.cue[:, second],
    )


def filmed_frames(rng: np.random.Generator, scene: FilmedScene, fps: int) -> Iterator[np.ndarray]:
    """The frames of a scene of photographs at `fps` frames per second, uint8 (H, W, 3).

    The camera follows a smooth path, as in `filmed`; cut-outs move once per second.
    """
    smooth, second = _between(scene.length, fps)
    move = Move(*(smooth(part) for part in (scene.move.middle, scene.move.side, scene.move.roll, scene.move.smear)))
    pictures: dict[int, Image.Image] = {}
    for frame, t in enumerate(second.tolist()):
        if t not in pictures:
            pictures = {t: scene.scenery.picture(t)}
        seen = move.see(pictures[t], frame, scene.size, Image.Resampling.BICUBIC)
        yield scene.phone.film(rng, seen, t, move.smear[frame])


def write_film(
    path: str | Path, scene: Scene | FilmedScene, fps: int = 12, seed: int = 0, recordings: Recordings | None = None
) -> Path:
    """Write a scene as an MP4 with its sound, and return the path.

    Args:
        path: file to write.
        scene: one frame per second.
        fps: frames per second of the film.
        seed: of the background and the noise of the picture.
        recordings: source of recorded voices.
    """
    from acvis_kit.media.write import write_video  # data sets are written without it

    rng = np.random.default_rng([seed, 1])
    if isinstance(scene, FilmedScene):
        frames = filmed_frames(rng, scene, fps)
    else:
        frames = render_frames(rng, filmed(scene, fps))
    return write_video(path, frames, fps, torch.from_numpy(scene.soundtrack.render(recordings=recordings)))


def _between(length: int, fps: int) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """A function that smooths values (T, ...) to (T * fps, ...), and the second of each frame, int (T * fps,)."""
    knots = np.arange(length) + 0.5
    frames = length * fps
    moments = np.clip((np.arange(frames) + 0.5) / fps, knots[0], knots[-1])

    def smooth(values: np.ndarray) -> np.ndarray:
        if length == 1:
            return np.repeat(values, fps, axis=0)
        return CubicSpline(knots, values, axis=0, bc_type="natural")(moments)

    return smooth, np.minimum(np.arange(frames) // fps, length - 1)


def _smoothed(path: ObjectPath, smooth: Callable[[np.ndarray], np.ndarray], second: np.ndarray) -> ObjectPath:
    return replace(
        path,
        x=smooth(path.x),
        y=smooth(path.y),
        size=np.maximum(smooth(path.size), path.size.min()),
        turn=smooth(path.turn),
        flip=path.flip[second],
    )


def main() -> None:
    """The command `python -m acvis_kit.data.synth.film`."""
    parser = argparse.ArgumentParser(description="Write a scene of AVIS-Synth as an MP4.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=256, help="height and width, pixels (256)")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--fps", type=int, default=12)
    parser.add_argument("--photos", type=Path, nargs=2, metavar=("COCO_JSON", "IMAGES"), help="as of acvis synth")
    parser.add_argument("--sounds", type=Path, metavar="FOLDER", help="with --photos: recordings by class")
    args = parser.parse_args()
    if args.photos is None:
        write_film(args.out, draw_film_scene(args.seed, args.size, args.seconds), args.fps, args.seed)
        return
    material = PhotoMaterial(tuple(args.photos), args.sounds)
    scene = material.film(np.random.default_rng(args.seed), args.size, (args.seconds, args.seconds))
    write_film(args.out, scene, args.fps, args.seed, material.recordings)


if __name__ == "__main__":
    main()
