"""DPC-KNN against TCFormer's code, its symmetries, and why the literal equations are not the default."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from acvis_kit.models.ravs.clustering import Groups, dpc_knn, merge_tokens
from tests.conftest import FIXTURES

GOLDENS = np.load(FIXTURES / "avs_models.npz")
# random_k1 and duplicates are decided by ties, which another implementation breaks otherwise: they are left out.
CASES = ("planted5", "planted7", "random14", "all_one", "P_eq_N", "masked")


def golden(name: str) -> torch.Tensor:
    return torch.from_numpy(GOLDENS[f"dpc/{name}"])


def grouped(case: str, noise: bool = False, **options) -> Groups:
    mask = golden(f"{case}/mask") if f"dpc/{case}/mask" in GOLDENS else None
    given = golden(f"{case}/noise") if noise else None
    return dpc_knn(
        golden(f"{case}/x"), int(golden(f"{case}/P")), int(golden(f"{case}/k")), mask=mask, noise=given, **options
    )


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("noise", ["zero", "noise"])
def test_groups_are_those_of_the_published_code(case: str, noise: str) -> None:
    found = grouped(case, noise == "noise")
    assert torch.equal(found.of_token.int(), golden(f"{case}/{noise}/idx_cluster"))
    assert torch.equal(found.centres.int(), golden(f"{case}/{noise}/centers"))
    np.testing.assert_allclose(found.score, golden(f"{case}/{noise}/score"), atol=2e-5)
    filled = golden(f"{case}/mask") > 0 if case == "masked" else torch.ones_like(found.score, dtype=torch.bool)
    density = golden(f"{case}/{noise}/density_nonoise")
    np.testing.assert_allclose(found.density[filled], density[filled], atol=2e-5)


@pytest.mark.parametrize("case", [case for case in CASES if f"dpc/{case}/merged" in GOLDENS])
def test_merged_tokens_are_those_of_the_published_code(case: str) -> None:
    x, index, groups = golden(f"{case}/x"), golden(f"{case}/zero/idx_cluster").long(), int(golden(f"{case}/P"))
    weight = golden(f"{case}/merge_weight")[..., 0]
    np.testing.assert_allclose(merge_tokens(x, index, groups, weight), golden(f"{case}/merged"), atol=1e-6)
    np.testing.assert_allclose(merge_tokens(x, index, groups), golden(f"{case}/merged_mean"), atol=1e-6)


@pytest.mark.parametrize("case", ["planted5", "planted7"])
@pytest.mark.parametrize("options", [{}, {"assign": "chain"}, {"density": "paper"}])
def test_planted_groups_are_recovered_one_to_one(case: str, options: dict[str, str]) -> None:
    index, planted = grouped(case, **options).of_token, golden(f"{case}/planted").long()
    for found, true in zip(index, planted, strict=True):
        pairs = {(int(a), int(b)) for a, b in zip(found, true, strict=True)}
        assert len(pairs) == len(set(true.tolist())) == len(set(found.tolist()))


def test_equation_4_read_literally_makes_one_group() -> None:
    """Every token but the densest of all has a denser one, so only that is a centre, and all chains end there."""
    for assign in ("chain", "nearest"):
        found = grouped("planted5", centres="peak", assign=assign)
        assert not found.of_token.any() and found.centres.shape == (2, 1)
    assert len(set(grouped("planted5").of_token[0].tolist())) == 5  # the default finds those that were planted


def test_equation_3_depends_on_the_scale_of_the_features() -> None:
    """Sums of exp(-distance) without the division by C: with the same tokens twice as long, densities fall."""
    x = golden("planted5/x").repeat(1, 1, 16)  # 16 times the channels, the same structure
    literal = [dpc_knn(tokens, 5, 5, density="paper").density for tokens in (golden("planted5/x"), x)]
    default = [dpc_knn(tokens, 5, 5).density for tokens in (golden("planted5/x"), x)]
    assert (literal[1] < literal[0] - 0.1).all()
    torch.testing.assert_close(default[0], default[1], atol=1e-4, rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.permutations(range(20)))
def test_permuted_tokens_have_permuted_groups(seed: int, order: list[int]) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, noise = torch.randn(1, 20, 4, generator=generator), torch.rand(1, 20, generator=generator)
    for assign in ("nearest", "chain"):
        one = dpc_knn(x, 4, 3, noise=noise, assign=assign).of_token[0][order]
        other = dpc_knn(x[:, order], 4, 3, noise=noise[:, order], assign=assign).of_token[0]
        assert len(set(zip(one.tolist(), other.tolist(), strict=True))) == len(set(one.tolist()))


def test_a_chain_stays_on_its_ridge_where_the_nearest_centre_is_another() -> None:
    """A row of ever thinner tokens that ends beside a dense pair: by the chain its end belongs to its beginning."""
    steps = 0.1 * 1.25 ** torch.arange(12)
    row = torch.stack([steps.cumsum(0), torch.zeros(12)], 1)
    end = float(row[-1, 0])
    pair = torch.tensor([[end, 1.8], [end, 1.81], [end + 0.01, 1.8]])
    x = torch.cat([row, pair])[None]
    nearest, chain = (dpc_knn(x, 2, 3, assign=assign).of_token[0] for assign in ("nearest", "chain"))
    assert nearest[11] == nearest[-1] != nearest[0]
    assert chain[11] == chain[0] != chain[-1]


def test_no_gradient_reaches_the_tokens() -> None:
    x = torch.randn(1, 10, 3, requires_grad=True)
    found = dpc_knn(x, 3, 3)
    assert not found.score.requires_grad and not found.of_token.is_floating_point()


def test_near_tokens_in_half_precision_are_grouped_as_in_single() -> None:
    x = golden("planted5/x").half()
    assert torch.equal(dpc_knn(x, 5, 5).of_token, dpc_knn(x.float(), 5, 5).of_token)
