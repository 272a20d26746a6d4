"""Why one audio key is no attention: the paper's softmax is 1 for every token, whatever sounds."""

import torch

from acvis_kit.models.ravs.interaction import AudioInteraction


def setup(weights: str) -> tuple[AudioInteraction, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return AudioInteraction(16, 4, weights), torch.randn(1, 30, 16), torch.randn(2, 16)


def test_a_softmax_over_one_key_gives_every_token_the_same_vector() -> None:
    for weights, varies in (("softmax_res", False), ("sigmoid_res", True)):
        module, x, audio = setup(weights)
        spread = module.attended(x, audio[:1]).std(dim=1)
        assert (spread > 1e-3).any() == varies
        if not varies:
            assert not spread.any()  # exactly


def test_with_a_softmax_another_sound_changes_all_scores_by_one_constant() -> None:
    """Hence it changes no order of tokens: the trap. With sigmoids it does."""
    score = torch.nn.Linear(16, 1)
    for weights, constant in (("softmax_res", True), ("sigmoid_res", False)):
        module, x, audio = setup(weights)
        change = (score(module(x, audio[:1])) - score(module(x, audio[1:]))).flatten()
        assert (change.std() < 1e-5) == constant and change.abs().max() > 1e-3


def test_projections_of_queries_and_keys_have_no_bias() -> None:
    module, _, _ = setup("sigmoid_res")
    assert module.q.bias is None and module.kv.bias is None
