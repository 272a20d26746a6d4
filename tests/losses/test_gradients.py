"""Every parameter gets a gradient: small networks, through the criterion and back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from acvis_kit.clip import Targets
from acvis_kit.config import PRESETS, ACVISConfig
from acvis_kit.losses.criterion import Criterion
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.models.encoders import audio
from tests.losses.samples import generators

SMALL = {
    "hidden_dim": 64,  # two channels per group: a bias before a norm of single channels would get no gradient
    "num_heads": 4,
    "pixel_layers": 1,
    "pixel_feedforward_dim": 32,
    "feedforward_dim": 32,
    "frame_layers": 4,  # each of the three scales is used
    "tracker_layers": 2,
    "video_layers": 2,
    "num_frame_queries": 5,
    "num_video_queries": 5,
    "num_points": 32,
    "class_names": ("cat", "dog", "bass"),
}
COMPACT_AUDIO = {"audio_encoder": "compact"}


def small(preset: str, **changes: object) -> ACVISConfig:
    return replace(PRESETS[preset], **SMALL, **changes)


CASES = {
    "acvis": small("acvis-r50", **COMPACT_AUDIO),
    "acvis with patches of sound": small("acvis-r50", **COMPACT_AUDIO, audio_tokens="patch"),
    "acvis, cross-entropy": small("acvis-r50", **COMPACT_AUDIO, count_head="ce"),
    "acvis on a Swin": small("acvis-swin-t", **COMPACT_AUDIO, drop_path=0.0),
    "avism": small("avism-r50", **COMPACT_AUDIO),
    "vita": small("vita-r50", **COMPACT_AUDIO),
    "acvis-synth-tiny": small("acvis-synth-tiny"),
    "visible, without classes of sound": small("acvis-synth-tiny", audio_classes=False, audio_tokens="clip"),
    "acvis with its VGGish": small("acvis-r50"),
    "acvis with a raw VGGish": small("acvis-r50", audio_features="vggish_raw"),
}
# Parameters without a gradient, by the beginning of their names.
EXCEPTIONS = {
    # Rounded to 8 bits, every gradient of VGGish is zero (reference.md 3.2): the reference's is in effect frozen.
    "acvis with its VGGish": ("audio_encoder.",),
}


def targets(config: ACVISConfig, length: int) -> list[Targets]:
    """Two clips of 64x64: one with two objects, of which one sounds and has a cue; one with an object in half of it."""
    masks = torch.zeros(3, length, 64, 64, dtype=torch.bool)
    masks[0, :, 4:30, 4:30] = True
    masks[1, :, 36:60, 30:60] = True
    masks[2, : length // 2, 10:50, 10:50] = True
    sounding = torch.zeros(3, length, dtype=torch.bool)
    sounding[0] = sounding[2, : length // 2] = True
    if config.targets == "sounding":
        masks &= sounding[:, :, None, None]
    audio_labels = torch.zeros(length, 3, dtype=torch.bool)
    audio_labels[:, 0] = True
    return [
        Targets(
            torch.tensor([0, 1]), masks[:2], sounding[:2], sounding[:2].sum(0), audio_labels, {"cue": sounding[:2]}
        ),
        Targets(torch.tensor([2]), masks[2:], sounding[2:], sounding[2:].sum(0), None),
    ]


def train_once(config: ACVISConfig, length: int = 2) -> ACVIS:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ACVIS(config).train().double()
        with torch.no_grad():  # deformable attention starts with zero weights, behind which positions get no gradient
            for parameter in model.parameters():
                parameter += 0.02 * torch.randn(parameter.shape)
        frames = torch.randint(0, 256, (2, length, 3, 64, 64), dtype=torch.uint8)
        output = model(frames, torch.randn(2, length, 96, 64))
    losses = Criterion(config)(output, targets(config, length), generators=generators(2))
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    return model


def without_gradient(model: ACVIS) -> list[str]:
    """Parameters without a gradient, or with one that is nowhere above the rounding noise of float64."""
    return [n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-12]


@pytest.fixture(autouse=True)
def narrow_vggish(monkeypatch: pytest.MonkeyPatch) -> None:
    """VGGish with its layers but a thousandth of its 72 M parameters."""
    monkeypatch.setattr(audio, "VGGISH_LAYERS", (4, "M", 4, "M", 8, 8, "M", 8, 8, "M"))
    monkeypatch.setattr(audio, "VGGISH_HIDDEN", 16)


@pytest.mark.parametrize("case", CASES)
def test_every_parameter_gets_a_gradient(case: str) -> None:
    excepted = EXCEPTIONS.get(case, ())
    model = train_once(CASES[case])
    missing = without_gradient(model)
    assert not [name for name in missing if not name.startswith(excepted)]
    if excepted:
        assert all(name in missing for name, _ in model.named_parameters() if name.startswith(excepted))
