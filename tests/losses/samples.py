"""Data for the tests of losses: random outputs of a network, small targets, and the golden ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from acvis_kit.clip import Targets
from acvis_kit.config import PRESETS, ACVISConfig
from acvis_kit.models.acvis.model import ModelOutput
from acvis_kit.models.acvis.tracker import VideoOutput

CONFIG = replace(PRESETS["acvis-synth-tiny"], num_points=64, class_names=("cat", "dog", "bass"))
SIZE = (6, 8)  # of the mask logits; target masks are four times as large


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    """One per clip, each with its own seed."""
    return [seeded(100 * seed + number) for number in range(count)]


def random_output(
    clips: int = 2,
    frames: int = 4,
    *,
    frame_layers: int = 3,
    supervised: int = 2,
    video_layers: int = 2,
    queries: int = 7,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> ModelOutput:
    """A complete output, K = 3; every tensor is a leaf that requires a gradient."""
    g = seeded(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g).to(dtype).requires_grad_()

    answers, classes, width = supervised * clips, 3, 5
    return ModelOutput(
        frame_class_logits=noise(frame_layers, clips, frames, queries, classes + 1),
        frame_mask_logits=noise(frame_layers, clips, frames, queries, *SIZE),
        count_logits=noise(clips, frames, 2),
        video=VideoOutput(
            class_logits=noise(video_layers, answers, queries, classes + 1),
            mask_embeds=noise(1),
            video_similarity=noise(video_layers, answers, queries, width),
            frame_similarity=noise(answers, frames, queries, width),
            sounding_logits=noise(video_layers, answers, frames, queries),
        ),
        video_mask_logits=noise(video_layers, answers, queries, frames, *SIZE),
        frame_sounding_logits=noise(frame_layers, clips, frames, queries),
        audio_class_logits=noise(clips, frames, classes),
        pixel_class_logits=noise(clips, frames, classes + 1, *SIZE),
        auxiliary_logits={"cue": noise(clips, frames, *SIZE)},
    )


def leaves(output: ModelOutput) -> dict[str, Tensor]:
    """The tensors of an output by name, without the embeddings that no loss uses."""
    own = {name: value for name, value in output._asdict().items() if isinstance(value, Tensor)}
    video = {f"video.{name}": value for name, value in output.video._asdict().items() if value is not None}
    del video["video.mask_embeds"]
    return own | (output.auxiliary_logits or {}) | video


def box(frames: int, *where: tuple[int, int, int, int] | None) -> Tensor:
    """A mask (T, 24, 32) with one box (top, left, bottom, right) per frame, None for an empty mask."""
    mask = torch.zeros(frames, 4 * SIZE[0], 4 * SIZE[1], dtype=torch.bool)
    for t, place in enumerate(where):
        if place is not None:
            top, left, bottom, right = place
            mask[t, top:bottom, left:right] = True
    return mask


def random_targets(objects: int, frames: int = 4, *, seed: int = 0, audio_labels: bool = True) -> Targets:
    """Objects that are present in about 70 % of the frames and sound in about half of them."""
    g = seeded(seed)
    masks = torch.zeros(objects, frames, 4 * SIZE[0], 4 * SIZE[1], dtype=torch.bool)
    for n in range(objects):
        for t in range(frames):
            top, left = torch.randint(0, 16, (2,), generator=g).tolist()
            masks[n, t, top : top + 8, left : left + 10] = torch.rand((), generator=g) < 0.7
    sounding = torch.rand(objects, frames, generator=g) < 0.5
    return Targets(
        labels=torch.randint(0, 3, (objects,), generator=g),
        masks=masks,
        sounding=sounding,
        counts=(sounding & masks.flatten(2).any(-1)).sum(0),
        audio_labels=torch.rand(frames, 3, generator=g) < 0.5 if audio_labels else None,
        auxiliary={"cue": sounding & (torch.rand(objects, frames, generator=g) < 0.5)} if audio_labels else {},
    )


def shuffled(targets: Targets, order: list[int]) -> Targets:
    """The same objects in another order."""
    moved = {name: getattr(targets, name)[order] for name in ("labels", "masks", "sounding")}
    return replace(targets, **moved, auxiliary={name: labels[order] for name, labels in targets.auxiliary.items()})


class Golden:
    """`losses.npz` as an output and targets of the kit. The small fixture lacks the earlier video layers."""

    def __init__(self, folder: Path) -> None:
        self.file = np.load(folder / "losses.npz")
        self.frame_layers = ("aux0", "aux1", "aux2", "out")
        self.video_layers = tuple(n for n in ("aux0", "aux1", "out") if f"video.{n}.pred_logits" in self.file)
        self.config: ACVISConfig = PRESETS["acvis-r50"]
        self.output = ModelOutput(
            frame_class_logits=self._stack("frame.{}.pred_logits", self.frame_layers).unflatten(1, (2, 5)),
            frame_mask_logits=self._stack("frame.{}.pred_masks", self.frame_layers).unflatten(1, (2, 5)),
            count_logits=None,
            video=VideoOutput(
                class_logits=self._stack("video.{}.pred_logits", self.video_layers).flatten(1, 2),
                mask_embeds=torch.zeros(()),
                video_similarity=self._stack("video.{}.pred_cq_embed", self.video_layers).flatten(1, 2),
                frame_similarity=self["video.out.pred_fq_embed"].flatten(0, 1),
            ),
            video_mask_logits=self._stack("video.{}.pred_masks", self.video_layers).flatten(1, 2),
        )
        self.targets = [self._target(0), self._target(1)]

    def __getitem__(self, name: str) -> Tensor:
        value = torch.from_numpy(self.file[name])
        if name.endswith("pred_masks"):  # stored at a quarter of the size
            value = value.float().repeat_interleave(4, -1).repeat_interleave(4, -2)
        return value

    def _stack(self, name: str, layers: tuple[str, ...]) -> Tensor:
        return torch.stack([self[name.format(layer)] for layer in layers])

    def _target(self, number: int) -> Targets:
        shape = self.file[f"target{number}.masks.shape"]
        bits = np.unpackbits(self.file[f"target{number}.masks"], count=int(shape.prod())).reshape(shape)
        present = self[f"target{number}.ids"] != -1
        masks = torch.from_numpy(bits).bool()
        return Targets(self[f"target{number}.labels"], masks, present, present.sum(0))

    def loss(self, name: str, level: str, layer: str) -> tuple[float, float]:
        """Mean and standard deviation of a loss of one layer, unweighted: name is ce, mask or dice."""
        prefix = {"frame": "", "video": "avism_"}[level]
        suffix = "" if layer == "out" else f"_{layer.removeprefix('aux')}"
        return tuple(self.file[f"loss.loss_{prefix}{name}{suffix}"].tolist())
