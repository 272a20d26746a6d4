"""From a clip to a prediction: the picture is encoded once, then decoded for as many soundtracks as one likes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from acvis_kit.clip import HEARD_AS_SILENCE, SAMPLE_RATE, Clip, Progress
from acvis_kit.errors import ConfigError, DataError, WeightsError
from acvis_kit.inference.features import VisualFeatures
from acvis_kit.inference.postprocess import tracks_of
from acvis_kit.inference.prediction import Prediction
from acvis_kit.media.edit import AudioEdit
from acvis_kit.media.mel import frame_seconds, log_mel
from acvis_kit.models.acvis.count import count_of_independent
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.models.encoders.audio import AudioFeatures

SoundLike = Clip | AudioEdit | Tensor | np.ndarray

LONG_CLIP = 60  # frames; from here on a progress bar shows where nobody asked to be told
SECONDS_HEARD_AT_ONCE = 16
PIXELS_AT_ONCE = 2**18  # a frame of 360x640, with some room


class Predictor:
    """Runs a model over clips of any length in bounded memory.

    Args:
        model: is put into evaluation mode and moved to `device`.
        short_side: pixels of the picture's short side at the network's input, or "keep" for the size as it is.
        score_threshold: tracks score higher than this. top_k: pairs of query and class that are looked at.
        count_gate: let the count decide how many masks a frame may show, see `Prediction.gated`.
            None, for these four: what the model's configuration says.
        feature_budget_mb: memory for the clip and its features; features beyond it go to disk.
        device: None leaves the model where it is.
        dtype: None leaves it as it is. float16 or bfloat16 run under autocast; float64 runs a converted copy.
        frames_at_once: frames encoded together; None: as many small ones as make up a 360x640 one on a CPU (more at
            once are slower there: they leave the cache), 16 times as many elsewhere.

    Raises:
        ConfigError: a value outside its range, a device that is not there, or weights in half precision.
    """

    def __init__(
        self,
        model: ACVIS,
        short_side: int | str | None = None,
        score_threshold: float | None = None,
        top_k: int | None = None,
        count_gate: bool | None = None,
        feature_budget_mb: float = 2048,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        frames_at_once: int | None = None,
    ) -> None:
        config = model.config
        self.short_side = config.short_side if short_side is None else short_side
        if self.short_side != "keep" and not (isinstance(self.short_side, int) and self.short_side >= 1):
            raise ConfigError(f"short_side={self.short_side!r} must be a number of pixels, at least 1, or 'keep'")
        self.score_threshold = config.score_threshold if score_threshold is None else score_threshold
        if not 0 <= self.score_threshold < 1:
            raise ConfigError(f"score_threshold={self.score_threshold} must lie in [0, 1)")
        self.top_k = config.top_k if top_k is None else top_k
        if self.top_k < 1:
            raise ConfigError(f"top_k={self.top_k} must be at least 1")
        self.count_gate = config.count_gate if count_gate is None else count_gate
        if self.count_gate and config.count_head == "none":
            raise ConfigError("count_gate=True needs a model that counts: this one has count_head='none'")
        self.feature_budget_mb = feature_budget_mb
        self.frames_at_once = frames_at_once

        low_precision = dtype in (torch.float16, torch.bfloat16)
        own = model.pixel_mean.dtype
        self.autocast_dtype = dtype if low_precision else None
        if dtype is not None and not low_precision and dtype != own:
            model = copy.deepcopy(model).to(dtype)
        if model.pixel_mean.dtype in (torch.float16, torch.bfloat16):
            raise ConfigError(
                f"the model's weights are {own}: too coarse for positions in the picture. Give the model.float() and "
                f"dtype={own}: its multiplications then run in that precision"
            )
        self.model = model.to(_usable(device)).eval() if device is not None else model.eval()
        self.device = model.pixel_mean.device
        if self.device.type == "cpu":  # convolutions are up to twice as fast there with the channels innermost
            self.model.to(memory_format=torch.channels_last)

    def __call__(self, clip: Clip, audio: SoundLike | None = None, *, progress: Progress | None = None) -> Prediction:
        """Encode and decode: what sounds in `clip`, with its own sound, an edit of it, or a waveform (S,) at 16 kHz."""
        features = self.encode(clip, progress=progress)
        return self.decode(features, audio, progress=progress)

    @torch.inference_mode()
    def encode(self, clip_or_frames: Clip | Tensor, *, progress: Progress | None = None) -> VisualFeatures:
        """Look at the picture; no sound is needed for this.

        Args:
            clip_or_frames: a clip, or uint8 frames (T, 3, H, W), RGB.
            progress: called with ("look", frames done, frames in all).

        Raises:
            DataError: frames of another type or shape. AcvisError: features beyond the budget find no room on disk.
        """
        clip = clip_or_frames if isinstance(clip_or_frames, Clip) else None
        frames = clip.frames if clip is not None else clip_or_frames
        if frames.ndim != 4 or frames.shape[1] != 3 or frames.dtype != torch.uint8 or not len(frames):
            raise DataError(
                f"frames are {frames.dtype} {tuple(frames.shape)}: expected uint8 (T, 3, H, W) with T at least 1"
            )
        source = frames.shape[-2], frames.shape[-1]
        size = self.input_size(*source)
        fps = clip.fps if clip is not None else 1.0
        features = VisualFeatures(source, size, clip=clip, fps=fps, budget_mb=self.feature_budget_mb)
        features.encoder_key = self.encoder_key
        with _Reporter("look", len(frames), progress) as report:
            for part in frames.split(self.frames_at_once or self._good_number(size)):
                image = part.to(self.device)
                if size != source:
                    image = _resized(image, size)
                with self._precision():
                    features.append(self.model.encode(image))
                report(len(part))
        return features

    @torch.inference_mode()
    def decode(
        self,
        features: VisualFeatures,
        sound: SoundLike | None = None,
        output_size: tuple[int, int] | None = None,
        *,
        log_mel: Tensor | None = None,
        audio_features: Tensor | None = None,
        progress: Progress | None = None,
    ) -> Prediction:
        """Listen, then say which of the things seen is sounding.

        Args:
            features: from `encode`, of T frames.
            sound: a clip (its own sound), an `AudioEdit` of the encoded clip, or a waveform (S,) at 16 kHz; None, where
                nothing else is given: the encoded clip's own.
            output_size: (h, w) of the masks; None: that of the frames given to `encode`.
            log_mel: (T, 96, 64) instead of a sound. audio_features: (T, 128) instead, for models that read precomputed
                ones.
            progress: called with ("listen" and "draw", frames done, frames in all).

        Raises:
            DataError: sound of another length than T frames, or none, or more than one. WeightsError: the model has no
                audio encoder and gets a waveform.
        """
        size = features.source_size if output_size is None else tuple(output_size)
        if len(size) != 2 or not all(isinstance(n, int) and n >= 1 for n in size):
            raise DataError(f"output_size={output_size!r} must be (height, width) in whole pixels")
        given = [x for x in (sound, log_mel, audio_features) if x is not None]
        if len(given) > 1:
            raise DataError("give one of sound, log_mel and audio_features, not several")
        if features.encoder_key != self.encoder_key:
            raise DataError(
                "these features were encoded by another model or precision: encode the clip with this Predictor"
            )
        clip, notes = features.clip, ()
        if log_mel is None and audio_features is None:
            clip, notes = self._soundtrack(features, sound)
        elif clip is not None:  # what was heard is not known as a sound: none is claimed
            clip = replace(clip, waveform=torch.zeros_like(clip.waveform), has_audio=False)
        heard = self._hear(features, clip, log_mel, audio_features)

        count_logits, done = [], 0
        queries = None  # (1, T, Q_f, C), written where it stays
        with _Reporter("listen", len(features), progress) as report, self._precision():
            parts = _split_sound(heard, features.lengths())
            for pixels, part in zip(features.chunks(self.device), parts, strict=True):
                state = self.model.decode_frames(pixels, part)
                if queries is None:
                    queries = state.queries.new_empty(1, len(features), *state.queries.shape[2:])
                queries[:, done : done + len(pixels.fine)] = state.queries
                done += len(pixels.fine)
                count_logits.append(state.count_logits)
                report(pixels.fine.shape[0])
            video = self.model.track(queries, heard)
            del queries

        with _Reporter("draw", len(features), progress) as report:
            tracks, presence = tracks_of(self.model, video, features, size, self.score_threshold, self.top_k, report)
        probabilities = self._count(count_logits, presence)
        if probabilities is not None:
            counts = probabilities.argmax(-1)
        else:
            shown = [track.areas() > 0 for track in tracks]
            counts = torch.stack(shown).sum(0) if shown else torch.zeros(len(features), dtype=torch.int64)
        prediction = Prediction(
            tracks=tuple(tracks),
            counts=counts,
            count_probs=probabilities,
            class_names=self.model.config.class_names,
            size=size,
            fps=features.fps,
            clip=clip,
            notes=notes,
        )
        return prediction.gated() if self.count_gate else prediction

    def _count(self, token_logits: list[Tensor], presence: Tensor) -> Tensor | None:
        """How many sound: (T, K_max + 1), from what `count_from` names; None without a count head.

        Args:
            token_logits: of the frames' count tokens. presence: (M, T), of the video queries, see `Drawn`.
        """
        config = self.model.config
        if self.model.count_head is None:
            return None
        said = self.model.count_head.probabilities(torch.cat(token_logits).to(self._exact)).cpu()
        if config.count_from == "token":
            return said
        shown = count_of_independent(presence.T.to(said), said.shape[-1] - 1)
        return shown if config.count_from == "queries" else (said + shown) / 2

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) that the network sees: short side as asked, long side bounded as configured (detectron2's rule)."""
        if self.short_side == "keep":
            return height, width
        scale = self.short_side / min(height, width)
        scale = min(scale, self.model.config.long_side / max(height, width))
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))

    def _good_number(self, size: tuple[int, int]) -> int:
        pixels = PIXELS_AT_ONCE if self.device.type == "cpu" else 16 * PIXELS_AT_ONCE
        return max(1, pixels // (size[0] * size[1]))

    @property
    def encoder_key(self) -> tuple[ACVIS, torch.dtype | None]:
        """What makes features comparable: they are decoded by the weights and in the precision that saw them."""
        return self.model, self.autocast_dtype

    @property
    def _exact(self) -> torch.dtype:
        """The dtype of masks and probabilities, whatever autocast does inside."""
        return self.model.pixel_mean.dtype

    def _precision(self) -> AbstractContextManager:
        return torch.autocast(self.device.type, self.autocast_dtype, enabled=self.autocast_dtype is not None)

    def _soundtrack(self, features: VisualFeatures, sound: SoundLike | None) -> tuple[Clip, tuple[str, ...]]:
        """The encoded clip with the sound that is to be heard, and what the user should know about it."""
        clip = features.clip
        if clip is None:  # bare frames were encoded: a blank picture of their size stands in for them
            if sound is None and self.model.config.uses_audio:
                raise DataError(
                    "bare frames have no sound: pass a clip, an edit, a waveform, log_mel or audio_features"
                )
            blank = torch.zeros(1, 3, 1, 1, dtype=torch.uint8).expand(len(features), 3, *features.source_size)
            clip = Clip.from_arrays(blank, None, features.fps)
        waveform, has_audio = clip.waveform, clip.has_audio
        if isinstance(sound, AudioEdit):
            waveform = sound.apply(clip)
            has_audio = has_audio or bool(waveform.any())
        elif isinstance(sound, Clip):
            waveform, has_audio = self._of_length(sound.waveform, len(clip.waveform), features), sound.has_audio
        elif isinstance(sound, Tensor | np.ndarray):
            waveform, has_audio = self._of_length(torch.as_tensor(sound), len(clip.waveform), features), True
        elif sound is not None:
            raise DataError(
                f"a sound is a Clip, an AudioEdit or a waveform, not {sound!r:.60}: for a file or a word use "
                "AudioEdit.swap('dog.wav'), AudioEdit.mute(), AudioEdit.parse(...)"
            )
        notes = clip.notes
        if has_audio and not clip.has_audio:  # another sound than the file's
            notes = tuple(note for note in notes if not note.endswith(HEARD_AS_SILENCE))
        if not has_audio and clip.source is None:  # of a file, `load_clip` has said so
            notes += ("The clip has no sound: the model heard silence.",)
        return replace(clip, waveform=waveform, has_audio=has_audio), notes

    @staticmethod
    def _of_length(waveform: Tensor, samples: int, features: VisualFeatures) -> Tensor:
        """`waveform` (S,) with exactly `samples`; up to a second is cut or padded with silence."""
        if waveform.ndim != 1 or abs(len(waveform) - samples) > SAMPLE_RATE:
            raise DataError(
                f"the sound has shape {tuple(waveform.shape)}: expected about {samples} samples (mono, 16 kHz) for "
                f"{len(features)} frames at {features.fps:g} per second; AudioEdit.swap cuts or pads any sound"
            )
        if not waveform.is_floating_point() or not waveform.isfinite().all():
            raise DataError(
                f"the sound is {waveform.dtype} or holds NaN: expected finite floats, nominally in [-1, 1]; divide "
                "int16 by 32768"
            )
        return F.pad(waveform, (0, max(0, samples - len(waveform))))[:samples].to(torch.float32)

    def _hear(
        self, features: VisualFeatures, clip: Clip | None, mel: Tensor | None, vectors: Tensor | None
    ) -> AudioFeatures | None:
        """Audio tokens of the T frames, as one clip: B = 1."""
        length = len(features)
        if not self.model.config.uses_audio:
            return None
        for name, value, shape in (("log_mel", mel, (96, 64)), ("audio_features", vectors, None)):
            want = (length, *(shape or (self.model.config.audio_dim,)))
            if value is not None and tuple(value.shape) != want:
                raise DataError(f"{name} is {tuple(value.shape)}: expected {want}, one entry per frame")
        if vectors is not None:
            if self.model.config.audio_tokens == "patch":
                raise DataError(
                    "this model listens to patches of sound: give it a waveform or log_mel, not audio_features"
                )
            return self.model.hear(audio_features=vectors[None].to(self.device))
        if self.model.audio_encoder is None:
            raise WeightsError(
                "this model reads precomputed VGGish features (as AVISM did) and cannot hear a waveform: pass "
                "audio_features=, or give it an encoder: load_model(..., audio_weights='VGGISH.pth'), --audio-weights"
            )
        exact = torch.float64 if self._exact == torch.float64 else torch.float32  # spectra need this much
        heard = frame_seconds(clip.waveform, length, features.fps) if mel is None else mel
        with self._precision():
            parts = [
                self.model.hear((log_mel(part.to(self.device, exact)) if mel is None else part.to(self.device))[None])
                for part in heard.split(SECONDS_HEARD_AT_ONCE)
            ]
        return AudioFeatures.join(parts)


class _Reporter:
    """Tells a callback, or on long clips a progress bar, how many frames are done."""

    def __init__(self, what: str, total: int, progress: Progress | None) -> None:
        self.what, self.total, self.progress, self.done = what, total, progress, 0
        hidden = progress is not None or total < LONG_CLIP
        self.bar = tqdm(total=total, desc=what, unit="frame", disable=True if hidden else None)

    def __enter__(self) -> Callable[[int], None]:
        if self.progress is not None:
            self.progress(self.what, 0, self.total)
        return self._step

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def _step(self, frames: int) -> None:
        self.done += frames
        self.bar.update(frames)
        if self.progress is not None:
            self.progress(self.what, self.done, self.total)


def _usable(device: torch.device | str) -> torch.device:
    """The device, once a tensor has been made there."""
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:  # which of them depends on how torch was built
        there = ["cpu", *(name for name in ("cuda", "mps") if getattr(torch, name).is_available())]
        reason = str(error).strip().split("\n")[0][:200]
        raise ConfigError(f"device={device!r} cannot be used here, choose {' or '.join(there)}: {reason}") from error


def _split_sound(sound: AudioFeatures | None, lengths: list[int]) -> Iterator[AudioFeatures | None]:
    start = 0
    for length in lengths:
        stop = start + length
        yield None if sound is None else sound.frames(start, stop)
        start = stop


def _resized(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 frames (N, 3, H, W) at another size (h, w), bilinear with antialiasing."""
    from torchvision.transforms.v2.functional import resize  # takes 2 s to import

    return resize(frames, list(size), antialias=True)
