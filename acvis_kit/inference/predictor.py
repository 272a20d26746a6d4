"""From a clip to a prediction: frames are encoded once and decoded for any number of soundtracks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from acvis_kit.clip import Clip, Progress, check_progress, moved
from acvis_kit.config import InferenceConfig, inference_of
from acvis_kit.errors import ConfigError, DataError, WeightsError, brief, kind_of
from acvis_kit.fields import is_number
from acvis_kit.inference.features import VisualFeatures, ordinary
from acvis_kit.inference.marks import whole_number, whole_size
from acvis_kit.inference.model_copy import (
    COMPILED_PARTS,
    ModelRunner,
    evaluation_copy,
    key_of,
    unwrapped,
    usable_device,
)
from acvis_kit.inference.postprocess import Drawn, tracks_of
from acvis_kit.inference.precision import matmul_precision, precision_of
from acvis_kit.inference.prediction import Prediction, masks_of_frames
from acvis_kit.inference.soundtrack import Sound, checked_sound, soundtrack
from acvis_kit.media.limits import check_number
from acvis_kit.media.load import load_clip
from acvis_kit.media.mel import frame_seconds, log_mel
from acvis_kit.models.acvis.count import CountSource
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.models.acvis.tracker import VideoOutput
from acvis_kit.models.encoders.audio import AudioFeatures
from acvis_kit.weights.load import load_model

LONG_CLIP = 60  # frames; from here on a progress bar is shown if there is no progress callback
AUDIO_FRAMES_AT_ONCE = 16  # each with one second of sound
MOST_FRAMES_AT_ONCE = 10_000
PIXELS_AT_ONCE = 2**18  # slightly more than a frame of 360x640


class Predictor(ModelRunner[ACVIS]):
    """Runs a model over clips of any length in bounded memory.

    The given model is not changed: the attribute `model` is a copy in evaluation mode, which shares the memory of all
    weights that have the wanted device, precision and layout already. After a step of training make a new Predictor.

    Args:
        model: a model; or a name or path for `load_model`. Of a model from `torch.compile(model)` the parts `encode`,
            `hear` and `decode_frames` run compiled, with its settings; the tracker, whose work depends on the length of
            the clip, does not.
        short_side: pixels of the short side at the network's input, at least 1, or "keep" for the frames' own size.
            None here and for the next three: the value of `inference`.
        score_threshold: only tracks that score higher are returned, in [0, 1).
        top_k: number of (query, class) pairs considered, at least 1.
        count_gate: limit the number of masks in a frame to its count, see `Prediction.gated`.
        feature_budget_mb: the host's memory in MB for the clip and its features; further features go to disk.
        device: None: that of the model.
        dtype: a dtype or its name, for example "bfloat16". None: the model's. float16 and bfloat16 are for
            multiplications only (autocast). "auto": bfloat16 where the device multiplies it quickly, else float32.
        frames_at_once: frames encoded together. None: on a CPU as many as have the pixels of one 360x640 frame (more
            exceed the cache and are slower), 16 times as many elsewhere.
        inference: thresholds and sizes; None: those of the model's configuration.
        matmul_precision: of float32 products, "highest", "high" or "medium"; see `precision.matmul_precision`.
        device_budget_mb: a GPU's memory in MB for features; further features go to the host's memory.

    Raises:
        ConfigError: a value outside its range, an unavailable device, weights in half precision, or something else
            than a model.
        WeightsError: a name or path without weights.
    """

    def __init__(
        self,
        model: ACVIS | str | Path,
        short_side: int | str | None = None,
        score_threshold: float | None = None,
        top_k: int | None = None,
        count_gate: bool | None = None,
        feature_budget_mb: float = 2048,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        frames_at_once: int | None = None,
        inference: InferenceConfig | None = None,
        matmul_precision: str | None = None,
        device_budget_mb: float = 4096,
    ) -> None:
        model, compiler = unwrapped(load_model(model) if isinstance(model, str | Path) else model)
        if isinstance(short_side, str) and short_side != "keep":
            raise ConfigError(f"short_side={short_side!r} must be a number of pixels, at least 1, or 'keep'")
        keep = isinstance(short_side, str)
        for name, budget in (("feature_budget_mb", feature_budget_mb), ("device_budget_mb", device_budget_mb)):
            if not (is_number(budget) and budget >= 0):
                raise ConfigError(f"{name}={brief(budget)} must be a number of MB, 0 or more")
        if frames_at_once is not None:
            frames_at_once = whole_number(frames_at_once, "a whole number as frames_at_once")
            check_number("frames_at_once", frames_at_once, 1, MOST_FRAMES_AT_ONCE)
        if not isinstance(inference, InferenceConfig | None):
            raise ConfigError(f"inference={brief(inference)} must be an InferenceConfig, or None")
        changes: dict[str, Any] = {
            "short_side": None if keep else short_side,
            "score_threshold": score_threshold,
            "top_k": top_k,
            "count_gate": count_gate,
        }
        changes = {name: value for name, value in changes.items() if value is not None}
        self.inference = replace(inference or inference_of(model.config), **changes)
        self.short_side = "keep" if keep else self.inference.short_side
        if self.count_gate and model.config.count_head == "none":
            raise ConfigError("count_gate=True needs a model that counts: this one has count_head='none'")
        self.feature_budget_mb, self.device_budget_mb = feature_budget_mb, device_budget_mb
        self.frames_at_once = frames_at_once

        self.device = model.pixel_mean.device if device is None else usable_device(device)
        precision = precision_of(dtype, model.pixel_mean.dtype, self.device)
        self.autocast_dtype, self.matmul_precision = precision.autocast, matmul_precision
        with self._precision():  # refuses a precision that does not exist
            pass
        self.model = evaluation_copy(model, self.device, precision.weights, precision.autocast)
        if compiler is not None:
            for part in COMPILED_PARTS:
                setattr(self.model, part, compiler(getattr(self.model, part)))
        self._key = key_of(model, precision)
        self._watch_weights()

    def __call__(
        self, clip: Clip | str | Path, audio: Sound | None = None, *, progress: Progress | None = None
    ) -> Prediction:
        """Encode a clip and decode it with a sound.

        Args:
            clip: a clip, or the path of a file for `load_clip`.
            audio: the sound, see `decode`; None: the clip's own.
            progress: see `encode` and `decode`.
        """
        audio = checked_sound(audio)  # before the frames are encoded
        features = self.encode(clip, progress=progress)
        return self.decode(features, audio, progress=progress)

    def __repr__(self) -> str:
        dtype = str(self.autocast_dtype or self._exact).removeprefix("torch.")
        config, side = self.model.config, self.short_side
        return (
            f"Predictor({len(config.class_names)} classes, backbone {config.backbone}, {dtype} on {self.device}, short "
            f"side {side}, scores above {self.score_threshold:g})"
        )

    @property
    def score_threshold(self) -> float:
        """That of `inference`, which decides; it cannot be set alone."""
        return self.inference.score_threshold

    @property
    def top_k(self) -> int:
        """That of `inference`, which decides; it cannot be set alone."""
        return self.inference.top_k

    @property
    def count_gate(self) -> bool:
        """That of `inference`, which decides; it cannot be set alone."""
        return self.inference.count_gate

    @torch.inference_mode(False)  # what is made in this mode can be neither changed nor used in a loss afterwards
    @torch.no_grad()
    def encode(self, clip_or_frames: Clip | Tensor | str | Path, *, progress: Progress | None = None) -> VisualFeatures:
        """Encode the frames, which needs no sound.

        Args:
            clip_or_frames: a clip, uint8 frames (T, 3, H, W), RGB, or the path of a file for `load_clip`.
            progress: called with ("encode", frames done, frames in total).

        Raises:
            DataError: frames of another type or shape.
            WeightsError: the weights of the given model have changed.
            AcvisError: the disk has too little space for features beyond the budget.
        """
        check_progress(progress)
        self._check_weights()
        if isinstance(clip_or_frames, str | Path):
            clip_or_frames = load_clip(clip_or_frames)
        clip = clip_or_frames if isinstance(clip_or_frames, Clip) else None
        frames = clip_or_frames.frames if isinstance(clip_or_frames, Clip) else clip_or_frames
        if not isinstance(frames, Tensor):
            raise DataError(f"frames are {kind_of(frames)}: give a Clip, a path, or a tensor uint8 (T, 3, H, W)")
        if frames.ndim != 4 or frames.shape[1] != 3 or frames.dtype != torch.uint8 or not len(frames):
            raise DataError(
                f"frames are {frames.dtype} {tuple(frames.shape)}: expected uint8 (T, 3, H, W) with T at least 1"
            )
        source = frames.shape[-2], frames.shape[-1]
        size = self.input_size(*source)
        fps = clip.fps if clip is not None else 1.0
        budgets = {"budget_mb": self.feature_budget_mb, "device_budget_mb": self.device_budget_mb}
        features = VisualFeatures(source, size, clip=clip, fps=fps, **budgets)
        features.encoder_key = self.encoder_key
        with _Reporter("encode", len(frames), progress) as report:
            for part in frames.split(self.frames_at_once or self._frames_that_fit(size)):
                image = moved(part, self.device)
                if size != source:
                    image = _resized(image, size)
                with torch.inference_mode(), self._precision():
                    encoded = self.model.encode(image)
                features.append(encoded)
                report(len(part))
        return features

    @torch.inference_mode(False)
    @torch.no_grad()
    def decode(
        self,
        features: VisualFeatures,
        sound: Sound | None = None,
        output_size: tuple[int, int] | None = None,
        *,
        log_mel: Tensor | None = None,
        audio_features: Tensor | None = None,
        progress: Progress | None = None,
    ) -> Prediction:
        """Predict which of the encoded objects sound under a soundtrack.

        Args:
            features: from `encode`, of T frames.
            sound: a clip (its own sound), an `AudioEdit` of the encoded clip or its text as for `AudioEdit.parse`
                ("mute"), or a waveform (S,) at 16 kHz. None, if nothing else is given: the encoded clip's own sound.
            output_size: (h, w) of the masks; None: the size of the frames given to `encode`.
            log_mel: (T, 96, 64), instead of a sound.
            audio_features: (T, 128), instead of a sound, for models that take precomputed features.
            progress: called with ("decode" or "masks", frames done, frames in total).

        Raises:
            DataError: the sound does not have the length of T frames, is missing, or is given more than once.
            WeightsError: a waveform is given to a model without an audio encoder, or the weights of the given model
                have changed.
        """
        if not isinstance(features, VisualFeatures):
            raise DataError(
                f"decode takes what encode returns, not {kind_of(features)}: write "
                "predictor.decode(predictor.encode(clip)), or predictor(clip)"
            )
        check_progress(progress)
        self._check_weights()
        size = features.source_size if output_size is None else whole_size(output_size, "output_size")
        given = [x for x in (sound, log_mel, audio_features) if x is not None]
        if len(given) > 1:
            raise DataError("give one of sound, log_mel and audio_features, not several")
        if features.encoder_key != self.encoder_key:
            raise DataError(
                "these features were encoded by another model or precision, or before its weights changed: encode the "
                "clip with this Predictor"
            )
        clip = features.clip
        notes: tuple[str, ...] = ()
        if log_mel is None and audio_features is None:
            clip, notes = self._soundtrack(features, sound)
        elif clip is not None:  # the waveform behind log_mel or audio_features is unknown
            clip = replace(clip, waveform=torch.zeros_like(clip.waveform), has_audio=False)
        with torch.inference_mode():  # 3 % faster than without gradients alone
            audio = self._encode_sound(features, clip, log_mel, audio_features)
            video, count_logits = self._track(features, audio, progress)
            with _Reporter("masks", len(features), progress) as report:
                drawn = tracks_of(self.model, video, features, size, self.inference, report)
            source = self._count_source(count_logits, drawn)
        tracks = [replace(track, frame_scores=ordinary(track.frame_scores)) for track in drawn.tracks]
        probabilities = ordinary(source.probabilities()) if source is not None else None
        if probabilities is not None:
            counts = probabilities.argmax(-1)
        else:
            counts = masks_of_frames(tuple(tracks), len(features))
        prediction = Prediction(
            tracks=tuple(tracks),
            counts=counts,
            count_probs=probabilities,
            class_names=self.model.config.class_names,
            size=size,
            fps=features.fps,
            clip=clip,
            notes=notes,
            count_source=source,
        )
        return prediction.gated() if self.count_gate else prediction

    def _track(
        self, features: VisualFeatures, audio: AudioFeatures | None, progress: Progress | None
    ) -> tuple[VideoOutput, list[Tensor]]:
        """Frame level and tracker: the tracker's output, and the logits of the frames' counts, a tensor per chunk."""
        count_logits: list[Tensor] = []
        done = 0
        queries: Tensor | None = None  # (1, T, Q_f, C), allocated once and filled chunk by chunk
        with _Reporter("decode", len(features), progress) as report, self._precision():
            for pixels in features.joined_chunks(self.device):
                end = done + len(pixels.fine)
                state = self.model.decode_frames(pixels, None if audio is None else audio.frames(done, end))
                if queries is None:
                    queries = state.queries.new_empty(1, len(features), *state.queries.shape[2:])
                queries[:, done:end] = state.queries
                done = end
                if state.count_logits is not None:
                    count_logits.append(state.count_logits)
                report(len(pixels.fine))
            assert queries is not None, "encoded features have at least one chunk"
            return self.model.track(queries, audio, features.chunks(self.device)), count_logits

    def _count_source(self, token_logits: list[Tensor], drawn: Drawn) -> CountSource | None:
        """What the counts follow from; None without a count head.

        Args:
            token_logits: of the frames' count tokens, a tensor per chunk.
            drawn: the tracks.
        """
        if self.model.count_head is None:
            return None
        from_token = self.model.count_head.probabilities(torch.cat(token_logits).to(self._exact)).cpu()
        presence, best = (ordinary(x).to(from_token) for x in (drawn.presence, drawn.best))
        return CountSource(ordinary(from_token), presence, best, self.model.config.count_from)

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of the network's input: `short_side`, with the long side bounded as configured (detectron2's rule)."""
        height, width = whole_size((height, width), "the size")
        if isinstance(self.short_side, str):  # "keep"
            return height, width
        scale = self.short_side / min(height, width)
        scale = min(scale, self.inference.long_side / max(height, width))
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))

    def _frames_that_fit(self, size: tuple[int, int]) -> int:
        pixels = PIXELS_AT_ONCE if self.device.type == "cpu" else 16 * PIXELS_AT_ONCE
        return max(1, pixels // (size[0] * size[1]))

    @property
    def _exact(self) -> torch.dtype:
        """The dtype of masks and probabilities, also under autocast."""
        return self.model.pixel_mean.dtype

    @contextmanager
    def _precision(self) -> Iterator[None]:
        autocast: AbstractContextManager = nullcontext()  # a device may have no autocast ("meta")
        if self.autocast_dtype is not None:
            autocast = torch.autocast(self.device.type, self.autocast_dtype)
        with matmul_precision(self.matmul_precision), autocast:
            yield

    def _soundtrack(self, features: VisualFeatures, sound: Sound | None) -> tuple[Clip, tuple[str, ...]]:
        """The encoded clip with the sound to decode, and notes about it for the user.

        Raises:
            DataError: bare frames without a sound, or a sound of another type or length.
        """
        clip = features.clip
        if clip is None:  # bare frames were encoded: blank frames of their size replace them
            if sound is None and self.model.config.uses_audio:
                raise DataError(
                    "bare frames have no sound: pass a clip, an edit, a waveform, log_mel or audio_features"
                )
            blank = torch.zeros(1, 3, 1, 1, dtype=torch.uint8).expand(len(features), 3, *features.source_size)
            clip = Clip.from_arrays(blank, None, features.fps)
        return soundtrack(clip, sound)

    def _encode_sound(
        self, features: VisualFeatures, clip: Clip | None, mel: Tensor | None, vectors: Tensor | None
    ) -> AudioFeatures | None:
        """Audio tokens of the T frames as one clip, B = 1; None for a model without audio input."""
        length = len(features)
        if not self.model.config.uses_audio:
            return None
        for name, value, shape in (("log_mel", mel, (96, 64)), ("audio_features", vectors, None)):
            expected = (length, *(shape or (self.model.config.audio_dim,)))
            if value is not None and not isinstance(value, Tensor):
                raise DataError(f"{name} is {kind_of(value)}: expected a tensor {expected}")
            if value is not None and tuple(value.shape) != expected:
                raise DataError(f"{name} is {tuple(value.shape)}: expected {expected}, one entry per frame")
        if vectors is not None:
            if self.model.config.audio_tokens == "patch":
                raise DataError("this model encodes patches of sound: pass a waveform or log_mel, not audio_features")
            return self.model.hear(audio_features=vectors[None].to(self.device))
        if self.model.audio_encoder is None:
            raise WeightsError(
                "this model takes precomputed VGGish features (as AVISM did) and cannot encode a waveform: load it "
                "with an encoder, audio_weights=VGGISH.pth, or pass audio_features="
            )
        exact = torch.float64 if self._exact == torch.float64 else torch.float32  # spectra need this much
        if mel is None:
            assert clip is not None, "without log_mel the sound is a clip's"
            per_frame = frame_seconds(clip.waveform, length, features.fps)  # (T, 16000)
        else:
            per_frame = mel
        encoded: list[AudioFeatures] = []
        with self._precision():
            for part in per_frame.split(AUDIO_FRAMES_AT_ONCE):
                part = log_mel(part.to(self.device, exact)) if mel is None else part.to(self.device)
                audio = self.model.hear(part[None])
                assert audio is not None, "the model uses audio"
                encoded.append(audio)
        return AudioFeatures.join(encoded).smoothed(self.inference.audio_smoothing)


class _Reporter:
    """Reports the number of finished frames to a callback or, for long clips without one, to a progress bar."""

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


def _resized(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 frames (N, 3, H, W) at another size (h, w), bilinear with antialiasing."""
    from torchvision.transforms.v2.functional import resize  # takes 2 s to import

    return resize(frames, list(size), antialias=True)
