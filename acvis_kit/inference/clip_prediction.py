"""What the predictions of all systems have in common: tables, pictures, figures and files of them."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from html import escape
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from acvis_kit.errors import AcvisError, DataError, MediaError
from acvis_kit.files import write_text

if TYPE_CHECKING:
    from types import ModuleType

    import pandas
    from PIL import Image
    from plotly.graph_objects import Figure

    from acvis_kit.clip import Clip

PICTURE_SIDE = 240  # pixels, short side of the picture in a notebook


class Mark(Protocol):
    """What is drawn in a colour of its own: a track, or a class that sounds.

    Attributes:
        id: from 0; the colour depends on it alone.
        label: zero-based class.
        score: in (0, 1].
        name: as displayed.
    """

    @property
    def id(self) -> int: ...

    @property
    def label(self) -> int: ...

    @property
    def score(self) -> float: ...

    @property
    def name(self) -> str: ...

    def areas(self) -> Tensor:
        """Pixels per frame, int64 (T,)."""
        ...

    def mask(self, t: int) -> np.ndarray:
        """Bool (h, w) of frame t."""
        ...


class ClipPrediction(ABC):
    """Base of `Prediction`, whose marks are tracks, and `SemanticPrediction`, whose marks are classes.

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

    @abstractmethod
    def above(self, score_threshold: float) -> Self:
        """The prediction with only that which scores higher."""

    @abstractmethod
    def without(self, hidden: Collection[int]) -> Self:
        """The prediction without the marks of these ids."""

    @abstractmethod
    def to_dict(self, video_id: int = 1) -> dict[str, Any]:
        """Plain values for JSON."""

    @abstractmethod
    def _rows(self) -> list[dict[str, Any]]:
        """A row per frame, by the names of the columns."""

    def interval(self, t: int) -> dict[str, float]:
        """Seconds of the file at which frame t's interval begins and ends, as "start" and "end".

        Of a prediction from bare tensors they count from 0.
        """
        begin = self.clip.start if self.clip is not None else 0.0
        return {"start": begin + t / self.fps, "end": begin + (t + 1) / self.fps}

    @property
    def k_max(self) -> int | None:
        """The count that means "or more"; None without a count head."""
        return self.count_probs.shape[1] - 1 if self.count_probs is not None else None

    def gated(self) -> Self:
        """The prediction with only as many masks per frame as the count; unchanged without a count head."""
        return self

    def to_json(self, path: str | Path, video_id: int = 1) -> Path:
        """Write `to_dict`."""
        return write_text(path, json.dumps(self.to_dict(video_id)))

    def to_csv(self, path: str | Path) -> Path:
        """Write the table of `to_dataframe`, one row per frame; a count as it is displayed, such as "2+".

        Times are those of the file, also where only a stretch of it was loaded.
        """
        rows = self._rows()
        table = io.StringIO()
        writer = csv.writer(table)
        writer.writerow(rows[0])
        for t, row in enumerate(rows):
            writer.writerow([self._cell(column, value, t) for column, value in row.items()])
        return write_text(path, table.getvalue())

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
        second = f"second {self._liveliest() / self.fps:g}"
        return f'<p>{escape(self.summary())}</p><img alt="{second}" src="data:image/jpeg;base64,{data}"/>{table}'

    def frame(self, second: float | None = None) -> Image.Image:
        """The clip's frame at a second, with masks, labels and count painted on it.

        Args:
            second: of the clip; None: where most is marked.

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
            second: marked by a line; None: no line.

        Raises:
            DataError: a second outside the clip.
        """
        figure = _viz().timeline_figure(self)
        if second is not None:
            self._frame_at(second)
            figure.add_vline(x=second, line={"dash": "dot", "width": 2})
        return figure

    def show(self) -> None:
        """Open the explorer in a notebook, and elsewhere a picture of several frames in the system's viewer.

        Raises:
            DataError: a prediction made from bare tensors.
        """
        explorer = _viz("explorer").explore(self)
        if "ipykernel" in sys.modules:
            from IPython.display import display

            display(explorer)
        else:
            explorer.still().show()

    def to_video(self, path: str | Path, **options: Any) -> Path:
        """Write the clip with its masks and the sound that the model was given; see `viz.write_overlay`.

        Raises:
            MediaError: the file is the clip's own, or cannot be written.
        """
        source = self.clip.source if self.clip is not None else None
        if source is not None and Path(path).resolve() == source.resolve():
            raise MediaError(f"{path} is the clip itself: choose another name")
        return _viz().write_overlay(self, path, **options)

    def _frame_at(self, second: float) -> int:
        seconds = len(self) / self.fps
        if not 0 <= second < seconds:
            raise DataError(f"second={second:g} must lie in the clip, from 0 to below {seconds:g}")
        return min(math.floor(second * self.fps), len(self) - 1)

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
