"""The whole network, in training and evaluation mode."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from acvis_kit.config import PRESETS
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.models.acvis.model import ACVIS
from tests.conftest import TINY, make_model

B, T = 2, 5


def draw() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (B, T, 3, 60, 90), dtype=torch.uint8, generator=g)
    return {"frames": frames, "log_mel": torch.randn(B, T, 96, 64, generator=g)}


def test_training_returns_all_layers_that_the_losses_need() -> None:
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


def test_evaluation_returns_the_last_layer_of_training() -> None:
    """Up to the frame decoder: the tracker's object encoder shifts its windows at inference only."""
    model = make_model(TINY)
    training, evaluation = model.train()(**draw()), model.eval()(**draw())
    torch.testing.assert_close(evaluation.frame_class_logits[0], training.frame_class_logits[-1])
    torch.testing.assert_close(evaluation.frame_mask_logits[0], training.frame_mask_logits[-1])
    torch.testing.assert_close(evaluation.count_logits, training.count_logits)


def test_clips_of_a_batch_do_not_mix() -> None:
    model, inputs = make_model(TINY), draw()
    together = model(**inputs)
    alone = model(**{name: value[1:] for name, value in inputs.items()})
    torch.testing.assert_close(together.frame_class_logits[:, 1:], alone.frame_class_logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.count_logits[1:], alone.count_logits, rtol=1e-4, atol=1e-5)


def test_padding_is_part_of_the_image() -> None:
    """There is no padding mask: padding by hand with what normalises to 0 equals padding by the network."""
    model = make_model(TINY)
    padded = model.pixel_mean.expand(1, 3, 64, 96).clone()  # the mean becomes 0 after normalising
    frame = torch.rand(1, 3, 60, 90) * 255
    padded[:, :, :60, :90] = frame
    torch.testing.assert_close(model.encode(padded).fine, model.encode(frame).fine, rtol=1e-4, atol=1e-5)


def test_construction_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    ACVIS(TINY)
    assert capfd.readouterr() == ("", "")


def test_a_variant_is_one_field_and_a_configuration_may_be_a_dictionary() -> None:
    patch, clip = make_model(TINY), make_model(replace(TINY, audio_tokens="clip"))
    different = {n.split(".")[0] for n in patch.state_dict().keys() ^ clip.state_dict().keys()}
    assert different == {"query_generator"}
    assert ACVIS(TINY.to_dict()).config == TINY


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds(name: str) -> None:
    with torch.device("meta"):
        model = ACVIS(PRESETS[name])
    parameters = sum(p.numel() for p in model.parameters())
    most = {"acvis-synth-tiny": 5_000_000, "acvis-filmed-small": 12_000_000}
    assert parameters < most[name] if name in most else parameters > 50_000_000
    assert (model.audio_encoder is None) == (name == "vita-r50")


def test_a_network_with_audio_input_names_what_is_missing() -> None:
    with pytest.raises(DataError, match="log_mel or audio_features"):
        make_model(TINY)(draw()["frames"])
    precomputed = replace(TINY, audio_encoder="precomputed", audio_tokens="clip")
    with pytest.raises(DataError, match="give audio_features"):
        make_model(precomputed)(**draw())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"frames": torch.zeros(B, 3, 60, 90)}, r"frames is \(2, 3, 60, 90\): expected \(B, T, 3, H, W\)"),
        ({"frames": torch.zeros(B, T, 4, 60, 90)}, r"expected \(B, T, 3, H, W\)"),
        ({"log_mel": torch.zeros(B * T, 96, 64)}, r"log_mel is \(10, 96, 64\): expected 2 clips of 5 frames"),
        ({"log_mel": torch.zeros(B, T + 1, 96, 64)}, "expected 2 clips of 5 frames"),
        ({"log_mel": torch.zeros(B, T, 64, 96)}, r"log_mel is .*: expected \(B, T, 96, 64\)"),
    ],
)
def test_a_tensor_of_another_shape_is_refused_with_both_shapes(wrong: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_model(TINY)(**{**draw(), **wrong})


@pytest.mark.parametrize("name", ["acvis-r50", Path("weights"), None])
def test_a_name_in_place_of_a_configuration_is_answered_with_what_to_write(name: object) -> None:
    with pytest.raises(ConfigError, match=r"load_model\(.* trained weights, or ACVIS\(PRESETS.*acvis-r50"):
        ACVIS(name)


def test_a_model_can_be_pickled() -> None:
    model = make_model(TINY)
    again = pickle.loads(pickle.dumps(model))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    again.load_state_dict(model.state_dict())


def test_saved_weights_have_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        make_model(TINY).save_pretrained(tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o644
    assert all(
        torch.equal(a, b)
        for a, b in zip(ACVIS.from_pretrained(tmp_path).parameters(), make_model(TINY).parameters(), strict=True)
    )
