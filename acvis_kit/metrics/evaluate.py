"""Scores of AVISeg results, by the published evaluator or by the definitions.

`protocol="official"` reproduces the published evaluator with its defects: a perfect prediction scores about 41 HOTA,
and the order of annotations matters. `protocol="paper"` follows the definitions: a perfect prediction scores 100,
whatever the order of tracks, the coding of empty masks or the scale of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from acvis_kit.errors import ConfigError, DataError
from acvis_kit.metrics import checks, hota, tally, track_map
from acvis_kit.metrics.bootstrap import bootstrap_intervals
from acvis_kit.metrics.checks import JSONSource, Protocol
from acvis_kit.metrics.sequence import Sequence
from acvis_kit.metrics.tally import KEYS, VideoTally


@dataclass(frozen=True, eq=False)
class Report:
    """Scores, and the per-video sums they are computed from.

    Scores are in percent; numbers of frames, tracks and masks are not. A score is NaN where there is nothing to score;
    under "official" AP and AR are -100 there, as in the published evaluator.

    Attributes:
        protocol: "official" or "paper".
        categories: category names by id.
        tallies: each video's sums; all scores follow from them.
        bootstrap: number of resamples of the videos for `intervals`; 0 for none.
        seed: seed of the resampling.
    """

    protocol: Protocol
    categories: dict[int, str]
    tallies: tuple[VideoTally, ...]
    bootstrap: int = 0
    seed: int = 0

    @cached_property
    def scores(self) -> dict[str, float]:
        """Scores by the keys of the published evaluator, `tally.KEYS`; numbers of frames are integers."""
        return self._named(self._scores(self.tallies)[0])

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % bootstrap intervals over videos by key; NaN where no draw has the score; empty without bootstrap.

        A draw may lack some classes, which widens the intervals of means over classes.
        """
        if not self.bootstrap:
            return {}
        low, high = bootstrap_intervals(
            np.eye(len(self.tallies)),  # a sum is then the number of times a video is drawn
            lambda weights: self._scores(self.tallies, weights),
            draws=self.bootstrap,
            generator=np.random.default_rng(self.seed),
        )
        return {key: (float(a), float(b)) for key, a, b in zip(KEYS, low, high, strict=True)}

    def drawn(self, times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Scores of given draws of the videos, to compare two reports of the same videos by bootstrap.

        Args:
            times: (draws, videos), how often each video of `tallies` occurs in a draw.

        Returns:
            Scores (draws,) by key.
        """
        return dict(zip(KEYS, self._scores(self.tallies, times).T, strict=True))

    @cached_property
    def per_class(self) -> dict[str, dict[str, float]]:
        """AP, AR and HOTA with its parts, and the numbers of true and predicted tracks, by class name."""
        found = self._parts
        ap, ar = found.precision[0].mean(2), found.recall[0, 0].mean(1)  # (R, K), (K,)
        rows = dict(zip(tally.MAP_KEYS, [*ap, ar], strict=True))
        rows |= {name: found.hota[name][0].mean(1) for name in hota.FAMILY}
        table = {}
        for k, (number, name) in enumerate(self.categories.items()):
            table[name] = {key: self._undefined(key, 100 * float(row[k])) for key, row in rows.items()} | {
                "true_tracks": sum(int((t.matches.true_classes == number).sum()) for t in self.tallies),
                "pred_tracks": sum(int((t.matches.classes == number).sum()) for t in self.tallies),
            }
        return table

    @cached_property
    def per_video(self) -> dict[str, dict[str, float]]:
        """All scores of each video alone, and its numbers of frames and tracks, by video name."""
        return {
            t.name: self._named(self._scores([t])[0])
            | {"frames": t.frames, "true_tracks": len(t.matches.true_classes), "pred_tracks": len(t.matches.classes)}
            for t in self.tallies
        }

    @cached_property
    def curves(self) -> dict[str, NDArray[np.float64]]:
        """Curves in percent over thresholds in [0, 1].

        `AP` and `AR` are over `iou_thresholds` (10), the HOTA family and `FA` with its parts over `alphas` (19), and
        `precision` (10, 101) over `iou_thresholds` and `recall`.
        """
        found = self._parts
        right, frames = found.right[0], found.frames[0]
        out = {
            "iou_thresholds": track_map.IOU_THRESHOLDS,
            "recall": track_map.RECALLS,
            "alphas": hota.ALPHAS,
            "AP": tally.mean_defined(found.precision[0, 0], axis=0),
            "AR": tally.mean_defined(found.recall[0, 0], axis=0),
            "precision": track_map.precision_at_recall(
                [t.matches for t in self.tallies], list(self.categories), self.protocol == "paper"
            ),
            "FA": tally.quotient(right.sum(0), frames.sum()),
        }
        out |= {name: tally.mean_defined(found.hota[name][0], axis=0) for name in hota.FAMILY}
        out |= {f"FA{kind}": tally.quotient(right[k], frames[k]) for k, kind in enumerate(tally.fsla.KINDS)}
        return {k: v.copy() if k in ("iou_thresholds", "recall", "alphas") else 100 * v for k, v in out.items()}

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of videos, frames, tracks and masks. Under "paper", tracks without a pixel do not count."""
        return {
            "videos": len(self.tallies),
            "frames": sum(t.frames for t in self.tallies),
            "true_tracks": sum(len(t.matches.true_classes) for t in self.tallies),
            "pred_tracks": sum(len(t.matches.classes) for t in self.tallies),
            "true_masks": sum(int(t.true_counts.sum()) for t in self.tallies),
            "pred_masks": sum(int(t.pred_counts.sum()) for t in self.tallies),
        }

    def merge(self, *others: Report) -> Report:
        """The report of all videos together, equal to evaluating them at once.

        Under "official" mAP may differ: each report has its own unrecorded track, see `track_map.match`.

        Raises:
            DataError: a video is in two reports.
            ConfigError: the reports differ in protocol or categories.
        """
        for other in others:
            if (other.protocol, other.categories) != (self.protocol, self.categories):
                raise ConfigError("only reports with one protocol and the same categories can be merged.")
        together = sorted((t for report in (self, *others) for t in report.tallies), key=lambda t: t.name)
        for first, second in pairwise(together):
            if first.name == second.name:
                raise DataError(f"video {first.name!r} is in two of the reports.")
        return Report(self.protocol, self.categories, tuple(together), self.bootstrap, self.seed)

    @cached_property
    def _parts(self) -> tally.Parts:
        return tally.parts(self.tallies, list(self.categories), self.protocol)

    def _scores(self, tallies: Iterable[VideoTally], weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        return tally.scores(list(tallies), list(self.categories), self.protocol, weights)

    def _named(self, values: NDArray[np.float64]) -> dict[str, float]:
        named = dict(zip(KEYS, values.tolist(), strict=True))
        return {
            key: int(value) if key in tally.FRAME_KEYS else self._undefined(key, value) for key, value in named.items()
        }

    def _undefined(self, key: str, value: float) -> float:
        undefined = self.protocol == "official" and key in tally.MAP_KEYS and math.isnan(value)
        return -100.0 if undefined else value


def evaluate(gt: JSONSource, results: JSONSource, protocol: Protocol = "paper") -> dict[str, float]:
    """Scores of a result file.

    Args:
        gt: AVISeg ground truth, a path or the loaded object; see `checks`.
        results: a path or the loaded object: AVISeg's list, or an object that has the list under "results".
        protocol: "official" for the published evaluator, "paper" for the definitions.

    Returns:
        mAP, HOTA and FSLA with their parts in percent, and numbers of frames, by the keys of the published evaluator.

    Raises:
        DataError: an entry does not fit; the message names it.
        ConfigError: the protocol is unknown.
    """
    return evaluate_in_full(gt, results, protocol).scores


def evaluate_in_full(
    gt: JSONSource, results: JSONSource, protocol: Protocol = "paper", bootstrap: int = 0, seed: int = 0
) -> Report:
    """Scores of a result file with tables and curves.

    Args:
        gt: see `evaluate`.
        results: see `evaluate`.
        protocol: see `evaluate`.
        bootstrap: number of resamples of the videos for 95 % intervals, some hundreds; 0 for none. Only with "paper".
        seed: seed of the resampling.

    Raises:
        DataError: an entry does not fit; the message names it.
        ConfigError: the protocol is unknown, or `bootstrap` is negative or used with "official".
    """
    truth = checks.read_truth(gt, protocol)
    predicted = checks.read_results(results, truth, protocol)
    sequences = (Sequence.from_tracks(v.name, v.length, v.tracks, predicted[v.id]) for v in truth.videos.values())
    return evaluate_sequences(sequences, truth.categories, protocol, bootstrap, seed)


def evaluate_sequences(
    sequences: Iterable[Sequence],
    categories: Mapping[int, str],
    protocol: Protocol = "paper",
    bootstrap: int = 0,
    seed: int = 0,
) -> Report:
    """Scores of masks in memory; `Sequence.from_masks` makes each video.

    Args:
        sequences: videos with different names.
        categories: names by id, of all classes; "official" averages HOTA over all of them.
        protocol: see `evaluate`.
        bootstrap: see `evaluate_in_full`.
        seed: see `evaluate_in_full`.

    Raises:
        DataError: two videos have one name, or a class is not in `categories`.
        ConfigError: the protocol is unknown, or `bootstrap` is negative or used with "official".
    """
    checks.check_protocol(protocol)
    if bootstrap < 0:
        raise ConfigError(f"bootstrap={bootstrap}: the number of resamples must be 0 or more.")
    if bootstrap and protocol == "official":
        raise ConfigError(
            f'bootstrap={bootstrap} needs protocol="paper": under "official" a class that a draw lacks counts as 0 in '
            "the mean, so the intervals would lie below the scores."
        )
    tallies = tally.tally(list(sequences), list(categories), protocol)
    return Report(protocol, dict(categories), tuple(tallies), bootstrap, seed)
