"""A semantic system on a data set: the published protocols of audio-visual segmentation, and other soundtracks.

Protocol "tpavi" is AVSBench's: J and F of batches of videos, and with classes the means over frames. Protocol "dataset"
pools the pixels of the whole split, as CAVP and DDESeg (and presumably RAVS) do. See `metrics.avs` and
`metrics.avs_semantic`. Robustness is in `other_sounds`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import torch
from numpy.typing import NDArray

from acvis_kit.clip import IGNORED, Clip
from acvis_kit.data.avsbench import PADDED_FRAMES, AVSSSplit
from acvis_kit.data.semantic import SemanticSample, SemanticSplit
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.evaluation.other_sounds import OtherSounds
from acvis_kit.evaluation.semantic_report import PooledScores, SemanticReport
from acvis_kit.inference.semantic import SemanticPrediction
from acvis_kit.inference.semantic_predictor import SemanticFeatures, SemanticPredictor
from acvis_kit.metrics.avs import BinaryScore, frame_j
from acvis_kit.metrics.avs_semantic import AvssScore, CavpScore, DdesegScore
from acvis_kit.metrics.separation import rank_auc
from acvis_kit.models.avsc.candidates import Candidates

AVS_PROTOCOLS = ("tpavi", "dataset")
SOURCES = ("silent", "one class", "several classes")  # frames by the number of classes that sound in them
PUBLISHED_THRESHOLD = 0.5  # of J and of robustness


def evaluate_semantic(
    predictor: SemanticPredictor,
    split: SemanticSplit,
    *,
    protocols: Collection[str] = AVS_PROTOCOLS,
    robustness: bool = True,
    batch_videos: int = 1,
    size: int | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> SemanticReport:
    """Predict a whole split and score it.

    Args:
        predictor: the model with its threshold, which class maps use; J and robustness use 0.5, as published.
        split: the videos. Several processes each predict all of it.
        protocols: of "tpavi" and "dataset".
        robustness: whether to predict under other soundtracks too. Each video is encoded once.
        batch_videos: videos in a batch of "tpavi", which F depends on: 1 or 4 in the published tests.
        size: pixels of each side at which masks are compared, 224 in most publications; None: the size of the frames.
        seed: of the random foreign sounds and swaps of AVIS-Synth.
        say: called with a line of text after every video.

    Raises:
        ConfigError: an unknown protocol, or a value outside its range.
        DataError: a file that does not fit, or videos of different sizes in a batch.
    """
    if unknown := sorted(set(protocols) - set(AVS_PROTOCOLS)):
        raise ConfigError(f"protocol {unknown[0]!r} is unknown: choose from {', '.join(AVS_PROTOCOLS)}")
    if batch_videos < 1 or (size is not None and size < 1):
        raise ConfigError(f"batch_videos={batch_videos} and size={size} must be at least 1")
    scores = _Scores(predictor, split, protocols, batch_videos, size)
    others = OtherSounds(predictor, split, seed) if robustness else None
    for number, video in enumerate(split.videos):
        sample = split.sample(video)
        features = predictor.encode(sample.clip)
        prediction = predictor.decode(features, output_size=(size, size) if size else None)
        scores.add(sample, prediction, features)
        if others is not None:
            others.add(video, sample, features)
        say(f"[{number + 1}/{len(split)}] {video.name}: {prediction.summary()}")
    return scores.report(others)


class _Scores:
    """Predictions under the clips' own sound, video by video."""

    def __init__(
        self,
        predictor: SemanticPredictor,
        split: SemanticSplit,
        protocols: Collection[str],
        batch: int,
        size: int | None,
    ) -> None:
        self.predictor, self.split, self.protocols, self.batch_videos, self.size = (
            predictor,
            split,
            protocols,
            batch,
            size,
        )
        names, own = split.class_names, predictor.model.config.class_names
        self.labels = None  # values of predicted class maps -> those of the data
        if len(names) > 1 and set(own) <= set(names):
            self.labels = np.array([0] + [names.index(name) + 1 for name in own])
        self.classes = len(names) + 1
        self.binary, self.pooled = BinaryScore(probabilities=True), (CavpScore(2), DdesegScore(2))
        self.avss, self.pooled_classes = AvssScore(self.classes), (CavpScore(self.classes), DdesegScore(self.classes))
        self.batch: list[tuple[NDArray, NDArray]] = []
        self.j: dict[str, list[float]] = {name: [] for name in SOURCES}
        self.candidates: list[int] = []
        self.uncertainty: list[float] = []
        self.changing: list[bool] = []
        self.frames = self.annotated = 0
        self.unknown = False
        self._short = (  # names of the videos that AVSBench-semantic's loader pads; clips of AVIS-Synth are whole
            {v.name for v, subset in zip(split.videos, split.subsets, strict=True) if subset != "v2"}
            if isinstance(split, AVSSSplit)
            else set()
        )
        self._blank: dict[tuple[int, tuple[int, int]], NDArray] = {}

    def add(self, sample: SemanticSample, prediction: SemanticPrediction, features: SemanticFeatures) -> None:
        kept = sample.targets.supervised.numpy()
        truth = _resized(sample.targets.class_maps.numpy(), prediction.size)
        probabilities = prediction.probabilities.float().numpy()
        self.frames, self.annotated = self.frames + len(kept), self.annotated + int(kept.sum())
        self._uncertainty_of(prediction, truth, kept)
        for chunk in features.chunks():
            if isinstance(chunk, Candidates):
                self.candidates += chunk.counts.tolist()
        if not kept.any():
            return
        self._binary_scores(probabilities[kept], truth[kept])
        if self.labels is not None:
            predicted = self.labels[prediction.class_maps.numpy()]
            if "tpavi" in self.protocols:
                self._frame_scores(sample, predicted[kept], truth[kept])
            if "dataset" in self.protocols:
                for score in self.pooled_classes:
                    score.update(predicted[kept], truth[kept])

    def _binary_scores(self, probabilities: NDArray, truth: NDArray) -> None:
        known = truth != IGNORED
        self.unknown |= not known.all()
        sounding = (truth > 0) & known
        masked = np.where(known, probabilities, 0)  # unknown pixels are background in truth and prediction
        if self.classes > 2:
            number = [len(set(np.unique(one).tolist()) - {0, IGNORED}) for one in truth]
            for n, j in zip(number, frame_j(masked > PUBLISHED_THRESHOLD, sounding), strict=True):
                self.j[SOURCES[min(n, 2)]].append(float(j))
        if "tpavi" in self.protocols:
            self.batch.append((masked, sounding))
            if len(self.batch) == self.batch_videos:
                self._end_batch()
        if "dataset" in self.protocols:
            labels = np.where(known, sounding, IGNORED).astype(np.int64)
            for score in self.pooled:
                score.update((probabilities > self.predictor.threshold).astype(np.int64), labels)

    def _end_batch(self) -> None:
        if len({one.shape[1:] for one, _ in self.batch}) > 1:
            shapes = sorted({one.shape[1:] for one, _ in self.batch})
            raise DataError(f"videos of one batch are of the sizes {shapes}: compare them at one size, or one by one")
        if self.batch:
            self.binary.update(*(np.concatenate(part) for part in zip(*self.batch, strict=True)))
        self.batch = []

    def _frame_scores(self, sample: SemanticSample, predicted: NDArray, truth: NDArray) -> None:
        """AVSBench-semantic's, which count the frames that its loader pads shorter videos with."""
        if self.unknown:  # it knows no such pixels
            return
        self.avss.update(predicted, truth)
        missing = PADDED_FRAMES - len(sample.clip)
        if missing > 0 and sample.name in self._short:
            blank = self._prediction_of_padding(missing, sample.clip, truth.shape[1:])
            self.avss.update(blank, np.zeros_like(blank))

    def _prediction_of_padding(self, frames: int, clip: Clip, size: tuple[int, int]) -> NDArray:
        """Labels (n, h, w) of black and silent frames, which depend on no video."""
        if (frames, size) not in self._blank:
            black = Clip.from_arrays(torch.zeros((frames, 3, *clip.size), dtype=torch.uint8), fps=clip.fps)
            features = self.predictor.encode(black)
            found = self.predictor.decode(features, torch.zeros_like(black.waveform), output_size=size)
            assert self.labels is not None, "classes are scored"
            self._blank[frames, size] = self.labels[found.class_maps.numpy()]
        return self._blank[frames, size]

    def _uncertainty_of(self, prediction: SemanticPrediction, truth: NDArray, kept: NDArray[np.bool_]) -> None:
        means = prediction.mean_uncertainty()
        if means is None:
            return
        sets = [frozenset(np.unique(one).tolist()) - {0, IGNORED} for one in truth]
        for t in range(1, len(truth)):
            if kept[t] and kept[t - 1]:
                self.uncertainty.append(float(means[t]))
                self.changing.append(sets[t] != sets[t - 1])

    def report(self, others: OtherSounds | None) -> SemanticReport:
        self._end_batch()
        notes = list(others.notes) if others is not None else []
        if self.labels is None and self.classes > 2:
            notes.append("Classes are not scored: the data set lacks a class of the model.")
        if self.unknown:
            notes.append("J and F take unknown pixels for background, in truth and prediction.")
        if self.predictor.threshold != PUBLISHED_THRESHOLD:
            notes.append(
                f"Class maps and protocol dataset use the threshold {self.predictor.threshold:g}, J and robustness 0.5."
            )
        tpavi, dataset = ("tpavi" in self.protocols), ("dataset" in self.protocols)
        changes = sum(self.changing)
        pool = lambda pair: PooledScores(pair[0].result(), pair[1].result())  # noqa: E731
        return SemanticReport(
            videos=len(self.split),
            frames=self.frames,
            annotated=self.annotated,
            class_names=self.split.class_names,
            tpavi=self.binary.result() if tpavi else None,
            tpavi_classes=self.avss.result() if tpavi and self.labels is not None and not self.unknown else None,
            dataset=pool(self.pooled) if dataset else None,
            dataset_classes=pool(self.pooled_classes) if dataset and self.labels is not None else None,
            sources={n: (len(j), float(np.mean(j)) if j else np.nan) for n, j in self.j.items() if self.classes > 2},
            robustness={} if others is None else others.results(),
            control=None if others is None else others.control(),
            candidates=float(np.mean(self.candidates)) if self.candidates else None,
            uncertainty_auc=rank_auc(self.uncertainty, self.changing) if self.uncertainty else None,
            uncertainty_frames=(changes, len(self.changing) - changes),
            notes=tuple(notes),
        )


def _resized(maps: NDArray, size: tuple[int, int]) -> NDArray:
    """Class maps (T, H, W) at another size, of the nearest pixels."""
    if maps.shape[1:] == size:
        return maps
    rows, columns = (((np.arange(n) + 0.5) * old / n).astype(int) for n, old in zip(size, maps.shape[1:], strict=True))
    return maps[:, rows[:, None], columns]
