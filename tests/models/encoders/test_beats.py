"""BEATs and its front end against the published code, whose weights are filled by name here."""

import math
import re
import zlib
from dataclasses import asdict

import numpy as np
import pytest
import torch

from acvis_kit.errors import WeightsError
from acvis_kit.media.mel import log_mel_examples
from acvis_kit.models.encoders.beats import BEATs, BEATsLayout, distance_buckets
from acvis_kit.models.encoders.fbank import fbank
from tests.conftest import FIXTURES, SHARED

GOLDENS = np.load(FIXTURES / "avs_models.npz")


def filled(name: str, shape: torch.Size) -> torch.Tensor:
    """The weights of the golden values: random, from the parameter's name."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))

    def normal() -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    if len(shape) >= 2:
        value = normal() / math.sqrt(math.prod(shape[1:]))
    elif name.endswith("weight"):
        value = 1 + 0.1 * normal()
    else:
        value = 0.1 * normal()
    return 1 + 0.1 * normal() if name.endswith(("weight_g", "grep_a")) else value


def checkpoint(layout: BEATsLayout) -> dict[str, dict]:
    """A file as published: also with the copies of the shared table, and fields that the kit does not need."""
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in BEATs(layout).state_dict().items()}
    state = {key: filled(key, shape) for key, shape in shapes.items()}
    table = "encoder.layers.0.self_attn.relative_attention_bias.weight"
    copies = {table.replace("layers.0", f"layers.{i}"): state[table] for i in range(1, layout.encoder_layers)}
    cfg = asdict(layout) | {"deep_norm": True, "dropout": 0.0, "finetuned_model": layout.predictor_class > 0}
    return {"cfg": cfg, "model": state | copies}


def small(**changes: int) -> BEATsLayout:
    sizes = {"embed_dim": 32, "encoder_layers": 2, "encoder_embed_dim": 64, "encoder_ffn_embed_dim": 64}
    return BEATsLayout(**(sizes | {"encoder_attention_heads": 4, "conv_pos": 16, "conv_pos_groups": 4} | changes))


def test_filter_banks_are_kaldis() -> None:
    wave = torch.from_numpy(GOLDENS["beats/wave"])
    np.testing.assert_allclose(fbank(wave.double())[::4], GOLDENS["beats/fbank"], atol=1e-5)
    np.testing.assert_allclose(fbank(wave)[::4], GOLDENS["beats/fbank"], atol=1e-4)


def test_front_ends_of_vggish_and_beats_give_the_published_spectrograms() -> None:
    """Five seconds of a tone, a sweep and noise; the fourth second is silent."""
    t = np.arange(80_000) / 16_000
    wave = 0.3 * np.sin(2 * np.pi * 440 * t) + 0.2 * np.sin(2 * np.pi * (300 + 200 * t) * t)
    wave += 0.02 * np.random.RandomState(60).randn(80_000)
    wave[48_000:64_000] = 0
    wave = torch.from_numpy(wave)
    np.testing.assert_allclose(log_mel_examples(wave)[:, None, ::4], GOLDENS["aud/vggish_logmel_f32"], atol=1e-6)
    np.testing.assert_allclose(fbank(wave[:16_000]), GOLDENS["aud/beats_fbank"], atol=1e-4)


def test_a_fine_tuned_network_gives_the_published_probabilities() -> None:
    beats = BEATs.from_published(checkpoint(BEATsLayout(encoder_layers=2, predictor_class=7))).double().eval()
    spectrogram = fbank(torch.from_numpy(GOLDENS["beats/wave"]).double())[None]
    with torch.no_grad():
        np.testing.assert_allclose(
            beats.class_probabilities(spectrogram)[0], GOLDENS["beats/tiny_finetuned"], atol=1e-5
        )


@pytest.mark.slow
def test_the_whole_network_gives_the_published_tokens() -> None:
    beats = BEATs.from_published(checkpoint(BEATsLayout())).double().eval()
    with torch.no_grad():
        tokens = beats.tokens(fbank(torch.from_numpy(GOLDENS["beats/wave"]).double())[None])[0]
        np.testing.assert_allclose(tokens[:, ::16], GOLDENS["beats/pretrained"], atol=1e-5)
        whole = SHARED / "avs/beats/beats.npz"
        if whole.exists():  # three seconds: distances that share buckets
            golden = np.load(whole)
            spectrogram = fbank(torch.from_numpy(golden["pretrained/3s/wave"]).double())[None]
            np.testing.assert_allclose(beats.tokens(spectrogram)[0], golden["pretrained/3s/out"], atol=1e-5)


def test_the_vector_of_a_frame_is_the_mean_of_its_tokens() -> None:
    beats = BEATs(small())
    sound = beats(torch.randn(2, 3, 98, 128))
    assert sound.clip.shape == (2, 3, 64) and sound.patches.shape == (2, 3, 48, 64)
    torch.testing.assert_close(sound.clip, sound.patches.mean(2))


def test_near_distances_have_buckets_of_their_own_and_far_ones_share() -> None:
    """8 buckets: 4 behind (distances 0, 1, 2..4, 5..), 4 ahead; the largest distance is 10."""
    buckets = distance_buckets(13, 8, 10, "cpu")
    assert buckets[0].tolist() == [0, 5, 6, 6, 6, 7, 7, 7, 7, 7, 7, 7, 7]
    assert buckets[:, 0].tolist() == [0, 1, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda given: given.pop("cfg"), "holds 'cfg' and 'model'"),
        (lambda given: given["cfg"].update(deep_norm=False), "deep_norm=False, only True"),
        (lambda given: given["model"].pop("encoder.layers.1.fc1.bias"), r"encoder\.layers\.1\.fc1\.bias \(1 tensors"),
        (lambda given: given["model"].update(extra=torch.zeros(1)), r"extra \(1 tensors"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_with_the_reason(change, message: str) -> None:
    given = checkpoint(small())
    BEATs.from_published(given)
    change(given)
    with pytest.raises(WeightsError, match=message):
        BEATs.from_published(given)


def test_the_weight_of_the_positional_convolution_is_normed_at_each_place_of_its_kernel() -> None:
    convolution = BEATs(small()).encoder.pos_conv[0]
    with torch.no_grad():
        before = convolution(torch.ones(1, 5, 64))
        convolution.weight_v.mul_(7)
        torch.testing.assert_close(convolution(torch.ones(1, 5, 64)), before)
    assert not re.search("pos_conv.0.weight$", " ".join(BEATs(small()).state_dict()))
