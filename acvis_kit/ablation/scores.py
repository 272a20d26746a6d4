"""The scores of one trained network: both protocols, counting, and whether the masks follow the sound.

Similar to `evaluation.listening`, but also for networks without count head or audio input. Every score is also computed
for bootstrap draws of the clips; the draws are the same for all runs, so that two runs can be compared afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from acvis_kit.clip import Clip
from acvis_kit.data.aviseg import AVISegSplit, VideoEntry
from acvis_kit.data.soundtracks import load_scenes
from acvis_kit.evaluation.dataset import category_ids_of, results_of
from acvis_kit.evaluation.listening import ON_OBJECT, Soundtracks, soundtracks
from acvis_kit.inference.features import VisualFeatures
from acvis_kit.inference.prediction import Prediction
from acvis_kit.inference.predictor import Predictor
from acvis_kit.metrics.audio_control import ControlSums, ShownMasks, Swap, clip_control
from acvis_kit.metrics.checks import Protocol, read_results, read_truth
from acvis_kit.metrics.evaluate import Report, evaluate_sequences
from acvis_kit.metrics.sequence import Sequence
from acvis_kit.models.acvis.model import ACVIS

DRAWS = 500  # bootstrap draws of the clips, the same for all runs
MOST = 2  # counts are compared as 0, 1 and "2 or more", for any K_max
PROTOCOLS: tuple[Protocol, Protocol] = ("paper", "official")
GATES = {False: "gate_off", True: "gate_on"}
SCORES = {"mAP": "AP_all", "HOTA": "HOTA", "FSLA": "FA", "FSLAn": "FAn", "FSLAs": "FAs", "FSLAm": "FAm"}
FRACTIONS = ("counted", "counted_exactly", "counted_by_masks", "muted", "foreign", "swapped")
MEASURED = (*SCORES, *FRACTIONS)


@dataclass(frozen=True)
class Measured:
    """The scores with one setting of the count gate.

    Attributes:
        values: `MEASURED`, percent, NaN where undefined:
            mAP, HOTA, FSLA and its parts (silent, one source, several): protocol "paper", the original sound;
            counted: seconds in which the head's count, as 0, 1 or "2 or more", is right; counted_exactly: the same up
            to its own K_max; counted_by_masks: the same for the number of masks shown;
            muted, foreign: seconds without a mask under silence, and under foreign sound (voices of classes that are
            not in the picture);
            swapped: seconds in which the top mask is on the object whose sound replaced the original.
        official: mAP, HOTA and FSLA by protocol "official".
        draws: float64 (DRAWS, len(MEASURED)), `values` for bootstrap draws of the clips.
    """

    values: dict[str, float]
    official: dict[str, float]
    draws: NDArray[np.float64]


@torch.inference_mode()
def measure(
    model: ACVIS,
    split: AVISegSplit,
    *,
    seed: int = 0,
    device: torch.device | str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Measured]:
    """Measure a network on all clips of a split of AVIS-Synth.

    Args:
        model: one that takes precomputed features is measured only with the original sound.
        split: with its scenes.
        seed: of swaps and foreign voices.
        device: None: the model stays where it is.
        say: receives a message per clip.

    Returns:
        The scores by "gate_off" and, for networks with a count head, "gate_on".

    Raises:
        DataError: a split without scenes, or without a class of the model.
    """
    predictor = Predictor(model, count_gate=False, device=device)
    scenes, ids = load_scenes(split), category_ids_of(model, split)
    collected = {gate: _ClipScores() for gate in GATES if not gate or model.config.count_head != "none"}
    for done, (video, clip) in enumerate(split.clips(), start=1):
        scene = scenes[video.id]
        tracks = soundtracks(scene, clip.waveform, np.random.default_rng([seed, video.id]))
        predictions = _predictions(predictor, split, video, clip, tracks)
        for gate, scores in collected.items():
            shown = {name: p.gated() if gate else p for name, p in predictions.items()}
            scores.add(video, tracks, shown, ids)
        say(f"[{done}/{len(split)}] {video.name}")
    return {GATES[gate]: scores.measured(split) for gate, scores in collected.items()}


def _predictions(
    predictor: Predictor, split: AVISegSplit, video: VideoEntry, clip: Clip, tracks: Soundtracks
) -> dict[str, Prediction]:
    """Predictions for a clip, by soundtrack."""
    features: VisualFeatures = predictor.encode(clip)
    config = predictor.model.config
    if config.uses_audio and config.audio_encoder == "precomputed":
        vectors = torch.from_numpy(np.array(split.features(video)[: len(clip)], np.float32))
        return {"original": predictor.decode(features, audio_features=vectors)}
    names = [name for name in ("original", "muted", "foreign", "swapped") if name in tracks.waveforms]
    if not config.uses_audio:  # the prediction does not depend on the sound
        return dict.fromkeys(names, predictor.decode(features, tracks.waveforms["original"]))
    return {name: predictor.decode(features, tracks.waveforms[name]) for name in names}


@dataclass
class _ClipScores:
    """What is collected from each clip, by its name."""

    results: list[dict[str, Any]] = field(default_factory=list)
    control: dict[str, ControlSums] = field(default_factory=dict)
    probabilities: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def add(
        self,
        video: VideoEntry,
        tracks: Soundtracks,
        predictions: Mapping[str, Prediction],
        category_ids: dict[str, int],
    ) -> None:
        self.results += results_of(predictions["original"], video.id, category_ids)
        if predictions["original"].count_probs is not None:
            self.probabilities[video.name] = predictions["original"].count_probs.float().cpu().numpy()
        shown = {name: ShownMasks.from_prediction(prediction) for name, prediction in predictions.items()}
        swaps = []
        if tracks.swap is not None and "swapped" in shown:
            former, new, seconds = tracks.swap
            own = [m if s else None for m, s in zip(former.segmentations, former.sounding, strict=True)]
            swaps = [Swap(shown["original"], shown["swapped"], own, list(new.segmentations), seconds)]
        self.control[video.name] = clip_control(shown.get("muted"), shown.get("foreign"), swaps, ON_OBJECT)

    def measured(self, split: AVISegSplit) -> Measured:
        report, published = self._reports(split)
        sums = self._fractions(report)  # (clips, len(FRACTIONS), 2)
        clips = len(sums)
        times = np.random.default_rng(0).multinomial(clips, np.full(clips, 1 / clips), size=DRAWS)  # (draws, clips)
        drawn = report.drawn(times.astype(np.float64))
        drawn_sums = np.einsum("dc,csk->dsk", times, sums)  # (draws, len(FRACTIONS), 2)
        values = {name: float(report.scores[key]) for name, key in SCORES.items()}
        values |= dict(zip(FRACTIONS, _percent(sums.sum(0)).tolist(), strict=True))
        draws = np.concatenate([np.stack([drawn[key] for key in SCORES.values()], 1), _percent(drawn_sums)], axis=1)
        return Measured(values, {name: published.scores[SCORES[name]] for name in ("mAP", "HOTA", "FSLA")}, draws)

    def _reports(self, split: AVISegSplit) -> tuple[Report, Report]:
        """By the protocols "paper" and "official".

        The published evaluator reads only polygons, AVIS-Synth has run lengths: here both protocols get the same masks.
        """
        truth = read_truth(split.truth, "paper")
        predicted = read_results(self.results, truth, "official")
        videos = [Sequence.from_tracks(v.name, v.length, v.tracks, predicted[v.id]) for v in truth.videos.values()]
        paper, official = (evaluate_sequences(videos, truth.categories, name) for name in PROTOCOLS)
        return paper, official

    def _fractions(self, report: Report) -> NDArray[np.float64]:
        """(Right seconds, seconds), float64 (clips, len(FRACTIONS), 2), in the order of the report's clips."""
        rows = []
        for tally in report.tallies:
            control = asdict(self.control[tally.name])
            probabilities = self.probabilities.get(tally.name)
            true, shown, length = tally.true_counts, tally.pred_counts, tally.frames
            head = exact = (0.0, 0.0)
            if probabilities is not None:
                counted, k_max = probabilities.argmax(1), probabilities.shape[1] - 1
                head = (_agree(counted, true, MOST), length)
                exact = (_agree(counted, true, k_max), length)
            rows.append(
                [
                    head,
                    exact,
                    (_agree(shown, true, MOST), length),
                    *((control[f"{kind}_silent"], control[f"{kind}_frames"]) for kind in ("muted", "foreign")),
                    (control["swap_followed"], control["swap_frames"]),
                ]
            )
        return np.array(rows, np.float64)


def _agree(counted: NDArray[np.int64], true: NDArray[np.int64], most: int) -> int:
    """Seconds in which two counts, (T,), agree; `most` and larger counts are equal."""
    return int((np.minimum(counted, most) == np.minimum(true, most)).sum())


def _percent(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums (..., 2) -> percent (...), NaN where there are no seconds."""
    right, seconds = sums[..., 0], sums[..., 1]
    return 100 * np.where(seconds > 0, right / np.where(seconds > 0, seconds, 1), np.nan)
