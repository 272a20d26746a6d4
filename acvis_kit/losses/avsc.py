"""All weighted losses of a training step of AVSC by name, of stage 1 or stage 2."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from acvis_kit.clip import SemanticTargets
from acvis_kit.errors import DataError
from acvis_kit.losses.class_maps import check_size, stacked
from acvis_kit.losses.correlation import correlation_loss
from acvis_kit.losses.criterion import LossSum, exact, weighted_losses
from acvis_kit.losses.points import Generators
from acvis_kit.losses.proposals import match_proposals, present_classes, proposal_losses, union_of, unmatched
from acvis_kit.losses.silent_objects import silent_object_loss
from acvis_kit.models.avsc.config import AVSCLoss
from acvis_kit.models.avsc.model import AVSCOutput
from acvis_kit.models.avsc.proposals import Proposals


class AVSCCriterion:
    """The losses of stage 1, L_sn = L_mask_cls + L_soas, or of stage 2, L_avc, depending on the output.

    Args:
        config: the losses' part of a configuration, or a whole one.
        world_size: number of processes, see `Criterion`.
    """

    def __init__(self, config: AVSCLoss, world_size: int = 1) -> None:
        self.config, self.world_size = config, world_size

    def __call__(
        self,
        output: AVSCOutput,
        targets: Sequence[SemanticTargets],
        *,
        generators: Generators = None,
        reduce: Callable[[Tensor], Tensor] = lambda terms: terms,
    ) -> dict[str, Tensor]:
        """The weighted losses; training minimises their sum.

        Args:
            output: of the network.
            targets: one per clip.
            generators: not used; all criteria of the kit have this argument.
            reduce: sums a float64 vector over all processes and returns it. Called once.

        Returns:
            Differentiable scalars by name; zero with gradient zero where no frame is supervised.

        Raises:
            DataError: targets that do not fit the output.
            NotFiniteError: a loss or a matching cost that is infinite or NaN.
        """
        class_maps, supervised = stacked(targets)
        kept = supervised.flatten().nonzero()[:, 0]
        maps = class_maps.flatten(0, 1)[kept]
        finite: dict[str, bool] = {}
        device = maps.device.type
        with torch.autocast(device, enabled=False):  # sums in half precision overflow
            if output.soft_mask is not None:
                check_size(output.soft_mask.shape, class_maps.shape)
                sums: dict[str, LossSum] = {
                    "correlation": correlation_loss(exact(output.soft_mask.flatten(0, 1)[kept]), maps)
                }
            else:
                assert output.proposals is not None, "an output is of stage 1 or of stage 2"
                of_frames = Proposals(*(exact(part[:, kept]) for part in output.proposals))
                sums, finite["the matching of proposals"] = self._proposals(of_frames, maps)
            return weighted_losses(sums, reduce, self.world_size, self._weight, finite)

    def _proposals(self, proposals: Proposals, maps: Tensor) -> tuple[dict[str, LossSum], bool]:
        """Sums of stage 1 over supervised frames, and whether the costs of the matching are finite."""
        c = self.config
        last = Proposals(*(part[-1:] for part in proposals))
        supervised = proposals if c.deep_supervision else last
        truth = present_classes(maps)
        classes = proposals.class_logits.shape[-1] - 1
        if len(truth.labels) and int(truth.labels.max()) >= classes:
            raise DataError(
                f"a class map holds {int(truth.labels.max()) + 1}, but the network has {classes} classes, 1 to "
                f"{classes} in maps"
            )
        matches = match_proposals(*supervised, truth, (c.class_weight, c.focal_weight, c.dice_weight))
        sums: dict[str, LossSum] = {
            f"proposals/{name}": loss
            for name, loss in proposal_losses(*supervised, truth, matches, c.none_weight).items()
        }
        masks = last.mask_logits[0].sigmoid()  # (N, Q, h, w)
        if c.nonobj == "argmax":
            nonobject = last.class_logits[0].argmax(-1) == classes
        else:
            nonobject = unmatched(matches, *masks.shape[:2]).to(masks.device)
        union = union_of(maps, masks.shape[-2:])
        soas = silent_object_loss(masks, union, nonobject, c.soas_reduction)
        return sums | {"silent_objects": (soas, float(len(maps)))}, matches.finite

    def _weight(self, name: str) -> float:
        names = {"silent_objects": "soas_weight", "correlation": "correlation_weight"}
        return getattr(self.config, names.get(name, f"{name.rpartition('/')[2]}_weight"))
