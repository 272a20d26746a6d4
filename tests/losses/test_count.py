"""Count losses computed by hand, and the reference's."""

from __future__ import annotations

from fractions import Fraction
from math import log

import numpy as np
import pytest
import torch

from acvis_kit.losses.count import cross_entropy_loss, ordinal_loss
from tests.parity import FULL, SMALL

# Logits whose sigmoids are simple fractions: log 3 -> 3/4, -log 4 -> 1/5, log 1 -> 1/2, -log 2 -> 1/3.
LOGITS = torch.tensor([[log(3), 0.0], [-log(4), log(3)], [log(3), -log(2)]], dtype=torch.float64)
COUNTS = torch.tensor([1, 0, 5])


def surprise(*probabilities: Fraction) -> float:
    return -sum(log(p) for p in probabilities)


def test_corn_evaluates_a_task_only_where_the_one_before_is_true() -> None:
    """Count 1: more than 0 (3/4), not more than 1 (1/2). Count 0: not more than 0 (4/5). Count 5: 3/4 and 1/3."""
    total, terms = ordinal_loss(LOGITS, COUNTS, "corn")
    want = surprise(Fraction(3, 4), Fraction(1, 2), Fraction(4, 5), Fraction(3, 4), Fraction(1, 3))
    assert total.item() == pytest.approx(want, rel=1e-12)
    assert terms.item() == 5


def test_the_papers_form_evaluates_every_task_and_divides_by_the_frames() -> None:
    """As above, and also in the silent frame: not more than 1 (1/4)."""
    total, terms = ordinal_loss(LOGITS, COUNTS, "paper")
    want = surprise(
        Fraction(3, 4), Fraction(1, 2), Fraction(4, 5), Fraction(1, 4), Fraction(3, 4), Fraction(1, 3)
    )  # fmt: skip
    assert total.item() == pytest.approx(want, rel=1e-12)
    assert terms.item() == 3


def test_cross_entropy_assigns_large_counts_to_the_last_class() -> None:
    """Logits log 1, log 2, log 5: probabilities 1/8, 2/8, 5/8."""
    logits = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64).log().expand(3, -1)
    total, terms = cross_entropy_loss(logits, torch.tensor([0, 1, 7]))
    assert total.item() == pytest.approx(surprise(Fraction(1, 8), Fraction(2, 8), Fraction(5, 8)), rel=1e-12)
    assert terms.item() == 3


@pytest.mark.parametrize("k_max", [2, 3, 4])
@pytest.mark.parametrize("folder", [SMALL, FULL])
def test_corn_equals_the_reference_s(folder: object, k_max: int) -> None:
    if not folder.is_dir():
        pytest.skip("the shared golden data is not beside the checkout")
    golden = np.load(folder / "losses.npz")
    logits, counts = (torch.from_numpy(golden[f"saoc.{k_max}.{name}"]) for name in ("logits", "count"))
    total, terms = ordinal_loss(logits, counts, "corn")
    assert (total / terms).item() == pytest.approx(float(golden[f"saoc.{k_max}.loss"]), rel=1e-5)


@pytest.mark.parametrize("reduction", ["corn", "paper"])
def test_axes_before_the_last_are_all_frames(reduction: str) -> None:
    flat, terms = ordinal_loss(LOGITS, COUNTS, reduction)
    folded, folded_terms = ordinal_loss(LOGITS[None], COUNTS[None], reduction)
    assert folded == flat and folded_terms == terms
