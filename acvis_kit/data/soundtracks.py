"""Soundtracks of training clips: the original or, counterfactually, another one, with the ground truth that follows.

Kinds of counterfactual sound:
    mute       nothing sounds: silence, or faint noise
    swap       another draw of which visible objects sound                     (needs a scene)
    foreign    foreign sound, of classes that are not in the picture: no visible object sounds
    offscreen  the original mixed with a foreign voice                         (needs a scene)
A scene (AVIS-Synth's `{split}_scenes.json`) can be rendered with any sound. Recordings can be muted, or get the sound
of another video.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.data.semantic import SemanticSplit, SemanticVideo
from acvis_kit.data.synth import records
from acvis_kit.data.synth.counterfactual import CounterfactualKind, counterfactual, possible_kinds
from acvis_kit.data.synth.records import SceneRecord
from acvis_kit.data.synth.soundtrack import Soundtrack
from acvis_kit.errors import ConfigError, DataError

Split = AVISegSplit | SemanticSplit  # a video is one of its `videos`

SCENE_KINDS = ("mute", "swap", "foreign", "offscreen")
RECORDING_KINDS = ("mute", "foreign")
SHARES = {"mute": 0.2, "swap": 0.4, "foreign": 0.25, "offscreen": 0.15}
DIGITAL_SILENCE = 0.5  # fraction of muted clips that are zeros; the others are noise
FAINT_DB = (-80.0, -50.0)  # RMS of that noise, dB of full scale
FOREIGN_TRIES = 64  # videos tried to find one without a class in common


@dataclass(frozen=True)
class DrawnSoundtrack:
    """The sound of the T drawn seconds of a clip.

    Attributes:
        kind: "original", or the kind of counterfactual.
        seconds: float32 (T, 16000) at 16 kHz, or precomputed features (T, 128).
        sounding: bool (N, T), which objects of the scene sound; (0, T) for a recording with another sound; None for an
            original recording, in which all annotated objects sound.
        classes: bool (T, K), classes that sound, visible or not; None for recordings, whose annotations cover only
            objects that sound *and* are visible.
    """

    kind: str
    seconds: np.ndarray
    sounding: np.ndarray | None = None
    classes: np.ndarray | None = None


@dataclass(frozen=True)
class Counterfactual:
    """How often a clip gets another sound, and of which kind.

    Attributes:
        share: fraction of clips with another sound, 0 to 1.
        kinds: weight of each kind among them; kinds that a data set cannot provide are left out.

    Raises:
        ConfigError: a share outside [0, 1], an unknown kind, a negative weight, or no weight above 0.
    """

    share: float = 0.0
    kinds: Mapping[str, float] = field(default_factory=lambda: dict(SHARES))

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ConfigError(f"counterfactual_audio={self.share!r} is a fraction of the clips and must lie in [0, 1]")
        if unknown := sorted(set(self.kinds) - set(SCENE_KINDS)):
            raise ConfigError(f"{unknown[0]!r} is no kind of sound: choose one of {', '.join(SCENE_KINDS)}")
        if min(self.kinds.values(), default=0) < 0 or not sum(self.kinds.values()):
            raise ConfigError(f"weights of counterfactual sounds are {dict(self.kinds)}: give one above 0, none below")

    def draw(self, possible: Sequence[str], rng: np.random.Generator) -> str:
        """One of the possible kinds, or "original"."""
        changed, choice = rng.random() < self.share, rng.random()
        weights = np.array([self.kinds.get(kind, 0.0) for kind in possible])
        if not changed or not weights.sum():
            return "original"
        return possible[int(np.searchsorted(np.cumsum(weights) / weights.sum(), choice, side="right"))]


class SceneSounds:
    """Sounds of AVIS-Synth: originals from their WAV files, others rendered from the scene.

    Args:
        split: the data.
        scenes: the scenes by video id.
        class_names: the K classes of the network.
        counterfactual: fraction of clips with another sound, and its kinds.
    """

    def __init__(
        self,
        split: Split,
        scenes: Mapping[int, SceneRecord],
        class_names: Sequence[str],
        counterfactual: Counterfactual,
    ) -> None:
        self._split = cast(Any, split)
        self._scenes, self._counterfactual = scenes, counterfactual
        self._class_index = {name: number for number, name in enumerate(class_names)}

    def draw(self, video: Any, seconds: np.ndarray, rng: np.random.Generator) -> DrawnSoundtrack:
        """The sound of the frames numbered `seconds`, int (T,), of a video."""
        scene = self._scenes[video.id]
        kind = self._counterfactual.draw(possible_kinds(scene), rng)
        if kind == "original":
            soundtrack = scene.soundtrack
            sounding = np.stack([np.asarray(thing.sounding, bool) for thing in scene.objects])  # (N, length)
            samples = self._split.sound(video, seconds)
        else:
            soundtrack, sounding = counterfactual(scene, cast(CounterfactualKind, kind), rng)  # one of the possible
            if kind == "mute" and rng.random() < DIGITAL_SILENCE:
                samples = np.zeros((len(seconds), SAMPLE_RATE), np.float32)
            else:
                samples = as_stored(soundtrack.render_seconds(seconds.tolist(), scene.recordings))
        return DrawnSoundtrack(kind, samples, sounding[:, seconds], self._classes(soundtrack, seconds))

    def _classes(self, soundtrack: Soundtrack, seconds: np.ndarray) -> np.ndarray:
        classes = np.zeros((len(seconds), len(self._class_index)), bool)  # (T, K)
        for part in soundtrack.parts:
            number = self._class_index.get(part.voice.class_name)
            if number is not None:
                classes[:, number] |= np.asarray(part.seconds, bool)[seconds]
        return classes


class RecordedSounds:
    """Sounds of recordings: WAV files, or features computed from them.

    Args:
        split: the data.
        counterfactual: fraction of clips with another sound, and its kinds.
        features: folder of the features, None for WAV files.

    Raises:
        ConfigError: none of the given kinds is possible: recordings give mute and foreign, features only foreign.
    """

    def __init__(self, split: Split, counterfactual: Counterfactual, features: str | None = None) -> None:
        self._split = cast(Any, split)
        self._counterfactual, self._features = counterfactual, features
        self._kinds: tuple[str, ...] = RECORDING_KINDS if features is None else ("foreign",)
        self._classes = {video.id: self._split.classes_in(video) for video in self._split.videos}
        if counterfactual.share and not any(counterfactual.kinds.get(kind) for kind in self._kinds):
            raise ConfigError(
                f"counterfactual sounds {', '.join(counterfactual.kinds)} cannot be made from this data, only "
                f"{', '.join(self._kinds)}: give these a weight, or set counterfactual_audio=0"
            )

    def draw(self, video: Any, seconds: np.ndarray, rng: np.random.Generator) -> DrawnSoundtrack:
        """The sound of the frames numbered `seconds`, int (T,), of a video."""
        kind = self._counterfactual.draw(self._kinds, rng)
        other = self._foreign(video, rng) if kind == "foreign" else None
        if other is not None:
            sound = self._read(other, self._sounding_seconds(other, len(seconds), rng))
        elif kind == "original" or self._features:
            kind, sound = "original", self._read(video, seconds)
        else:
            kind, sound = "mute", faint_noise(len(seconds), rng)
        return DrawnSoundtrack(kind, sound, None if kind == "original" else np.zeros((0, len(seconds)), bool))

    def _read(self, video: Any, seconds: np.ndarray) -> np.ndarray:
        if self._features is None:
            return self._split.sound(video, seconds)
        return np.array(self._split.features(video, self._features)[seconds], np.float32)

    def _foreign(self, video: Any, rng: np.random.Generator) -> Any:
        """A video with annotations, none of a class of this one; None if `FOREIGN_TRIES` tries find none."""
        own = self._classes[video.id]
        for number in rng.permutation(len(self._split))[:FOREIGN_TRIES]:
            other = self._split.videos[number]
            if self._classes[other.id] and not own & self._classes[other.id]:
                return other
        return None

    def _sounding_seconds(self, video: Any, count: int, rng: np.random.Generator) -> np.ndarray:
        """Numbers of frames in which an object sounds, in order, drawn with replacement; of any frame if none does."""
        return np.sort(rng.choice(self._split.sounding_seconds(video) or np.arange(len(video.frames)), count))


def as_stored(sound: np.ndarray) -> np.ndarray:
    """A rendered sound as it would be read from its 16 bit WAV file, bit for bit; float32 of the same shape.

    The rounding shows in the log-mel of faint bands. Without it, a network could distinguish originals, read from
    files, from counterfactual sounds by that alone.
    """
    return np.round(sound * 32767).astype(np.float32) / 32768


def faint_noise(num_seconds: int, rng: np.random.Generator) -> np.ndarray:
    """The sound of a muted clip: zeros, or white noise far below any sound; float32 (T, 16000)."""
    zeros, level_db = rng.random() < DIGITAL_SILENCE, rng.uniform(*FAINT_DB)
    if zeros:
        return np.zeros((num_seconds, SAMPLE_RATE), np.float32)
    return rng.standard_normal((num_seconds, SAMPLE_RATE), np.float32) * np.float32(10 ** (level_db / 20))


def load_scenes(split: Split) -> dict[int, SceneRecord]:
    """The scenes of an AVIS-Synth split, by video id.

    Raises:
        DataError: no scenes file, one that is damaged, or a video without a scene of its length and size.
    """
    scenes = records.load_scenes(split.scenes_file)
    again = "make the split again, acvis synth"
    if isinstance(split, SemanticSplit):  # its videos have no numbers of their own
        named = {scene.name: scene for scene in scenes.values()}
        scenes = {video.id: named[video.name] for video in split.videos if video.name in named}
    if missing := [video.name for video in split.videos if video.id not in scenes]:
        raise DataError(f"{split.scenes_file.name} has no scene of {missing[0]}: {again}")
    for video in split.videos:
        scene = scenes[video.id]
        found: Any = (len(video), None) if isinstance(video, SemanticVideo) else (video.length, video.size)
        if scene.length != found[0] or found[1] not in (None, scene.size):
            raise DataError(
                f"{split.scenes_file.name}: the scene of {video.name} has {scene.length} frames of {scene.size}, the "
                f"video {found[0]}" + (f" of {found[1]} (H, W)" if found[1] else "") + f": {again}"
            )
    return scenes
