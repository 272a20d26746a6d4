"""What the predictions of all systems have in common: tables, pictures, figures and files of them."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import os
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, SupportsIndex, overload

import torch
from torch import Tensor

from acvis_kit.errors import AcvisError, ConfigError, DataError, MediaError, brief, kind_of
from acvis_kit.fields import is_number
from acvis_kit.files import as_path, write_text
from acvis_kit.inference.marks import Mark, MarkedFrame, frame_number, frames_of_slice, plain_number, whole_number
from acvis_kit.media.limits import check_number

if TYPE_CHECKING:
    from types import ModuleType

    import pandas
    from PIL import Image
    from plotly.graph_objects import Figure

    from acvis_kit.clip import Clip

PICTURE_SIDE = 240  # pixels, short side of the picture in a notebook
ROUNDING = 1e-3  # of a frame, by which a second that a table shows may lie before the frame's beginning


class ClipPrediction(ABC):
    """Base of `Prediction`, whose marks are tracks, and `SemanticPrediction`, whose marks are classes.

    A sequence of T frames: `prediction[3]` is what is marked in frame 3.

    Attributes:
        mark_word: what a mark is called in tables.
    """

    mark_word: ClassVar[str]

    if TYPE_CHECKING:  # a property of the base would be taken for the default of a dataclass' field

        @property
        def size(self) -> tuple[int, int]:
            """(h, w) of the masks."""

        @property
        def fps(self) -> float:
            """Frames per second of the prediction."""

        @property
        def class_names(self) -> tuple[str, ...]:
            """K names."""

        @property
        def clip(self) -> Clip | None:
            """The frames, and the sound that the model was given; None if predicted from bare tensors."""

        @property
        def notes(self) -> tuple[str, ...]:
            """What the user should know, one sentence each."""

        @property
        def counts(self) -> Tensor | None:
            """int64 (T,); None of a system that does not count."""

        @property
        def count_probs(self) -> Tensor | None:
            """float32 (T, K_max + 1); None without a count head."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of frames T."""

    @overload
    def __getitem__(self, t: SupportsIndex) -> MarkedFrame: ...
    @overload
    def __getitem__(self, t: slice) -> tuple[MarkedFrame, ...]: ...
    def __getitem__(self, t: SupportsIndex | slice) -> MarkedFrame | tuple[MarkedFrame, ...]:
        """What is marked in frame t, or in a slice of frames; negative numbers count from the end.

        Raises:
            FrameIndexError: there is no such frame; an IndexError too.
            DataError: no number.
        """
        if isinstance(t, slice):
            return tuple(self[n] for n in frames_of_slice(t, len(self)))
        t = frame_number(t, len(self))
        shown = tuple(mark for mark in self.marks if mark.areas()[t] > 0)
        count = None if self.counts is None else int(self.counts[t])
        return MarkedFrame(
            t, **self.interval(t), count=count, count_text=self.count_text(t), marks=shown, size=self.size
        )

    def __iter__(self) -> Iterator[MarkedFrame]:
        return (self[t] for t in range(len(self)))

    @property
    @abstractmethod
    def marks(self) -> Sequence[Mark]:
        """What is drawn, in the order of tables and figures."""

    @abstractmethod
    def name_of(self, mark: Mark) -> str:
        """The displayed name of a mark."""

    @abstractmethod
    def count_text(self, t: int) -> str | None:
        """The count of frame t as displayed; None of a system that does not count."""

    @abstractmethod
    def summary(self) -> str:
        """One sentence about the clip."""

    def above(self, score_threshold: float) -> Self:
        """The prediction with only that which scores higher.

        Raises:
            ConfigError: no number in [0, 1].
        """
        threshold: Any = plain_number(score_threshold)
        check_number("score_threshold", threshold, 0, 1)
        return self._above(threshold)

    def without(self, hidden: int | Iterable[int]) -> Self:
        """The prediction without the marks of these ids, or of this one.

        Counts that a model predicted stay; of a model without a count head they are those of the masks that are left.

        Raises:
            DataError: no whole numbers, or an id that no track or class has.
        """
        ids, known = ids_of(hidden), self._ids()
        if unknown := [one for one in ids if one not in known]:
            raise DataError(
                f"no {self.mark_word} has the id {unknown[0]}: "
                + (f"choose from {', '.join(map(str, known))}" if known else "there is none in this prediction")
            )
        return self._without(frozenset(ids))

    @abstractmethod
    def _ids(self) -> Sequence[int]:
        """The ids of all tracks or classes."""

    @abstractmethod
    def _above(self, score_threshold: float) -> Self:
        """See `above`."""

    @abstractmethod
    def _without(self, hidden: frozenset[int]) -> Self:
        """See `without`."""

    @abstractmethod
    def to_dict(self, video_id: int = 1) -> dict[str, Any]:
        """Plain values for JSON."""

    @abstractmethod
    def _rows(self) -> list[dict[str, Any]]:
        """A row per frame, by the names of the columns."""

    def interval(self, t: int) -> dict[str, float]:
        """Seconds of the file at which frame t's interval begins and ends, as "start" and "end".

        The last one ends with the clip. Of a prediction from bare tensors they count from 0.
        """
        t = frame_number(t, len(self))
        end = self.start + (t + 1) / self.fps
        if self.clip is not None and self.clip.duration > 0:
            end = min(end, self.start + self.clip.duration)
        return {"start": self.start + t / self.fps, "end": end}

    @property
    def start(self) -> float:
        """The second of the file at which the first frame's interval begins; 0 of a prediction from bare tensors."""
        return self.clip.start if self.clip is not None else 0.0

    @property
    def k_max(self) -> int | None:
        """The count that means "or more"; None without a count head."""
        return self.count_probs.shape[1] - 1 if self.count_probs is not None else None

    def gated(self) -> Self:
        """The prediction with only as many masks per frame as the count; unchanged without a count head."""
        return self

    def to_json(self, path: str | Path, video_id: int = 1) -> Path:
        """Write `to_dict`.

        Raises:
            DataError: an id that is no whole number.
            AcvisError: the file is the clip's or another sound's own, or cannot be written.
        """
        return write_text(self.output_path(path), json.dumps(self.to_dict(video_id)))

    def to_csv(self, path: str | Path) -> Path:
        """Write the table of `to_dataframe`, one row per frame; a count as it is displayed, such as "2+".

        Times are those of the file, also where only a stretch of it was loaded.

        Raises:
            AcvisError: the file is the clip's or another sound's own, or cannot be written.
        """
        rows = self._rows()
        table = io.StringIO()
        writer = csv.writer(table)
        writer.writerow(rows[0])
        for t, row in enumerate(rows):
            writer.writerow([self._cell(column, value, t) for column, value in row.items()])
        return write_text(self.output_path(path), table.getvalue())

    def output_path(self, path: str | Path) -> Path:
        """The path of a file to write.

        Raises:
            MediaError: it is that of the clip, or of another sound that was given to the model.
        """
        path = as_path(path, MediaError)
        clip = self.clip
        for source in clip.sources if clip is not None else ():
            if path.resolve() == source.resolve():
                own = clip is not None and source == clip.source
                what = "the clip itself" if own else "a sound that the model was given"
                raise MediaError(f"{path} is {what}: choose another name")
        return path

    def _cell(self, column: str, value: Any, t: int) -> str | None:
        if column == "count":
            return self.count_text(t)
        if column in ("start", "end"):
            return f"{value:g}"
        return f"{value:.4f}" if isinstance(value, float) else str(value)

    def to_dataframe(self) -> pandas.DataFrame:
        """The table of `to_csv` in pandas; "count" is a number there, whose highest value may mean "or more".

        Raises:
            AcvisError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise AcvisError("to_dataframe needs pandas: pip install pandas, or use to_csv") from None
        return pandas.DataFrame(self._rows())

    def _repr_html_(self) -> str:
        """In a notebook: the summary, the frame in which most is marked, and a table of the marks."""
        rows = "".join(
            f"<tr><td>{escape(mark.name)}</td><td>{mark.score:.2f}</td>"
            f"<td>{int((mark.areas() > 0).sum())} of {len(self)}</td></tr>"
            for mark in self.marks
        )
        heads = f"<tr><th>{self.mark_word}</th><th>score</th><th>frames</th></tr>"
        table = f"<table>{heads}{rows}</table>" if rows else ""
        if self.clip is None:
            return f"<p>{escape(self.summary())}</p>{table}"
        picture = self.frame()
        picture.thumbnail((PICTURE_SIDE * 4, PICTURE_SIDE))
        data = base64.b64encode(_viz("pixels").image_file(picture, "JPEG")).decode("ascii")
        second = f"second {self.interval(self._liveliest())['start']:g}"
        return f'<p>{escape(self.summary())}</p><img alt="{second}" src="data:image/jpeg;base64,{data}"/>{table}'

    def frame(self, second: float | None = None) -> Image.Image:
        """The clip's frame at a second, with masks, labels and count painted on it.

        Args:
            second: of the file, as in the tables, also where only a stretch of it was loaded; None: where most is
                marked.

        Raises:
            DataError: a second outside the clip, or a prediction made from bare tensors.
        """
        from PIL import Image

        if self.clip is None:
            raise DataError("this prediction was made from bare tensors: make it from a Clip, or use viz.paint")
        t = self._liveliest() if second is None else self._frame_at(second)
        return Image.fromarray(_viz().paint(_viz("pixels").upright(self.clip.frames[t]), self, t))

    def plot(self, second: float | None = None) -> Figure:
        """Figure of the sound, the counts and the marks over time, see `viz.timeline_figure`.

        Args:
            second: of the file, marked by a line; None: no line.

        Raises:
            DataError: a second outside the clip.
        """
        figure = _viz().timeline_figure(self)
        if second is not None:
            self._frame_at(second)
            figure.add_vline(x=float(second), line={"dash": "dot", "width": 2})
        return figure

    def show(self) -> None:
        """Open the explorer in a notebook, and elsewhere a picture of several frames in the system's viewer.

        Without a display or a viewer a warning says how to write a picture.

        Raises:
            DataError: a prediction made from bare tensors.
        """
        explorer = _viz("explorer").explore(self)
        if "ipykernel" in sys.modules:
            from IPython.display import display

            display(explorer)
            return
        from PIL import ImageShow

        if not (_has_display() and ImageShow.show(explorer.still())):
            warnings.warn(
                'there is no display, or no viewer, to show a picture: write one, prediction.frame().save("a.png"), or '
                'a video, prediction.to_video("a.mp4")',
                stacklevel=2,
            )

    def to_video(self, path: str | Path, **options: Any) -> Path:
        """Write the clip with its masks and the sound that the model was given; see `viz.write_overlay`.

        Raises:
            MediaError: the file is the clip's or another sound's own or cannot be written, or that of the clip has been
                replaced.
            ConfigError: an option that there is not, or a value outside its range.
        """
        write = _viz().write_overlay
        known = [*signature(write).parameters][2:]
        if unknown := [name for name in options if name not in known]:
            raise ConfigError(f"{', '.join(unknown)}: no option of to_video, choose from {', '.join(known)}")
        return write(self, path, **options)

    def _frame_at(self, second: float) -> int:
        given: Any = plain_number(second)
        end = self.start + len(self) / self.fps
        inside = is_number(given) and self.start - 1 <= given < end  # before arithmetic: a whole number may be huge
        place = (given - self.start) * self.fps if inside else math.nan
        if not 0 <= place + ROUNDING < len(self):
            raise DataError(f"second={brief(given)} must lie in the clip, from {self.start:g} to below {end:g}")
        return math.floor(place + ROUNDING)

    def _liveliest(self) -> int:
        """The first frame in which most is marked, by the marks' scores."""
        marked = torch.stack([mark.score * (mark.areas() > 0) for mark in self.marks]) if self.marks else None
        return 0 if marked is None else int(marked.sum(0).argmax())


def _viz(part: str | None = None) -> ModuleType:
    """The room that draws predictions, through the public names of the kit, which load when they are first used.

    viz imports this room; nothing of it is loaded before something is drawn.

    Args:
        part: a module of this room; None: the room itself.
    """
    import acvis_kit

    return acvis_kit.viz if part is None else import_module(f"{acvis_kit.viz.__name__}.{part}")


def _has_display() -> bool:
    """Whether programs can open windows. On Linux viewers are looked for, and complain, even where they cannot."""
    own = sys.platform in ("darwin", "win32")
    return own or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def ids_of(value: int | Iterable[int]) -> list[int]:
    """Ids of tracks or classes: one number, or several.

    Raises:
        DataError: no whole numbers.
    """
    wanted = "the id of a track or class, or several of them"
    several = isinstance(plain_number(value), Iterable) and not isinstance(value, str | bytes)
    given: Any = value if several else [value]
    return [whole_number(one, wanted) for one in given]


def named_predictions(value: object) -> dict[str, ClipPrediction]:
    """Predictions of one clip, by the name of their soundtrack.

    Raises:
        ConfigError: there is none.
        DataError: no mapping from texts to predictions.
    """
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise DataError(
            f"the predictions are {brief(value)}: give them by the name of their soundtrack, "
            '{"as filmed": own, "muted": muted}'
        )
    if not value:
        raise ConfigError("there is no prediction: give at least one")
    for prediction in value.values():
        require_prediction(prediction)
    return dict(value)


def require_prediction(value: object) -> None:
    """Refuse what is no prediction.

    Raises:
        DataError: names the type.
    """
    if not isinstance(value, ClipPrediction):
        raise DataError(f"the prediction is {kind_of(value)}: give what predict or a predictor returns")
