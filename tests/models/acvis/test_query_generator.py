"""The effect of `audio_tokens`: one token per frame is the same for all queries, patches are selected per query."""

from dataclasses import replace

import pytest
import torch

from acvis_kit.config import ACVISConfig
from acvis_kit.models.acvis.query_generator import QueryGenerator
from acvis_kit.models.encoders.audio import AudioFeatures
from tests.conftest import TINY


def make_generator(**changes: object) -> tuple[QueryGenerator, ACVISConfig]:
    torch.manual_seed(0)
    config = replace(TINY, **changes)
    return QueryGenerator(config, patch_dim=96), config


def draw(config: ACVISConfig) -> tuple[AudioFeatures, list[torch.Tensor]]:
    g = torch.Generator().manual_seed(1)
    sound = AudioFeatures(torch.randn(1, 2, config.audio_dim, generator=g), torch.randn(1, 2, 24, 96, generator=g))
    return sound, [torch.randn(2, n, config.hidden_dim, generator=g) for n in (4, 16, 64)]


def first_update(generator: QueryGenerator, sound: AudioFeatures) -> torch.Tensor:
    """Output of the first cross-attention, which is added to each query before the norm: (N, 1 + Q, C)."""
    keys, place = generator.audio_keys(sound)
    queries = generator._with_token(generator.query_features).expand(2, -1, -1)
    return generator.layers[0].attention(queries + generator.positions(), keys if place is None else keys + place, keys)


def test_with_one_token_the_update_of_every_query_is_the_same_vector() -> None:
    generator, config = make_generator(audio_tokens="clip")
    update = first_update(generator, draw(config)[0])
    assert (update - update[:, :1]).abs().max() < 1e-6
    weights = generator.layers[0].attention.weights(
        generator.positions().expand(2, -1, -1), generator.audio_keys(draw(config)[0])[0]
    )
    assert torch.equal(weights, torch.ones_like(weights))


def test_with_patches_the_update_differs_between_queries() -> None:
    generator, config = make_generator(audio_tokens="patch")
    update = first_update(generator, draw(config)[0])
    spread = (update - update.mean(1, keepdim=True)).abs().amax((0, 2))
    assert (spread > 1e-3).all()


@pytest.mark.parametrize(("kind", "tokens"), [("acqg", "clip"), ("acqg", "patch"), ("additive", "clip")])
def test_other_sound_gives_other_queries(kind: str, tokens: str) -> None:
    generator, config = make_generator(query_generator=kind, audio_tokens=tokens)
    sound, scales = draw(config)
    other = AudioFeatures(sound.clip.flip(1), sound.patches.flip(1))
    assert generator(sound, scales).shape == (2, 1 + config.num_frame_queries, config.hidden_dim)
    assert not torch.allclose(generator(sound, scales), generator(other, scales))


@pytest.mark.parametrize("changes", [{"query_generator": "none"}, {"frame_fusion": False}])
def test_without_a_generator_the_queries_do_not_depend_on_the_sound(changes: dict[str, object]) -> None:
    generator, config = make_generator(**changes)
    _, scales = draw(config)
    assert torch.equal(generator(None, scales)[0], generator._with_token(generator.query_features))
    assert not hasattr(generator, "layers")


def test_without_a_count_head_there_is_no_token() -> None:
    generator, config = make_generator(count_head="none")
    assert generator.positions().shape[0] == config.num_frame_queries
