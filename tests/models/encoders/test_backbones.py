"""Backbones return the maps that they declare; torchvision's weights load; Swin shifts where torchvision does not."""

from functools import partial

import pytest
import torch
from torchvision.models import resnet50, swin_transformer
from torchvision.ops.misc import FrozenBatchNorm2d

from acvis_kit.config import CHOICES, ACVISConfig
from acvis_kit.errors import WeightsError
from acvis_kit.models.encoders.backbones import build_backbone
from acvis_kit.models.encoders.swin import ShiftedWindowAttention, Swin
from acvis_kit.weights.encoders import load_imagenet_weights


@pytest.mark.parametrize("name", CHOICES["backbone"])
def test_channels_and_strides_are_as_declared(name: str) -> None:
    with torch.device("meta"):  # shapes only
        backbone = build_backbone(ACVISConfig(backbone=name, swin_window=12 if name == "swin_l" else 7)).eval()
        maps = backbone(torch.empty(2, 3, 64, 96))
    assert [tuple(m.shape) for m in maps] == [
        (2, c, 64 // s, 96 // s) for c, s in zip(backbone.channels, backbone.strides, strict=True)
    ]


def test_resnet_is_torchvisions_with_its_own_weights() -> None:
    torch.manual_seed(0)
    theirs = resnet50(norm_layer=FrozenBatchNorm2d).eval()
    for module in theirs.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.5, 1.5)
    ours = build_backbone(ACVISConfig()).eval()
    load_imagenet_weights(ours, theirs.state_dict())
    image = torch.randn(1, 3, 64, 64)
    want = theirs.layer1(theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(image)))))
    torch.testing.assert_close(ours(image)[0], want, rtol=1e-4, atol=1e-4)


def test_frozen_norms_are_not_trained() -> None:
    backbone = build_backbone(ACVISConfig())
    assert not [name for name, _ in backbone.named_parameters() if "bn" in name or "downsample.1" in name]
    assert all(p.requires_grad for p in backbone.parameters())


def swin_weights() -> dict[str, torch.Tensor]:
    return swin_transformer.SwinTransformer([4, 4], 96, [2, 2, 6, 2], [3, 6, 12, 24], [7, 7]).state_dict()


def test_torchvisions_swin_weights_load_from_a_file(tmp_path) -> None:
    backbone = build_backbone(ACVISConfig(backbone="swin_t"))
    given = swin_weights()
    torch.save(given, tmp_path / "swin_t.pth")
    load_imagenet_weights(backbone, tmp_path / "swin_t.pth")
    with pytest.raises(WeightsError, match=r"nowhere\.pth"):
        load_imagenet_weights(backbone, tmp_path / "nowhere.pth")
    assert torch.equal(backbone.features[1][0].attn.qkv.weight, given["features.1.0.attn.qkv.weight"])


def test_weights_of_another_network_are_refused_and_the_wrong_keys_named() -> None:
    with pytest.raises(WeightsError, match=r"(?s)this ResNet: .*missing: conv1\.weight"):
        load_imagenet_weights(build_backbone(ACVISConfig()), swin_weights())


def attention_pair(side: int, shift: int):
    torch.manual_seed(0)
    build = partial(swin_transformer.SwinTransformerBlock, 16, 2, window_size=[side, side], shift_size=[shift, shift])
    theirs, ours = build(), build(attn_layer=ShiftedWindowAttention)
    torch.nn.init.normal_(theirs.attn.relative_position_bias_table)
    ours.load_state_dict(theirs.state_dict())
    return theirs.attn, ours.attn


@pytest.mark.parametrize(("height", "width", "shift"), [(8, 12, 0), (8, 12, 2), (9, 13, 2), (4, 4, 0)])
def test_window_attention_equals_torchvisions_where_windows_are_smaller_than_the_map(height, width, shift) -> None:
    theirs, ours = attention_pair(4, shift)
    x = torch.randn(2, height, width, 16)
    torch.testing.assert_close(ours(x), theirs(x))


def test_a_single_window_is_still_shifted() -> None:
    theirs, ours = attention_pair(4, 2)
    x = torch.randn(1, 4, 4, 16)
    assert not torch.allclose(ours(x), theirs(x))


def test_blocks_that_are_computed_again_save_memory_and_give_the_same_gradients() -> None:
    torch.manual_seed(0)
    swin = Swin(8, (2, 2, 2, 2), (1, 1, 2, 2), window=4, drop_path=0.5).train()
    image = torch.randn(2, 3, 64, 64)
    gradients, kept = {}, {}
    for swin.recompute in (False, True):
        swin.zero_grad()
        saved: list[int] = []

        def count(tensor: torch.Tensor, saved: list[int] = saved) -> torch.Tensor:
            saved.append(tensor.nbytes)
            return tensor

        torch.manual_seed(1)  # of stochastic depth
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            total = sum(one.square().sum() for one in swin(image))
        kept[swin.recompute] = sum(saved)
        total.backward()
        gradients[swin.recompute] = [p.grad.clone() for p in swin.parameters()]
    assert kept[True] < 0.4 * kept[False]
    assert all(torch.equal(one, other) for one, other in zip(gradients[False], gradients[True], strict=True))
