"""AMA at one level: what depends on the sound, what a gradient reaches, and every switch."""

from dataclasses import replace

import pytest
import torch

from acvis_kit.models.ravs import alignment as module
from acvis_kit.models.ravs.alignment import Alignment
from acvis_kit.models.ravs.config import RAVS_PRESETS

CONFIG = replace(
    RAVS_PRESETS["ravs-synth-tiny"],
    num_heads=4,
    neighbours=3,
    audio_encoder="precomputed",
    precomputed_dim=6,
    merge_src="fv",
    remap_scale_init=None,
)


def make(**changes) -> Alignment:
    torch.manual_seed(0)
    return Alignment(replace(CONFIG, **changes), dim=16, groups=4)


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    level = torch.randn(1, 16, 5, 6, generator=generator)
    return level, torch.randn(1, 6, generator=generator), torch.randn(1, 6, generator=generator)


def test_scores_depend_on_the_agreement_with_the_sound() -> None:
    level, one, other = inputs()
    out = make()
    change = out(level, one).score - out(level, other).score
    assert change.std() > 1e-3  # not a constant for all tokens
    same_groups = torch.equal(out(level, one).of_token, out(level, other).of_token)
    assert same_groups  # groups are of the picture alone


def test_every_token_receives_the_increment_of_its_group() -> None:
    level, sound, _ = inputs()
    out = make()(level, sound)
    change = (out.map - level).flatten(2)[0].T  # (tokens, D)
    torch.testing.assert_close(change, out.centres[0][out.of_token[0]])
    assert out.centres.shape == (1, 4, 16) and set(out.of_token[0].tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    "changes",
    [
        {"mca": "softmax_res"},
        {"merge_src": "fhat"},
        {"plain_update": True},
        {"update_layers": 1},
        {"remap_scale_init": 0.0},
        {"density": "paper", "neighbours": 9},
        {"assign": "chain"},
        {"centres": "peak"},
        {"ama": False},
    ],
)
def test_every_switch_changes_the_result(changes: dict) -> None:
    level, sound, _ = inputs()
    base, other = make()(level, sound), make(**changes)(level, sound)
    assert not torch.allclose(base.map, other.map)


def test_a_gain_of_zero_starts_without_the_sound() -> None:
    level, sound, _ = inputs()
    out = make(remap_scale_init=0.0)
    torch.testing.assert_close(out(level, sound).map, level)
    out(level, sound).map.square().sum().backward()
    assert out.gain.grad.abs().sum() > 0


def test_a_filter_blanks_the_fused_tokens_of_the_baseline() -> None:
    level, sound, _ = inputs()
    keep = torch.zeros(1, 5, 6)
    keep[0, :2] = 1
    out = make(ama=False)(level, sound, keep).map
    assert not out[:, :, 2:].any() and torch.equal(out[:, :, :2], make(ama=False)(level, sound).map[:, :, :2])


def test_grouping_gives_no_gradient_and_merging_does() -> None:
    level, sound, _ = inputs()
    level.requires_grad_()
    out = make()
    assert not out.group(level.flatten(2).transpose(1, 2), 4).is_floating_point()
    out(level, sound).centres.sum().backward()
    assert level.grad.abs().sum() > 0
    missed = [name for name, p in out.named_parameters() if p.grad is None]
    assert not missed


def test_few_frames_at_a_time_give_the_same_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(5, 30, 16, generator=torch.Generator().manual_seed(2))
    whole = make().group(x, 4)
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 2 * 30**2)
    assert torch.equal(make().group(x, 4), whole)


def test_a_map_with_fewer_tokens_than_groups_has_a_group_for_each() -> None:
    out = make()(torch.randn(2, 16, 1, 2), torch.randn(2, 6))
    assert out.centres.shape == (2, 2, 16) and sorted(out.of_token[0].tolist()) == [0, 1]
