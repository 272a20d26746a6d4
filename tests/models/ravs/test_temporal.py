"""Attention over frames: one frame is unchanged, padded frames are not attended to, pixels stay apart."""

import pytest
import torch

from acvis_kit.errors import DataError
from acvis_kit.models.ravs.temporal import TemporalAttention


def module() -> TemporalAttention:
    torch.manual_seed(0)
    return TemporalAttention(16, 4, max_frames=5)


def test_one_frame_alone_is_not_changed() -> None:
    x = torch.randn(2, 1, 16, 3, 4)
    assert module()(x) is x


def test_a_frame_receives_from_others_at_its_own_pixel_only() -> None:
    attention, x = module(), torch.randn(1, 4, 16, 3, 4)
    changed = x.clone()
    changed[0, 2, :, 1, 1] += 1
    moved = (attention(changed) - attention(x)).abs().sum(2)[0] > 1e-6  # (T, H, W)
    assert moved[:, 1, 1].all() and moved.sum() == 4


def test_padded_frames_have_no_effect_on_others() -> None:
    attention, x = module(), torch.randn(2, 4, 16, 2, 2)
    valid = torch.tensor([[True, True, False, False], [True] * 4])
    other = torch.where(valid[..., None, None, None], x, 7.0)
    torch.testing.assert_close(attention(x, valid)[valid], attention(other, valid)[valid])
    none = attention(x, torch.zeros(2, 4, dtype=torch.bool))
    assert none.isfinite().all()


def test_the_order_of_frames_counts() -> None:
    attention, x = module(), torch.randn(1, 3, 16, 2, 2)
    assert not torch.allclose(attention(x.flip(1)).flip(1), attention(x), atol=1e-5)


def test_more_frames_than_positions_are_refused() -> None:
    with pytest.raises(DataError, match="a clip of 6 frames, but max_frames=5"):
        module()(torch.randn(1, 6, 16, 2, 2))
