"""VGGish in both forms, and the compact encoder."""

import pytest
import torch

from acvis_kit.models.encoders.audio import AudioFeatures, CompactAudioEncoder, VGGish


@pytest.fixture(scope="module")
def vggish() -> VGGish:
    torch.manual_seed(0)
    return VGGish(quantize=True).eval()


def test_quantised_features_are_whole_numbers_from_0_to_255(vggish: VGGish) -> None:
    sound = vggish(torch.randn(1, 3, 96, 64))
    assert sound.clip.shape == (1, 3, 128) and sound.patches.shape == (1, 3, 24, 512)
    assert torch.equal(sound.clip, sound.clip.round())
    assert sound.clip.min() >= 0 and sound.clip.max() <= 255


def test_rounding_is_clip_to_two_and_eight_bits(vggish: VGGish) -> None:
    """(clip(x, -2, 2) + 2) * 255 / 4: -5 -> 0, -2 -> 0, 0 -> 127.5 -> 128, 1 -> 191.25 -> 191, 9 -> 255."""
    vector = torch.zeros(1, 128)
    vector[0, :5] = torch.tensor([-5.0, -2, 0, 1, 9])
    assert vggish.whiten_and_round(vector)[0, :5].tolist() == [0, 0, 128, 191, 255]


def test_raw_features_are_not_negative_and_not_rounded() -> None:
    torch.manual_seed(0)
    vector = VGGish(quantize=False).eval()(torch.randn(1, 2, 96, 64)).clip
    assert vector.min() >= 0 and not torch.equal(vector, vector.round())


def test_patches_are_ordered_by_time_then_frequency(vggish: VGGish) -> None:
    quiet, late = torch.zeros(1, 1, 96, 64), torch.zeros(1, 1, 96, 64)
    late[0, 0, 80:] = 3  # only the last sixth of the time axis differs
    change = (vggish(late).patches - vggish(quiet).patches).abs().sum(-1).view(6, 4)
    assert change[:3].sum() == 0 and (change[5] > 0).all()
    high = torch.zeros(1, 1, 96, 64)
    high[0, 0, :, 56:] = 3
    change = (vggish(high).patches - vggish(quiet).patches).abs().sum(-1).view(6, 4)
    assert change[:, 0].sum() == 0 and (change[:, 3] > 0).all()


def test_frames_are_encoded_independently() -> None:
    torch.manual_seed(0)
    encoder = CompactAudioEncoder().eval()
    mel = torch.randn(2, 3, 96, 64)
    together, alone = encoder(mel), encoder(mel[1:, 2:])
    torch.testing.assert_close(together.clip[1:, 2:], alone.clip)
    torch.testing.assert_close(together.patches[1:, 2:], alone.patches)


def test_class_logits_are_smoothed_over_neighbouring_frames() -> None:
    logits = torch.tensor([[[0.0], [4.0], [0.0], [8.0]]])  # (B, T, K)
    sound = AudioFeatures(torch.zeros(1, 4, 2), None, logits)
    assert sound.smoothed(0.0) is sound
    assert sound.smoothed(0.25).class_logits.flatten().tolist() == [1.0, 2.0, 3.0, 6.0]
    assert AudioFeatures(torch.zeros(1, 4, 2)).smoothed(0.25).class_logits is None
    assert torch.equal(sound.smoothed(0.25).clip, sound.clip)
