"""Parameters and operations of each part of AVSC and RAVS: `acvis info`, beside `cost` for ACVIS."""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor

from acvis_kit.evaluation.cost import Cost, CostTable, sampling_operations
from acvis_kit.models.avsc.correlation import correlate
from acvis_kit.models.avsc.model import AVSC
from acvis_kit.models.encoders.audio import AudioFeatures
from acvis_kit.models.encoders.sounds import SoundEncoder
from acvis_kit.models.ravs.alignment import Alignment
from acvis_kit.models.ravs.model import RAVS
from acvis_kit.models.semantic import normalised


@torch.no_grad()
def semantic_costs(model: AVSC | RAVS, runs: int = 0) -> list[Cost]:
    """Parameters and GFLOPs per frame of each part, in the order of the data; frames have the size of the input.

    With `runs` also milliseconds, medians of so many runs of one frame.

    What torch's FlopCounterMode omits is added by formula: the samples of deformable attention (see `costs`), and the
    N x N distances of DPC-KNN, products of N x C matrices. Sorting, resizing and pointwise operations count nothing.
    """
    model = copy.deepcopy(model).eval().requires_grad_(False)  # the counter's hooks need this
    side = model.config.input_size
    frame = torch.zeros(1, 3, side, side, dtype=model.pixel_mean.dtype, device=model.pixel_mean.device)
    image = normalised(frame, model.pixel_mean, model.pixel_std)
    table = CostTable(runs, model.pixel_mean.device)
    if isinstance(model, AVSC):
        _count_avsc(table, model, image)
    else:
        _count_ravs(table, model, image)
    table.add_total(model)
    return table.rows


def _count_avsc(table: CostTable, model: AVSC, image: Tensor) -> None:
    config, head = model.config, model.proposal_head
    maps = table.count("backbone", model.backbone, lambda: model.backbone(image))  # type: ignore[arg-type]
    extra = sampling_operations(head.pixel_decoder, config, maps)
    table.count("pixel decoder", head.pixel_decoder, lambda: head.pixel_decoder(maps), extra=extra)
    decoder = table.rows.pop()
    table.count("whole head", head, lambda: head(maps), extra=extra)
    whole = table.rows.pop()
    table.rows += [decoder, whole.without("query decoder", decoder)]
    if model.sound_encoder is None or model.sound_classifier is None:
        return
    classifier = model.sound_classifier
    vectors = _count_sound(table, model.sound_encoder, image).clip[0]
    probabilities = table.count("sound classifier", classifier, lambda: classifier(vectors))
    candidates = model.encode(image)
    table.count("correlation", None, lambda: correlate(probabilities, candidates, config.overlap))


def _count_ravs(table: CostTable, model: RAVS, image: Tensor) -> None:
    config = model.config
    table.count("backbone", model.backbone, lambda: model.backbone(image))  # type: ignore[arg-type]
    vectors = _count_sound(table, model.sound_encoder, image).clip[0]  # (1, C_a)
    maps: list[Tensor] = []
    x, alignments = image, iter(model.alignments)
    for stage in range(len(model.backbone.channels)):
        x = model.backbone.stage(stage, x)
        if stage in config.ama_levels:
            alignment = next(alignments)
            assert isinstance(alignment, Alignment), "the list holds nothing else"
            x = _count_alignment(table, alignment, x, vectors, f"map {stage + 1}")
        maps.append(x)
    decoder = torch.nn.ModuleList([model.decoder, model.reduce])
    features = table.count("decoder", decoder, lambda: model.reduce(model.decoder(maps)))
    if model.temporal is not None:
        clip = features[:, None].expand(-1, config.max_frames, -1, -1, -1)
        table.count("temporal attention", model.temporal, partial(model.temporal, clip), frames=config.max_frames)
    table.count("mask head", model.mask_head, partial(model.mask_head, features))
    if model.uncertainty_head is not None:
        table.count("uncertainty head", model.uncertainty_head, partial(model.uncertainty_head, features))


def _count_alignment(table: CostTable, alignment: Alignment, level: Tensor, vectors: Tensor, name: str) -> Tensor:
    """Rows of one aligned level, the grouping apart; the map that it returns."""
    tokens = level.flatten(2).transpose(1, 2)  # (1, N, D)
    number, dim = tokens.shape[1:]
    if not alignment.config.ama:
        return table.count(f"alignment, {name}", alignment, lambda: alignment(level, vectors)).map
    groups = min(alignment.groups, number)
    distances = 2.0 * number**2 * dim
    of_token = table.count(f"DPC-KNN, {name}", None, lambda: alignment.group(tokens, groups), extra=distances)
    grouping = table.rows.pop()
    alignment.group = lambda *_: of_token  # type: ignore[method-assign]  # of a copy of the model
    aligned = table.count(f"alignment, {name}", alignment, lambda: alignment(level, vectors))
    table.rows.append(grouping)
    return aligned.map


def _count_sound(table: CostTable, encoder: SoundEncoder, image: Tensor) -> AudioFeatures:
    """The row of the audio encoder, if there is one, and its result for one silent frame, B = T = 1."""
    if encoder.front_end is None:
        return AudioFeatures(image.new_zeros(1, 1, encoder.dim))
    spectrogram = image.new_zeros(1, 1, *encoder.front_end.shape)
    return table.count("audio encoder", encoder, lambda: encoder(spectrogram))
