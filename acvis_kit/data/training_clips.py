"""Training samples: an endless, numbered stream of short clips with their ground truth.

Sample number `draw` depends only on (seed, draw), not on the process or the order of the calls: a run that is resumed,
or shared among processes, gets the same samples as an uninterrupted run in one process. Data in AVISeg's layout have
one frame per second, so `seconds` number the frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from acvis_kit.clip import Targets
from acvis_kit.data.aviseg import AVISegSplit, TrackEntry, VideoEntry
from acvis_kit.data.pasting import paste
from acvis_kit.data.soundtracks import Counterfactual, DrawnSoundtrack, RecordedSounds, SceneSounds, load_scenes
from acvis_kit.data.transforms import PAPER, Augmentation, Views, change_sound, change_spectrum, draw_views, recolour
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.media.mel import log_mel

if TYPE_CHECKING:
    from acvis_kit.data.synth.records import ObjectRecord

RANGE = 20  # frames on either side of the reference frame from which the others are drawn (AVISM)
MIXED_BELOW_DB = 12.0  # range of the level of a sound that is mixed with another
ORDER, CLIP, SOUND, PICTURE = 0, 1, 2, 3  # independent streams of random numbers from one seed


@dataclass(frozen=True)
class TrainingSample:
    """A short clip and its ground truth.

    Attributes:
        frames: uint8 (T, 3, H, W), RGB.
        log_mel: float32 (T, 96, 64), or None with precomputed features and without sound.
        audio_features: float32 (T, 128), precomputed, or None.
        targets: masks at (H, W), not padded yet.
        video_id: id in the JSON.
        seconds: numbers of the drawn frames, in order.
        sound: "original", or the kind of counterfactual sound.
    """

    frames: Tensor
    log_mel: Tensor | None
    audio_features: Tensor | None
    targets: Targets
    video_id: int = 0
    seconds: tuple[int, ...] = ()
    sound: str = "original"


class SoundSample(NamedTuple):
    """Seconds of sound and what sounds in them.

    Attributes:
        log_mel: float32 (T, 96, 64).
        audio_labels: bool (T, K), the classes that sound.
        teacher: float32 (T, E), embeddings of another encoder, or None.
    """

    log_mel: Tensor
    audio_labels: Tensor
    teacher: Tensor | None = None


class TrainingClips(Dataset):
    """The stream of samples of a split: every video once per epoch, in a new random order.

    Args:
        split: with at least one video.
        class_names: the K classes of the network, in its order; the split's own categories by id if None.
        clip_frames: T, frames per sample.
        frame_sampling: "scattered": a reference frame, drawn uniformly, and T - 1 more from the up to 40 within 20
            frames of it, with replacement, in order (the paper). "consecutive": T frames in a row; a shorter video
            repeats its last frame.
        augmentation: see `transforms`.
        targets: "sounding": masks where objects sound (the paper). "visible": masks wherever objects are visible, and
            whether they sound; needs a scenes file.
        counterfactual_audio: fraction of clips that get another sound and its ground truth. A `Counterfactual` sets the
            kinds too.
        features: folder of precomputed features that replace the sound, such as "FEATAudios"; None reads WAV files.
        seed: of all random draws.

    Raises:
        DataError: an empty split; an annotated class that the network does not have; targets="visible" without scenes.
        ConfigError: a value outside its range.
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
            raise DataError(f"{split.truth_file} lists no videos: give data to train on")
        if clip_frames < 1 or frame_sampling not in ("scattered", "consecutive"):
            raise ConfigError(
                f"clip_frames={clip_frames} must be at least 1, frame_sampling={frame_sampling!r} must be scattered or "
                "consecutive"
            )
        if targets not in ("sounding", "visible"):
            raise ConfigError(f"targets={targets!r} is unknown: choose sounding or visible")
        if augmentation.pasted and targets != "visible":
            raise ConfigError(
                f"pasted={augmentation.pasted:g} needs targets='visible': what is pasted is silent, and has no mask"
            )
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
                "acvis synth, or train with targets='sounding', and without pixel_classes and auxiliary_targets"
                + (f"; it cannot be used with features={features!r}" if features else "")
            )
        self._labels = self._label_of_category()
        self._sounds = (
            RecordedSounds(split, counterfactual_audio, features)
            if self._scenes is None
            else SceneSounds(split, self._scenes, self.class_names, counterfactual_audio)
        )
        self._counterfactual = counterfactual_audio
        self._own_sounds = (  # without others
            SceneSounds(split, self._scenes, self.class_names, Counterfactual()) if self._scenes else self._sounds
        )
        self._draws = NumberedDraws(len(split), seed)

    def __len__(self) -> int:
        """Samples per epoch, one of every video. The stream itself is endless."""
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
        soundtrack = self._sounds.draw(video, seconds, rng)

        frames, targets = self._frames(video, seconds, views, rng), self._truth(video, seconds, views, soundtrack)
        if self.augmentation.pasted and rng.random() < self.augmentation.pasted:
            frames, targets = paste(frames, targets, *self._other(rng), rng)
        sound = torch.from_numpy(
            soundtrack.seconds if self._features else change_sound(self.augmentation, soundtrack.seconds, rng)
        )
        return TrainingSample(
            frames=frames,
            log_mel=None if self._features else log_mel(sound),
            audio_features=sound if self._features else None,
            targets=targets,
            video_id=video.id,
            seconds=tuple(seconds.tolist()),
            sound=soundtrack.kind,
        )

    def sound(
        self, draw: int, count: int, mixed: bool = False, teacher: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> SoundSample:
        """Only the sound of `count` seconds of a video, counterfactual as often as in samples: a separate stream.

        Args:
            draw: number of the sample, 0 or more.
            count: seconds, drawn with replacement.
            mixed: in place of counterfactual sounds, which take long to render, mix as often with seconds of another
                video, at any level from its own to 12 dB below.
            teacher: embeds seconds of sound, float32 (count, 16000) -> (count, E), in [-1, 1] at 16 kHz.

        Raises:
            DataError: data without audio labels (only AVIS-Synth has them).
        """
        video, rng = self._drawn(draw, SOUND)
        sounds = self._own_sounds if mixed else self._sounds
        soundtrack = sounds.draw(video, rng.integers(len(video.frames), size=count), rng)
        if soundtrack.classes is None or self._features:
            raise DataError(f"{self.split.truth_file} has no audio labels: train with audio_pretraining_steps=0")
        seconds, classes = soundtrack.seconds, soundtrack.classes
        if mixed and rng.random() < self._counterfactual.share:
            other = self.split.videos[rng.integers(len(self.split))]
            second = sounds.draw(other, rng.integers(len(other.frames), size=count), rng)
            assert second.classes is not None, "all videos of a split have audio labels, or none"
            level = np.float32(10 ** (-rng.uniform(0, MIXED_BELOW_DB) / 20))
            seconds, classes = seconds + level * second.seconds, classes | second.classes
        sound = change_sound(self.augmentation, seconds, rng)
        embedded = torch.from_numpy(teacher(sound)) if teacher is not None else None
        spectrum = change_spectrum(self.augmentation, log_mel(torch.from_numpy(sound)).numpy(), rng)
        return SoundSample(torch.from_numpy(spectrum), torch.from_numpy(classes), embedded)

    def picture(self, draw: int) -> TrainingSample:
        """One frame of a video without sound, T = 1: a separate stream.

        Raises:
            ConfigError: with targets="sounding", whose masks depend on the sound.
        """
        if self.targets != "visible":
            raise ConfigError("frames without sound need targets='visible': train with visual_pretraining_steps=0")
        video, rng = self._drawn(draw, PICTURE)
        seconds = draw_seconds(len(video.frames), 1, self.frame_sampling, rng)
        views = draw_views(self.augmentation, video.size, 1, rng)
        return TrainingSample(
            frames=self._frames(video, seconds, views, rng),
            log_mel=None,
            audio_features=None,
            targets=self._truth(video, seconds, views, _no_sound(1)),
            video_id=video.id,
            seconds=tuple(seconds.tolist()),
        )

    def _other(self, rng: np.random.Generator) -> tuple[Tensor, Targets]:
        """Frames of another clip, and what is visible in them."""
        video = self.split.videos[rng.integers(len(self.split))]
        seconds = draw_seconds(len(video.frames), self.clip_frames, self.frame_sampling, rng)
        views = draw_views(self.augmentation, video.size, self.clip_frames, rng)
        targets = self._truth(video, seconds, views, _no_sound(self.clip_frames))
        return self._frames(video, seconds, views, rng), targets

    def _frames(self, video: VideoEntry, seconds: np.ndarray, views: Views, rng: np.random.Generator) -> Tensor:
        frames = np.stack([views.image(self.split.image(video, t), n) for n, t in enumerate(seconds)])  # (T, H, W, 3)
        return torch.from_numpy(np.ascontiguousarray(recolour(self.augmentation, frames, rng).transpose(0, 3, 1, 2)))

    def _drawn(self, draw: int, stream: int) -> tuple[VideoEntry, np.random.Generator]:
        """The video of a draw, and the generator of random numbers of one stream for it."""
        return self.split.videos[self._draws.video(draw)], self._draws.rng(stream, draw)

    def _truth(self, video: VideoEntry, seconds: np.ndarray, views: Views, soundtrack: DrawnSoundtrack) -> Targets:
        objects, masks = self._masks(video, seconds, soundtrack)  # (N,), N x T
        visible = np.array([[m is not None and m.any() for m in row] for row in masks], bool).reshape(-1, len(seconds))
        sounding = visible if soundtrack.sounding is None else visible & soundtrack.sounding
        with_mask = visible if self.targets == "visible" else sounding
        cropped = np.zeros((len(objects), len(seconds), *views.size), bool)  # (N, T, H, W)
        for n, t in zip(*np.nonzero(with_mask), strict=True):
            mask = masks[n][t]
            assert mask is not None, "a visible object has a mask"
            cropped[n, t] = views.mask(mask, t)
        kept = np.asarray(cropped.any(axis=(1, 2, 3)))  # (N,)
        labels = np.array([self._labels[thing.category_id] for thing in objects], np.int64)
        return Targets(
            labels=torch.from_numpy(labels[kept]),
            masks=torch.from_numpy(cropped[kept]),
            sounding=torch.from_numpy(sounding[kept]),
            counts=torch.from_numpy(sounding.sum(axis=0)),  # of the whole frame, before cropping
            audio_labels=None if soundtrack.classes is None else torch.from_numpy(soundtrack.classes),
            auxiliary=self._auxiliary(video, seconds, kept),
        )

    @property
    def auxiliary_targets(self) -> tuple[str, ...]:
        """Names of the dense auxiliary targets that the data supply."""
        return ("cue",) if self._scenes is not None else ()

    def _auxiliary(self, video: VideoEntry, seconds: np.ndarray, kept: np.ndarray) -> dict[str, Tensor]:
        if self._scenes is None:
            return {}
        cues = [thing.cue[seconds] for thing in self._scenes[video.id].objects]
        return {"cue": torch.from_numpy(np.array(cues, bool).reshape(-1, len(seconds))[kept])}

    def _masks(
        self, video: VideoEntry, seconds: np.ndarray, soundtrack: DrawnSoundtrack
    ) -> tuple[Sequence[TrackEntry | ObjectRecord], list[list[np.ndarray | None]]]:
        """The objects of a clip, and the mask of each in every drawn frame, at the size of the source."""
        objects = self._objects(video, soundtrack)
        drawn = set(seconds.tolist())  # a frame drawn twice is decoded once
        once = {(n, t): self.split.mask(video, thing, t) for n, thing in enumerate(objects) for t in drawn}
        return objects, [[once[n, t] for t in seconds.tolist()] for n in range(len(objects))]

    def _objects(self, video: VideoEntry, soundtrack: DrawnSoundtrack) -> Sequence[TrackEntry | ObjectRecord]:
        if self._scenes is not None:
            return self._scenes[video.id].objects
        if soundtrack.sounding is None:
            return self.split.tracks(video)
        return ()  # a recording with another sound: no object sounds

    def _label_of_category(self) -> dict[int, int]:
        """Category ids of the data -> classes of the network, from 0."""
        numbers = {name: number for number, name in enumerate(self.class_names)}
        used = {track.category_id for video in self.split.videos for track in self.split.tracks(video)}
        for scene in (self._scenes or {}).values():
            used |= {thing.category_id for thing in scene.objects}
        names = {number: self.split.categories.get(number, str(number)) for number in used}
        if unknown := sorted(name for name in names.values() if name not in numbers):
            raise DataError(
                f"{self.split.truth_file.name} annotates {', '.join(unknown[:5])}, but the network's classes are "
                f"{', '.join(self.class_names[:5])}, ...: give the data's class_names, or other data"
            )
        return {number: numbers[name] for number, name in names.items()}


def _no_sound(length: int) -> DrawnSoundtrack:
    return DrawnSoundtrack("original", np.zeros((length, 0), np.float32))


class NumberedDraws:
    """Which video each draw shows, and its random numbers: both depend on (seed, draw) alone.

    Args:
        videos: their number; an epoch has each once, in a new random order.
        seed: of all random draws.
    """

    def __init__(self, videos: int, seed: int) -> None:
        self.videos, self.seed = videos, seed
        self._order: tuple[int, np.ndarray] | None = None

    def video(self, draw: int) -> int:
        """Number of the video of a draw."""
        epoch, place = divmod(draw, self.videos)
        if self._order is None or self._order[0] != epoch:
            rng = np.random.default_rng([self.seed, ORDER, epoch])
            self._order = epoch, rng.permutation(self.videos)
        return int(self._order[1][place])

    def rng(self, stream: int, draw: int) -> np.random.Generator:
        """The generator of random numbers of one stream for a draw."""
        return np.random.default_rng([self.seed, stream, draw])


class Draws(Sampler[int]):
    """Numbers of the samples of one process, endless: `first`, `first + world_size`, ...

    Process r of R that has drawn n samples continues with Draws(r + n * R, R). With batches of b, R processes together
    get the samples in each step that one process gets in a batch of R * b.
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
    """Numbers of `count` frames of a video of `length` frames, in order, int64 (count,); see `TrainingClips`."""
    if frame_sampling == "consecutive":
        first = rng.integers(max(1, length - count + 1))
        return np.minimum(first + np.arange(count), length - 1)
    reference = int(rng.integers(length))
    near = np.arange(max(0, reference - RANGE), min(length, reference + RANGE + 1))
    others = near[near != reference] if len(near) > 1 else near
    return np.sort(np.append(rng.choice(others, count - 1), reference))
