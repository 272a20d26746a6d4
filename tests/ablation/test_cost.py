"""Costs of the query generators."""

from __future__ import annotations

from dataclasses import replace

import pytest

from acvis_kit.ablation.cost import generator_costs
from acvis_kit.ablation.report import cost_text
from acvis_kit.config import PRESETS

SMALL = replace(PRESETS["acvis-synth-tiny"], hidden_dim=32, num_heads=4, num_frame_queries=4)


def test_the_cost_of_acqg_with_one_token_is_the_one_computed_by_hand() -> None:
    """Three layers of cross-attention, 5 queries (4 and the count token), one key, C = 32."""
    one, patches, additive = generator_costs(SMALL, (128, 128), frames=2, runs=1)
    c, queries, audio = 32, 5, SMALL.audio_dim
    layer = 4 * (c * c + c) + 2 * c  # packed in_proj, out_proj, LayerNorm
    embeddings = 2 * 4 * c + c  # features, positions, count token
    assert one.parameters == 3 * layer + embeddings + audio * c + c
    flops = 2 * audio * c + 3 * (2 * (2 * queries + 2) * c * c + 2 * 2 * queries * c)
    assert one.gflops * 1e9 == pytest.approx(flops)
    assert patches.gflops > one.gflops and additive.gflops > patches.gflops  # it attends to all tokens of the picture
    assert additive.kept_mb > one.kept_mb > 0
    assert min(one.milliseconds, patches.milliseconds, additive.milliseconds) > 0


def test_the_table_has_a_line_per_generator_and_network() -> None:
    costs = generator_costs(SMALL, (32, 32), frames=1, runs=1)
    text = cost_text({"a": costs, "b": costs}, "a CPU")
    assert text.count("| a | ") == text.count("| b | ") == 3 and "a CPU" in text
