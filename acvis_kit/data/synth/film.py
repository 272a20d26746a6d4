"""A scene of AVIS-Synth as a film: what moves from second to second moves smoothly in between.

    python -m acvis_kit.data.synth.film OUT.mp4 --seed 3 --seconds 10

The data set shows one frame a second. For people, and for trying a model on a file, the same scene is painted at more
frames a second, with its sound. The demo clips of the kit are made so.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from acvis_kit.data.synth.material import DrawnMaterial
from acvis_kit.data.synth.motion import Camera
from acvis_kit.data.synth.motion import Path as Way
from acvis_kit.data.synth.placing import place
from acvis_kit.data.synth.rendering import render_frames
from acvis_kit.data.synth.scenes import Scene, draw_scene


def draw_film_scene(seed: int, size: int = 256, seconds: int = 10) -> Scene:
    """The scene that a seed stands for, one frame a second."""
    return draw_scene(np.random.default_rng(seed), DrawnMaterial(), size, (seconds, seconds))


def filmed(scene: Scene, fps: int) -> Scene:
    """The scene with `fps` frames per second; frame k shows moment (k + 0.5) / fps.

    What the scene says of second t holds at t + 0.5; between these moments everything moves along cubic splines, and
    rests before the first and after the last.
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
    """Paint a scene of one frame a second as a film with its sound, an MP4.

    Args:
        seed: of the background and the grain.
    """
    from acvis_kit.media.write import write_video  # muxing is not needed to make data

    frames = render_frames(np.random.default_rng([seed, 1]), filmed(scene, fps))
    return write_video(path, frames, fps, torch.from_numpy(scene.soundtrack.render()))


def _smoothed(way: Way, smooth, second: np.ndarray) -> Way:
    return replace(
        way,
        x=smooth(way.x),
        y=smooth(way.y),
        size=np.maximum(smooth(way.size), way.size.min()),
        turn=smooth(way.turn),
        flip=way.flip[second],
    )


def main() -> None:
    """`python -m acvis_kit.data.synth.film`."""
    parser = argparse.ArgumentParser(description="A scene of AVIS-Synth as an MP4.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=256, help="height and width, pixels (256)")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--fps", type=int, default=12)
    given = parser.parse_args()
    write_film(given.out, draw_film_scene(given.seed, given.size, given.seconds), given.fps, given.seed)


if __name__ == "__main__":
    main()
