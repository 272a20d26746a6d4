"""All weighted losses of a training step of RAVS by name: "segmentation/ce", "logits/dice", "contrast", ..."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from acvis_kit.clip import IGNORED, SemanticTargets
from acvis_kit.errors import DataError
from acvis_kit.losses.class_maps import check_size, stacked
from acvis_kit.losses.contrast import Contrast, contrast_loss
from acvis_kit.losses.criterion import LossSum, exact, weighted_losses
from acvis_kit.losses.points import Generators
from acvis_kit.losses.regions import (
    Regions,
    cross_entropy,
    dice_loss,
    focal_cross_entropy,
    iou_loss,
    log_of_logits,
    log_of_probabilities,
    regions_of,
)
from acvis_kit.models.ravs.config import RAVSLoss
from acvis_kit.models.ravs.model import RAVSOutput


class RAVSCriterion:
    """L = L_seg of Y + `aux_logit_loss` * L_seg of the masks without uncertainty + 0.1 * L_cst.

    Args:
        config: the losses' part of a configuration, or a whole one.
        world_size: number of processes, see `Criterion`.
    """

    def __init__(self, config: RAVSLoss, world_size: int = 1) -> None:
        self.config, self.world_size = config, world_size

    def __call__(
        self,
        output: RAVSOutput,
        targets: Sequence[SemanticTargets],
        *,
        generators: Generators = None,
        reduce: Callable[[Tensor], Tensor] = lambda terms: terms,
    ) -> dict[str, Tensor]:
        """The weighted losses; training minimises their sum.

        Args:
            output: of the network.
            targets: one per clip. Frames without annotations are left out; with one channel every class is foreground.
            generators: not used; all criteria of the kit have this argument.
            reduce: sums a float64 vector over all processes and returns it. Called once.

        Returns:
            Differentiable scalars by name; zero with gradient zero where no frame is supervised.

        Raises:
            DataError: targets that do not fit the output.
            NotFiniteError: a loss that is infinite or NaN.
        """
        class_maps, supervised = stacked(targets)
        shape = output.mask_logits.shape
        check_size((*shape[:2], *shape[3:]), class_maps.shape)
        channels = shape[2]
        known = class_maps[class_maps != IGNORED]
        if channels > 1 and known.numel() and int(known.max()) >= channels:
            raise DataError(
                f"a class map holds {int(known.max())}, but the network has {channels - 1} classes, 1 to "
                f"{channels - 1} in maps"
            )
        kept = supervised.flatten()
        maps = class_maps.flatten(0, 1)
        with torch.autocast(maps.device.type, enabled=False):  # sums in half precision overflow
            m, y = (exact(part.flatten(0, 1)[kept]) for part in (output.mask_logits, output.probabilities))
            regions = regions_of(maps[kept], channels, m.dtype)
            p = m.sigmoid() if channels == 1 else m.softmax(1)
            sums = self._segmentation("segmentation", y, log_of_probabilities(y), regions)
            if self.config.aux_logit_loss and output.uncertainty is not None:
                sums |= self._segmentation("logits", p, log_of_logits(m), regions)
            if output.last.centres is not None:
                sums["contrast"] = self._contrast(output, maps, kept)
            return weighted_losses(sums, reduce, self.world_size, self._weight)

    def _segmentation(self, name: str, p: Tensor, log_p: Tensor, regions: Regions) -> dict[str, LossSum]:
        frames = float(len(p))
        losses = {
            "ce": lambda: cross_entropy(log_p, regions),
            "dice": lambda: dice_loss(p, regions, self.config.dice_form),
            "iou": lambda: iou_loss(p, regions),
            "focal": lambda: focal_cross_entropy(log_p, regions),
        }
        used = {kind: loss for kind, loss in losses.items() if getattr(self.config, f"{kind}_weight")}
        return {f"{name}/{kind}": (loss(), frames) for kind, loss in used.items()}

    def positive_fraction(self, output: RAVSOutput) -> Tensor:
        """Fraction of groups that agree with the sound, to be logged: the contrast is 0 where it is 1."""
        return self._contrast_of(output, None).positive

    def _contrast(self, output: RAVSOutput, maps: Tensor, supervised: Tensor) -> LossSum:
        silent = supervised & ~((maps > 0) & (maps != IGNORED)).flatten(1).any(1)
        found = self._contrast_of(output, ~silent if self.config.contrast_mask_silent else None)
        return found.total, found.frames

    def _contrast_of(self, output: RAVSOutput, counted: Tensor | None) -> Contrast:
        c = self.config
        assert output.last.centres is not None, "the baseline has no groups"
        return contrast_loss(
            exact(output.last.centres),
            exact(output.last.audio),
            c.contrast_tau,
            c.contrast_sigma,
            c.contrast_threshold,
            counted,
        )

    def _weight(self, name: str) -> float:
        part, _, kind = name.rpartition("/")
        weight = getattr(self.config, f"{kind}_weight")
        return weight * self.config.aux_logit_loss if part == "logits" else weight
