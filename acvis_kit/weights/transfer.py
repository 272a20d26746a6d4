"""Weights of one of the kit's networks for another: fine-tuning on other classes, and encoders for another system."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from acvis_kit.errors import WeightsError
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.models.avsc.model import AVSC
from acvis_kit.models.ravs.model import RAVS
from acvis_kit.weights.fit import listed, load_exactly, wrong_shapes

CLASS_HEADS = (
    "frame_decoder.class_head", "tracker.class_head", "audio_class_head", "pixel_class_head", "mask_classifier.learned",
)  # fmt: skip


def copy_weights(source: ACVIS, target: ACVIS, only: Sequence[str] | None = None, without: tuple[str, ...] = ()) -> str:
    """Copy tensors by name. Rows of class heads are copied by class name, and "none" to "none".

    Tensors that only `target` has (a head of another configuration) stay as they are.

    Args:
        source: the trained network.
        target: changed in place.
        only: parts that are copied, such as "backbone"; None: all.
        without: beginnings of names that are not copied, such as "query_generator.layers".

    Returns:
        What was copied, what is new in `target`, and what was not copied, in words.

    Raises:
        WeightsError: shapes differ elsewhere than in class heads; lists them.
    """
    given, own = source.state_dict(), target.state_dict()
    given = {key: value for key, value in given.items() if only is None or key.partition(".")[0] in only}
    given = {key: value for key, value in given.items() if not key.startswith(without)}
    names, new_names = source.config.class_names, target.config.class_names
    shared = [name for name in new_names if name in names]
    by_class = CLASS_HEADS if target.config.class_head == "queries" else CLASS_HEADS[2:]  # else they have one row
    heads = [key for key in own if key.rpartition(".")[0] in by_class and key in given]
    if wrong := wrong_shapes(own, {key: value for key, value in given.items() if key not in heads}):
        raise WeightsError(
            f"the initial weights are of another configuration: {listed(wrong, 'shapes differ')}. Leave out preset to "
            "use that of the weights"
        )
    merged = {key: value for key, value in given.items() if key in own and key not in heads}
    for key in heads:
        merged[key] = _rows(given[key], own[key], names, new_names)
    target.load_state_dict({**own, **merged})
    fresh = sorted({key.rpartition(".")[0] for key in own if key not in given})
    left = sorted({key.rpartition(".")[0] for key in given if key not in own})
    new = [name for name in new_names if name not in names]
    parts = [f"{len(merged)} of {len(own)} tensors copied, class heads for {len(shared)} of {len(new_names)} classes"]
    parts += [f"new classes: {', '.join(new)}"] if new else []
    parts += [f"new modules: {_shortened(fresh)}"] if fresh else []
    parts += [f"not copied: {_shortened(left)}"] if left else []
    return "; ".join(parts)


def copy_encoders(source: ACVIS, target: AVSC | RAVS) -> str:
    """Copy what an ACVIS has learned about frames and sound into a semantic system.

    These are the picture encoder and, where both have the same, the audio encoder and a deformable pixel decoder.

    Args:
        source: the trained network.
        target: changed in place.

    Returns:
        What was copied and what was not, in words.

    Raises:
        WeightsError: the picture encoders differ; what differs is named.
    """
    pairs: dict[str, tuple[nn.Module, nn.Module]] = {"backbone": (source.backbone, target.get_submodule("backbone"))}
    if source.audio_encoder is not None and target.sound_encoder is not None and target.sound_encoder.network:
        pairs["audio encoder"] = (source.audio_encoder, target.sound_encoder.network)
    if isinstance(target, AVSC) and target.config.pixel_decoder == "deformable":
        pairs["pixel decoder"] = (source.pixel_decoder, target.proposal_head.pixel_decoder)
    copied: list[str] = []
    left: list[str] = []
    for name, (given, own) in pairs.items():
        try:
            load_exactly(own, given.state_dict())
            copied.append(name)
        except WeightsError as error:
            if name == "backbone":
                raise WeightsError(f"the backbone of the initial weights is of another kind: {error}") from error
            left.append(name)
    return f"copied: {', '.join(copied)}" + (f"; of another kind, not copied: {', '.join(left)}" if left else "")


def _shortened(modules: Sequence[str]) -> str:
    """Names of modules in a line: where a part has more than three, their number."""
    found: dict[str, list[str]] = {}
    for module in modules:
        found.setdefault(module.partition(".")[0], []).append(module)
    return ", ".join(", ".join(m) if len(m) <= 3 else f"{part} ({len(m)} modules)" for part, m in found.items())


def _rows(given: Tensor, own: Tensor, names: tuple[str, ...], new_names: tuple[str, ...]) -> Tensor:
    """A class head's weight or bias, (K or K + 1, ...): `own`, with the rows of `given` for classes of the same name.

    There is a row per class, and a last one for "none" in the heads that have it.
    """
    rows = own.clone()
    for number, name in enumerate(new_names):
        if name in names:
            rows[number] = given[names.index(name)]
    if len(own) > len(new_names):
        rows[-1] = given[-1]
    return rows
