"""The network computes the same for clips of different sizes in one batch as for each alone."""

from __future__ import annotations

import torch

from acvis_kit.clip import Targets
from acvis_kit.data.collate import collate
from acvis_kit.data.training_clips import TrainingSample
from acvis_kit.models.acvis.model import ACVIS


def sample(height: int, width: int, seed: int = 0) -> TrainingSample:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8, generator=generator)
    masks = torch.rand(1, 2, height, width, generator=generator) < 0.5
    targets = Targets(torch.tensor([3]), masks, torch.ones(1, 2, dtype=torch.bool), torch.tensor([1, 1]))
    return TrainingSample(frames, torch.zeros(2, 96, 64), None, targets)


def test_equal_sizes_stay_bytes_and_masks_get_the_padded_size() -> None:
    batch = collate([sample(40, 72), sample(40, 72, 1)])
    assert batch.frames.shape == (2, 2, 3, 40, 72) and batch.frames.dtype == torch.uint8 and len(batch) == 2
    assert batch.log_mel.shape == (2, 2, 96, 64) and batch.audio_features is None
    masks = batch.targets[1].masks
    assert masks.shape == (1, 2, 64, 96) and not masks[..., 40:, :].any() and not masks[..., 72:].any()
    assert torch.equal(masks[..., :40, :72], sample(40, 72, 1).targets.masks)


def test_padding_is_zero_for_the_network(tiny_model: ACVIS) -> None:
    """A smaller clip in a batch gives the features of its frames padded with zeros by hand."""
    small, large = sample(32, 64), sample(64, 96, 1)
    batch = collate([small, large])
    assert batch.frames.shape == (2, 2, 3, 64, 96) and batch.frames.dtype == torch.float32
    assert {t.masks.shape[-2:] for t in batch.targets} == {(64, 96)}
    image = (small.frames - tiny_model.pixel_mean) / tiny_model.pixel_std
    by_hand = torch.nn.functional.pad(image, (0, 32, 0, 32))
    with torch.inference_mode():
        found = tiny_model.encode(batch.frames[0])
        expected = tiny_model.pixel_decoder(tiny_model.backbone(by_hand))
    torch.testing.assert_close(found.fine, expected.fine, atol=1e-4, rtol=1e-4)


def test_all_tensors_of_a_batch_move_to_the_device() -> None:
    batch = collate([sample(32, 32)]).to("meta")
    assert batch.frames.device.type == batch.targets[0].masks.device.type == "meta"
