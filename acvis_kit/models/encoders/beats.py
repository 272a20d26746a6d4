"""BEATs (Chen et al. 2023, arXiv 2212.09058): a transformer on 16x16 patches of a filter-bank spectrogram.

fbank (98, 128) ── patches (6 x 8) ── LN, linear ── + convolutional position ── LN ── 12 x [attention, FFN] ── tokens

Attention has a relative position bias of T5's kind, gated by the query. Parameters have the names of the published
checkpoints, {"cfg": ..., "model": ...}, which `BEATs.from_published` reads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acvis_kit.errors import WeightsError
from acvis_kit.models.encoders.audio import AudioFeatures

GATE_GROUP = 4  # outputs of `grep_linear` that are summed for each of the two gates


@dataclass(frozen=True)
class BEATsLayout:
    """Sizes of a BEATs network, with the field names and values of the published checkpoints."""

    input_patch_size: int = 16
    embed_dim: int = 512
    encoder_layers: int = 12
    encoder_embed_dim: int = 768
    encoder_ffn_embed_dim: int = 3072
    encoder_attention_heads: int = 12
    conv_pos: int = 128
    conv_pos_groups: int = 16
    num_buckets: int = 320
    max_distance: int = 800
    predictor_class: int = 0  # classes of a fine-tuned checkpoint; 0: no head


# What every published checkpoint has in common; others are not implemented.
COMMON = {"layer_norm_first": False, "deep_norm": True, "relative_position_embedding": True, "gru_rel_pos": True,
          "conv_bias": False, "activation_fn": "gelu"}  # fmt: skip


class BEATs(nn.Module):
    """BEATs without dropout, 90 M parameters.

    Args:
        layout: its sizes; those of the published iterations by default.
    """

    def __init__(self, layout: BEATsLayout | None = None) -> None:
        super().__init__()
        self.layout = layout = layout or BEATsLayout()
        patch, dim = layout.input_patch_size, layout.encoder_embed_dim
        self.patch_embedding = nn.Conv2d(1, layout.embed_dim, patch, stride=patch, bias=False)
        self.layer_norm = nn.LayerNorm(layout.embed_dim)
        self.post_extract_proj = nn.Linear(layout.embed_dim, dim)
        self.encoder = BEATsEncoder(layout)
        self.predictor = nn.Linear(dim, layout.predictor_class) if layout.predictor_class else None

    def tokens(self, spectrogram: Tensor) -> Tensor:
        """Fbank (N, frames, 128) -> tokens (N, A, 768), by time, then frequency: A = 6 x 8 for a second."""
        patches = self.patch_embedding(spectrogram[:, None])  # (N, 512, times, frequencies)
        patches = patches.flatten(2).transpose(1, 2)  # (N, A, 512)
        return self.encoder(self.post_extract_proj(self.layer_norm(patches)))

    def class_probabilities(self, spectrogram: Tensor) -> Tensor:
        """(N, frames, 128) -> (N, classes) in [0, 1], of a fine-tuned network."""
        assert self.predictor is not None, "this network has no head: its layout has predictor_class=0"
        return self.predictor(self.tokens(spectrogram)).mean(1).sigmoid()

    def forward(self, spectrogram: Tensor) -> AudioFeatures:
        """Fbank (B, T, frames, 128) -> vectors (B, T, 768), the mean of the tokens; tokens (B, T, A, 768)."""
        tokens = self.tokens(spectrogram.flatten(0, 1)).unflatten(0, spectrogram.shape[:2])
        return AudioFeatures(tokens.mean(2), tokens)

    @classmethod
    def from_published(cls, content: Mapping[str, Any]) -> BEATs:
        """The network of a published checkpoint.

        Args:
            content: {"cfg": its configuration, "model": its state dict}.

        Raises:
            WeightsError: not a checkpoint of BEATs, of a form that is not implemented, or incomplete.
        """
        if not isinstance(content, Mapping) or not {"cfg", "model"} <= set(content):
            raise WeightsError("a checkpoint of BEATs holds 'cfg' and 'model': give a file of the published BEATs")
        if not isinstance(content["cfg"], Mapping) or not isinstance(content["model"], Mapping):
            raise WeightsError("'cfg' and 'model' of a checkpoint of BEATs are dictionaries: give a published file")
        given = dict(content["cfg"])
        for name, value in COMMON.items():
            if given.get(name, value) != value:
                raise WeightsError(f"this BEATs has {name}={given[name]!r}, only {value!r} is implemented")
        if not given.get("finetuned_model", False):
            given.pop("predictor_class", None)  # tokenizers name one, too
        sizes = {field.name: given[field.name] for field in fields(BEATsLayout) if field.name in given}
        try:
            model = cls(BEATsLayout(**sizes))
        except Exception as error:  # torch raises whatever a wrong size leads to
            text = str(error).strip()[:200]
            raise WeightsError(f"no BEATs can be built from the sizes in this checkpoint's 'cfg' ({text})") from error
        state = {str(key): value.float() for key, value in content["model"].items() if isinstance(value, Tensor)}
        own = model.state_dict()
        # The published code shares one table among the layers and stores it once for each.
        state = {k: v for k, v in state.items() if k in own or "relative_attention_bias" not in k}
        wrong = sorted(key for key in own.keys() | state.keys() if _shape(own, key) != _shape(state, key))
        if wrong:
            raise WeightsError(
                f"this checkpoint of BEATs does not fit its own configuration: {', '.join(wrong[:5])} "
                f"({len(wrong)} tensors missing, unknown or of another shape)"
            )
        model.load_state_dict(state)
        return model


def _shape(state: Mapping[str, Tensor], key: str) -> tuple[int, ...] | None:
    return tuple(state[key].shape) if key in state else None


class BEATsEncoder(nn.Module):
    """The convolutional position and the transformer layers, post-norm with deep norm."""

    def __init__(self, layout: BEATsLayout) -> None:
        super().__init__()
        dim = layout.encoder_embed_dim
        # A Sequential for the names' sake: the published key is pos_conv.0.
        self.pos_conv = nn.Sequential(NormedConvolution(dim, layout.conv_pos, layout.conv_pos_groups))
        self.layer_norm = nn.LayerNorm(dim)
        self.layers = nn.ModuleList(BEATsLayer(layout, first=i == 0) for i in range(layout.encoder_layers))
        self.num_buckets, self.max_distance = layout.num_buckets, layout.max_distance

    def forward(self, x: Tensor) -> Tensor:
        """(N, A, C) -> (N, A, C)."""
        x = self.layer_norm(x + self.pos_conv(x))
        buckets = distance_buckets(x.shape[1], self.num_buckets, self.max_distance, x.device)  # (A, A)
        table = self.get_submodule("layers.0.self_attn.relative_attention_bias")
        bias = table(buckets).permute(2, 0, 1)  # (heads, A, A)
        for layer in self.layers:
            x = layer(x, bias)
        return x


class NormedConvolution(nn.Module):
    """GELU of a grouped convolution over the tokens, its weight normed over all axes but the kernel's."""

    def __init__(self, dim: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight_v = nn.Parameter(torch.empty(dim, dim // groups, kernel))
        nn.init.normal_(self.weight_v, std=math.sqrt(4 / (kernel * dim)))
        self.weight_g = nn.Parameter(self.weight_v.detach().norm(dim=(0, 1), keepdim=True))  # (1, 1, kernel)
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(N, A, C) -> (N, A, C)."""
        weight = self.weight_v * (self.weight_g / self.weight_v.norm(dim=(0, 1), keepdim=True))
        kernel = weight.shape[-1]
        y = F.conv1d(x.transpose(1, 2), weight, self.bias, padding=kernel // 2, groups=self.groups)
        return F.gelu(y[..., : x.shape[1]]).transpose(1, 2)  # an even kernel gives one output too many


class BEATsLayer(nn.Module):
    """x = LN(a x + f(x)) twice, for attention and FFN, with a = (2 * layers)^(1/4) (deep norm)."""

    def __init__(self, layout: BEATsLayout, first: bool) -> None:
        super().__init__()
        dim = layout.encoder_embed_dim
        self.self_attn = GatedAttention(dim, layout.encoder_attention_heads, layout.num_buckets if first else 0)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, layout.encoder_ffn_embed_dim)
        self.fc2 = nn.Linear(layout.encoder_ffn_embed_dim, dim)
        self.final_layer_norm = nn.LayerNorm(dim)
        self.residual_scale = (2 * layout.encoder_layers) ** 0.25

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Tokens (N, A, C) with the position bias (heads, A, A)."""
        x = self.self_attn_layer_norm(x * self.residual_scale + self.self_attn(x, bias))
        return self.final_layer_norm(x * self.residual_scale + self.fc2(F.gelu(self.fc1(x))))


class GatedAttention(nn.Module):
    """Multi-head self-attention whose position bias is scaled by a gate of each query and head.

    Args:
        dim: C.
        num_heads: heads.
        num_buckets: rows of the table of position biases; 0 in all layers but the first, which share its table.
    """

    def __init__(self, dim: int, num_heads: int, num_buckets: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj, self.k_proj, self.v_proj = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)
        self.grep_linear = nn.Linear(dim // num_heads, 2 * GATE_GROUP)
        self.grep_a = nn.Parameter(torch.ones(1, num_heads, 1, 1))
        if num_buckets:
            self.relative_attention_bias = nn.Embedding(num_buckets, num_heads)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """(N, A, C) and (heads, A, A) -> (N, A, C)."""
        q, k, v = (
            linear(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (N, heads, A, C / heads)
            for linear in (self.q_proj, self.k_proj, self.v_proj)
        )
        # The published code divides q k by 32, subtracts the maximum and multiplies by 32, for half precision. The
        # softmax is the same, and scaled_dot_product_attention subtracts the maximum itself.
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=self.gate(q) * bias)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def gate(self, q: Tensor) -> Tensor:
        """g_a (g_b * a - 1) + 2 of each unscaled query (N, heads, A, D), (N, heads, A, 1)."""
        both = self.grep_linear(q).unflatten(-1, (2, GATE_GROUP)).sum(-1).sigmoid()  # (N, heads, A, 2)
        gate_a, gate_b = both.chunk(2, dim=-1)
        return gate_a * (gate_b * self.grep_a - 1) + 2


def distance_buckets(length: int, num_buckets: int, max_distance: int, device: torch.device | str) -> Tensor:
    """T5's bucket of key - query for every pair of tokens: int64 (length, length), query by key.

    One half of the buckets is for keys behind the query. Distances below a quarter of the buckets have one each;
    larger ones share them on a logarithmic scale up to `max_distance`.
    """
    place = torch.arange(length, device=device)
    distance = place[None, :] - place[:, None]
    half = num_buckets // 2
    exact = half // 2
    steps = torch.log(distance.abs().clamp(min=1) / exact) / math.log(max_distance / exact) * (half - exact)
    far = (exact + steps.long()).clamp(max=half - 1)
    return half * (distance > 0) + torch.where(distance.abs() < exact, distance.abs(), far)
