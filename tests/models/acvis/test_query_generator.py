"""What one audio token a second can do, and what patches can: the point of `audio_tokens`."""

from dataclasses import replace

import pytest
import torch

from acvis_kit.config import ACVISConfig
from acvis_kit.models.acvis.query_generator import QueryGenerator
from acvis_kit.models.encoders.audio import AudioFeatures
from tests.conftest import TINY


def generator(**changes: object) -> tuple[QueryGenerator, ACVISConfig]:
    torch.manual_seed(0)
    config = replace(TINY, **changes)
    return QueryGenerator(config, patch_dim=96), config


def draw(config: ACVISConfig) -> tuple[AudioFeatures, list[torch.Tensor]]:
    g = torch.Generator().manual_seed(1)
    sound = AudioFeatures(torch.randn(1, 2, config.audio_dim, generator=g), torch.randn(1, 2, 24, 96, generator=g))
    return sound, [torch.randn(2, n, config.hidden_dim, generator=g) for n in (4, 16, 64)]


def first_update(own: QueryGenerator, sound: AudioFeatures) -> torch.Tensor:
    """What the first cross-attention adds to each query, before the norm: (N, 1 + Q, C)."""
    keys, place = own.audio_keys(sound)
    queries = own._with_token(own.query_features).expand(2, -1, -1)
    return own.layers[0].attention(queries + own.positions(), keys if place is None else keys + place, keys)


def test_with_one_token_the_update_of_every_query_is_the_same_vector() -> None:
    own, config = generator(audio_tokens="clip")
    update = first_update(own, draw(config)[0])
    assert (update - update[:, :1]).abs().max() < 1e-6
    weights = own.layers[0].attention.weights(own.positions().expand(2, -1, -1), own.audio_keys(draw(config)[0])[0])
    assert torch.equal(weights, torch.ones_like(weights))


def test_with_patches_every_query_can_take_something_else() -> None:
    own, config = generator(audio_tokens="patch")
    update = first_update(own, draw(config)[0])
    spread = (update - update.mean(1, keepdim=True)).abs().amax((0, 2))
    assert (spread > 1e-3).all()


@pytest.mark.parametrize(("kind", "tokens"), [("acqg", "clip"), ("acqg", "patch"), ("additive", "clip")])
def test_another_sound_gives_other_queries(kind: str, tokens: str) -> None:
    own, config = generator(query_generator=kind, audio_tokens=tokens)
    sound, scales = draw(config)
    other = AudioFeatures(sound.clip.flip(1), sound.patches.flip(1))
    assert own(sound, scales).shape == (2, 1 + config.num_frame_queries, config.hidden_dim)
    assert not torch.allclose(own(sound, scales), own(other, scales))


@pytest.mark.parametrize("changes", [{"query_generator": "none"}, {"frame_fusion": False}])
def test_without_a_generator_the_sound_does_not_matter(changes: dict[str, object]) -> None:
    own, config = generator(**changes)
    _, scales = draw(config)
    assert torch.equal(own(None, scales)[0], own._with_token(own.query_features))
    assert not hasattr(own, "layers")


def test_without_a_count_head_there_is_no_token() -> None:
    own, config = generator(count_head="none")
    assert own.positions().shape[0] == config.num_frame_queries
