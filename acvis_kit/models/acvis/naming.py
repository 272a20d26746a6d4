"""Classes of masks, from the backbone's ImageNet classifier (ours): masks are learned without classes.

Few photographs with masks are free, and they show few classes. ImageNet shows a thousand classes without masks. So the
queries learn only whether there is an object, and where; the class is what the frozen ImageNet classifier sees inside
the mask. What ImageNet lacks (persons, for example) is learned as further rows of that classifier.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# AVISeg's class -> ImageNet's classes, counted from 0, in the order of ILSVRC 2012.
IMAGENET_CLASSES: dict[str, tuple[int, ...]] = {
    "violin": (889,), "guitar": (402, 546), "cello": (486,), "flute": (558,), "piano": (579, 881), "accordion": (401,),
    "clarinet": (683,),  # oboe: ImageNet has no clarinet, and shows its like
    "cat": (281, 282, 283, 284, 285),
    "car": (436, 468, 511, 609, 627, 656, 661, 717, 751, 817),
    "saxophone": (776,), "dog": tuple(range(151, 269)), "lawn_mover": (621,), "banjo": (420,), "bassoon": (432,),
    "airplane": (404, 895), "tree_harvester": (595,), "trumpet": (513,), "lion": (291,), "horse": (339,),
}  # fmt: skip
NUM_IMAGENET = 1000
OUTSIDE = 0.01  # weight of places outside a mask: they count where it is empty
TINY = 1e-6


class MaskClassifier(nn.Module):
    """Logits of K classes and "none" from pooled features and the logit that there is an object.

    The probabilities of ImageNet's classes and of K learned ones, which share a softmax, are summed by class. What
    belongs to no class is "other", if `class_names` has that, else "none".

    Args:
        class_names: the K classes of the network.
        channels: E of the pooled features.
    """

    groups: Tensor

    def __init__(self, class_names: Sequence[str], channels: int) -> None:
        super().__init__()
        self.learned = nn.Linear(channels, len(class_names))
        nn.init.zeros_(self.learned.weight)
        nn.init.zeros_(self.learned.bias)
        self.register_buffer("groups", _groups(class_names), persistent=False)  # (1000 + K, K + 1), one 1 a row

    def forward(self, objectness: Tensor, pooled: Tensor, classifier: nn.Module) -> Tensor:
        """Log-probabilities of the classes, "none" last.

        Args:
            objectness: (..., 1), the logit that there is an object.
            pooled: (..., E), see `pool`.
            classifier: ImageNet's, E -> 1000.

        Returns:
            (..., K + 1).
        """
        of_object = self.of_objects(pooled, classifier)
        present, absent = F.logsigmoid(objectness), F.logsigmoid(-objectness)
        none = torch.logaddexp(absent, present + of_object[..., -1:])
        return torch.cat([present + of_object[..., :-1], none], -1)

    def of_objects(self, pooled: Tensor, classifier: nn.Module) -> Tensor:
        """Log-probabilities of the classes of objects, (..., K + 1): the last is of no class. See `forward`."""
        pooled = pooled.to(self.learned.weight.dtype)
        logits = torch.cat([classifier(pooled), self.learned(pooled)], -1)
        return (logits.softmax(-1) @ self.groups + TINY).log()


def _groups(class_names: Sequence[str]) -> Tensor:
    groups = torch.zeros(NUM_IMAGENET + len(class_names), len(class_names) + 1)
    rest = class_names.index("other") if "other" in class_names else len(class_names)
    groups[:NUM_IMAGENET, rest] = 1
    for number, name in enumerate(class_names):
        own = [*IMAGENET_CLASSES.get(name, ()), NUM_IMAGENET + number]
        groups[own] = 0
        groups[own, number] = 1
    return groups


@torch.no_grad()
def pool(parts: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Features averaged over masks: (..., Q, E).

    Args:
        parts: mask logits (..., Q, P, h, w) and features (..., P, E, h', w') of the same pictures, whose means are
            taken together; h and w are multiples of h' and w'. Several parts share all axes but P.
    """
    total: Tensor | float = 0.0
    mass: Tensor | float = 0.0
    for mask_logits, features in parts:
        height, width = features.shape[-2:]
        inside = mask_logits.sigmoid() * (OUTSIDE + (mask_logits > 0).to(mask_logits))
        steps = mask_logits.shape[-2] // height, mask_logits.shape[-1] // width
        cells = F.avg_pool2d(inside.flatten(0, -3)[:, None], steps).view(*mask_logits.shape[:-2], height * width)
        cells = cells.flatten(-2)  # (..., Q, P * h' * w')
        places = features.transpose(-3, -1).transpose(-3, -2).flatten(-4, -2)  # (..., P * h' * w', E)
        total = total + cells @ places.to(cells.dtype)
        mass = mass + cells.sum(-1, keepdim=True)
    assert isinstance(mass, Tensor), "there is at least one part"
    return total / mass.clamp(min=TINY)
