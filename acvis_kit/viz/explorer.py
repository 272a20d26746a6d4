"""Interactive view of predictions in a notebook: step through frames, switch soundtracks and tracks, set thresholds.

A class of a semantic prediction takes the place of a track.

The network is not run: there is a ready prediction for each soundtrack, and thresholds only filter it. Without a kernel
(on a code host, on a printed page) or without ipywidgets the same object is a still picture.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import wavfile

from acvis_kit.clip import SAMPLE_RATE, Clip
from acvis_kit.errors import DataError, brief
from acvis_kit.inference.clip_prediction import ClipPrediction, ids_of, named_predictions
from acvis_kit.inference.marks import Mark, frame_number
from acvis_kit.media.limits import SIDES, check_number
from acvis_kit.viz.overlay import paint, track_hex, track_name
from acvis_kit.viz.pixels import image_file, upright
from acvis_kit.viz.sheet import soundtrack_sheet

SHOWN_SIDE = 384  # pixels of the short side on the screen: labels stay legible on small frames
STILL_SIDE = 144  # pixels of the short side in the still picture
STILL_FRAMES = 6  # columns of the still picture
STILL_COLOURS = 96  # size of its palette, which saves two thirds of the bytes


@dataclass(frozen=True)
class ExplorerState:
    """What is displayed.

    Attributes:
        soundtrack: name of one of the predictions.
        t: frame, 0..T-1.
        score_threshold: only tracks, or pixels of classes, that score higher are displayed.
        count_gate: see `Prediction.gated`.
        hidden: ids of tracks, or zero-based classes, that are not displayed.
        opacity: of the masks, 0..1.
    """

    soundtrack: str
    t: int = 0
    score_threshold: float = 0.0
    count_gate: bool = False
    hidden: frozenset[int] = frozenset()
    opacity: float = 0.5


def explore(prediction: ClipPrediction | Mapping[str, ClipPrediction], /, **others: ClipPrediction) -> Explorer:
    """Explore a prediction, or several of one clip under different soundtracks.

        explore(own)
        explore({"as filmed": own, "muted": muted})
        explore(own, muted=muted, swapped=swapped)          # the first is called "original"

    Args:
        prediction: one prediction, or several by the name of their soundtrack.
        **others: further predictions, by name.

    Raises:
        ConfigError: there is no prediction.
        DataError: no predictions by name, or one without a clip, or of another length or size than the first.
    """
    given: Any = {"original": prediction} if isinstance(prediction, ClipPrediction) else prediction
    return Explorer({**given, **others} if isinstance(given, Mapping) else given)


class Explorer:
    """Interactive view of predictions; a notebook displays it as the last value of a cell.

    Args:
        predictions: predictions of one clip, by the name of the soundtrack.

    Raises:
        ConfigError: there is no prediction.
        DataError: no predictions by name, or one without a clip, or of another length or size than the first.
    """

    def __init__(self, predictions: Mapping[str, ClipPrediction]) -> None:
        self.predictions = named_predictions(predictions)
        first_name, first = next(iter(self.predictions.items()))
        for name, prediction in self.predictions.items():
            if prediction.clip is None:
                raise DataError(f"the prediction {name!r} has no clip: make it from a Clip, not from bare frames")
            if (len(prediction), prediction.size) != (len(first), first.size):
                raise DataError(
                    f"the prediction {name!r} has {len(prediction)} frames of {prediction.size}, {first_name!r} has "
                    f"{len(first)} of {first.size}: explore predictions of one clip together, others apart"
                )
        self.start = ExplorerState(first_name)

    def shown(self, view: ExplorerState) -> ClipPrediction:
        """The prediction of the view's soundtrack, filtered.

        Raises:
            DataError: a soundtrack that there is not.
            ConfigError: a threshold outside its range.
        """
        prediction = self._prediction(view.soundtrack).above(view.score_threshold)
        if view.count_gate:
            prediction = prediction.gated()
        there = {mark.id for mark in prediction.marks}
        return prediction.without(there.intersection(ids_of(view.hidden)))

    def picture(self, view: ExplorerState, short_side: int = SHOWN_SIDE) -> np.ndarray:
        """The frame with masks, labels and count, uint8 (H, W, 3), scaled to `short_side` pixels.

        Raises:
            DataError: a soundtrack or a frame that there is not.
            ConfigError: a threshold, an opacity or a side outside its range.
        """
        check_number("short_side", short_side, *SIDES, "pixels")
        prediction = self.shown(view)
        t = frame_number(view.t, len(prediction))
        frame = Image.fromarray(upright(_clip_of(prediction).frames[t]))
        factor = short_side / min(frame.size)
        width, height = (max(1, round(side * factor)) for side in frame.size)
        frame = frame.resize((width, height), Image.Resampling.BILINEAR)
        return paint(np.asarray(frame), prediction, t, view.opacity)

    def caption(self, view: ExplorerState) -> str:
        """One line of HTML: the second of the file, and if the system counts the count and its probabilities."""
        prediction = self.shown(view)
        t = frame_number(view.t, len(prediction))
        line, count = f"second {prediction.interval(t)['start']:g}", prediction.count_text(t)
        line += "" if count is None else f": <b>{count} sounding</b>"
        if prediction.count_probs is not None:
            probabilities = prediction.count_probs[t].tolist()
            names = [*map(str, range(len(probabilities) - 1)), f"{len(probabilities) - 1}+"]
            pairs = zip(names, probabilities, strict=True)
            line += " (" + ", ".join(f"{name}: {100 * p:.0f} %" for name, p in pairs) + ")"
        return line

    def timeline(self, view: ExplorerState) -> str:
        """An HTML table: a row per track or class, a cell per frame, filled where it has a mask."""
        prediction = self.shown(view)
        rows = "".join(self._track_row(prediction, mark, view.t) for mark in prediction.marks)
        return f'<table style="border-spacing:1px;line-height:1">{rows}</table>' if rows else "<i>nothing to show</i>"

    def sound(self, name: str) -> bytes:
        """The sound that the model was given, as a WAV file: 16 kHz, mono, 16 bit."""
        waveform = _clip_of(self._prediction(name)).waveform.clamp(-1, 1).numpy()
        file = io.BytesIO()
        wavfile.write(file, SAMPLE_RATE, (waveform * 32767).astype(np.int16))
        return file.getvalue()

    def _prediction(self, name: str) -> ClipPrediction:
        if not isinstance(name, str) or name not in self.predictions:
            raise DataError(f"there is no soundtrack {brief(name)}: choose one of {', '.join(self.predictions)}")
        return self.predictions[name]

    def still(self) -> Image.Image:
        """A picture without controls: a row per soundtrack, up to six frames side by side; see `soundtrack_sheet`."""
        size = self.predictions[self.start.soundtrack].size
        side = round(STILL_SIDE * size[0] / min(size))
        return soundtrack_sheet(self.predictions, columns=STILL_FRAMES, side=side).quantize(STILL_COLOURS)

    @cached_property
    def widget(self) -> Any:
        """The controls as one ipywidgets box; None if ipywidgets is not installed."""
        try:
            return _Controls(self).box
        except ImportError:
            return None

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """The still picture, and in a kernel also the widget."""
        still = base64.b64encode(image_file(self.still(), "PNG", optimize=True)).decode("ascii")
        bundle = {"text/plain": repr(self), "image/png": still}
        if _in_kernel() and self.widget is not None:
            bundle |= {k: v for k, v in self.widget._repr_mimebundle_().items() if k != "text/plain"}
        return bundle

    def __repr__(self) -> str:
        return "; ".join(f"{name}: {prediction.summary()}" for name, prediction in self.predictions.items())

    @staticmethod
    def _track_row(prediction: ClipPrediction, track: Mark, t: int) -> str:
        colour = track_hex(track.id)
        cells = ""
        for frame, area in enumerate(track.areas().tolist()):
            edge = "#000" if frame == t else "#ccc"
            cells += (
                f'<td style="width:9px;height:12px;border:1px solid {edge};background:{colour if area else "none"}">'
            )
            cells += "</td>"
        name = escape(f"{track_name(prediction, track)}  {track.score:.2f}")
        return f'<tr><td style="padding-right:8px;white-space:nowrap">{name}</td>{cells}</tr>'


class _Controls:
    """The widgets and their callbacks. Construction imports ipywidgets."""

    def __init__(self, explorer: Explorer) -> None:
        import ipywidgets as widgets

        self._explorer, self._widgets = explorer, widgets
        first = explorer.predictions[explorer.start.soundtrack]
        last = len(first) - 1
        self.soundtrack = widgets.ToggleButtons(options=list(explorer.predictions), description="sound")
        self.frame = widgets.IntSlider(0, 0, last, description="frame", continuous_update=True)
        self.play = widgets.Play(min=0, max=last, interval=round(1000 / first.fps))
        self._link = widgets.jslink((self.play, "value"), (self.frame, "value"))
        self.threshold = widgets.FloatSlider(0.0, min=0.0, max=0.99, step=0.01, description="score above")
        self.gate = widgets.Checkbox(False, description="count gate", disabled=first.k_max is None, indent=False)
        self.opacity = widgets.FloatSlider(0.5, min=0.0, max=1.0, step=0.05, description="opacity")
        self.tracks = widgets.VBox()
        self.image = widgets.Image(format="jpeg")
        self.caption, self.timeline = widgets.HTML(), widgets.HTML()
        self.audio = widgets.Audio(format="wav", autoplay=False, loop=False)
        self._boxes: dict[int, Any] = {}

        self.soundtrack.observe(self._change_sound, "value")
        for control in (self.frame, self.threshold, self.gate, self.opacity):
            control.observe(self._draw, "value")
        controls = [self.soundtrack, widgets.HBox([self.play, self.frame]), self.threshold, self.opacity, self.gate]
        controls += [self.tracks, self.audio, self.timeline]
        if len(explorer.predictions) == 1:
            controls.remove(self.soundtrack)
        left = widgets.VBox([self.caption, self.image])
        self.box = widgets.HBox([left, widgets.VBox(controls)])
        self.box.controls = self  # keeps them alive as long as the box; tests use them
        self._change_sound()

    def view(self) -> ExplorerState:
        """The state that the controls are set to."""
        hidden = frozenset(number for number, box in self._boxes.items() if not box.value)
        return ExplorerState(
            self.soundtrack.value, self.frame.value, self.threshold.value, self.gate.value, hidden, self.opacity.value
        )

    def _change_sound(self, _: Any = None) -> None:
        name = self.soundtrack.value
        prediction = self._explorer.predictions[name]
        self._boxes = {mark.id: self._box(prediction, mark) for mark in prediction.marks}
        self.tracks.children = tuple(self._boxes.values())
        self.audio.value = self._explorer.sound(name)
        self._draw()

    def _box(self, prediction: ClipPrediction, track: Mark) -> Any:
        box = self._widgets.Checkbox(True, description=track_name(prediction, track), indent=False)
        box.observe(self._draw, "value")
        return box

    def _draw(self, _: Any = None) -> None:
        view = self.view()
        self.image.value = image_file(self._explorer.picture(view), "JPEG", quality=90)
        self.caption.value, self.timeline.value = self._explorer.caption(view), self._explorer.timeline(view)


def _clip_of(prediction: ClipPrediction) -> Clip:
    assert prediction.clip is not None, "the Explorer refuses predictions without a clip"
    return prediction.clip


def _in_kernel() -> bool:
    """Whether this runs in a notebook's kernel."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None
