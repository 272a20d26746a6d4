"""Checkpoints of the ACVIS / AVISM / VITA reference code -> `ACVIS`. Only this module uses the reference's names.

The keys of a state dict are renamed by ordered rules, its configuration is inferred from keys and shapes, and every key
must fit.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from acvis_kit.config import AVISEG_CLASSES, MOST_CLASSES, ACVISConfig
from acvis_kit.errors import ConfigError, WeightsError, brief, kind_of
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.models.encoders.backbones import SWIN_LAYOUTS
from acvis_kit.weights.fit import build_and_load, cut, listed, reason, require_layers, state_in

NUM_LEVELS = 3  # of the deformable attention
MOST_DIGITS = 4  # of the number of a layer
_HEAD = r"^sem_seg_head\.predictor\."
_PIXEL = r"^sem_seg_head\.pixel_decoder\."
_TRACKER = r"^(?:vita|avism)_module\."

# Weights of the reference without a counterpart: the losses' class weights, Swin's index table (recomputed), and the
# projection that ACVIS inherits from AVISM and never calls.
_DROPPED = (r"^(?:vita_|avism_)?criterion\.empty_weight$", r"\.relative_position_index$")
_DROPPED_WITH_ACQG = (_HEAD + r"av_post_proj\.",)


Rule = tuple[str, str | Callable[[re.Match[str]], str]]

_RULES: tuple[Rule, ...] = (
    # ResNet -> torchvision's names
    (r"^backbone\.stem\.conv1\.norm\.", "backbone.bn1."),
    (r"^backbone\.stem\.conv1\.", "backbone.conv1."),
    (r"^backbone\.res(\d)\.", lambda m: f"backbone.layer{int(m[1]) - 1}."),
    (r"^(backbone\.layer.*)\.shortcut\.norm\.", r"\1.downsample.1."),
    (r"^(backbone\.layer.*)\.shortcut\.", r"\1.downsample.0."),
    (r"^(backbone\.layer.*)\.conv(\d)\.norm\.", r"\1.bn\2."),
    # Swin -> torchvision's names: stages and mergings alternate
    (r"^backbone\.patch_embed\.proj\.", "backbone.features.0.0."),
    (r"^backbone\.patch_embed\.norm\.", "backbone.features.0.2."),
    (r"^backbone\.layers\.(\d)\.blocks\.", lambda m: f"backbone.features.{2 * int(m[1]) + 1}."),
    (r"^backbone\.layers\.(\d)\.downsample\.", lambda m: f"backbone.features.{2 * int(m[1]) + 2}."),
    (r"^(backbone\..*\.mlp)\.fc1\.", r"\1.0."),
    (r"^(backbone\..*\.mlp)\.fc2\.", r"\1.3."),
    (r"^backbone\.norm(\d)\.", r"backbone.norms.\1."),
    # VGGish
    (r"^audio_backbone\.pproc\.", "audio_encoder."),
    (r"^audio_backbone\.", "audio_encoder."),
    # pixel decoder
    (_PIXEL + r"mask_features\.", "frame_decoder.pixel_embedding."),
    (_PIXEL + r"adapter_1\.norm\.", "pixel_decoder.fpn_lateral.1."),
    (_PIXEL + r"adapter_1\.", "pixel_decoder.fpn_lateral.0."),
    (_PIXEL + r"layer_1\.norm\.", "pixel_decoder.fpn_output.1."),
    (_PIXEL + r"layer_1\.", "pixel_decoder.fpn_output.0."),
    (_PIXEL + r"transformer\.level_embed$", "pixel_decoder.level_embed"),
    (_PIXEL + r"transformer\.encoder\.layers\.(\d+)\.self_attn\.", r"pixel_decoder.layers.\1.attention."),
    (_PIXEL + r"transformer\.encoder\.layers\.(\d+)\.norm1\.", r"pixel_decoder.layers.\1.norm."),
    (_PIXEL + r"transformer\.encoder\.layers\.(\d+)\.norm2\.", r"pixel_decoder.layers.\1.feed_forward.norm."),
    (_PIXEL + r"transformer\.encoder\.layers\.(\d+)\.linear", r"pixel_decoder.layers.\1.feed_forward.linear"),
    (_PIXEL, "pixel_decoder."),
    # query generator
    (_HEAD + r"query_feat\.weight$", "query_generator.query_features"),
    (_HEAD + r"query_embed\.weight$", "query_generator.query_positions"),
    (_HEAD + r"cls_token\.weight$", "query_generator.count_token"),
    (_HEAD + r"av_pre_proj\.", "query_generator.project."),
    (_HEAD + r"av_post_proj\.", "query_generator.merge."),
    (_HEAD + r"(?:audio_centric_query_generator|av_sf)\.(\d+)\.", r"query_generator.layers.\1."),
    # count head and frame decoder
    (_HEAD + r"cnt_proj\.", "count_head."),
    (_HEAD + r"level_embed\.weight$", "frame_decoder.level_embed"),
    (_HEAD, "frame_decoder."),
    # tracker
    (_TRACKER + r"(?:vita|avism)_mask_features\.", "tracker.pixel_embedding."),
    (_TRACKER + r"enc_self_attn\.", "tracker.object_attention."),
    (_TRACKER + r"enc_ffn\.", "tracker.object_feed_forward."),
    (_TRACKER + r"enc_av_cross_attn\.", "tracker.sound_attention."),
    (_TRACKER + r"enc_av_ffn\.", "tracker.sound_feed_forward."),
    (_TRACKER + r"av_proj\.", "tracker.project_sound."),
    (_TRACKER + r"input_proj_dec\.", "tracker.project."),
    (_TRACKER + r"query_feat\.weight$", "tracker.query_features"),
    (_TRACKER + r"query_embed\.weight$", "tracker.query_positions"),
    (_TRACKER + r"fq_pos\.weight$", "tracker.slot_positions"),
    (_TRACKER + r"sim_embed_frame\.", "tracker.frame_similarity."),
    (_TRACKER + r"sim_embed_clip\.", "tracker.video_similarity."),
    (_TRACKER, "tracker."),
    # common to frame decoder, query generator and tracker
    (r"\.transformer_self_attention_layers\.", ".self_attention."),
    (r"\.transformer_cross_attention_layers\.", ".cross_attention."),
    (r"\.transformer_ffn_layers\.", ".feed_forward."),
    (r"^((?:query_generator|frame_decoder|tracker)\..*)\.(?:self_attn|multihead_attn)\.", r"\1.attention."),
    (r"^(frame_decoder|tracker)\.decoder_norm\.", r"\1.norm."),
    (r"^(frame_decoder|tracker)\.class_embed\.", r"\1.class_head."),
    (r"^(frame_decoder|tracker)\.mask_embed\.layers\.(\d)\.", lambda m: f"{m[1]}.mask_head.{2 * int(m[2])}."),
)


def from_reference(weights: Mapping[str, Any] | str | Path, *, trust_pickle: bool = False, **overrides: Any) -> ACVIS:
    """Convert the reference's weights to an `ACVIS` in evaluation mode, float32.

    Args:
        weights: a state dict (bare, or under the key "model"), or the path of a checkpoint.
        trust_pickle: open checkpoints that hold more than tensors. Only for files whose author you trust: such a file
            can run any code.
        **overrides: fields of the configuration that cannot be inferred from keys and shapes: `count_head="ce"` (or
            "ordinal") if the count head has 3 logits, `window_size` (6), `num_heads` (8), `class_names`, and the fields
            of inference.

    Raises:
        WeightsError: not such a checkpoint, an ambiguous count head, or keys and shapes that do not fit.
        ConfigError: an override that does not exist or contradicts another.
    """
    if isinstance(weights, (str, Path)):
        weights = read_checkpoint(weights, trust_pickle=trust_pickle)
    if not isinstance(weights, Mapping):
        raise WeightsError(f"{brief(weights)} is no checkpoint: give a state dict, or the path of a file")
    state = _tensors_of(state_in(weights))
    config = infer_config(state, **overrides)
    renamed = rename(state, keep_merge=config.query_generator == "additive")
    if "audio_encoder.pca_means" in renamed:
        renamed["audio_encoder.pca_means"] = renamed["audio_encoder.pca_means"].flatten()  # (128, 1) -> (128,)
    return build_and_load(partial(ACVIS, config), renamed, "the checkpoint's keys and shapes").eval()


def _looks_pickled(path: Path) -> bool:
    """Whether a file begins as PyTorch's do: a ZIP archive, or a pickle of an earlier version."""
    with path.open("rb") as file:
        return file.read(2).startswith((b"PK", b"\x80"))


def read_checkpoint(path: str | Path, *, trust_pickle: bool = False) -> Mapping[str, Any]:
    """Read the dictionary in a `.pth` file, of tensors only unless `trust_pickle`.

    Raises:
        WeightsError: no such file, not a checkpoint, or one that needs `trust_pickle`.
    """
    path = Path(path)
    if not path.is_file():
        found = "is a folder, which needs no conversion if it holds weights" if path.is_dir() else "is not there"
        raise WeightsError(f"{path} {found}: give the path of a checkpoint file")
    if path.suffix == ".safetensors":
        raise WeightsError(f"{path} needs no conversion: use it as it is, --weights or load_model")
    try:
        loaded = _unpickled(path) if trust_pickle else torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not trust_pickle and "weights_only" in str(error) and _looks_pickled(path):
            raise WeightsError(
                f"{path} holds more than tensors and could run code when opened: if you trust its author, convert it "
                "with trust_pickle=True"
            ) from error
        raise WeightsError(f"{path} is not a PyTorch checkpoint, or is damaged") from error
    except ImportError as error:
        raise WeightsError(
            f"{path} holds objects of a package that is not installed ({error}): install it, or save the checkpoint "
            "again with its tensors only"
        ) from error
    except Exception as error:  # a pickle's own code may raise anything
        raise WeightsError(f"{path} is not a PyTorch checkpoint, or is damaged ({reason(error)})") from error
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"{path} holds {kind_of(loaded)}, not a dictionary of tensors")
    return loaded


def _unpickled(path: Path) -> Any:
    """Content of a pickle, whose code is run: PyTorch's, or a plain one, as detectron2 publishes its backbones."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            first = pickle.load(file, encoding="latin1")  # some are from Python 2
        if isinstance(first, Mapping):  # PyTorch's old format begins with a number
            return first
    return torch.load(path, map_location="cpu", weights_only=False)


def _tensors_of(weights: Mapping[str, Any]) -> dict[str, Tensor]:
    """Tensors, arrays and numbers as tensors.

    Raises:
        WeightsError: some entries are none of these; the message names them.
    """
    wrong = [k for k, v in weights.items() if not isinstance(v, Tensor | np.ndarray | float | int)]
    wrong += [k for k, v in weights.items() if isinstance(v, np.ndarray) and v.dtype.kind not in "fiub"]
    if wrong:
        found = [f"{k} ({type(weights[k]).__name__})" for k in wrong]
        raise WeightsError(
            listed(found, f"of {len(weights)} entries are not tensors")
            + ": give the state dict alone, or a checkpoint that holds it under the key 'model'"
        )
    try:
        return {str(k): torch.as_tensor(v) for k, v in weights.items()}
    except (TypeError, RuntimeError, OverflowError) as error:  # byte orders and whole numbers that torch lacks
        raise WeightsError(f"an entry cannot be made a tensor ({reason(error)}): save the checkpoint again") from error


def rename(state: Mapping[str, Tensor], *, keep_merge: bool) -> dict[str, Tensor]:
    """Rename the reference's keys to ours; keys that no network needs are dropped.

    Args:
        state: tensors by the reference's keys.
        keep_merge: keep the projection `av_post_proj`, which only the additive query generator uses.

    Raises:
        WeightsError: two keys get the same name.
    """
    dropped = _DROPPED if keep_merge else _DROPPED + _DROPPED_WITH_ACQG
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        if any(re.search(pattern, name) for pattern in dropped):
            continue
        ours = name
        for pattern, replacement in _RULES:
            ours = re.sub(pattern, replacement, ours)
        if ours in renamed:
            raise WeightsError(f"two keys of the checkpoint correspond to {cut(ours)}: the second is {cut(name)}")
        renamed[ours] = value
    return renamed


def infer_config(state: Mapping[str, Tensor], **overrides: Any) -> ACVISConfig:
    """Infer the configuration from keys and shapes of a reference state dict; `overrides` take precedence.

    Raises:
        WeightsError: keys are missing, or the count head is ambiguous.
        ConfigError: an override that does not exist or contradicts another.
    """
    keys = list(state)
    tracker = next((k.split(".")[0] for k in keys if re.match(_TRACKER, k)), None)
    if tracker is None or not any(re.match(_HEAD, k) for k in keys):
        raise WeightsError(
            "this is not a checkpoint of the ACVIS, AVISM or VITA reference: it has no 'sem_seg_head.predictor.*' and "
            f"'vita_module.*' (or 'avism_module.*') keys; it starts with {cut(', '.join(keys[:3])) or 'nothing'}"
        )
    head, pixel = "sem_seg_head.predictor.", "sem_seg_head.pixel_decoder."

    shape = partial(_shape, state)
    heads = overrides.get("num_heads", 8)
    if not isinstance(heads, int) or heads < 1:
        raise ConfigError(f"num_heads={heads!r} must be a whole number, at least 1")
    has_vggish = any(k.startswith("audio_backbone.") for k in keys)
    found: dict[str, Any] = _infer_backbone(state, keys)
    found |= {
        "num_heads": heads,
        "hidden_dim": shape(head + "decoder_norm.weight")[0],
        "pixel_layers": _count(keys, rf"{_PIXEL}transformer\.encoder\.layers\.(\d+)\."),
        "pixel_points": shape(pixel + "transformer.encoder.layers.0.self_attn.attention_weights.bias")[0]
        // (heads * NUM_LEVELS),
        "pixel_feedforward_dim": shape(pixel + "transformer.encoder.layers.0.linear1.weight")[0],
        "audio_encoder": "vggish" if has_vggish else "precomputed",
        "audio_features": "vggish_quantized" if "audio_backbone.pproc.pca_means" in state else "vggish_raw",
        "num_frame_queries": shape(head + "query_feat.weight")[0],
        "frame_layers": _count(keys, rf"{_HEAD}transformer_ffn_layers\.(\d+)\."),
        "feedforward_dim": shape(head + "transformer_ffn_layers.0.linear1.weight")[0],
        "video_fusion": f"{tracker}.av_proj.weight" in state,
        "num_video_queries": shape(f"{tracker}.query_feat.weight")[0],
        "tracker_layers": _count(keys, rf"{_TRACKER}enc_self_attn\.(\d+)\."),
        "video_layers": _count(keys, rf"{_TRACKER}transformer_ffn_layers\.(\d+)\."),
    }
    found |= _infer_generator(keys)
    found |= _infer_count_head(state, overrides)
    classes = shape(head + "class_embed.weight")[0] - 1
    if classes > MOST_CLASSES:
        raise WeightsError(f"the checkpoint has {classes} classes, at most {MOST_CLASSES} are allowed")
    found["class_names"] = (
        AVISEG_CLASSES if classes == len(AVISEG_CLASSES) else tuple(f"class {i + 1}" for i in range(classes))
    )
    require_layers({**found, **overrides}, state)
    return ACVISConfig.from_dict({**found, **overrides})


def _shape(state: Mapping[str, Tensor], name: str) -> torch.Size:
    """The shape of a tensor that every reference checkpoint has.

    Raises:
        WeightsError: it is not there, or holds nothing.
    """
    if name not in state:
        raise WeightsError(f"the checkpoint has no {name}: it is incomplete, or of an unsupported model")
    if not state[name].dim() or not state[name].numel():
        raise WeightsError(f"{name} has the shape {tuple(state[name].shape)}: at least one row is expected")
    return state[name].shape


def _count(keys: Iterable[str], pattern: str) -> int:
    """Number of layers: one more than the highest number in the pattern's group.

    Raises:
        WeightsError: a number beyond those of any network.
    """
    numbers = [m[1] for k in keys if (m := re.match(pattern, k))]
    if any(len(number) > MOST_DIGITS for number in numbers):
        raise WeightsError(f"a layer has a number of more than {MOST_DIGITS} digits: this is no checkpoint")
    return 1 + max(map(int, numbers), default=-1)


def _infer_backbone(state: Mapping[str, Tensor], keys: list[str]) -> dict[str, Any]:
    if "backbone.stem.conv1.weight" in state:
        blocks = tuple(_count(keys, rf"backbone\.res{stage}\.(\d+)\.") for stage in (2, 3, 4, 5))
        named = {(3, 4, 6, 3): "resnet50", (3, 4, 23, 3): "resnet101"}
        if blocks not in named:
            raise WeightsError(f"a ResNet with {blocks} blocks is not supported: (3, 4, 6, 3) and (3, 4, 23, 3) are")
        return {"backbone": named[blocks]}
    if "backbone.patch_embed.proj.weight" in state:
        width = _shape(state, "backbone.patch_embed.proj.weight")[0]
        blocks = tuple(_count(keys, rf"backbone\.layers\.{stage}\.blocks\.(\d+)\.") for stage in range(4))
        rows = _shape(state, "backbone.layers.0.blocks.0.attn.relative_position_bias_table")[0]  # (2 W - 1)^2
        for name, (known_width, known_blocks, _) in SWIN_LAYOUTS.items():
            if (width, blocks) == (known_width, known_blocks):
                return {"backbone": name, "swin_window": (round(rows**0.5) + 1) // 2}
        raise WeightsError(f"a Swin of width {width} with {blocks} blocks is not supported: {SWIN_LAYOUTS} are")
    raise WeightsError("the checkpoint has neither a ResNet ('backbone.stem') nor a Swin ('backbone.patch_embed')")


def _infer_generator(keys: list[str]) -> dict[str, Any]:
    acqg = _count(keys, rf"{_HEAD}audio_centric_query_generator\.(\d+)\.")
    if acqg:
        return {"query_generator": "acqg", "query_layers": acqg}
    additive = any(re.match(_HEAD + r"av_sf\.", k) for k in keys)
    return {"query_generator": "additive" if additive else "none"}


def _infer_count_head(state: Mapping[str, Tensor], overrides: Mapping[str, Any]) -> dict[str, Any]:
    bias = "sem_seg_head.predictor.cnt_proj.bias"
    if bias not in state:
        return {"count_head": "none"}
    logits = _shape(state, bias)[0]
    kind = overrides.get("count_head")
    if logits == 3 and kind is None and "k_max" not in overrides:
        raise WeightsError(
            "the count head has 3 logits, which is ambiguous: pass count_head='ce' (classes 0, 1, 2+) or "
            "count_head='ordinal' (SAOC with K_max 3)"
        )
    if kind is None and logits == 3 and overrides["k_max"] == 2:
        kind = "ce"
    return {"count_head": kind or "ordinal", "k_max": logits - 1 if kind == "ce" else logits}
