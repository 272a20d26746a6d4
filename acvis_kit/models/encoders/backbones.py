"""From a normalised picture to four feature maps, strides 4, 8, 16 and 32.

Each backbone declares `channels` and `strides` and returns one map per entry. ResNets and the parts of Swin are
torchvision's, under torchvision's parameter names, so that its ImageNet weights load as they are. Swin's shifted
windows
are ours: torchvision leaves the shift out where a window covers the whole map, the reference does not.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet, swin_transformer
from torchvision.ops.misc import FrozenBatchNorm2d

from acvis_kit.config import ACVISConfig
from acvis_kit.errors import WeightsError

STRIDES = (4, 8, 16, 32)
# width of the first stage, blocks of the four stages, heads of the four stages
SWIN_LAYOUTS = {
    "swin_t": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin_s": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin_b": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "swin_l": (192, (2, 2, 18, 2), (6, 12, 24, 48)),
}
SHIFT_BARRIER = -100.0  # added to attention logits between parts of a rolled window that are no neighbours


def build_backbone(config: ACVISConfig) -> nn.Module:
    """The backbone that `config.backbone` names, with fresh weights."""
    if config.backbone == "resnet50":
        return ResNet(blocks=(3, 4, 6, 3))
    if config.backbone == "resnet101":
        return ResNet(blocks=(3, 4, 23, 3))
    if config.backbone == "compact":
        return CompactBackbone()
    return Swin(*SWIN_LAYOUTS[config.backbone], window=config.swin_window, drop_path=config.drop_path)


class ResNet(nn.Module):
    """ResNet with the stride in the 3x3 convolution and batch norm frozen for good, statistics and affine part.

    `forward`: (N, 3, H, W) -> four maps (N, C_i, H / s, W / s).
    """

    channels = (256, 512, 1024, 2048)
    strides = STRIDES

    def __init__(self, blocks: Sequence[int]) -> None:
        super().__init__()
        whole = resnet.ResNet(Bottleneck, list(blocks), norm_layer=FrozenBatchNorm2d)
        self.conv1, self.bn1, self.maxpool = whole.conv1, whole.bn1, whole.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = whole.layer1, whole.layer2, whole.layer3, whole.layer4

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        x = self.maxpool(F.relu(_normed(image, self.conv1, self.bn1), inplace=True))
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return tuple(maps)


class Bottleneck(resnet.Bottleneck):
    """torchvision's parameters; each frozen norm is applied to the weights of its convolution instead of to the map."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H / stride, W / stride)."""
        y = F.relu(_normed(x, self.conv1, self.bn1), inplace=True)
        y = F.relu(_normed(y, self.conv2, self.bn2), inplace=True)
        y = _normed(y, self.conv3, self.bn3)
        shortcut = x if self.downsample is None else _normed(x, *self.downsample)
        return F.relu(y.add_(shortcut), inplace=True)


def _normed(x: Tensor, conv: nn.Conv2d, norm: FrozenBatchNorm2d) -> Tensor:
    """norm(conv(x)), where norm(y) = y * scale + shift: the scale goes into the kernel, which is small."""
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    return F.conv2d(x, conv.weight * scale.view(-1, 1, 1, 1), shift, conv.stride, conv.padding)


class Swin(nn.Module):
    """Swin transformer (Liu et al. 2021); every stage's output passes a LayerNorm of its own that is not fed onward.

    Args:
        width: channels of the first stage. blocks, heads: per stage. window: side of a window in cells.
        drop_path: stochastic depth of the last block, rising linearly from 0; acts in training only.
    """

    strides = STRIDES

    def __init__(
        self, width: int, blocks: Sequence[int], heads: Sequence[int], window: int = 7, drop_path: float = 0.3
    ) -> None:
        super().__init__()
        whole = swin_transformer.SwinTransformer(
            patch_size=[4, 4],
            embed_dim=width,
            depths=list(blocks),
            num_heads=list(heads),
            window_size=[window, window],
            stochastic_depth_prob=drop_path,
            block=partial(swin_transformer.SwinTransformerBlock, attn_layer=ShiftedWindowAttention),
        )
        self.features = whole.features  # patch embedding, then stage and patch merging in turn
        self.channels = tuple(width * 2**stage for stage in range(4))
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in self.channels)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        x = self.features[0](image)  # (N, H / 4, W / 4, C)
        maps = []
        for stage, norm in enumerate(self.norms):
            x = self.features[1 + 2 * stage](x)
            maps.append(norm(x).permute(0, 3, 1, 2))
            if stage < 3:
                x = self.features[2 + 2 * stage](x)
        return tuple(maps)


class ShiftedWindowAttention(swin_transformer.ShiftedWindowAttention):
    """torchvision's parameters; windows are shifted on every odd block, whatever the size of the map."""

    def forward(self, x: Tensor) -> Tensor:
        """x (N, H, W, C) -> (N, H, W, C)."""
        height, width = x.shape[1:3]
        side, shift = self.window_size[0], self.shift_size[0]
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))  # zeros, after the norm
        padded = x.shape[1:3]
        bias = self.get_relative_position_bias()  # (1, heads, side^2, side^2)
        if shift:
            x = x.roll((-shift, -shift), dims=(1, 2))
            barrier = _shift_barrier(*padded, side, shift, like=x)  # (windows, side^2, side^2)
            bias = (bias + barrier[:, None]).repeat(x.shape[0], 1, 1, 1)  # (N * windows, heads, side^2, side^2)

        windows = _cut(x, side)  # (N * windows, side^2, C)
        qkv = self.qkv(windows).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(*qkv, attn_mask=bias.to(qkv.dtype))
        windows = self.proj(seen.transpose(1, 2).flatten(2))

        x = _join(windows, side, *padded)
        if shift:
            x = x.roll((shift, shift), dims=(1, 2))
        return x[:, :height, :width]


def _cut(x: Tensor, side: int) -> Tensor:
    """(N, H, W, C) -> (N * windows, side^2, C), the windows row by row."""
    x = x.unflatten(1, (-1, side)).unflatten(3, (-1, side))  # (N, rows, side, columns, side, C)
    return x.permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(0, 2)


def _join(windows: Tensor, side: int, height: int, width: int) -> Tensor:
    """The inverse of `_cut`."""
    x = windows.view(-1, height // side, width // side, side, side, windows.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2)


def _shift_barrier(height: int, width: int, side: int, shift: int, like: Tensor) -> Tensor:
    """After a roll, opposite edges of the map share a window; what to add so that they do not see each other."""

    def regions(length: int) -> Tensor:
        place = torch.arange(length, device=like.device)
        return (place >= length - side).long() + (place >= length - shift).long()  # 0, 1 or 2

    region = regions(height)[:, None] * 3 + regions(width)
    region = _cut(region[None, :, :, None], side).squeeze(-1)  # (windows, side^2)
    return (region[:, :, None] != region[:, None]).to(like.dtype) * SHIFT_BARRIER


class CompactBackbone(nn.Module):
    """A ResNet-10 with group norm: 1 M parameters, learns from nothing. For AVIS-Synth and for trying things out."""

    channels = (48, 96, 144, 192)
    strides = STRIDES

    def __init__(self) -> None:
        super().__init__()
        stem = 32
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 3, stride=2, padding=1, bias=False), nn.GroupNorm(8, stem), nn.ReLU(inplace=True)
        )
        self.stages = nn.ModuleList(
            _BasicBlock(before, after) for before, after in zip((stem, *self.channels[:-1]), self.channels, strict=True)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(image)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a 1x1 one, halving height and width."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(8, after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(8, after)
        self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride=2, bias=False), nn.GroupNorm(8, after))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


def load_imagenet_weights(backbone: nn.Module, weights: Mapping[str, Tensor] | str | Path) -> None:
    """Copy torchvision's ImageNet classification weights into a ResNet or Swin.

    The classifier and the counters of batch norm are left out. Swin's four output norms have no counterpart and stay.

    Args:
        weights: a state dict, or the `.pth` file that torchvision publishes.

    Raises:
        WeightsError: a file that holds no tensors; keys or shapes that do not fit, the first eight named.
    """
    if isinstance(weights, str | Path):
        try:
            weights = torch.load(weights, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise WeightsError(f"{weights} is not a file of torchvision's weights ({error})") from error
    ignored = ("fc.", "head.", "norm.")
    given = {k: v for k, v in weights.items() if not k.startswith(ignored) and not k.endswith("num_batches_tracked")}
    own = {k: v for k, v in backbone.state_dict().items() if not k.startswith("norms.")}
    wrong = [f"missing {k}" for k in own if k not in given] + [f"unexpected {k}" for k in given if k not in own]
    wrong += [
        f"{k}: {tuple(given[k].shape)} in the file, {tuple(v.shape)} in the model"
        for k, v in own.items()
        if k in given and given[k].shape != v.shape
    ]
    if wrong:
        raise WeightsError(
            f"these are not torchvision weights of this {type(backbone).__name__}: {'; '.join(wrong[:8])}"
            + (f"; and {len(wrong) - 8} more" if len(wrong) > 8 else "")
        )
    backbone.load_state_dict({**backbone.state_dict(), **given})
