"""`acvis info`: parameters, GFLOPs and the environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from acvis_kit.cli import main
from acvis_kit.models.acvis.model import ACVIS


def test_info_counts_every_parameter(weights: Path, tiny_model: ACVIS, capsys) -> None:
    assert main(["info", str(weights), "--json"]) == 0
    rows = {row["part"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["whole"]["parameters"] == sum(p.numel() for p in tiny_model.parameters())
    parts = ("backbone", "pixel decoder", "audio encoder", "query generator", "frame decoder", "count head", "tracker")
    assert sum(rows[part]["parameters"] for part in parts) == rows["whole"]["parameters"]
    assert sum(rows[part]["gflops"] for part in parts) == pytest.approx(rows["whole"]["gflops"])
    assert any(part.startswith("query generator: additive") for part in rows)


def test_gflops_of_a_layer_are_those_computed_by_hand(tiny_model: ACVIS) -> None:
    from acvis_kit.evaluation.cost import costs

    rows = {row.part: row.gflops for row in costs(tiny_model)}
    dim, k_max = tiny_model.config.hidden_dim, tiny_model.config.k_max
    assert rows["count head"] == pytest.approx(2 * dim * k_max / 1e9)


def test_the_environment_names_versions(capsys) -> None:
    assert main(["info", "--env"]) == 0
    assert torch.__version__.split("+")[0] in capsys.readouterr().out
