"""One interface of audio encoders: front ends, precomputed vectors, frozen weights, missing extras."""

import sys

import numpy as np
import pytest
import torch

from acvis_kit.errors import ConfigError, DataError
from acvis_kit.models.encoders.config import EncoderConfig
from acvis_kit.models.encoders.htsat import HTSAT, clap_spectrogram
from acvis_kit.models.encoders.sounds import FRONT_ENDS, SoundEncoder
from tests.conftest import unavailable


def encoder(name: str, **changes) -> SoundEncoder:
    return SoundEncoder(EncoderConfig(backbone="compact", audio_encoder=name, **changes))


def needs_transformers() -> None:
    try:
        import transformers  # noqa: F401
    except ImportError:
        unavailable("transformers (extra avs) is missing")


@pytest.mark.parametrize("name", ["vggish", "compact", "beats"])
def test_every_encoder_takes_what_its_front_end_gives(name: str) -> None:
    with torch.device("meta"):
        sounds = encoder(name)
    spectrogram = FRONT_ENDS[name].compute(torch.rand(2, 3, 16_000) - 0.5)
    assert tuple(spectrogram.shape) == (2, 3, *FRONT_ENDS[name].shape)
    assert sounds(spectrogram.to("meta")).clip.shape == (2, 3, sounds.dim)


def test_htsat_takes_claps_spectrogram_of_a_repeated_second() -> None:
    needs_transformers()
    from torchaudio.functional import resample
    from transformers import ClapFeatureExtractor

    noise = torch.randn(16_000, generator=torch.Generator().manual_seed(0)) * 0.1
    extractor = ClapFeatureExtractor(truncation="rand_trunc", frequency_min=50, frequency_max=14_000)
    want = extractor(resample(noise, 16_000, 48_000).numpy(), sampling_rate=48_000, return_tensors="np")
    ours, theirs = clap_spectrogram(noise).numpy(), want["input_features"][0, 0]
    below = theirs > -40  # resampled sound has nothing above 8 kHz but rounding
    assert ours.shape == theirs.shape and below.mean() > 0.7
    np.testing.assert_allclose(ours[below], theirs[below], atol=0.01)  # dB
    with torch.device("meta"):
        sound = HTSAT().eval()(torch.empty(1, 2, 1001, 64))
    assert sound.clip.shape == (1, 2, 768) and sound.patches.shape == (1, 2, 64, 768)


@pytest.mark.parametrize("use", [HTSAT, lambda: clap_spectrogram(torch.zeros(16_000))])
def test_without_transformers_htsat_names_the_extra(monkeypatch: pytest.MonkeyPatch, use) -> None:
    from acvis_kit.models.encoders import htsat

    htsat._filters.cache_clear()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"audio_encoder='htsat' needs transformers.*acvis-kit\[avs\]"):
        use()


def test_precomputed_vectors_replace_every_encoder() -> None:
    vectors = torch.randn(2, 3, 128)
    for name in ("compact", "precomputed"):
        assert encoder(name)(audio_features=vectors).clip is vectors
    with pytest.raises(DataError, match=r"\(2, 3, 128\): expected \(clips, frames, 768\)"):
        encoder("precomputed", precomputed_dim=768)(audio_features=vectors)
    with pytest.raises(DataError, match="needs audio_features"):
        encoder("precomputed")(torch.zeros(2, 3, 96, 64))
    with pytest.raises(DataError, match=r"\(2, 3, 98, 128\): audio_encoder='compact' takes .*96, 64\)"):
        encoder("compact")(torch.zeros(2, 3, 98, 128))


def test_a_frozen_encoder_is_not_trained_and_stays_in_evaluation_mode() -> None:
    frozen, trained = encoder("compact"), encoder("compact", audio_frozen=False)
    for sounds in (frozen, trained):
        sounds.train()
    spectrogram = torch.randn(1, 2, 96, 64)
    assert not frozen(spectrogram).clip.requires_grad and not frozen.network.training
    assert trained(spectrogram).clip.requires_grad and trained.network.training
