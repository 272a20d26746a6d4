"""All weighted losses of a training step by name: "frame/class", "video/dice", "similarity", "count", ...

Every loss is a sum of terms divided by the number of terms. With several processes it is the number of terms of all
processes, so that the distribution of a batch has no effect: two processes with one clip each get exactly the gradient
of one process with both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from acvis_kit.clip import Targets, moved
from acvis_kit.config import LossConfig
from acvis_kit.errors import AcvisError
from acvis_kit.losses.count import cross_entropy_loss, ordinal_loss
from acvis_kit.losses.masks import set_losses
from acvis_kit.losses.matcher import assign_levels, set_costs
from acvis_kit.losses.pixels import auxiliary_loss, pixel_class_loss
from acvis_kit.losses.points import Generators, draw
from acvis_kit.losses.similarity import similarity_loss
from acvis_kit.losses.sounding import audio_class_loss, sounding_loss
from acvis_kit.losses.truth import Sets, Truth
from acvis_kit.models.acvis.model import ModelOutput

LossSum = tuple[Tensor, Tensor | float]  # the sum of a loss over the terms of this process, and their number


class NotFiniteError(AcvisError):
    """A loss that is infinite or NaN on any process. Raised on all processes, so that none waits for another."""


class Criterion:
    """The weighted losses of the network's output against the ground truth.

    Args:
        config: the losses' part of a configuration, or a whole one.
        world_size: number of processes. They average their gradients, so each divides its sums by the number of terms
            of all processes / world_size.
        count_head: "ordinal" or "ce", the kind of the network's; None: that of a whole configuration, else "ordinal".
    """

    def __init__(self, config: LossConfig, world_size: int = 1, *, count_head: str | None = None) -> None:
        self.config = config
        self.world_size = world_size
        self.count_head = count_head or getattr(config, "count_head", "ordinal")

    def __call__(
        self,
        output: ModelOutput,
        targets: Sequence[Targets],
        *,
        generators: Generators = None,
        reduce: Callable[[Tensor], Tensor] = lambda terms: terms,
    ) -> dict[str, Tensor]:
        """The weighted losses; training minimises their sum.

        Args:
            output: of the network in training mode. (In evaluation mode it has only the last layers, and there is no
                "similarity".)
            targets: one per clip.
            generators: one per clip, for the points of its masks. None: torch's global generator; the draws then
                depend on the batch.
            reduce: sums a float64 vector over all processes and returns it. Called once.

        Returns:
            Differentiable scalars by name; zero with gradient zero where there is nothing to compare.

        Raises:
            DataError: targets that do not fit the output.
            NotFiniteError: a loss or a matching cost that is infinite or NaN.
            ValueError: another number of generators than of clips.
        """
        if generators is not None and len(generators) != len(targets):
            raise ValueError(f"{len(generators)} generators for {len(targets)} clips: give one per clip")
        with torch.autocast(output.frame_class_logits.device.type, enabled=False):  # sums in half precision overflow
            sums, finite = self._sums(output, targets, generators)
            return weighted_losses(sums, reduce, self.world_size, self._weight, finite)

    def _sums(
        self, output: ModelOutput, targets: Sequence[Targets], generators: Generators
    ) -> tuple[dict[str, LossSum], dict[str, bool]]:
        """The sums of this process by name, and whether the costs of each matching are finite."""
        frame_classes, video = output.frame_class_logits, output.video
        _, clips, length, _, classes = frame_classes.shape
        size = output.frame_mask_logits.shape[-2:]
        truth = Truth(targets, clips, length, classes - 1, size, frame_classes.device)
        repeats = video.class_logits.shape[1] // clips
        frames, videos = truth.of_frames(), truth.of_videos(repeats)
        frame_set = (frame_classes.flatten(1, 2), output.frame_mask_logits.flatten(1, 2).unsqueeze(3))
        video_set = (video.class_logits, output.video_mask_logits)
        frame, track = assign_levels(
            [
                (self._costs(*frame_set, truth, frames, generators), frames),
                (self._costs(*video_set, truth, videos, generators), videos),
            ]
        )

        sums: dict[str, LossSum] = {}
        for level, given, sets, matches in (("frame", frame_set, frames, frame), ("video", video_set, videos, track)):
            of_level = set_losses(*given, truth, sets, matches, self.config, generators)
            sums |= {f"{level}/{name}": loss for name, loss in of_level.items()}
        if video.frame_similarity is not None:
            supervised = frame._replace(queries=frame.queries[-repeats:], objects=frame.objects[-repeats:])
            last = track._replace(queries=track.queries[-1:], objects=track.objects[-1:])
            sums["similarity"] = similarity_loss(video.frame_similarity, video.video_similarity[-1], supervised, last)
        if output.count_logits is not None:
            sums["count"] = self._count(output.count_logits, truth.counts)
        if output.frame_sounding_logits is not None:
            frame_sounding = output.frame_sounding_logits.flatten(1, 2).unsqueeze(2)  # (D, B * T, 1, Q_f)
            sums["frame/sounding"] = sounding_loss(frame_sounding, truth, frames, frame)
        if video.sounding_logits is not None:
            sums["video/sounding"] = sounding_loss(video.sounding_logits, truth, videos, track)
        if output.audio_class_logits is not None:
            sums["audio_class"] = audio_class_loss(output.audio_class_logits, truth)
        if output.pixel_class_logits is not None:
            sums["pixel_class"] = pixel_class_loss(exact(output.pixel_class_logits), truth, self.config.none_weight)
        for name, logits in (output.auxiliary_logits or {}).items():
            sums[f"auxiliary/{name}"] = auxiliary_loss(name, exact(logits), truth, self.config.none_weight)
        return sums, {"the matching of frame queries": frame.finite, "the matching of video queries": track.finite}

    def _costs(
        self, class_logits: Tensor, mask_logits: Tensor, truth: Truth, sets: Sets, generators: Generators
    ) -> Tensor:
        c = self.config
        points = draw(sets.clips, (c.num_points,), generators, mask_logits.device)
        weights = (c.class_weight, c.mask_weight, c.dice_weight)
        return set_costs(class_logits.detach(), mask_logits.detach(), truth, sets, points, weights)

    def _count(self, logits: Tensor, counts: Tensor) -> LossSum:
        logits = exact(logits)
        if self.count_head == "ce":
            return cross_entropy_loss(logits, counts)
        return ordinal_loss(logits, counts, self.config.saoc_reduction)

    def _weight(self, name: str) -> float:
        level, _, kind = name.rpartition("/")
        return getattr(self.config, f"{'auxiliary' if level == 'auxiliary' else kind}_weight")


def weighted_losses(
    sums: dict[str, LossSum],
    reduce: Callable[[Tensor], Tensor],
    world_size: int,
    weight_of: Callable[[str], float],
    finite: dict[str, bool] | None = None,
) -> dict[str, Tensor]:
    """Weighted losses per term. The reduction of the terms also detects values that are not finite.

    Args:
        sums: as in `per_term`, and so are the next three.
        reduce: sums a float64 vector over all processes and returns it. Called once.
        world_size: number of processes.
        weight_of: the weight of a loss by its name.
        finite: by name, whether the costs of a matching are finite.

    Raises:
        NotFiniteError: names the sums and matchings that are not finite on some process.
    """
    finite = finite or {}
    failed: list[float] = []  # number of processes, by sum and matching

    def reduce_both(terms: Tensor) -> Tensor:
        broken = [~total.detach().isfinite() for total, _ in sums.values()]
        of_matching = moved(~torch.tensor(list(finite.values()), dtype=torch.bool), terms.device)
        everywhere = reduce(torch.cat([terms, torch.stack(broken).to(terms), of_matching.to(terms)]))
        failed.extend(everywhere[len(terms) :].tolist())
        return everywhere[: len(terms)]

    losses = per_term(sums, reduce_both, world_size, weight_of)
    if any(failed):
        names = [name for name, number in zip([*sums, *finite], failed, strict=True) if number]
        raise NotFiniteError(
            f"not a finite number: {', '.join(names)}. The network's output holds NaN or infinity: lower the "
            "learning rate, clip the gradient to a smaller norm, train in float32, or look for NaN in its inputs"
        )
    return losses


def per_term(
    sums: dict[str, LossSum],
    reduce: Callable[[Tensor], Tensor] = lambda terms: terms,
    world_size: int = 1,
    weight_of: Callable[[str], float] = lambda name: 1.0,
) -> dict[str, Tensor]:
    """Weighted sums, each divided by its number of terms of all processes / world_size: these average their gradients.

    Args:
        sums: of this process, by name.
        reduce: sums a float64 vector over all processes and returns it. Called once.
        world_size: number of processes.
        weight_of: the weight of a loss by its name.
    """
    device = next(iter(sums.values()))[0].device
    exact = torch.float32 if device.type == "mps" else torch.float64
    terms = reduce(torch.stack([moved(torch.as_tensor(n, dtype=exact), device) for _, n in sums.values()]))
    least = moved(torch.tensor([1e-6 if name.endswith("/class") else 1.0 for name in sums], dtype=exact), device)
    terms = terms.maximum(least) / world_size
    return {
        name: weight_of(name) * total / n.to(total.dtype)
        for (name, (total, _)), n in zip(sums.items(), terms, strict=True)
    }


def exact(logits: Tensor) -> Tensor:
    """In float32, or in float64 where the logits are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
