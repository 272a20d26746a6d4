"""Clips as the page keeps them: their visual features, and pictures that a browser can show."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from acvis_kit.clip import Clip, Progress
from acvis_kit.errors import MediaError
from acvis_kit.files import stamp_of
from acvis_kit.inference.clip_prediction import ClipPrediction
from acvis_kit.inference.features import VisualFeatures
from acvis_kit.inference.predictor import Predictor
from acvis_kit.inference.semantic_predictor import SemanticFeatures, SemanticPredictor
from acvis_kit.media.decoding import find_stream, is_still, opened
from acvis_kit.media.load import iter_source_frames, load_clip
from acvis_kit.media.write import write_video
from acvis_kit.viz.pixels import image_file, resized, shrunk, upright
from acvis_kit.weights.published import DRAWN_WEIGHTS, WEIGHTS, Weights

SHORT_SIDE = 720  # pixels of overlays and masks, at most; two cores write such a video in about its duration
STILL_SIDE = 480  # pixels of the pictures that the timeline shows
CLIPS_KEPT = 3  # besides the examples; the features of each take up to the predictor's budget
EXAMPLES_VARIABLE = "ACVIS_EXAMPLES"  # names a folder to take the examples from instead
GONE = "The clip is no longer here (files are deleted after an hour): choose it again."

# What Chromium, Firefox and Safari play. They do not all play HEVC, 10 bits or MPEG-4 part 2.
CONTAINERS = (".mp4", ".m4v", ".webm")
CODECS = {"h264", "vp8", "vp9", "av1"}
SOUND_CODECS = {"aac", "mp3", "opus", "vorbis"}
PIXELS = {"yuv420p", "yuvj420p"}


@dataclass
class EncodedClip:
    """A clip and its visual features.

    Attributes:
        features: of the clip's frames; `features.clip` has no pixels any more, only the size at which it is drawn.
        stills: T JPEGs, one of each frame.
        seconds: that reading and encoding took.
        at: when it was encoded, by the monotonic clock.
    """

    features: VisualFeatures | SemanticFeatures
    stills: list[bytes]
    seconds: float
    at: float = field(default_factory=time.monotonic)


class ClipCache:
    """Encoded clips by the content of their files: the last `CLIPS_KEPT`, and those that are pinned (the examples)."""

    def __init__(self, predictor: Predictor | SemanticPredictor, max_seconds: float) -> None:
        self.predictor, self.max_seconds = predictor, max_seconds
        self._kept: OrderedDict[str, EncodedClip] = OrderedDict()
        self._pinned: dict[str, EncodedClip] = {}
        self._lock = threading.Lock()

    def get(self, path: Path, report: Progress, *, pin: bool = False) -> tuple[EncodedClip, bool]:
        """The clip in the file, encoded unless it is in the cache, and whether it was.

        Raises:
            MediaError: the file does not exist any more, or cannot be read.
        """
        key, stamp = content_key(path), stamp_of(path)
        with self._lock:
            encoded = self._pinned.get(key) or self._kept.pop(key, None)
        cached = encoded is not None
        if encoded is None:
            with self._lock:  # make room before the new features need it
                while len(self._kept) >= CLIPS_KEPT:
                    self._kept.popitem(last=False)
            encoded = self._encode(path, report)
        # The cached clip may come from another session's file, which may be deleted by now.
        encoded.features.clip = replace(clip_of(encoded.features), source=path, source_stamp=stamp)
        with self._lock:
            if pin or key in self._pinned:
                self._pinned[key] = encoded
            else:
                self._kept[key] = encoded
        return encoded, cached

    def expire(self, older_than: float) -> None:
        """Drop clips that were encoded more than `older_than` seconds ago; the examples stay."""
        limit = time.monotonic() - older_than
        with self._lock:
            for key in [key for key, encoded in self._kept.items() if encoded.at <= limit]:
                del self._kept[key]

    def _encode(self, path: Path, report: Progress) -> EncodedClip:
        began = time.monotonic()
        clip = load_clip(path, max_seconds=self.max_seconds, too_long="trim", progress=report)
        features = self.predictor.encode(clip, progress=report)
        stills = []
        for frame in clip.frames:
            stills.append(still_of(frame))
            report("encode", len(clip), len(clip))  # raises if the run was cancelled
        # The frames, up to 4 GB, are not needed any more: overlays read the file again, at the size they are drawn at.
        features.clip = without_pixels(clip)
        return EncodedClip(features, stills, time.monotonic() - began)


def clip_of(result: VisualFeatures | SemanticFeatures | ClipPrediction) -> Clip:
    """The clip of features or of a prediction; on the page both are made from one."""
    assert result.clip is not None, "the page encodes clips, not bare frames"
    return result.clip


def file_of(clip: Clip) -> Path:
    """The file of a clip; on the page every clip is read from one."""
    assert clip.source is not None, "the page reads clips from files"
    return clip.source


def check_moves(path: Path) -> None:
    """Refuse a still picture, which the kit itself reads as a clip of one frame.

    Raises:
        MediaError: a still picture, or a file that cannot be opened.
    """
    if is_still(path):
        raise MediaError(
            f"{path} is a still picture, and the page needs a clip: give a video file, such as MP4, MOV or WebM, or an "
            "animated GIF."
        )


def drawn_size(size: tuple[int, int]) -> tuple[int, int]:
    """(H, W) of a clip's overlays."""
    return shrunk(size, SHORT_SIDE)


def mask_size(size: tuple[int, int], predictor: Predictor | SemanticPredictor) -> tuple[int, int]:
    """(H, W) of the masks of a clip: of its overlays, or of class maps, which are not compressed, the network's own."""
    short_side = SHORT_SIDE if isinstance(predictor, Predictor) else predictor.inference.input_size
    return shrunk(drawn_size(size), short_side)


def without_pixels(clip: Clip) -> Clip:
    """The clip with blank frames, which take no memory, of the size at which it is drawn."""
    return replace(clip, frames=clip.frames.new_zeros(1).expand(len(clip), 3, *drawn_size(clip.size)))


def content_key(path: Path) -> str:
    """A key from all that a file holds; a copy has the same key, and no other file.

    Raises:
        MediaError: the file does not exist (any more).
    """
    try:
        return _hash(path, *stamp_of(path))
    except OSError:
        raise MediaError(GONE) from None


@lru_cache(maxsize=64)  # a run asks more than once
def _hash(path: Path, size: int, changed: int) -> str:
    """The hash of a file of this size, changed last at this time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plays_in_browsers(path: Path) -> bool:
    """Whether browsers play the file as it is; False in doubt."""
    if path.suffix.lower() not in CONTAINERS:
        return False
    with opened(path) as container:
        video, audio = find_stream(container, "video"), find_stream(container, "audio")
        if video is None or video.codec_context.name.removeprefix("lib").split("-")[0] not in _decoders():
            return False
        if getattr(video.codec_context, "pix_fmt", None) not in PIXELS:
            return False
        return audio is None or audio.codec_context.name.removeprefix("lib") in SOUND_CODECS


def _decoders() -> set[str]:
    return CODECS | {"dav1d", "aom"}  # FFmpeg's names of AV1 decoders


def original_for_browsers(clip: Clip, folder: Path, report: Progress) -> Path:
    """The clip's file if browsers play it, else a copy in H.264 and AAC, written into `folder`."""
    source = file_of(clip)
    if plays_in_browsers(source):
        return source
    total = max(1, round(clip.duration * clip.source_fps))

    def pictures() -> Iterator[np.ndarray]:
        for done, (_, _, picture) in enumerate(iter_source_frames(clip), start=1):
            yield picture
            report("preview", done, total)

    return write_video(folder / "original.mp4", pictures(), clip.source_fps, clip.waveform)


def example_files(folder: Path | None = None, weights: Weights | None = None) -> list[Path]:
    """The MP4 files of `folder`, else of $ACVIS_EXAMPLES, else the bundled clips that suit the weights; sorted by name.

    Weights that are not in the table get the drawn examples.
    """
    named = os.environ.get(EXAMPLES_VARIABLE)
    bundled = (weights or WEIGHTS[DRAWN_WEIGHTS]).examples
    folder = folder or (Path(named) if named else bundled)
    return sorted(folder.glob("*.mp4")) if folder.is_dir() else []


def example_title(path: Path) -> str:
    """The title of an example: "dog-and-violin.mp4" -> "Dog and violin"."""
    words = path.stem.replace("_", " ").replace("-", " ").strip()
    return words[:1].upper() + words[1:]


def poster(path: Path) -> Image.Image:
    """The first frame of the clip, for a button, at most 320 x 320; grey if the clip cannot be read."""
    try:
        image = Image.fromarray(upright(load_clip(path, end=1).frames[0]))
    except MediaError:
        return Image.new("RGB", (320, 180), (128, 128, 128))
    image.thumbnail((320, 320))
    return image


def picture_of(still: bytes) -> np.ndarray:
    """A still as uint8 (H, W, 3)."""
    return np.asarray(Image.open(io.BytesIO(still)).convert("RGB"))


def still_of(frame: Tensor) -> bytes:
    """A frame, uint8 (3, H, W), as a JPEG with a short side of at most `STILL_SIDE`."""
    height, width = frame.shape[1:]
    return image_file(resized(upright(frame), shrunk((height, width), STILL_SIDE)), "JPEG", quality=88)
