"""From a clip to a semantic prediction: frames are encoded once and decoded for any number of soundtracks.

The same protocol as `Predictor`: `encode(clip)`, `decode(features, sound)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from acvis_kit.clip import Clip, Progress, check_progress
from acvis_kit.errors import ConfigError, DataError, brief, kind_of
from acvis_kit.inference.features import MEGABYTE
from acvis_kit.inference.marks import whole_size
from acvis_kit.inference.model_copy import ModelRunner, evaluation_copy, key_of, usable_device
from acvis_kit.inference.precision import precision_of
from acvis_kit.inference.semantic import SemanticPrediction, heard_instances
from acvis_kit.inference.soundtrack import Sound, checked_sound, soundtrack
from acvis_kit.media.load import load_clip
from acvis_kit.media.mel import frame_seconds
from acvis_kit.models.avsc.candidates import Candidates
from acvis_kit.models.avsc.model import AVSC
from acvis_kit.models.encoders.audio import AudioFeatures
from acvis_kit.models.ravs.model import RAVS
from acvis_kit.models.semantic import SemanticMaps
from acvis_kit.models.semantic_config import SemanticInference, semantic_inference_of
from acvis_kit.weights.load import load_model

FRAMES_AT_ONCE = 8  # of a model whose frames are independent of each other


class KeptCandidates(NamedTuple):
    """Candidates without their empty masks, which are most.

    Attributes:
        masks: bool (candidates, H, W), those with a score, frame by frame.
        scores: (N, K).
    """

    masks: Tensor
    scores: Tensor


@dataclass(repr=False)
class SemanticFeatures:
    """What a model's `encode` gave for a clip, in chunks that are decoded at once.

    The first map of RAVS takes 0.8 MB a frame of 224 pixels, a candidate of AVSC 0.05 MB.

    Attributes:
        clip: the encoded clip. Its frames are not needed any more, only their size.
        lengths: frames of each chunk.
        encoder_key: the model and autocast dtype that encoded the frames; only the same can decode them.
    """

    clip: Clip
    encoder_key: object = None
    lengths: list[int] = field(default_factory=list)
    _chunks: list[Tensor | KeptCandidates] = field(default_factory=list)

    def __repr__(self) -> str:
        (height, width), kept = self.source_size, [chunk for chunk in self._chunks if isinstance(chunk, Tensor)]
        kept += [part for chunk in self._chunks if isinstance(chunk, KeptCandidates) for part in chunk]
        size = sum(tensor.nbytes for tensor in kept) / MEGABYTE
        return f"SemanticFeatures({len(self)} frames of {height}x{width}, {size:.1f} MB in memory)"

    def __len__(self) -> int:
        """Number of frames T."""
        return sum(self.lengths)

    @property
    def source_size(self) -> tuple[int, int]:
        """(H, W) of the clip's frames."""
        return self.clip.size

    def append(self, chunk: Tensor | Candidates, frames: int) -> None:
        """Keep what `encode` gave for the next frames."""
        if isinstance(chunk, Candidates):
            self._chunks.append(KeptCandidates(chunk.masks[chunk.scores > 0], chunk.scores))
        else:
            self._chunks.append(chunk)
        self.lengths.append(frames)

    def chunks(self) -> Iterator[Any]:
        """Yield the chunks in order, as they were appended."""
        for kept in self._chunks:
            if isinstance(kept, KeptCandidates):
                whole = kept.masks.new_zeros(*kept.scores.shape, *kept.masks.shape[1:])
                whole[kept.scores > 0] = kept.masks
                yield Candidates(whole, kept.scores)
            else:
                yield kept


class SemanticPredictor(ModelRunner[AVSC | RAVS]):
    """Runs AVSC or RAVS over clips of any length.

    Args:
        model: an AVSC or RAVS, or the name or path of weights for `load_model`. It is not changed; after a step of
            training make a new SemanticPredictor.
        threshold: a pixel sounds where its score exceeds it, in [0, 1). None: the value of `inference`.
        device: None: that of the model.
        dtype: as of `Predictor`: a dtype or its name, "auto", or None, the model's own.
        inference: threshold and sizes; None: those of the model's configuration.

    Raises:
        ConfigError: a value outside its range, or a model of another kind.
        WeightsError: a name or path without weights.
    """

    def __init__(
        self,
        model: AVSC | RAVS | str | Path,
        threshold: float | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        inference: SemanticInference | None = None,
    ) -> None:
        found: Any = load_model(model) if isinstance(model, str | Path) else model
        if not isinstance(found, AVSC | RAVS):
            raise ConfigError(f"model is {kind_of(found)}: pass an AVSC or RAVS; for an ACVIS use Predictor")
        if not isinstance(inference, SemanticInference | None):
            raise ConfigError(f"inference={brief(inference)} must be a SemanticInference, or None")
        self.inference = inference or semantic_inference_of(found.config)
        if threshold is not None:
            self.inference = replace(self.inference, threshold=threshold)
        self.threshold = self.inference.threshold
        self.device = found.pixel_mean.device if device is None else usable_device(device)
        precision = precision_of(dtype, found.pixel_mean.dtype, self.device)
        self.autocast_dtype = precision.autocast
        self.model = evaluation_copy(found, self.device, precision.weights)
        self._key = key_of(found, precision)
        self._watch_weights()

    def __call__(
        self,
        clip: Clip | str | Path,
        audio: Sound | None = None,
        *,
        progress: Progress | None = None,
    ) -> SemanticPrediction:
        """Encode `clip` and decode it with its own sound, an edit of it, another clip's or a waveform (S,), 16 kHz."""
        audio = checked_sound(audio)  # before the frames are encoded
        return self.decode(self.encode(clip, progress=progress), audio, progress=progress)

    @torch.inference_mode(False)  # what is made in this mode can be neither changed nor used in a loss afterwards
    @torch.no_grad()
    def encode(self, clip: Clip | str | Path, *, progress: Progress | None = None) -> SemanticFeatures:
        """Encode the frames, which needs no sound.

        Args:
            clip: with frames uint8 (T, 3, H, W), T at least 1, or the path of a file for `load_clip`.
            progress: called with ("encode", frames done, frames in total).

        Raises:
            DataError: a clip without frames.
            WeightsError: the weights of the given model have changed.
        """
        check_progress(progress)
        self._check_weights()
        if isinstance(clip, str | Path):
            clip = load_clip(clip)
        if not isinstance(clip, Clip):
            raise DataError(f"the frames are {kind_of(clip)}: give a Clip (Clip.from_arrays), or a path")
        if not len(clip):
            raise DataError("the clip has 0 frames: give a clip with at least 1")
        features = SemanticFeatures(clip, encoder_key=self.encoder_key)
        side = self.inference.input_size
        for part in clip.frames.split(self.model.window or FRAMES_AT_ONCE):
            image = part.to(self.device, self._exact)
            image = F.interpolate(image, (side, side), mode="bilinear", align_corners=False, antialias=True)
            with self._precision():
                features.append(self.model.encode(image), len(part))
            if progress is not None:
                progress("encode", len(features), len(clip))
        return features

    @torch.inference_mode(False)
    @torch.no_grad()
    def decode(
        self,
        features: SemanticFeatures,
        sound: Sound | None = None,
        output_size: tuple[int, int] | None = None,
        *,
        audio_features: Tensor | None = None,
        progress: Progress | None = None,
    ) -> SemanticPrediction:
        """Predict which pixels of the encoded frames sound under a soundtrack.

        Args:
            features: from `encode`, of T frames.
            sound: a clip (its own sound), an `AudioEdit` of the encoded clip or its text as for `AudioEdit.parse`
                ("mute"), or a waveform (S,) at 16 kHz. None: the encoded clip's own sound.
            output_size: (h, w) of the maps; None: the size of the clip's frames.
            audio_features: (T, C_a), instead of a sound.
            progress: called with ("decode", frames done, frames in total).

        Raises:
            DataError: the sound does not have the length of T frames, is given twice, or the features are another
                model's.
            WeightsError: the weights of the given model have changed.
        """
        if not isinstance(features, SemanticFeatures):
            raise DataError(
                f"decode takes what encode returns, not {kind_of(features)}: write "
                "predictor.decode(predictor.encode(clip)), or predictor(clip)"
            )
        check_progress(progress)
        self._check_weights()
        if features.encoder_key != self.encoder_key:
            raise DataError(
                "these features were encoded by another model or precision, or before its weights changed: encode the "
                "clip with this SemanticPredictor"
            )
        if sound is not None and audio_features is not None:
            raise DataError("give one of sound and audio_features, not both")
        if not isinstance(audio_features, Tensor | None):
            raise DataError(f"audio_features are {kind_of(audio_features)}: expected a tensor (T, C)")
        if audio_features is not None and (audio_features.ndim != 2 or len(audio_features) != len(features)):
            raise DataError(f"audio_features are {tuple(audio_features.shape)}: expected ({len(features)}, C)")
        clip, notes = soundtrack(features.clip, sound)
        size = clip.size if output_size is None else whole_size(output_size, "output_size")
        parts: list[SemanticPrediction] = []
        for chunk, heard in zip(features.chunks(), self._heard(features, clip, audio_features), strict=True):
            with self._precision():
                maps = self.model.decode(chunk, heard)
            parts.append(self._prediction(maps, size))
            if progress is not None:
                progress("decode", sum(map(len, parts)), len(features))
        return replace(_joined(parts), fps=clip.fps, clip=clip, notes=notes)

    def _heard(self, features: SemanticFeatures, clip: Clip, vectors: Tensor | None) -> Iterator[AudioFeatures | None]:
        """The encoded sound of each chunk, B = 1; None for a model without audio input."""
        encoder = self.model.sound_encoder
        seconds = frame_seconds(clip.waveform, len(features), clip.fps)  # (T, 16000), a view
        start = 0
        for length in features.lengths:
            stop = start + length
            if encoder is None:
                yield None
            elif vectors is not None:
                yield encoder(audio_features=vectors[None, start:stop].to(self.device, self.model.pixel_mean.dtype))
            elif encoder.front_end is None:
                raise DataError(
                    "this model takes precomputed audio features and cannot encode a waveform: pass audio_features="
                )
            else:
                spectrogram = encoder.front_end.compute(seconds[start:stop].to(self.device, self._exact))
                with self._precision():
                    yield encoder(spectrogram[None])
            start = stop

    def _prediction(self, maps: SemanticMaps, size: tuple[int, int]) -> SemanticPrediction:
        """The prediction of one chunk, B = 1, on the CPU at size (h, w)."""
        scores = _resized(maps.scores[0].float(), size).half()  # as it is kept: `above` compares the same numbers
        labels = F.interpolate(maps.labels.float(), size, mode="nearest-exact")[0]  # aligned with bilinear scores
        class_maps = torch.where(scores.float() > self.threshold, labels + 1, 0).to(torch.int16)
        heard = maps.class_scores[0].float().cpu() if maps.class_scores is not None else None
        counts = instances = None
        if maps.objects is not None and heard is not None:
            instances = count_instances(maps.objects[0].cpu().numpy(), self.inference.instance_area)
            counts = heard_instances(instances, heard, self.threshold)
        uncertainty = _resized(maps.uncertainty[0].float(), size).half().cpu() if maps.uncertainty is not None else None
        return SemanticPrediction(
            class_maps=class_maps.cpu(),
            probabilities=scores.cpu(),
            class_names=self.model.config.class_names,
            counts=counts,
            class_scores=heard,
            uncertainty=uncertainty,
            instances=instances,
            threshold=self.threshold,
        )

    @property
    def _exact(self) -> torch.dtype:
        """The dtype of frames and spectrograms, also under autocast."""
        return self.model.pixel_mean.dtype

    def _precision(self) -> AbstractContextManager:
        return torch.autocast(self.device.type, self.autocast_dtype, enabled=self.autocast_dtype is not None)


def count_instances(masks: np.ndarray, least_area: float = 0.0) -> Tensor:
    """Connected parts (with diagonals) of the mask of each class in each frame, int64 (T, K).

    Args:
        masks: bool (T, K, H, W).
        least_area: fraction of the frame; smaller parts are not counted.
    """
    from scipy.ndimage import label  # takes time to import, and only AVSC counts

    least = max(1.0, least_area * masks.shape[-2] * masks.shape[-1])
    counts = np.zeros(masks.shape[:2], dtype=np.int64)
    for t, k in np.argwhere(masks.any((2, 3))):
        parts, _ = label(masks[t, k], structure=np.ones((3, 3)))
        counts[t, k] = (np.bincount(parts.ravel())[1:] >= least).sum()
    return torch.from_numpy(counts)


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(T, H, W) -> (T, h, w), bilinear."""
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]


def _joined(parts: list[SemanticPrediction]) -> SemanticPrediction:
    """Predictions of successive frames as one."""
    joined: dict[str, Any] = {}
    for name in ("class_maps", "probabilities", "counts", "class_scores", "uncertainty", "instances"):
        values = [getattr(part, name) for part in parts]
        joined[name] = torch.cat(values) if values[0] is not None else None
    return replace(parts[0], **joined)
