"""Training samples: an endless, numbered stream of short clips with what is true of them.

Sample number `draw` is a function of (seed, draw) alone, whoever asks for it, when, and in which process: a run that is
resumed, or shared among processes, sees the samples that it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from acvis_kit.clip import Targets
from acvis_kit.data.aviseg import AVISegSplit, VideoEntry
from acvis_kit.data.soundtracks import Counterfactual, Heard, RecordedSounds, SceneSounds, load_scenes
from acvis_kit.data.transforms import PAPER, Augmentation, Views, change_sound, draw_views, recolour
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.media.mel import log_mel

RANGE = 20  # seconds on either side of the reference from which the others are drawn (AVISM)
ORDER, CLIP, SOUND, PICTURE = 0, 1, 2, 3  # families of random numbers of one seed


@dataclass(frozen=True)
class TrainingSample:
    """A short clip and its truth.

    Attributes:
        frames: uint8 (T, 3, H, W), RGB.
        log_mel: float32 (T, 96, 64), or None where features are given.
        audio_features: float32 (T, 128), precomputed, or None.
        targets: masks at (H, W), not padded yet.
        video_id: of the JSON. seconds: the frames drawn, in order. sound: "original", or the kind of another sound.
    """

    frames: Tensor
    log_mel: Tensor | None
    audio_features: Tensor | None
    targets: Targets
    video_id: int = 0
    seconds: tuple[int, ...] = ()
    sound: str = "original"


class TrainingClips(Dataset):
    """The stream of samples of a split: every video once per epoch, in an order drawn anew.

    Args:
        split: with at least one video.
        class_names: the K classes of the network, in its order; the split's own categories by id if None.
        clip_frames: T, seconds per sample.
        frame_sampling: "scattered": a reference second, uniformly, and T - 1 more with replacement from the up to 40
            within 20 s of it, in order (the paper). "consecutive": T seconds in a row; the last of a shorter video is
            repeated.
        augmentation: see `transforms`.
        targets: "sounding": masks where objects sound (the paper). "visible": wherever they can be seen, with who
            sounds; needs a scenes file.
        counterfactual_audio: share of clips that get another sound, and its truth. A `Counterfactual` also says of
            which kinds.
        features: folder of precomputed features that take the place of the sound, such as "FEATAudios"; None reads WAV
            files.
        seed: of everything that is drawn.

    Raises:
        DataError: an empty split; a class that is annotated and unknown to the network; targets="visible" without
            scenes. ConfigError: a value outside its range.
    """

    def __init__(
        self,
        split: AVISegSplit,
        class_names: Sequence[str] | None = None,
        *,
        clip_frames: int = 5,
        frame_sampling: Literal["scattered", "consecutive"] = "scattered",
        augmentation: Augmentation = PAPER,
        targets: Literal["sounding", "visible"] = "sounding",
        counterfactual_audio: float | Counterfactual = 0.0,
        features: str | None = None,
        seed: int = 0,
    ) -> None:
        if not len(split):
            raise DataError(f"{split.truth_file} lists no videos: there is nothing to train on")
        if clip_frames < 1 or frame_sampling not in ("scattered", "consecutive"):
            raise ConfigError(
                f"clip_frames={clip_frames} must be at least 1, frame_sampling={frame_sampling!r} scattered or "
                "consecutive"
            )
        if targets not in ("sounding", "visible"):
            raise ConfigError(f"targets={targets!r} is not known: choose sounding or visible")
        self.split, self.seed, self.augmentation, self.targets = split, seed, augmentation, targets
        self.clip_frames, self.frame_sampling = clip_frames, frame_sampling
        own = [name for _, name in sorted(split.categories.items())]
        self.class_names = tuple(own if class_names is None else class_names)
        if not isinstance(counterfactual_audio, Counterfactual):
            counterfactual_audio = Counterfactual(counterfactual_audio)
        self._features = features
        self._scenes = load_scenes(split) if split.scenes_file.is_file() and features is None else None
        if targets == "visible" and self._scenes is None:
            raise DataError(
                f"targets='visible' needs the masks of silent objects, from {split.scenes_file}: make the data with "
                "acvis synth, or train with targets='sounding'"
                + (f"; it cannot be used with features={features!r}" if features else "")
            )
        self._labels = self._label_of_category()
        self._sounds = (
            RecordedSounds(split, counterfactual_audio, features)
            if self._scenes is None
            else SceneSounds(split, self._scenes, self.class_names, counterfactual_audio)
        )
        self._order: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        """Samples per epoch: one of every video. The stream itself has no end."""
        return len(self.split)

    def __getitem__(self, draw: int) -> TrainingSample:
        """The same as `sample`, for a DataLoader with a sampler of draws."""
        return self.sample(draw)

    def sample(self, draw: int) -> TrainingSample:
        """Sample number `draw` of the stream, 0 or more.

        Raises:
            AcvisError: a file that is missing or does not fit; names it.
        """
        video, rng = self._drawn(draw, CLIP)
        seconds = draw_seconds(len(video.frames), self.clip_frames, self.frame_sampling, rng)
        views = draw_views(self.augmentation, video.size, self.clip_frames, rng)
        heard = self._sounds.draw(video, seconds, rng)

        frames = self._frames(video, seconds, views, rng)
        sound = torch.from_numpy(
            heard.seconds if self._features else change_sound(self.augmentation, heard.seconds, rng)
        )
        return TrainingSample(
            frames=frames,
            log_mel=None if self._features else log_mel(sound),
            audio_features=sound if self._features else None,
            targets=self._truth(video, seconds, views, heard),
            video_id=video.id,
            seconds=tuple(seconds.tolist()),
            sound=heard.kind,
        )

    def sound(self, draw: int, count: int) -> tuple[Tensor, Tensor]:
        """Sound alone, of `count` seconds of a video, counterfactual as often as in samples: a stream of its own.

        Returns:
            log_mel float32 (count, 96, 64), and bool (count, K), the classes that are heard.

        Raises:
            DataError: data that do not say what is heard (only AVIS-Synth does).
        """
        video, rng = self._drawn(draw, SOUND)
        heard = self._sounds.draw(video, rng.integers(len(video.frames), size=count), rng)
        if heard.classes is None or self._features:
            raise DataError(
                f"{self.split.truth_file} does not say which classes are heard: train with audio_pretraining_steps=0"
            )
        sound = change_sound(self.augmentation, heard.seconds, rng)
        return log_mel(torch.from_numpy(sound)), torch.from_numpy(heard.classes)

    def picture(self, draw: int) -> TrainingSample:
        """One second of a video without its sound, T = 1: a stream of its own.

        Raises:
            ConfigError: with targets="sounding", where what can be seen depends on what is heard.
        """
        if self.targets != "visible":
            raise ConfigError("pictures without sound need targets='visible': train with visual_pretraining_steps=0")
        video, rng = self._drawn(draw, PICTURE)
        seconds = draw_seconds(len(video.frames), 1, self.frame_sampling, rng)
        views = draw_views(self.augmentation, video.size, 1, rng)
        unheard = Heard("original", np.zeros((1, 0), np.float32))
        return TrainingSample(
            frames=self._frames(video, seconds, views, rng),
            log_mel=None,
            audio_features=None,
            targets=self._truth(video, seconds, views, unheard),
            video_id=video.id,
            seconds=tuple(seconds.tolist()),
        )

    def _frames(self, video: VideoEntry, seconds: np.ndarray, views: Views, rng: np.random.Generator) -> Tensor:
        frames = np.stack([views.image(self.split.image(video, t), n) for n, t in enumerate(seconds)])  # (T, H, W, 3)
        return torch.from_numpy(np.ascontiguousarray(recolour(self.augmentation, frames, rng).transpose(0, 3, 1, 2)))

    def _drawn(self, draw: int, family: int) -> tuple[VideoEntry, np.random.Generator]:
        """The video of a draw, and the random numbers that a family of samples has for it."""
        epoch, place = divmod(draw, len(self.split))
        video = self.split.videos[self._order_of(epoch)[place]]
        return video, np.random.default_rng([self.seed, family, draw])

    def _order_of(self, epoch: int) -> np.ndarray:
        """The places of the videos in an epoch, (videos,)."""
        if self._order is None or self._order[0] != epoch:
            rng = np.random.default_rng([self.seed, ORDER, epoch])
            self._order = epoch, rng.permutation(len(self.split))
        return self._order[1]

    def _truth(self, video: VideoEntry, seconds: np.ndarray, views: Views, heard: Heard) -> Targets:
        things, masks = self._masks(video, seconds, heard)  # (N,), N x T
        visible = np.array([[m is not None and m.any() for m in row] for row in masks], bool).reshape(-1, len(seconds))
        sounding = visible if heard.sounding is None else visible & heard.sounding
        wanted = visible if self.targets == "visible" else sounding
        seen = np.zeros((len(things), len(seconds), *views.size), bool)
        for n, t in zip(*np.nonzero(wanted), strict=True):
            seen[n, t] = views.mask(masks[n][t], t)
        kept = seen.any(axis=(1, 2, 3))
        labels = np.array([self._labels[thing.category_id] for thing in things], np.int64)
        return Targets(
            labels=torch.from_numpy(labels[kept]),
            masks=torch.from_numpy(seen[kept]),
            sounding=torch.from_numpy(sounding[kept]),
            counts=torch.from_numpy(sounding.sum(axis=0)),  # of the whole frame: before the window cut anything off
            audio_labels=None if heard.classes is None else torch.from_numpy(heard.classes),
            cue_labels=self._cue_labels(things, seconds, kept),
        )

    def _cue_labels(self, things: Sequence[Any], seconds: np.ndarray, kept: np.ndarray) -> Tensor | None:
        if self._scenes is None:
            return None
        cues = np.array([thing.cue[seconds] for thing in things], bool).reshape(-1, len(seconds))
        return torch.from_numpy(cues[kept])

    def _masks(
        self, video: VideoEntry, seconds: np.ndarray, heard: Heard
    ) -> tuple[Sequence[Any], list[list[np.ndarray | None]]]:
        """The objects of a clip, and the mask of each in every drawn second, at the size of the source."""
        if self._scenes is not None:
            things = self._scenes[video.id].objects
        elif heard.sounding is None:
            things = self.split.tracks(video)
        else:
            things = ()  # a recording with another sound: nobody sounds
        drawn = set(seconds.tolist())
        once = {(n, t): self.split.mask(video, thing, t) for n, thing in enumerate(things) for t in drawn}
        return things, [[once[n, t] for t in seconds.tolist()] for n in range(len(things))]

    def _label_of_category(self) -> dict[int, int]:
        """Category ids of the data -> classes of the network, from 0."""
        numbers = {name: number for number, name in enumerate(self.class_names)}
        used = {track.category_id for video in self.split.videos for track in self.split.tracks(video)}
        for scene in (self._scenes or {}).values():
            used |= {thing.category_id for thing in scene.objects}
        names = {number: self.split.categories.get(number, str(number)) for number in used}
        if unknown := sorted(name for name in names.values() if name not in numbers):
            raise DataError(
                f"{self.split.truth_file.name} annotates {', '.join(unknown[:5])}, which the network does not know "
                f"({', '.join(self.class_names[:5])}, ...): give it the data's class_names, or other data"
            )
        return {number: numbers[name] for number, name in names.items()}


class Draws(Sampler[int]):
    """Numbers of the samples of one process, without end: `first`, `first + world_size`, ...

    Process r of R that has seen n samples goes on with Draws(r + n * R, R). With batches of b, R processes together see
    in each step what one process sees in a batch of R * b.
    """

    def __init__(self, first: int = 0, world_size: int = 1) -> None:
        self.first, self.world_size = first, world_size

    def __iter__(self) -> Iterator[int]:
        draw = self.first
        while True:
            yield draw
            draw += self.world_size


def draw_seconds(
    length: int, count: int, frame_sampling: Literal["scattered", "consecutive"], rng: np.random.Generator
) -> np.ndarray:
    """`count` seconds of a video of `length`, in order, int64 (count,); see `TrainingClips`."""
    if frame_sampling == "consecutive":
        first = rng.integers(max(1, length - count + 1))
        return np.minimum(first + np.arange(count), length - 1)
    reference = int(rng.integers(length))
    near = np.arange(max(0, reference - RANGE), min(length, reference + RANGE + 1))
    others = near[near != reference] if len(near) > 1 else near
    return np.sort(np.append(rng.choice(others, count - 1), reference))
