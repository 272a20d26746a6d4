"""The whole network, as training sees it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from acvis_kit.config import PRESETS
from acvis_kit.models.acvis.model import ACVIS
from tests.conftest import TINY, make_model

B, T = 2, 5


def draw() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (B, T, 3, 60, 90), dtype=torch.uint8, generator=g)
    return {"frames": frames, "log_mel": torch.randn(B, T, 96, 64, generator=g)}


def test_training_gives_every_layer_what_the_losses_need() -> None:
    out = make_model(TINY).train()(**draw())
    layers, q, k = TINY.frame_layers + 1, TINY.num_frame_queries, TINY.num_classes + 1
    assert out.frame_class_logits.shape == (layers, B, T, q, k)
    assert out.frame_mask_logits.shape == (layers, B, T, q, 16, 24)
    assert out.count_logits.shape == (B, T, TINY.k_max)
    stacked = TINY.supervised_frame_layers * B
    assert out.video.class_logits.shape == (TINY.video_layers, stacked, TINY.num_video_queries, k)
    assert out.video_mask_logits.shape == (TINY.video_layers, stacked, TINY.num_video_queries, T, 16, 24)
    assert out.video.video_similarity.shape == (TINY.video_layers, stacked, TINY.num_video_queries, TINY.hidden_dim)
    assert out.video.frame_similarity.shape == (stacked, T, q, TINY.hidden_dim)


def test_evaluation_gives_the_last_layer_of_training() -> None:
    """As far as the frame decoder: the tracker's object encoder shifts its windows at inference only."""
    model = make_model(TINY)
    trained, used = model.train()(**draw()), model.eval()(**draw())
    torch.testing.assert_close(used.frame_class_logits[0], trained.frame_class_logits[-1])
    torch.testing.assert_close(used.frame_mask_logits[0], trained.frame_mask_logits[-1])
    torch.testing.assert_close(used.count_logits, trained.count_logits)


def test_clips_of_a_batch_do_not_mix() -> None:
    model, inputs = make_model(TINY), draw()
    together = model(**inputs)
    alone = model(**{name: value[1:] for name, value in inputs.items()})
    torch.testing.assert_close(together.frame_class_logits[:, 1:], alone.frame_class_logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.count_logits[1:], alone.count_logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"audio_tokens": "clip"},
        {"audio_tokens": "clip", "query_generator": "additive"},
        {"count_head": "ce"},
        {"targets": "visible"},
        {"targets": "visible", "audio_classes": True, "pixel_classes": True, "pixel_signs": True},
    ],
    ids=str,
)
def test_every_parameter_gets_a_gradient(changes: dict[str, object]) -> None:
    model = make_model(replace(TINY, **changes)).train()
    g = torch.Generator().manual_seed(2)
    with torch.no_grad():  # deformable attention starts with zero weights, behind which positions learn nothing yet
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=g)
    out = model(**draw())
    parts = (*(part for part in out if torch.is_tensor(part)), *(part for part in out.video if part is not None))
    sum(part.square().mean() for part in parts).backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]


def test_vggish_rounded_to_8_bits_gets_no_gradient() -> None:
    model = make_model(replace(TINY, audio_encoder="vggish", audio_tokens="clip")).train()
    out = model(**draw())
    sum(part.square().mean() for part in (*out[:3], *out.video[:4])).backward()
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in model.audio_encoder.parameters())


def test_padding_is_picture() -> None:
    """There is no padding mask: a frame padded by hand after normalising is the same as one padded by the network."""
    model = make_model(TINY)
    mean = model.pixel_mean.expand(1, 3, 64, 96).clone()
    frame = torch.rand(1, 3, 60, 90) * 255
    mean[:, :, :60, :90] = frame  # the mean becomes 0 after normalising
    torch.testing.assert_close(model.encode(mean).fine, model.encode(frame).fine, rtol=1e-4, atol=1e-5)


def test_construction_is_pure(capfd: pytest.CaptureFixture[str]) -> None:
    ACVIS(TINY)
    assert capfd.readouterr() == ("", "")


def test_a_variant_is_one_field_and_the_dictionary_of_a_configuration_will_do() -> None:
    patch, clip = make_model(TINY), make_model(replace(TINY, audio_tokens="clip"))
    different = {n.split(".")[0] for n in patch.state_dict().keys() ^ clip.state_dict().keys()}
    assert different == {"query_generator"}
    assert ACVIS(TINY.to_dict()).config == TINY


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds(name: str) -> None:
    with torch.device("meta"):
        model = ACVIS(PRESETS[name])
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters < 5_000_000 if name == "acvis-synth-tiny" else parameters > 50_000_000
    assert (model.audio_encoder is None) == (name == "vita-r50")
