"""Predictors that do not listen, for comparison: what scores are worth without hearing or without marking anything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from acvis_kit.errors import ConfigError
from acvis_kit.inference.features import VisualFeatures
from acvis_kit.inference.prediction import Prediction, Track, masks_of_frames
from acvis_kit.inference.predictor import Predictor
from acvis_kit.inference.soundtrack import Sound
from acvis_kit.masks import encode_masks

BASELINES = ("nothing", "largest")
SOUND_DB = -50.0  # RMS of a second above which there is sound, dB of full scale


class Baseline(Predictor):
    """A predictor whose masks do not depend on what sounds, only on whether there is sound.

    Args:
        kind: "nothing": no mask is ever shown. "largest": the largest object that the network sees without sound is
            shown in every second whose sound exceeds -50 dB.
        predictor: its network, with targets="visible", sees the objects.

    Raises:
        ConfigError: another kind, or a network that predicts sounding objects only.
    """

    def __init__(self, kind: str, predictor: Predictor) -> None:
        if kind not in BASELINES:
            raise ConfigError(f"baseline={kind!r} is unknown: choose {' or '.join(BASELINES)}")
        if predictor.model.config.targets != "visible":
            raise ConfigError(f"baseline={kind!r} needs a network that sees silent objects too: targets='visible'")
        everything = replace(predictor.inference, sounding_threshold=0.0, score_threshold=0.0)
        super().__init__(
            predictor.model, inference=everything, device=predictor.device, dtype=predictor.autocast_dtype,
            feature_budget_mb=predictor.feature_budget_mb,
            device_budget_mb=predictor.device_budget_mb,
        )  # fmt: skip
        self.kind = kind

    def decode(self, features: VisualFeatures, sound: Sound | None = None, *args: Any, **kwargs: Any) -> Prediction:
        clip, notes = self._soundtrack(features, sound)
        prediction = super().decode(features, torch.zeros_like(clip.waveform), *args, **kwargs)
        prediction = replace(prediction, clip=clip, notes=notes)
        tracks = tuple(self._largest(prediction, clip.waveform)) if self.kind == "largest" else ()
        counts = masks_of_frames(tracks, len(prediction))
        probabilities = prediction.count_probs
        if probabilities is not None:
            counts = counts.clamp(max=probabilities.shape[1] - 1)
            probabilities = torch.nn.functional.one_hot(counts, probabilities.shape[1]).to(probabilities)
        return replace(prediction, tracks=tracks, counts=counts, count_probs=probabilities, count_source=None)

    def _largest(self, prediction: Prediction, waveform: Tensor) -> list[Track]:
        if not prediction.tracks:
            return []
        track = max(prediction.tracks, key=lambda one: (int(one.areas().sum()), one.score))
        heard = is_sound(waveform, len(prediction))
        (blank,) = encode_masks(torch.zeros(1, *prediction.size, dtype=torch.bool))
        masks = tuple(mask if sounds else blank for mask, sounds in zip(track.masks, heard.tolist(), strict=True))
        return [replace(track, masks=masks, frame_scores=track.frame_scores * heard)]


def is_sound(waveform: Tensor, frames: int) -> Tensor:
    """Whether there is sound in each frame's share of a waveform (S,): bool (T,)."""
    parts = waveform.tensor_split(frames)
    power = torch.stack([part.square().mean() if len(part) else part.new_zeros(()) for part in parts])
    return power > 10 ** (SOUND_DB / 10)
