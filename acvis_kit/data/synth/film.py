"""A scene of AVIS-Synth as a film: motion is interpolated smoothly between the seconds.

    python -m acvis_kit.data.synth.film OUT.mp4 --seed 3 --seconds 10

The data set has one frame per second. A film shows the same scene, with its sound, at more frames per second: for
people, and to try a model on a file. The demo clips of the kit are made in this way.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from acvis_kit.data.synth.material import DrawnMaterial
from acvis_kit.data.synth.motion import Camera
from acvis_kit.data.synth.motion import Path as ObjectPath
from acvis_kit.data.synth.placing import place
from acvis_kit.data.synth.rendering import render_frames
from acvis_kit.data.synth.scenes import Scene, draw_scene


def draw_film_scene(seed: int, size: int = 256, seconds: int = 10) -> Scene:
    """The scene of a seed, with one frame per second."""
    return draw_scene(np.random.default_rng(seed), DrawnMaterial(), size, (seconds, seconds))


def filmed(scene: Scene, fps: int) -> Scene:
    """The scene with `fps` frames per second; frame k shows the moment (k + 0.5) / fps, in seconds.

    Frame t of the scene shows the moment t + 0.5. Between these moments objects and camera follow cubic splines; before
    the first and after the last they stand still.
    """
    knots = np.arange(scene.length) + 0.5
    frames = scene.length * fps
    moments = np.clip((np.arange(frames) + 0.5) / fps, knots[0], knots[-1])
    second = np.minimum(np.arange(frames) // fps, scene.length - 1)

    def smooth(values: np.ndarray) -> np.ndarray:
        """(T, ...) -> (T * fps, ...)."""
        if scene.length == 1:
            return np.repeat(values, fps, axis=0)
        return CubicSpline(knots, values, axis=0, bc_type="natural")(moments)

    things = tuple(replace(thing, path=_smoothed(thing.path, smooth, second)) for thing in scene.things)
    camera = Camera(*(smooth(part) for part in (scene.camera.zoom, scene.camera.shift, scene.camera.light)))
    patches = place([t.sprite for t in things], [t.path for t in things], camera, scene.size)
    share = np.array([[patch.share if patch else 0.0 for patch in row] for row in patches])
    return replace(
        scene,
        length=frames,
        things=things,
        camera=camera,
        patches=patches,
        share=share,
        sounding=scene.sounding[:, second],
        cue=scene.cue[:, second],
    )


def write_film(path: str | Path, scene: Scene, fps: int = 12, seed: int = 0) -> Path:
    """Write a scene as an MP4 with its sound, and return the path.

    Args:
        path: file to write.
        scene: one frame per second.
        fps: frames per second of the film.
        seed: of the background and the noise of the picture.
    """
    from acvis_kit.media.write import write_video  # data sets are written without it

    frames = render_frames(np.random.default_rng([seed, 1]), filmed(scene, fps))
    return write_video(path, frames, fps, torch.from_numpy(scene.soundtrack.render()))


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
    args = parser.parse_args()
    write_film(args.out, draw_film_scene(args.seed, args.size, args.seconds), args.fps, args.seed)


if __name__ == "__main__":
    main()
