"""All losses of a training step, weighted, under names: "frame/class", "video/dice", "similarity", "count", ...

Every loss is a sum of terms over their number. On several processes the number is that of all of them together, so
that a batch means the same however it is spread: two processes with one clip each learn exactly what one learns from
both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from acvis_kit.clip import Targets
from acvis_kit.config import ACVISConfig
from acvis_kit.errors import AcvisError
from acvis_kit.losses.count import cross_entropy_loss, ordinal_loss
from acvis_kit.losses.masks import set_losses
from acvis_kit.losses.matcher import Matches, assign, set_costs
from acvis_kit.losses.pixels import pixel_class_loss, pixel_sign_loss
from acvis_kit.losses.points import Generators, draw
from acvis_kit.losses.similarity import similarity_loss
from acvis_kit.losses.sounding import audio_class_loss, sounding_loss
from acvis_kit.losses.truth import Sets, Truth
from acvis_kit.models.acvis.model import ModelOutput

LossSum = tuple[Tensor, Tensor | float]  # the sum of a loss over this process' terms, and how many these are


class NotFiniteError(AcvisError):
    """A loss that is infinite or not a number, on any process. Raised on all of them, so that none waits for it."""


class Criterion:
    """Compares what the network says with what is true.

    Args:
        config: its fields of learning, from `num_points` to `audio_class_weight`.
        world_size: processes that train together. They average their gradients, hence each divides its sums by the
            number of terms of all processes / world_size.
    """

    def __init__(self, config: ACVISConfig, world_size: int = 1) -> None:
        self.config = config
        self.world_size = world_size

    def __call__(
        self,
        output: ModelOutput,
        targets: Sequence[Targets],
        *,
        generators: Generators = None,
        reduce: Callable[[Tensor], Tensor] = lambda terms: terms,
    ) -> dict[str, Tensor]:
        """The weighted losses; their sum is what training minimises.

        Args:
            output: of the network in training mode. (In evaluation mode only the last layers are there, and no
                "similarity".)
            targets: one per clip.
            generators: one per clip, for the points of its masks. None: torch's global generator, and then the draws
                depend on the batch.
            reduce: sums a float64 vector over all processes and returns it. Called once.

        Returns:
            Scalars, each differentiable; zero with gradient zero where there is nothing to compare.

        Raises:
            DataError: targets that do not fit the output. NotFiniteError: see there.
        """
        if generators is not None and len(generators) != len(targets):
            raise ValueError(f"{len(generators)} generators for {len(targets)} clips: give one per clip")
        with torch.autocast(output.frame_class_logits.device.type, enabled=False):  # sums in half precision overflow
            shares, finite = self._shares(output, targets, generators)
            return self._normalise(shares, finite, reduce)

    def _shares(
        self, output: ModelOutput, targets: Sequence[Targets], generators: Generators
    ) -> tuple[dict[str, LossSum], dict[str, bool]]:
        frame_classes, video = output.frame_class_logits, output.video
        _, clips, length, _, classes = frame_classes.shape
        size = output.frame_mask_logits.shape[-2:]
        truth = Truth(targets, clips, length, classes - 1, size, frame_classes.device)
        repeats = video.class_logits.shape[1] // clips
        frames, videos = truth.of_frames(), truth.of_videos(repeats)
        frame_set = (frame_classes.flatten(1, 2), output.frame_mask_logits.flatten(1, 2).unsqueeze(3))
        video_set = (video.class_logits, output.video_mask_logits)
        frame = self._match(*frame_set, truth, frames, generators)
        track = self._match(*video_set, truth, videos, generators)

        shares: dict[str, LossSum] = {}
        for level, given, sets, matches in (("frame", frame_set, frames, frame), ("video", video_set, videos, track)):
            found = set_losses(*given, truth, sets, matches, self.config, generators)
            shares |= {f"{level}/{name}": share for name, share in found.items()}
        if video.frame_similarity is not None:
            supervised = frame._replace(queries=frame.queries[-repeats:], objects=frame.objects[-repeats:])
            last = track._replace(queries=track.queries[-1:], objects=track.objects[-1:])
            shares["similarity"] = similarity_loss(video.frame_similarity, video.video_similarity[-1], supervised, last)
        if output.count_logits is not None:
            shares["count"] = self._count(output.count_logits, truth.counts)
        if output.frame_sounding_logits is not None:
            shares["frame/sounding"] = sounding_loss(
                output.frame_sounding_logits.flatten(1, 2).unsqueeze(2), truth, frames, frame
            )
        if video.sounding_logits is not None:
            shares["video/sounding"] = sounding_loss(video.sounding_logits, truth, videos, track)
        if output.audio_class_logits is not None:
            shares["audio_class"] = audio_class_loss(output.audio_class_logits, truth)
        if output.pixel_class_logits is not None:
            shares["pixel_class"] = pixel_class_loss(_exact(output.pixel_class_logits), truth, self.config.none_weight)
        if output.pixel_sign_logits is not None:
            shares["pixel_sign"] = pixel_sign_loss(_exact(output.pixel_sign_logits), truth, self.config.none_weight)
        return shares, {"the matching of frame queries": frame.finite, "the matching of video queries": track.finite}

    def _match(
        self, class_logits: Tensor, mask_logits: Tensor, truth: Truth, sets: Sets, generators: Generators
    ) -> Matches:
        c = self.config
        points = draw(sets.clips, (c.num_points,), generators, mask_logits.device)
        weights = (c.class_weight, c.mask_weight, c.dice_weight)
        return assign(set_costs(class_logits.detach(), mask_logits.detach(), truth, sets, points, weights), sets)

    def _count(self, logits: Tensor, counts: Tensor) -> LossSum:
        logits = _exact(logits)
        if self.config.count_head == "ce":
            return cross_entropy_loss(logits, counts)
        return ordinal_loss(logits, counts, self.config.saoc_reduction)

    def _weight(self, name: str) -> float:
        kind = name.rpartition("/")[2]
        return getattr(self.config, f"{kind}_weight")

    def _normalise(
        self, shares: dict[str, LossSum], finite: dict[str, bool], reduce: Callable[[Tensor], Tensor]
    ) -> dict[str, Tensor]:
        """Sums over terms of all processes. Whether all is finite travels in the same message."""
        sums = torch.stack([total.detach() for total, _ in shares.values()])
        exact = torch.float32 if sums.device.type == "mps" else torch.float64
        terms = torch.stack([torch.as_tensor(n, dtype=exact, device=sums.device) for _, n in shares.values()])
        broken = torch.cat([~sums.isfinite(), ~torch.tensor(list(finite.values()), device=sums.device)])
        everywhere = reduce(torch.cat([terms, broken.to(exact)]))
        terms, broken = everywhere[: len(shares)], everywhere[len(shares) :].tolist()
        if any(broken):
            names = [name for name, bad in zip([*shares, *finite], broken, strict=True) if bad]
            raise NotFiniteError(
                f"not a finite number: {', '.join(names)}. The network's output holds NaN or infinity: lower the "
                "learning rate or clip the gradient harder, train in float32, and look for NaN in features given to it"
            )
        least = torch.tensor([1e-6 if name.endswith("/class") else 1.0 for name in shares], device=sums.device)
        terms = terms.maximum(least.to(exact)) / self.world_size
        return {
            name: self._weight(name) * total / n.to(total.dtype)
            for (name, (total, _)), n in zip(shares.items(), terms, strict=True)
        }


def _exact(logits: Tensor) -> Tensor:
    """In single precision at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
