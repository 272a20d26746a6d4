"""Training samples for semantic systems: an endless, numbered stream of clips with class maps of what sounds.

As in `training_clips`, sample number `draw` depends only on (seed, draw). All samples have one shape: frames are scaled
to the square that the networks take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from acvis_kit.clip import IGNORED, SAMPLE_RATE, SemanticTargets, pinned
from acvis_kit.data.semantic import SemanticSplit, SemanticVideo
from acvis_kit.data.soundtracks import Counterfactual, DrawnSoundtrack, RecordedSounds, SceneSounds, load_scenes
from acvis_kit.data.training_clips import CLIP, NumberedDraws
from acvis_kit.data.transforms import COLOUR, Augmentation, Views, change_sound, draw_views, recolour
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.models.encoders.sounds import FRONT_ENDS


@dataclass(frozen=True)
class SemanticTrainingSample:
    """A short clip and its ground truth.

    Attributes:
        frames: uint8 (T, 3, H, W), RGB; black where padded.
        spectrogram: float32 (T, times, bands), of the audio encoder's front end.
        targets: class maps (T, H, W) and the frames that are annotated.
        valid: bool (T,), False for frames that pad a shorter video: black, silent and not annotated.
        video: the video's name.
        seconds: numbers of the drawn frames, in order, without padding.
        sound: "original", or the kind of counterfactual sound.
    """

    frames: Tensor
    spectrogram: Tensor
    targets: SemanticTargets
    valid: Tensor
    video: str = ""
    seconds: tuple[int, ...] = ()
    sound: str = "original"


class SemanticClips(Dataset):
    """The stream of samples of a split: every video once per epoch, in a new random order.

    T successive frames are drawn that contain an annotated one, so that no sample is without supervision; shorter
    videos are padded. Frames of one clip share their augmentation.

    Args:
        split: with at least one video.
        class_names: the K classes of the network; those of the split if None. With a single class everything that
            sounds is of it, else the network needs all classes of the split.
        audio_encoder: whose front end makes the spectrograms.
        clip_frames: T, frames per sample; 1 for stage 1 of AVSC.
        size: H = W.
        augmentation: see `transforms`.
        counterfactual_audio: fraction of clips that get another sound and its ground truth: mute and foreign, and with
            AVIS-Synth's scenes swap and offscreen. A `Counterfactual` sets the kinds too. Not for stage 1 of AVSC,
            which does not hear them.
        seed: of all random draws.

    Raises:
        DataError: an empty split, or a class that the network does not have.
        ConfigError: a value outside its range.
    """

    def __init__(
        self,
        split: SemanticSplit,
        class_names: Sequence[str] | None = None,
        *,
        audio_encoder: str = "vggish",
        clip_frames: int = 5,
        size: int = 224,
        augmentation: Augmentation = COLOUR,
        counterfactual_audio: float | Counterfactual = 0.0,
        seed: int = 0,
    ) -> None:
        if not len(split):
            raise DataError(f"{split.root} has no videos of split {split.name!r}: give data to train on")
        if clip_frames < 1 or size < 1:
            raise ConfigError(f"clip_frames={clip_frames} and size={size} must be at least 1")
        if audio_encoder not in FRONT_ENDS:
            raise ConfigError(
                f"audio_encoder={audio_encoder!r} has no front end: choose one of {', '.join(FRONT_ENDS)}"
            )
        if augmentation.short_sides:
            raise ConfigError(
                f"short_sides={augmentation.short_sides}: frames are scaled to size={size}, leave them out"
            )
        self.split, self.seed, self.augmentation = split, seed, augmentation
        self.clip_frames, self.size = clip_frames, size
        self.class_names = tuple(split.class_names if class_names is None else class_names)
        self._front_end = FRONT_ENDS[audio_encoder]
        if not isinstance(counterfactual_audio, Counterfactual):
            counterfactual_audio = Counterfactual(counterfactual_audio)
        self._scenes = load_scenes(split) if split.scenes_file.is_file() else None
        self._labels = self._label_of_value()
        self._sounds = (
            RecordedSounds(split, counterfactual_audio)
            if self._scenes is None
            else SceneSounds(split, self._scenes, self.class_names, counterfactual_audio)
        )
        self._draws = NumberedDraws(len(split), seed)

    def __len__(self) -> int:
        """Samples per epoch, one of every video. The stream itself is endless."""
        return len(self.split)

    def __getitem__(self, draw: int) -> SemanticTrainingSample:
        """The same as `sample`, for a DataLoader with a sampler of draws."""
        return self.sample(draw)

    def sample(self, draw: int) -> SemanticTrainingSample:
        """Sample number `draw` of the stream, 0 or more.

        Raises:
            AcvisError: a file that is missing or does not fit; names it.
        """
        video, rng = self.split.videos[self._draws.video(draw)], self._draws.rng(CLIP, draw)
        seconds = draw_annotated(video.supervised, self.clip_frames, rng)
        views = draw_views(self.augmentation, self.split.size_of(video), len(seconds), rng)
        views = replace(views, size=(self.size, self.size))
        soundtrack = self._sounds.draw(video, seconds, rng)

        images = [views.image(self.split.image(video, int(t)), n) for n, t in enumerate(seconds)]
        frames = recolour(self.augmentation, np.stack(images), rng)  # (T, H, W, 3)
        sound = change_sound(self.augmentation, soundtrack.seconds, rng)
        maps, supervised = self._truth(video, seconds, views, soundtrack)
        padding = self.clip_frames - len(seconds)
        whole_sound = np.concatenate([sound, np.zeros((padding, SAMPLE_RATE), np.float32)])
        return SemanticTrainingSample(
            frames=_padded(frames.transpose(0, 3, 1, 2), padding),
            spectrogram=self._front_end.compute(torch.from_numpy(whole_sound)),
            targets=SemanticTargets(_padded(maps, padding), _padded(supervised, padding)),
            valid=torch.arange(self.clip_frames) < len(seconds),
            video=video.name,
            seconds=tuple(seconds.tolist()),
            sound=soundtrack.kind,
        )

    def _truth(
        self, video: SemanticVideo, seconds: np.ndarray, views: Views, soundtrack: DrawnSoundtrack
    ) -> tuple[np.ndarray, np.ndarray]:
        """Class maps int64 (T, H, W) of what sounds under a soundtrack, and which frames it is known for, bool (T,)."""
        maps = np.zeros((len(seconds), *views.size), np.int64)
        if soundtrack.kind in ("original", "offscreen"):  # off-screen sound changes nothing in the picture
            supervised = video.supervised[seconds]
            for n in np.flatnonzero(supervised):
                maps[n] = self._labels[views.mask(self.split.class_map(video, int(seconds[n])), int(n))]
            return maps, supervised
        if soundtrack.kind == "swap":
            assert self._scenes is not None and soundtrack.sounding is not None, "only scenes have swaps"
            names = self.split.class_names
            for thing, sounds in zip(self._scenes[video.id].objects, soundtrack.sounding, strict=True):
                for n in np.flatnonzero(sounds):
                    label = self._labels[names.index(thing.class_name) + 1]
                    maps[n][views.mask(thing.mask(int(seconds[n])), int(n))] = label
        return maps, np.ones(len(seconds), bool)

    def _label_of_value(self) -> np.ndarray:
        """Values of the data's class maps -> those of the network's, int64 (256,)."""
        labels = np.arange(256)
        names = self.split.class_names
        if len(self.class_names) == 1:
            labels[1 : len(names) + 1] = 1
            return labels
        if unknown := [name for name in names if name not in self.class_names]:
            raise DataError(
                f"{self.split.root} has the classes {', '.join(unknown[:5])}, the network only "
                f"{', '.join(self.class_names[:5])}, ...: give the data's class_names, or one class for everything"
            )
        labels[1 : len(names) + 1] = [self.class_names.index(name) + 1 for name in names]
        return labels


@dataclass(frozen=True)
class SemanticBatch:
    """B clips of T frames for a semantic system.

    Attributes:
        frames: uint8 (B, T, 3, H, W), RGB, 0..255.
        spectrogram: float32 (B, T, times, bands).
        targets: one per clip.
        valid: bool (B, T), False for padded frames.
        samples: (video, frame numbers, kind of sound) of each clip, for error messages.
    """

    frames: Tensor
    spectrogram: Tensor
    targets: list[SemanticTargets]
    valid: Tensor
    samples: tuple[tuple[str, tuple[int, ...], str], ...] = ()

    def __len__(self) -> int:
        return self.frames.shape[0]

    @property
    def sounding(self) -> Tensor:
        """Where something sounds, bool (B, T, H, W): what RAVS' ablation "+GTF" keeps of the tokens."""
        maps = torch.stack([target.class_maps for target in self.targets])
        return (maps > 0) & (maps != IGNORED)

    def to(self, device: torch.device | str) -> SemanticBatch:
        """The batch with all tensors on another device."""
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in ("frames", "spectrogram", "valid")}
        return replace(self, **moved, targets=[target.to(device) for target in self.targets])

    def pin_memory(self) -> SemanticBatch:
        """The batch with its input tensors in page-locked memory, for faster copies to a GPU; a DataLoader calls it."""
        return replace(self, frames=pinned(self.frames), spectrogram=pinned(self.spectrogram), valid=pinned(self.valid))


def collate_semantic(samples: Sequence[SemanticTrainingSample]) -> SemanticBatch:
    """A batch of samples of `SemanticClips`, which have one shape."""
    return SemanticBatch(
        frames=torch.stack([sample.frames for sample in samples]),
        spectrogram=torch.stack([sample.spectrogram for sample in samples]),
        targets=[sample.targets for sample in samples],
        valid=torch.stack([sample.valid for sample in samples]),
        samples=tuple((sample.video, sample.seconds, sample.sound) for sample in samples),
    )


def draw_annotated(annotated: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers of at most `count` successive frames with an annotated one among them, int64 (n,).

    Args:
        annotated: bool (T,), at least one True.
        count: n, or less where the video is shorter.
        rng: source of all random draws.
    """
    length, count = len(annotated), min(count, len(annotated))
    chosen = int(rng.choice(np.flatnonzero(annotated)))
    first = int(rng.integers(max(0, chosen - count + 1), min(chosen, length - count) + 1))
    return first + np.arange(count)


def _padded(values: np.ndarray, padding: int) -> Tensor:
    """(n, ...) with `padding` zeros at the end of the first axis."""
    more = np.zeros((padding, *values.shape[1:]), values.dtype)
    return torch.from_numpy(np.ascontiguousarray(np.concatenate([values, more])))
