"""Does a model listen? The same pictures under six soundtracks, on scenes of which every soundtrack is known.

original    what the other scores are measured on; twins, who look and sound alike, are told apart by a cue alone
muted       digital silence
foreign     only classes sound that are not in the picture
swapped     where one object sounded, another sounds, visible and silent so far and of another class, alone
off-screen  the original and a voice from outside the picture; seconds with such a voice are judged
noisy       the original and white noise 10 dB below the RMS of its sounding seconds

Only AVIS-Synth knows all of them (`{split}_scenes.json`). The picture of a clip is encoded once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.data.soundtracks import as_stored
from acvis_kit.data.synth.counterfactual import counterfactual, possible_kinds
from acvis_kit.data.synth.records import ObjectRecord, SceneRecord, load_scenes
from acvis_kit.data.synth.soundtrack import Part, Soundtrack
from acvis_kit.data.synth.who_sounds import SOUNDS_FROM
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

NOISE_SNR_DB = 10.0
ON_OBJECT = 0.5  # IoU above which a mask is on an object
DRAWS = 2000  # of the bootstrap
PICTURED = 10  # clips of which a sheet is drawn
COUNTED = ("original", "off-screen")  # soundtracks under which counts are compared


@dataclass(frozen=True)
class Proportion:
    """A share of seconds, in [0, 1], with its 95 % interval over clips; NaN where nothing was measured."""

    value: float
    low: float
    high: float
    seconds: int

    @classmethod
    def of(cls, sums: Sequence[tuple[float, float]]) -> Proportion:
        """From (right seconds, seconds) of every clip."""
        table = np.array(sums, np.float64).reshape(-1, 2)
        ratio = lambda s: np.where(s[..., 1:] > 0, s[..., :1] / np.where(s[..., 1:] > 0, s[..., 1:], 1), np.nan)  # noqa: E731
        low, high = bootstrap_intervals(table, ratio, draws=DRAWS)
        total = table.sum(0)
        return cls(float(ratio(total)[0]), float(low[0]), float(high[0]), int(total[1]))


@dataclass(frozen=True)
class Listening:
    """What was measured with one setting of the count gate.

    Attributes:
        report, noisy: scores under the original and the noisy soundtrack, protocol "paper".
        noise_loss: (loss, low, high), FSLA points that the noise costs; the interval draws clips in pairs.
        control: mute, foreign and swap.
        counting, counting_offscreen: seconds counted right, and their shares with intervals beside them.
        twins: seconds with a cue in which the right one of the twins is on top.
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

    def rows(self) -> list[dict[str, Any]]:
        """The table: name, value and 95 % interval in percent (the last in points), and what AVIS-Synth asks for."""
        scores, ends, control = self.report.scores, self.report.intervals, self.control
        none = (float("nan"), float("nan"))
        rows = [
            (label, scores[key], *ends.get(key, none), ">=", target)
            for label, key, target in (("mAP", "AP_all", 60), ("HOTA", "HOTA", 70), ("FSLA", "FA", 65))
        ]
        shares = [
            ("count right (0, 1, 2+)", self.counted, 95),
            ("count right, off-screen sound added", self.counted_offscreen, 85),
        ]
        rows += [(label, *(100 * x for x in (s.value, s.low, s.high)), ">=", target) for label, s, target in shares]
        for label, key, target in (
            ("muted: seconds without a mask", "silent_when_muted", 99.5),
            ("swapped: top mask on the object now heard", "follows_swap", 95),
            ("foreign sound: seconds without a mask", "silent_when_foreign", 97),
        ):
            rows.append((label, *(100 * x for x in (getattr(control, key), *control.intervals[key])), ">=", target))
        twins = (100 * x for x in (self.twins.value, self.twins.low, self.twins.high))
        rows.append(("twins with a cue: the right one on top", *twins, ">=", 75))
        rows.append(("noise 10 dB below: loss of FSLA, points", *self.noise_loss, "<=", 8))
        return [dict(zip(("name", "value", "low", "high", "sense", "target"), row, strict=True)) for row in rows]

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
    """Markdown: a row per question, a column without and one with the count gate."""
    return rows_table(listened[False].rows(), listened[True].rows())


def rows_table(plain_rows: Sequence[Mapping[str, Any]], gated_rows: Sequence[Mapping[str, Any]]) -> str:
    """`listening_table` of `Listening.rows`, as they stand in the JSON file of `acvis evaluate --listen --out`."""
    lines = ["| | at least | no gate | count gate |", "|---|---|---|---|"]
    for plain, gated in zip(plain_rows, gated_rows, strict=True):
        asked = f"{plain['target']:g}" if plain["sense"] == ">=" else f"at most {plain['target']:g}"
        cells = [f"{row['value']:.1f} ({row['low']:.1f} to {row['high']:.1f})" for row in (plain, gated)]
        lines.append(f"| {plain['name']} | {asked} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def listen(
    predictor: Predictor,
    split: AVISegSplit,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    pictures: Path | None = None,
) -> dict[bool, Listening]:
    """Ask all questions of every clip of a split. Several processes (torchrun) share the clips.

    Args:
        predictor: without a count gate: both settings are measured. Its model counts and knows the split's classes.
        split: of AVIS-Synth. seed: of the swaps, foreign voices and noise that are drawn.
        say: told of every clip that is done, in the process that did it.
        pictures: a folder for sheets of the first ten clips under three soundtracks each.

    Returns:
        By whether the count gate was used; the same on every process.

    Raises:
        DataError: a split without `{split}_scenes.json`, or classes the data set does not have.
    """
    if not split.scenes_file.is_file():
        raise DataError(f"{split.scenes_file} is not there: only AVIS-Synth knows the sounds it takes (acvis synth)")
    if predictor.count_gate or predictor.model.config.count_head == "none":
        raise DataError("listening is measured without and with the count gate: give a model that counts, ungated")
    scenes = load_scenes(split.scenes_file)
    category_ids = category_ids_of(predictor.model, split)
    found = {}
    for number, video in own_share(split.videos):
        notes = {gate: _ClipResults() for gate in (False, True)}
        scene, clip = scenes[video.id], split.clip(video)
        rng = np.random.default_rng([seed, video.id])
        tracks = soundtracks(scene, clip.waveform, rng)
        features = predictor.encode(clip)
        pictured = {}
        for name, waveform in tracks.waveforms.items():
            prediction = predictor.decode(features, waveform)
            if pictures is not None and number < PICTURED and name in tracks.pictured:
                pictured[name] = prediction
            for gate, note in notes.items():
                note.take(name, prediction.gated() if gate else prediction, video.id, category_ids)
        for note in notes.values():
            note.judge(scene, tracks)
        if pictured:
            _draw(pictured, scene, tracks, pictures / f"{video.name}.png")
        found[number] = notes
        say(f"[{number + 1}/{len(split)}] {video.name}")
    together = collect(found)
    return {gate: _summary(split, [notes[gate] for notes in together]) for gate in (False, True)}


@dataclass(frozen=True)
class Soundtracks:
    """The sounds of one clip.

    Attributes:
        waveforms: (S,), by name. outside: bool (T,), seconds of "off-screen" with a voice from outside the picture.
        swap: who gives its place to whom, in which seconds, bool (T,); None if nobody can.
    """

    waveforms: dict[str, Tensor]
    outside: NDArray[np.bool_]
    swap: tuple[ObjectRecord, ObjectRecord, NDArray[np.bool_]] | None

    @property
    def pictured(self) -> tuple[str, ...]:
        """The three that a sheet shows; a foreign sound where nobody can swap."""
        return "original", "muted", "foreign" if self.swap is None else "swapped"


def soundtracks(scene: SceneRecord, original: Tensor, rng: np.random.Generator) -> Soundtracks:
    """All soundtracks of a scene; those are left out that it cannot have."""
    sounds = {"original": original, "muted": torch.zeros_like(original)}
    outside = np.zeros(scene.length, bool)
    for name, kind in (("foreign", "foreign"), ("off-screen", "offscreen")):
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
    else:  # nothing sounds: there is nothing to be 10 dB below
        noise = np.zeros(len(original), np.float32)
    sounds["noisy"] = original + torch.from_numpy(noise)
    return Soundtracks(sounds, outside, swap)


def draw_swap(
    scene: SceneRecord, rng: np.random.Generator
) -> tuple[ObjectRecord, ObjectRecord, NDArray[np.bool_]] | None:
    """Two objects of different classes, and the seconds in which the first sounds and the second, in view, is silent.

    None if there is no such pair. An object that shares its class with another is never the second: its sound would
    not tell which of the two it is.
    """
    often = Counter(thing.class_name for thing in scene.objects)
    pairs = []
    for former in scene.objects:
        for new in scene.objects:
            seconds = former.sounding & ~new.sounding & (new.share >= SOUNDS_FROM)
            if former.class_name != new.class_name and often[new.class_name] == 1 and seconds.any():
                pairs.append((former, new, seconds))
    return pairs[int(rng.integers(len(pairs)))] if pairs else None


def twin_seconds(shown: ShownMasks, scene: SceneRecord) -> tuple[int, int]:
    """Of the seconds in which a twin sounds and shows its cue: in how many it is on top, and how many there are.

    On top is the twin under the highest-scoring mask that lies on either of them; no such mask is wrong.
    """
    if not scene.twins:
        return 0, 0
    right = total = 0
    for t in range(scene.length):
        sounding = [scene.objects[n] for n in scene.pair if scene.objects[n].sounding[t] and scene.objects[n].cue[t]]
        silent = [scene.objects[n] for n in scene.pair if not scene.objects[n].sounding[t]]
        if len(sounding) != 1 or len(silent) != 1 or silent[0].segmentations[t] is None:
            continue
        total += 1
        truth = [sounding[0].segmentations[t], silent[0].segmentations[t]]
        for _, mask in shown.frames[t]:
            on_right, on_wrong = iou([mask], truth)[0]
            if max(on_right, on_wrong) > ON_OBJECT:
                right += on_right > on_wrong
                break
    return right, total


class _ClipResults:
    """What is written down about one clip, with one setting of the gate.

    Attributes:
        results: of the soundtracks that are scored, by their names. counts: of those that are counted.
        control, twins: see `clip_control` and `twin_seconds`.
    """

    def __init__(self) -> None:
        self.results: dict[str, list[dict[str, Any]]] = {"original": [], "noisy": []}
        self.counts: dict[str, CountScore] = {}
        self.control: ControlSums
        self.twins: tuple[int, int]
        self._shown: dict[str, ShownMasks] = {}
        self._probabilities: dict[str, NDArray[np.float64]] = {}

    def take(self, name: str, prediction: Prediction, video_id: int, category_ids: dict[str, int]) -> None:
        self._shown[name] = ShownMasks.from_prediction(prediction)
        if name in self.results:
            self.results[name] = results_of(prediction, video_id, category_ids)
        if name in COUNTED:
            self._probabilities[name] = prediction.count_probs.numpy()

    def judge(self, scene: SceneRecord, tracks: Soundtracks) -> None:
        shown = self._shown
        swaps = []
        if tracks.swap is not None:
            former, new, seconds = tracks.swap
            own = [m if s else None for m, s in zip(former.segmentations, former.sounding, strict=True)]
            swaps = [Swap(shown["original"], shown["swapped"], own, list(new.segmentations), seconds)]
        self.control = clip_control(shown["muted"], shown.get("foreign"), swaps, ON_OBJECT)
        self.twins = twin_seconds(shown["original"], scene)
        true = (scene.sounding & np.array([[m is not None for m in o.segmentations] for o in scene.objects])).sum(0)
        judged = {"original": np.ones(scene.length, bool), "off-screen": tracks.outside}
        self.counts = {n: score_counts(true[judged[n]], found[judged[n]]) for n, found in self._probabilities.items()}
        self._shown, self._probabilities = {}, {}  # judged: not to be carried to other processes


def _summary(split: AVISegSplit, notes: Sequence[_ClipResults]) -> Listening:
    report, noisy = (
        evaluate_in_full(split.truth, [r for n in notes for r in n.results[name]], "paper", bootstrap=DRAWS)
        for name in ("original", "noisy")
    )
    scores = {name: [note.counts[name] for note in notes if name in note.counts] for name in COUNTED}
    counted = {name: Proportion.of([(s.confusion.trace(), s.frames) for s in own]) for name, own in scores.items()}
    empty = CountScore.empty(scores["original"][0].k_max)
    return Listening(
        report=report,
        noisy=noisy,
        noise_loss=_loss(report, noisy),
        control=control_score([note.control for note in notes]),
        counting=sum(scores["original"], start=empty),
        counted=counted["original"],
        counting_offscreen=sum(scores["off-screen"], start=empty),
        counted_offscreen=counted["off-screen"],
        twins=Proportion.of([note.twins for note in notes]),
    )


def _draw(pictured: dict[str, Prediction], scene: SceneRecord, tracks: Soundtracks, path: Path) -> None:
    from acvis_kit.viz.sheet import soundtrack_sheet

    silence = np.zeros(scene.length, int)
    true = {"original": scene.sounding.sum(0), "muted": silence, "foreign": silence}
    names = {"original": "original sound", "muted": "muted", "foreign": "the sound of something that is not there"}
    if tracks.swap is not None:
        former, new, seconds = tracks.swap
        true["swapped"] = seconds.astype(int)
        names["swapped"] = f"the {new.class_name} sounds instead of the {former.class_name}"
    pictured = {name: pictured[name] for name in tracks.pictured if name in pictured}
    sheet = soundtrack_sheet({names[n]: p for n, p in pictured.items()}, {names[n]: c for n, c in true.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _loss(report: Report, noisy: Report) -> tuple[float, float, float]:
    """FSLA of `report` minus that of `noisy`, with the interval over clips drawn for both alike."""
    change = lambda times: (report.drawn(times)["FA"] - noisy.drawn(times)["FA"])[:, None]  # noqa: E731
    low, high = bootstrap_intervals(np.eye(len(report.tallies)), change, draws=DRAWS)
    return report.scores["FA"] - noisy.scores["FA"], float(low[0]), float(high[0])


def _as_long_as(original: Tensor, sound: NDArray[np.float32]) -> Tensor:
    """Rendered sound as if it had been in a WAV file: the rounding to 16 bits must not tell which is which."""
    return torch.from_numpy(as_stored(sound[: len(original)]))
