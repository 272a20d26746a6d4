"""ResNet-50 and 101 with frozen batch norm, built from torchvision's modules with its parameter names.

Source: He et al. 2016; the stride is in the 3x3 convolution, as in torchvision and in the reference's checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet
from torchvision.ops.misc import FrozenBatchNorm2d


class ResNet(nn.Module):
    """ResNet with the stride in the 3x3 convolution; the statistics and affine part of batch norm are never trained.

    `forward`: (N, 3, H, W) -> four maps (N, C_i, H / s, W / s).
    """

    channels = (256, 512, 1024, 2048)
    strides = (4, 8, 16, 32)

    def __init__(self, blocks: Sequence[int]) -> None:
        super().__init__()
        whole = resnet.ResNet(Bottleneck, list(blocks), norm_layer=FrozenBatchNorm2d)
        self.conv1, self.bn1, self.maxpool = whole.conv1, whole.bn1, whole.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = whole.layer1, whole.layer2, whole.layer3, whole.layer4

    def stage(self, number: int, x: Tensor) -> Tensor:
        """Map `number` from the map before it; map 0 from the image."""
        if number == 0:
            x = self.maxpool(F.relu(_normed(x, self.conv1, self.bn1), inplace=True))
        return (self.layer1, self.layer2, self.layer3, self.layer4)[number](x)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        x = image
        maps = []
        for number in range(len(self.channels)):
            x = self.stage(number, x)
            maps.append(x)
        return tuple(maps)

    def fold_norms(self) -> None:
        """Put the frozen norms into the convolutions before them, once for all images; old tensors are not changed."""
        pairs: list[tuple[nn.Module, str, str]] = [(self, "conv1", "bn1")]
        for module in self.modules():
            if isinstance(module, Bottleneck):
                pairs += [(module, f"conv{n}", f"bn{n}") for n in (1, 2, 3)]
                pairs += [(module.downsample, "0", "1")] if module.downsample is not None else []
        for owner, conv, norm in pairs:
            convolution = getattr(owner, conv)
            kernel, shift = _folded(convolution, getattr(owner, norm))
            convolution.weight, convolution.bias = (nn.Parameter(one, requires_grad=False) for one in (kernel, shift))
            setattr(owner, norm, nn.Identity())


class Bottleneck(resnet.Bottleneck):
    """torchvision's block, but each frozen norm is applied to the weights of its convolution instead of to the map."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H / stride, W / stride)."""
        y = F.relu(_normed(x, self.conv1, self.bn1), inplace=True)
        y = F.relu(_normed(y, self.conv2, self.bn2), inplace=True)
        y = _normed(y, self.conv3, self.bn3)
        shortcut = x if self.downsample is None else _normed(x, *self.downsample)
        return F.relu(y.add_(shortcut), inplace=True)


def _normed(x: Tensor, conv: nn.Conv2d, norm: nn.Module) -> Tensor:
    """norm(conv(x)), where norm(y) = y * scale + shift: scaling the kernel is cheaper than scaling the map."""
    if not isinstance(norm, FrozenBatchNorm2d):  # it is in the convolution, see `ResNet.fold_norms`
        return conv(x)
    return F.conv2d(x, *_folded(conv, norm), conv.stride, conv.padding)


def _folded(conv: nn.Conv2d, norm: FrozenBatchNorm2d) -> tuple[Tensor, Tensor]:
    """The kernel and the bias of a convolution that does what this one and the norm do."""
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return conv.weight * scale.view(-1, 1, 1, 1), norm.bias - norm.running_mean * scale
