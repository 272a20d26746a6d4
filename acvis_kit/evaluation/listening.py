"""Whether predictions follow the sound: the same frames under six soundtracks, whose sources are known.

original    scored with the usual metrics; twins (two objects of one class that look and sound alike) differ in a cue
muted       digital silence
foreign     foreign sound: only sounds of classes that are not in the picture
swapped     where one object sounded, only another one sounds, which is visible, was silent and is of another class
off-screen  the original and a voice from outside the picture; the seconds with such a voice are scored
noisy       the original and white noise 10 dB below the RMS of its sounding seconds

Only AVIS-Synth provides all of them (`{split}_scenes.json`); it has one frame per second. Each clip is encoded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from acvis_kit.clip import SAMPLE_RATE, Clip
from acvis_kit.data.aviseg import AVISegSplit, VideoEntry
from acvis_kit.data.soundtracks import as_stored, load_scenes
from acvis_kit.data.synth.counterfactual import CounterfactualKind, counterfactual, possible_kinds
from acvis_kit.data.synth.records import ObjectRecord, SceneRecord
from acvis_kit.data.synth.soundtrack import Part, Soundtrack
from acvis_kit.distributed import collect, own_share
from acvis_kit.errors import DataError
from acvis_kit.evaluation.dataset import category_ids_of, results_of
from acvis_kit.inference.prediction import Prediction
from acvis_kit.inference.predictor import Predictor
from acvis_kit.masks import iou
from acvis_kit.metrics.audio_control import (
    ControlScore,
    ControlSums,
    ShownMasks,
    Swap,
    clip_control,
    control_score,
)
from acvis_kit.metrics.bootstrap import bootstrap_intervals
from acvis_kit.metrics.counting import CountScore, score_counts
from acvis_kit.metrics.evaluate import Report, evaluate_in_full
from acvis_kit.metrics.tally import quotient

NOISE_SNR_DB = 10.0
ON_OBJECT = 0.5  # IoU above which a mask is on an object
DRAWS = 2000  # bootstrap resamples
PICTURED = 10  # number of clips that a sheet is drawn of
SOUNDTRACKS = ("original", "muted", "foreign", "swapped", "off-screen", "noisy")
COUNTED = ("original", "off-screen")  # soundtracks under which counts are compared


@dataclass(frozen=True)
class Proportion:
    """A fraction of seconds, in [0, 1], with its 95 % interval over clips; NaN where nothing was measured.

    Attributes:
        value: right seconds / seconds.
        low: lower end of the interval.
        high: upper end of the interval.
        seconds: number of seconds measured.
    """

    value: float
    low: float
    high: float
    seconds: int

    @classmethod
    def of(cls, sums: Sequence[tuple[float, float]]) -> Proportion:
        """Pool (right seconds, seconds) of every clip."""
        table = np.array(sums, np.float64).reshape(-1, 2)
        ratio = lambda s: quotient(s[..., :1], s[..., 1:])  # noqa: E731
        low, high = bootstrap_intervals(table, ratio, draws=DRAWS)
        total = table.sum(0)
        return cls(float(ratio(total)[0]), float(low[0]), float(high[0]), int(total[1]))


class _Row(NamedTuple):
    """A measure with its 95 % interval, and the project's target: a lower (">=") or upper ("<=") bound, or None."""

    name: str
    value: float
    low: float
    high: float
    sense: str
    target: float | None


# The project's targets for its weights, on drawn scenes and on filmed ones.
DRAWN_TARGETS = {
    "mAP": 60, "HOTA": 70, "FSLA": 65, "count": 95, "count_offscreen": 85, "muted": 99.5, "swapped": 95, "foreign": 97,
    "twins": 75, "noise": 8,
}  # fmt: skip
FILMED_TARGETS = {
    "mAP": 30,
    "HOTA": 55,
    "FSLA": 50,
    "count": 88,
    "muted": 99.5,
    "swapped": 85,
    "foreign": 90,
    "named": 85,
}


@dataclass(frozen=True)
class Listening:
    """Measurements with one setting of the count gate.

    Attributes:
        report: scores under the original soundtrack, protocol "paper".
        noisy: scores under the noisy soundtrack, protocol "paper".
        noise_loss: (loss, low, high) of FSLA under noise, in points; the interval resamples clips in pairs.
        control: scores under the muted, foreign and swapped soundtracks.
        counting: counts under the original soundtrack.
        counted: fraction of its seconds that are counted right.
        counting_offscreen: counts under the off-screen soundtrack.
        counted_offscreen: fraction of its seconds that are counted right.
        twins: fraction of the seconds with a cue in which the sounding twin has the best mask.
        named: fraction of the seconds with one sounding object in which the best mask has its class.
        filmed: whether the scenes are made of photographs.
    """

    report: Report
    noisy: Report
    noise_loss: tuple[float, float, float]
    control: ControlScore
    counting: CountScore
    counted: Proportion
    counting_offscreen: CountScore
    counted_offscreen: Proportion
    twins: Proportion
    named: Proportion
    filmed: bool = False

    def rows(self) -> list[dict[str, Any]]:
        """Rows of the table: name, value and 95 % interval in percent (noise in points), and the project's target.

        Filmed scenes have no twins; drawn scenes, whose class the masks seldom miss, have no row for the class.
        """
        target = (FILMED_TARGETS if self.filmed else DRAWN_TARGETS).get

        def row_of(name: str, p: Proportion, key: str) -> _Row:
            return _Row(name, 100 * p.value, 100 * p.low, 100 * p.high, ">=", target(key))

        scores, ends, control = self.report.scores, self.report.intervals, self.control
        undefined = (float("nan"), float("nan"))
        rows = [
            _Row(name, scores[key], *ends.get(key, undefined), ">=", target(name))
            for name, key in (("mAP", "AP_all"), ("HOTA", "HOTA"), ("FSLA", "FA"))
        ]
        rows.append(row_of("count right (0, 1, 2+)", self.counted, "count"))
        rows.append(row_of("count right, off-screen sound added", self.counted_offscreen, "count_offscreen"))
        for name, key, sound in (
            ("muted: seconds without a mask", "silent_when_muted", "muted"),
            ("swapped: top mask on the object now heard", "follows_swap", "swapped"),
            ("foreign sound: seconds without a mask", "silent_when_foreign", "foreign"),
        ):
            low, high = control.intervals[key]
            rows.append(_Row(name, 100 * getattr(control, key), 100 * low, 100 * high, ">=", target(sound)))
        if self.filmed:
            rows.append(row_of("one object sounds: the top mask has its class", self.named, "named"))
        else:
            rows.append(row_of("twins with a cue: the right one on top", self.twins, "twins"))
        rows.append(_Row("noise 10 dB below: loss of FSLA, points", *self.noise_loss, "<=", target("noise")))
        return [row._asdict() for row in rows]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "rows": self.rows(),
            "control": self.control.to_dict(),
            "counting": self.counting.to_dict(),
            "counting_offscreen": self.counting_offscreen.to_dict(),
            "scores": self.report.scores,
            "scores_noisy": self.noisy.scores,
        }


def listening_table(listened: dict[bool, Listening]) -> str:
    """Markdown table: a row per measure, a column without and one with the count gate."""
    return rows_table(listened[False].rows(), listened[True].rows())


def rows_table(plain_rows: Sequence[Mapping[str, Any]], gated_rows: Sequence[Mapping[str, Any]]) -> str:
    """`listening_table` from rows as in the JSON file of `acvis evaluate --listen --out`."""
    lines = ["| | at least | no gate | count gate |", "|---|---|---|---|"]
    for plain, gated in zip(plain_rows, gated_rows, strict=True):
        target = "-" if plain["target"] is None else f"{plain['target']:g}"
        if plain["sense"] == "<=" and plain["target"] is not None:
            target = f"at most {target}"
        cells = [
            "undefined" if math.isnan(row["value"]) else f"{row['value']:.1f} ({row['low']:.1f} to {row['high']:.1f})"
            for row in (plain, gated)
        ]
        lines.append(f"| {plain['name']} | {target} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def listen(
    predictor: Predictor,
    split: AVISegSplit,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    pictures: Path | None = None,
) -> dict[bool, Listening]:
    """Predict every clip of a split under all soundtracks and score the predictions.

    Several processes (torchrun) divide the clips among themselves.

    Args:
        predictor: without a count gate, since both settings are measured. Its model has a count head and only classes
            of the split.
        split: of AVIS-Synth.
        seed: of the random swaps, foreign voices and noise.
        say: called with a line of text after every clip, in the process that predicted it.
        pictures: a folder for sheets of the first ten clips under three soundtracks each.

    Returns:
        Measurements without (False) and with (True) the count gate; the same on every process.

    Raises:
        DataError: a split without `{split}_scenes.json`, a predictor with the gate, a model without a count head or
            audio encoder, or a class that the data set lacks.
    """
    config = predictor.model.config
    if predictor.count_gate or config.count_head == "none" or config.audio_encoder == "precomputed":
        raise DataError(
            "scores are measured without and with the count gate, under sounds that are made here: give a model that "
            "counts and contains its audio encoder, with count_gate=False"
        )
    heard = hear(predictor, split, seed=seed, say=say, pictures=pictures)
    return {gate: _summary(split, clips) for gate, clips in heard.items()}


def hear(
    predictor: Predictor,
    split: AVISegSplit,
    names: Collection[str] = SOUNDTRACKS,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    pictures: Path | None = None,
) -> dict[bool, list[ClipResults]]:
    """Predict every clip of a split under several soundtracks.

    Several processes (torchrun) divide the clips among themselves.

    Args:
        predictor: without a count gate. A model that takes precomputed features gets only the original sound.
        split: of AVIS-Synth.
        names: of the soundtracks.
        seed: see `listen`.
        say: see `listen`.
        pictures: see `listen`.

    Returns:
        The results of each clip, in the order of the split: without the count gate (False), and for models that count
        with it (True); the same on every process.

    Raises:
        DataError: a split without `{split}_scenes.json`, or a class that the data set lacks.
        AcvisError: a file of others lies where a picture is to be written.
    """
    if not split.scenes_file.is_file():
        raise DataError(f"{split.scenes_file} is not there: the sounds of AVIS-Synth are needed (acvis synth)")
    gates = (False,) if predictor.model.config.count_head == "none" else (False, True)
    scenes = load_scenes(split)
    category_ids = category_ids_of(predictor.model, split)
    if pictures is not None:
        from acvis_kit.viz.sheet import check_sheet_place

        for video in split.videos[:PICTURED]:
            check_sheet_place(pictures / f"{video.name}.png")
    found = {}
    for number, video in own_share(split.videos):
        clip_results = {gate: ClipResults(video.name) for gate in gates}
        scene, clip = scenes[video.id], split.clip(video)
        tracks = soundtracks(scene, clip.waveform, np.random.default_rng([seed, video.id])).only(names)
        pictured = {}
        for name, prediction in _predictions(predictor, split, video, clip, tracks):
            if pictures is not None and number < PICTURED and name in tracks.pictured:
                pictured[name] = prediction
            for gate, results in clip_results.items():
                results.add(name, prediction.gated() if gate else prediction, video.id, category_ids)
        for results in clip_results.values():
            results.score(scene, tracks)
        if pictures is not None and pictured:
            _draw_sheet(pictured, scene, tracks, pictures / f"{video.name}.png")
        found[number] = clip_results
        say(f"[{number + 1}/{len(split)}] {video.name}")
    collected = collect(found)
    return {gate: [results[gate] for results in collected] for gate in gates}


def _predictions(
    predictor: Predictor, split: AVISegSplit, video: VideoEntry, clip: Clip, tracks: Soundtracks
) -> Iterator[tuple[str, Prediction]]:
    """Predictions for a clip with the names of the soundtracks; the pictures are encoded once."""
    features = predictor.encode(clip)
    config = predictor.model.config
    if config.uses_audio and config.audio_encoder == "precomputed":
        vectors = torch.from_numpy(np.array(split.features(video)[: len(clip)], np.float32))
        yield "original", predictor.decode(features, audio_features=vectors)
        return
    prediction = None
    for name, waveform in tracks.waveforms.items():
        if prediction is None or config.uses_audio:
            prediction = predictor.decode(features, waveform)
        yield name, prediction


@dataclass(frozen=True)
class Soundtracks:
    """The soundtracks of one clip.

    Attributes:
        waveforms: (S,), by name.
        outside: bool (T,), seconds of "off-screen" with a voice from outside the picture.
        swap: the object that is silenced, the one that sounds instead, and in which seconds, bool (T,); None if there
            is no such pair.
    """

    waveforms: dict[str, Tensor]
    outside: NDArray[np.bool_]
    swap: tuple[ObjectRecord, ObjectRecord, NDArray[np.bool_]] | None

    @property
    def pictured(self) -> tuple[str, ...]:
        """The three soundtracks of a sheet; foreign sound if there is no swap."""
        return "original", "muted", "foreign" if self.swap is None else "swapped"

    def only(self, names: Collection[str]) -> Soundtracks:
        """Without the waveforms of other names."""
        return replace(self, waveforms={name: sound for name, sound in self.waveforms.items() if name in names})


def soundtracks(scene: SceneRecord, original: Tensor, rng: np.random.Generator) -> Soundtracks:
    """All soundtracks that are possible for a scene."""
    sounds = {"original": original, "muted": torch.zeros_like(original)}
    outside = np.zeros(scene.length, bool)
    kinds: dict[str, CounterfactualKind] = {"foreign": "foreign", "off-screen": "offscreen"}
    for name, kind in kinds.items():
        if kind not in possible_kinds(scene):
            continue
        track, _ = counterfactual(scene, kind, rng)
        sounds[name] = _as_long_as(original, track.render(recordings=scene.recordings))
        if kind == "offscreen":
            outside = np.any([part.seconds for part in track.parts if part.object is None], axis=0)
    swap = draw_swap(scene, rng)
    if swap is not None:
        _, new, seconds = swap
        part = Part(new.voice, tuple(seconds.tolist()), new.level_db, new.id)
        track = Soundtrack(scene.length, (part,), scene.soundtrack.noise)
        sounds["swapped"] = _as_long_as(original, track.render(recordings=scene.recordings))
    loud = np.repeat(scene.sounding.any(0), SAMPLE_RATE)[: len(original)]
    if loud.any():
        level = original.numpy()[loud].astype(np.float64)
        rms = float(np.sqrt(np.mean(level**2))) * 10 ** (-NOISE_SNR_DB / 20)
        noise = rng.standard_normal(len(original)).astype(np.float32) * np.float32(rms)
    else:  # no sound to be 10 dB below
        noise = np.zeros(len(original), np.float32)
    sounds["noisy"] = original + torch.from_numpy(noise)
    return Soundtracks(sounds, outside, swap)


def draw_swap(
    scene: SceneRecord, rng: np.random.Generator
) -> tuple[ObjectRecord, ObjectRecord, NDArray[np.bool_]] | None:
    """Two objects of different classes, and the seconds in which the first sounds and the second is in view and silent.

    None if there is no such pair. The picture shows that the second object sounds, and not another one of its class.
    """
    pairs = []
    for former in scene.objects:
        for new, possible in zip(scene.objects, scene.may_sound, strict=True):
            seconds = former.sounding & ~new.sounding & possible
            if former.class_name != new.class_name and seconds.any():
                pairs.append((former, new, seconds))
    return pairs[int(rng.integers(len(pairs)))] if pairs else None


def twin_seconds(shown: ShownMasks, scene: SceneRecord) -> tuple[int, int]:
    """Seconds in which a twin sounds with its cue: in how many it is on top, and how many there are.

    The twin on top is the one under the highest-scoring mask that is on either of them. A second without such a mask
    counts as wrong.
    """
    if not scene.twins or scene.pair is None:
        return 0, 0
    right = total = 0
    for t in range(scene.length):
        sounding = [scene.objects[n] for n in scene.pair if scene.objects[n].sounding[t] and scene.objects[n].cue[t]]
        silent = [scene.objects[n] for n in scene.pair if not scene.objects[n].sounding[t]]
        if len(sounding) != 1 or len(silent) != 1:
            continue
        right_mask, wrong_mask = sounding[0].segmentations[t], silent[0].segmentations[t]
        if wrong_mask is None:
            continue
        assert right_mask is not None, "objects sound only in view"
        total += 1
        for _, mask in shown.frames[t]:
            on_right, on_wrong = iou([mask], [right_mask, wrong_mask])[0]
            if max(on_right, on_wrong) > ON_OBJECT:
                right += on_right > on_wrong
                break
    return right, total


def named_seconds(top: Sequence[str | None], scene: SceneRecord) -> tuple[int, int]:
    """Seconds in which one object sounds: in how many the best mask has its class, and how many there are.

    Args:
        top: class of the best mask of each second, None without masks.
        scene: the truth.
    """
    alone = np.flatnonzero(scene.sounding.sum(0) == 1)
    true = [scene.objects[int(scene.sounding[:, t].argmax())].class_name for t in alone]
    return sum(top[t] == name for t, name in zip(alone.tolist(), true, strict=True)), len(alone)


class ClipResults:
    """Results of one clip with one setting of the count gate, under the soundtracks that were predicted.

    Attributes:
        name: of the clip.
        results: AVISeg's results under the original and the noisy soundtrack, by its name.
        probabilities: of the counts under the soundtracks in `COUNTED`, float32 (T, K_max + 1), by name.
        counts: scores of these counts, by name.
        control: see `clip_control`.
        twins: see `twin_seconds`.
        named: seconds with one sounding object: in how many the best mask has its class, and how many there are.
        filmed: whether the scene is made of photographs.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.results: dict[str, list[dict[str, Any]]] = {"original": [], "noisy": []}
        self.probabilities: dict[str, NDArray[np.float32]] = {}
        self.counts: dict[str, CountScore] = {}
        self.control: ControlSums
        self.twins: tuple[int, int]
        self.named: tuple[int, int]
        self.filmed = False
        self._shown: dict[str, ShownMasks] = {}
        self._top: list[str | None] = []  # class of the best mask of each second under the original sound

    def add(self, name: str, prediction: Prediction, video_id: int, category_ids: dict[str, int]) -> None:
        self._shown[name] = ShownMasks.from_prediction(prediction)
        if name == "original":
            self._top = [frame.tracks[0].class_name if frame.tracks else None for frame in prediction]
        if name in self.results:
            self.results[name] = results_of(prediction, video_id, category_ids)
        if name in COUNTED and prediction.count_probs is not None:
            self.probabilities[name] = prediction.count_probs.float().cpu().numpy()

    def score(self, scene: SceneRecord, tracks: Soundtracks) -> None:
        """Score the predictions under all soundtracks and drop their masks."""
        shown = self._shown
        swaps = []
        if tracks.swap is not None and "swapped" in shown:
            former, new, seconds = tracks.swap
            own = [m if s else None for m, s in zip(former.segmentations, former.sounding, strict=True)]
            swaps = [Swap(shown["original"], shown["swapped"], own, list(new.segmentations), seconds)]
        self.control = clip_control(shown.get("muted"), shown.get("foreign"), swaps, ON_OBJECT)
        self.twins = twin_seconds(shown["original"], scene)
        self.named, self.filmed = named_seconds(self._top, scene), scene.filmed
        true = (scene.sounding & np.array([[m is not None for m in o.segmentations] for o in scene.objects])).sum(0)
        scored = {"original": np.ones(scene.length, bool), "off-screen": tracks.outside}
        self.counts = {n: score_counts(true[scored[n]], found[scored[n]]) for n, found in self.probabilities.items()}
        self._shown = {}  # not sent to other processes


def _summary(split: AVISegSplit, clips: Sequence[ClipResults]) -> Listening:
    report, noisy = (
        evaluate_in_full(
            split.truth, [result for clip in clips for result in clip.results[name]], "paper", bootstrap=DRAWS
        )
        for name in ("original", "noisy")
    )
    scores = {name: [clip.counts[name] for clip in clips if name in clip.counts] for name in COUNTED}
    counted = {name: Proportion.of([(s.confusion.trace(), s.frames) for s in own]) for name, own in scores.items()}
    empty = CountScore.empty(scores["original"][0].k_max)
    return Listening(
        report=report,
        noisy=noisy,
        noise_loss=_loss(report, noisy),
        control=control_score([clip.control for clip in clips]),
        counting=sum(scores["original"], start=empty),
        counted=counted["original"],
        counting_offscreen=sum(scores["off-screen"], start=empty),
        counted_offscreen=counted["off-screen"],
        twins=Proportion.of([clip.twins for clip in clips]),
        named=Proportion.of([clip.named for clip in clips]),
        filmed=any(clip.filmed for clip in clips),
    )


def _draw_sheet(pictured: dict[str, Prediction], scene: SceneRecord, tracks: Soundtracks, path: Path) -> None:
    from acvis_kit.viz.sheet import save_sheet, soundtrack_sheet

    silence = np.zeros(scene.length, int)
    true = {"original": scene.sounding.sum(0), "muted": silence, "foreign": silence}
    names = {
        "original": "original sound",
        "muted": "muted",
        "foreign": "foreign sound: a class that is not in the picture",
    }
    if tracks.swap is not None:
        former, new, seconds = tracks.swap
        true["swapped"] = seconds.astype(int)
        names["swapped"] = f"the {new.class_name} sounds instead of the {former.class_name}"
    pictured = {name: pictured[name] for name in tracks.pictured if name in pictured}
    save_sheet(
        soundtrack_sheet({names[n]: p for n, p in pictured.items()}, {names[n]: c for n, c in true.items()}), path
    )


def _loss(report: Report, noisy: Report) -> tuple[float, float, float]:
    """FSLA of `report` minus that of `noisy`, with an interval over clips that are resampled alike for both."""
    change = lambda times: (report.drawn(times)["FA"] - noisy.drawn(times)["FA"])[:, None]  # noqa: E731
    low, high = bootstrap_intervals(np.eye(len(report.tallies)), change, draws=DRAWS)
    return report.scores["FA"] - noisy.scores["FA"], float(low[0]), float(high[0])


def _as_long_as(original: Tensor, sound: NDArray[np.float32]) -> Tensor:
    """Rendered sound rounded to 16 bits like a WAV file's, so that the rounding does not distinguish soundtracks."""
    return torch.from_numpy(as_stored(sound[: len(original)]))
