"""Backbones of the library timm: EfficientNet-Lite for filmed video, and others by name for those who train.

Nothing is downloaded: weights come from files, see `weights.encoders.load_imagenet_weights`. Sources: Tan and Le 2019
(EfficientNet); the Lite variants have no squeeze-and-excitation and ReLU6, their inputs are (x - 127.5) / 127.5.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.layers import freeze_batch_norm_2d
from torch import Tensor, nn

from acvis_kit.errors import ConfigError

TIMM_NAMES = {f"efficientnet_lite{n}": f"tf_efficientnet_lite{n}" for n in range(3)}  # ours -> timm's
CLASS_SCALE = 10.0  # brings a map of probabilities, whose mean is 1 / 1000, nearer to the size of features


class TimmBackbone(nn.Module):
    """A convolutional backbone of timm whose batch norms are frozen, statistics and affine parts.

    `forward`: (N, 3, H, W) -> four maps (N, C_i, H / s, W / s); H and W are multiples of 32. With `classifier` a fifth
    map follows, (N, E, H / 32, W / 32): the one whose mean ImageNet's classifier takes.

    Args:
        name: timm's name of the model.
        class_map: the model keeps its ImageNet classifier and applies it at every place of its last map. The
            probabilities times 10 are further channels of the last map.
        classifier: the model keeps its ImageNet classifier for others.

    Attributes:
        name: timm's name of the model.
        body: timm's model; its parameters have timm's names.

    Raises:
        ConfigError: timm has no such model; it has no maps of strides 4, 8, 16 and 32; or, with `class_map`, its
            classifier is not one linear layer on its last map.
    """

    strides = (4, 8, 16, 32)

    def __init__(self, name: str, class_map: bool = False, classifier: bool = False) -> None:
        super().__init__()
        self.name, self.class_map, self.has_classifier = name, class_map, classifier
        outline = _feature_info(name)
        stages = [n for n, stride in enumerate(outline.reduction()) if stride in self.strides]
        if tuple(outline.reduction()[n] for n in stages) != self.strides:
            raise ConfigError(
                f"timm's {name} has maps of strides {outline.reduction()}, but a backbone needs 4, 8, 16 and 32: "
                "choose a convolutional or hierarchical model"
            )
        whole = class_map or classifier
        body = _create(name) if whole else _create(name, features_only=True, out_indices=stages)
        # Depthwise convolutions are twice as fast on a CPU with channels last.
        self.body = freeze_batch_norm_2d(body).to(memory_format=torch.channels_last)
        self._stages = stages
        self.channels: tuple[int, ...] = tuple(outline.channels()[n] for n in stages)
        if whole:
            linear = _linear_classifier(body, name)
            self.classifier_channels = linear.in_features  # E
            if class_map:
                self.channels = (*self.channels[:-1], self.channels[-1] + linear.out_features)

    @property
    def classifier(self) -> nn.Linear:
        """ImageNet's classifier, E -> 1000; of a backbone with `classifier` or `class_map`."""
        return self.body.get_classifier()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        if not (self.class_map or self.has_classifier):
            return tuple(self.body(image))
        last, maps = self.body.forward_intermediates(image, indices=self._stages)
        if self.class_map:
            maps = (*maps[:-1], torch.cat([maps[-1], CLASS_SCALE * self.classify(last)], 1))
        return (*maps, last) if self.has_classifier else tuple(maps)

    def classify(self, last: Tensor) -> Tensor:
        """ImageNet's probabilities at every place: (N, C, h, w), what the classifier pools -> (N, 1000, h, w)."""
        logits = F.conv2d(last, self.classifier.weight[:, :, None, None], self.classifier.bias)
        return logits.softmax(1)


def imagenet_state(name: str) -> dict[str, Tensor]:
    """The state dict of timm's whole model, without values: with the classifier and the counters of batch norm."""
    with torch.device("meta"):
        return dict(_create(name).state_dict())


def _create(name: str, **options: Any) -> nn.Module:
    """A model of timm with random weights; ConfigError if there is none.

    Other sources that timm knows ("hf-hub:", "local-dir:") are refused: a configuration must not cause downloads.
    """
    if not timm.is_model(name):
        raise ConfigError(f"timm has no model {name!r:.60}: timm.list_models() names them")
    try:
        return timm.create_model(name, pretrained=False, **options)
    except (RuntimeError, ValueError, TypeError, AttributeError, AssertionError) as error:
        raise ConfigError(
            f"timm cannot make a backbone of {name!r} ({error}): choose a model with maps of strides 4, 8, 16 and 32"
        ) from error


def _feature_info(name: str) -> Any:
    with torch.device("meta"):
        return _create(name, features_only=True).feature_info


def _linear_classifier(body: Any, name: str) -> nn.Linear:
    """The classifier of a model whose last map is what it pools, as in EfficientNet; else ConfigError."""
    classifier = body.get_classifier() if hasattr(body, "get_classifier") else None
    if isinstance(classifier, nn.Linear) and hasattr(body, "conv_head") and hasattr(body, "forward_intermediates"):
        return classifier
    raise ConfigError(
        f"timm's {name} has no linear classifier behind a last map (conv_head): set backbone_class_map=False and "
        f"class_head='queries', or choose one of {', '.join(TIMM_NAMES)}"
    )
