"""A semantic system under other soundtracks than a video's own: robustness (AVSC, table 6), and swaps of objects.

Every frame should be blank under silence and under an unmatched sound. Unmatched is the sound of the next video, in the
order of the split, of other classes; in AVIS-Synth, where silent objects are visible too, a foreign sound of a class
that is not in the picture. There objects are swapped as well, as in `listening`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from acvis_kit.data.semantic import SemanticSample, SemanticSplit, SemanticVideo
from acvis_kit.data.soundtracks import load_scenes
from acvis_kit.data.synth.records import SceneRecord
from acvis_kit.evaluation.listening import ON_OBJECT, soundtracks
from acvis_kit.inference.semantic import SemanticPrediction
from acvis_kit.inference.semantic_predictor import SemanticFeatures, SemanticPredictor
from acvis_kit.metrics.audio_control import ControlScore, ControlSums, ShownMasks, Swap, clip_control, control_score
from acvis_kit.metrics.avs import RobustnessResult, RobustnessScore


class OtherSounds:
    """Scores of predictions under silence, unmatched and, in AVIS-Synth, swapped sound, video by video.

    Args:
        predictor: the model.
        split: the videos.
        seed: of AVIS-Synth's random foreign sounds and swaps.
    """

    def __init__(self, predictor: SemanticPredictor, split: SemanticSplit, seed: int) -> None:
        self.predictor, self.split, self.seed = predictor, split, seed
        self.scenes = load_scenes(split) if split.scenes_file.is_file() else None
        self.scores = {name: RobustnessScore(probabilities=True) for name in ("silent", "unmatched")}
        self.sums: list[ControlSums] = []
        self.skipped = self.unnamed = 0

    def add(self, video: SemanticVideo, sample: SemanticSample, features: SemanticFeatures) -> None:
        """Predict and score a video that has been encoded."""
        muted = self.predictor.decode(features, torch.zeros_like(sample.clip.waveform))
        self.scores["silent"].update(muted.probabilities.float().numpy())
        if self.scenes is not None:
            self._in_scene(self.scenes[video.id], sample, features, muted)
            return
        other = self.unmatched(video)
        if other is None:
            self.skipped += 1
            return
        sound = np.resize(self.split.sound(other).reshape(-1), len(sample.clip.waveform))  # repeated if shorter
        found = self.predictor.decode(features, torch.from_numpy(sound))
        self.scores["unmatched"].update(found.probabilities.float().numpy())

    def unmatched(self, video: SemanticVideo) -> SemanticVideo | None:
        """The next video of other classes, in the order of the split; of any, where the data name no classes."""
        own, number = self.split.classes_in(video), len(self.split)
        following = [self.split.videos[(video.id + step) % number] for step in range(1, number)]
        if not own:
            self.unnamed += 1
            return following[0] if following else None
        return next((v for v in following if (known := self.split.classes_in(v)) and not known & own), None)

    def _in_scene(
        self, scene: SceneRecord, sample: SemanticSample, features: SemanticFeatures, muted: SemanticPrediction
    ) -> None:
        drawn = soundtracks(scene, sample.clip.waveform, np.random.default_rng([self.seed, scene.video_id]))
        foreign, swaps = None, []
        if "foreign" in drawn.waveforms:
            found = self.predictor.decode(features, drawn.waveforms["foreign"])
            self.scores["unmatched"].update(found.probabilities.float().numpy())
            foreign = shown_masks(found)
        else:
            self.skipped += 1
        if drawn.swap is not None:
            former, new, seconds = drawn.swap
            before = shown_masks(self.predictor.decode(features))
            after = shown_masks(self.predictor.decode(features, drawn.waveforms["swapped"]))
            own = [m if s else None for m, s in zip(former.segmentations, former.sounding, strict=True)]
            swaps = [Swap(before, after, own, list(new.segmentations), seconds)]
        self.sums.append(clip_control(shown_masks(muted), foreign, swaps, ON_OBJECT))

    @property
    def notes(self) -> list[str]:
        """What to know when comparing."""
        notes = []
        if self.skipped:
            notes.append(f"{self.skipped} videos have no unmatched sound: no other video is of other classes alone.")
        if self.unnamed:
            notes.append(
                f"The data do not name the classes of {self.unnamed} videos: their unmatched sound is the next "
                "video's, which may match."
            )
        return notes

    def results(self) -> dict[str, RobustnessResult]:
        """Robustness under "silent" and "unmatched" sound."""
        return {name: score.result() for name, score in self.scores.items()}

    def control(self) -> ControlScore | None:
        """Scores under muted, foreign and swapped sound; None without scenes."""
        return control_score(self.sums) if self.scenes is not None else None


def shown_masks(prediction: SemanticPrediction) -> ShownMasks:
    """The mask of each class in each frame, ranked by its mean probability."""
    maps = prediction.class_maps
    values = [value for value in maps.unique().tolist() if value]
    masks = [(maps == value).numpy() for value in values]  # (T, H, W) each
    scores = [_means(prediction.probabilities, mask) for mask in masks]
    return ShownMasks.from_tracks(masks, np.reshape(scores, (len(masks), len(maps))), len(maps))


def _means(probabilities: Tensor, masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean probability inside the mask of each frame, (T,); 0 where it is empty."""
    inside = np.where(masks, probabilities.float().numpy(), 0).sum((1, 2), dtype=np.float64)
    return inside / np.maximum(masks.sum((1, 2)), 1)
