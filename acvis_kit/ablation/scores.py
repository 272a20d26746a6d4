"""The scores of one trained network: both protocols, counting, and whether the masks follow the sound.

The clips are heard as in `evaluation.listening`, under four of its soundtracks. Every score is also computed for
bootstrap draws of the clips; the draws are the same for all runs, so that two runs can be compared afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.evaluation.listening import ClipResults, hear
from acvis_kit.inference.predictor import Predictor
from acvis_kit.metrics.checks import Protocol, read_results, read_truth
from acvis_kit.metrics.evaluate import Report, evaluate_sequences
from acvis_kit.metrics.sequence import Sequence
from acvis_kit.metrics.tally import quotient
from acvis_kit.models.acvis.model import ACVIS

HEARD = ("original", "muted", "foreign", "swapped")  # soundtracks
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
    heard = hear(Predictor(model, count_gate=False, device=device), split, HEARD, seed=seed, say=say)
    return {GATES[gate]: _measured(split, clips) for gate, clips in heard.items()}


def _measured(split: AVISegSplit, clips: Iterable[ClipResults]) -> Measured:
    by_name = {clip.name: clip for clip in clips}
    report, published = _reports(split, [result for clip in by_name.values() for result in clip.results["original"]])
    sums = _fractions(report, by_name)  # (clips, len(FRACTIONS), 2)
    number = len(sums)
    times = np.random.default_rng(0).multinomial(number, np.full(number, 1 / number), size=DRAWS)  # (draws, clips)
    drawn = report.drawn(times.astype(np.float64))
    drawn_sums = np.einsum("dc,csk->dsk", times, sums)  # (draws, len(FRACTIONS), 2)
    values = {name: float(report.scores[key]) for name, key in SCORES.items()}
    values |= dict(zip(FRACTIONS, _percent(sums.sum(0)).tolist(), strict=True))
    draws = np.concatenate([np.stack([drawn[key] for key in SCORES.values()], 1), _percent(drawn_sums)], axis=1)
    return Measured(values, {name: published.scores[SCORES[name]] for name in ("mAP", "HOTA", "FSLA")}, draws)


def _reports(split: AVISegSplit, results: list[dict[str, Any]]) -> tuple[Report, Report]:
    """By the protocols "paper" and "official".

    The published evaluator reads only polygons, AVIS-Synth has run lengths: here both protocols get the same masks.
    """
    truth = read_truth(split.truth, "paper")
    predicted = read_results(results, truth, "official")
    videos = [Sequence.from_tracks(v.name, v.length, v.tracks, predicted[v.id]) for v in truth.videos.values()]
    paper, official = (evaluate_sequences(videos, truth.categories, name) for name in PROTOCOLS)
    return paper, official


def _fractions(report: Report, clips: Mapping[str, ClipResults]) -> NDArray[np.float64]:
    """(Right seconds, seconds), float64 (clips, len(FRACTIONS), 2), in the order of the report's clips."""
    rows = []
    for tally in report.tallies:
        control = clips[tally.name].control
        probabilities = clips[tally.name].probabilities.get("original")
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
                (control.muted_silent, control.muted_frames),
                (control.foreign_silent, control.foreign_frames),
                (control.swap_followed, control.swap_frames),
            ]
        )
    return np.array(rows, np.float64)


def _agree(counted: NDArray[np.int64], true: NDArray[np.int64], most: int) -> int:
    """Seconds in which two counts, (T,), agree; `most` and larger counts are equal."""
    return int((np.minimum(counted, most) == np.minimum(true, most)).sum())


def _percent(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums (..., 2) of right seconds and seconds -> percent (...), NaN where there are no seconds."""
    return 100 * quotient(sums[..., 0], sums[..., 1])
