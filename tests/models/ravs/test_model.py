"""RAVS as a whole: shapes, switches, what the sound reaches, gradients, a toy clip that it learns."""

from dataclasses import replace

import pytest
import torch

from acvis_kit.clip import SemanticTargets
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.losses.ravs import RAVSCriterion
from acvis_kit.models.ravs.config import ABLATION_ROWS, RAVS_PRESETS, RAVSConfig
from acvis_kit.models.ravs.model import RAVS, semantic_maps

TINY = replace(
    RAVS_PRESETS["ravs-synth-tiny"],
    audio_encoder="precomputed",
    precomputed_dim=4,
    num_heads=4,
    groups=(4, 3, 2),
    neighbours=3,
    decoder_dim=32,
    temporal_dim=32,
    dropout=0.0,
    input_size=32,
    max_frames=6,
)
SEMANTIC = {"task": "semantic", "class_names": ("red", "blue")}


def make(**changes) -> RAVS:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return RAVS(replace(TINY, **changes)).eval()


def clip(frames: int = 6) -> tuple[torch.Tensor, torch.Tensor, list[SemanticTargets]]:
    """A red and a blue square, side by side; the sound says in each frame which of them sounds, or none."""
    picture = torch.full((frames, 3, 32, 32), 90, dtype=torch.uint8)
    picture += torch.randint(0, 30, picture.shape, generator=torch.Generator().manual_seed(0)).byte()
    state = torch.arange(frames) % 3
    maps = torch.zeros(frames, 32, 32, dtype=torch.int64)
    for kind, (left, colour) in enumerate(((4, 0), (20, 2)), start=1):
        picture[:, :, 12:20, left : left + 8] = 0
        picture[:, colour, 12:20, left : left + 8] = 255
        maps[state == kind, 12:20, left : left + 8] = kind
    sound = torch.eye(4)[state]
    return picture[None], sound[None], [SemanticTargets(maps, torch.ones(frames, dtype=torch.bool))]


@pytest.mark.parametrize("changes", [{}, SEMANTIC, {"first_stride": 2}, {"decoder": "fpn"}, {"temporal": False}])
def test_maps_have_the_size_of_the_frames(changes: dict) -> None:
    frames, sound, _ = clip()
    network = make(**changes)
    with torch.no_grad():
        out = network(frames, audio_features=sound)
        maps = network.decode(network.encode(frames[0]), network.hear(audio_features=sound))
    channels = 3 if changes == SEMANTIC else 1
    for part in (out.mask_logits, out.probabilities, out.uncertainty):
        assert part.shape == (1, 6, channels, 32, 32)
    assert maps.scores.shape == maps.labels.shape == maps.uncertainty.shape == (1, 6, 32, 32)
    assert (maps.class_scores, maps.objects) == (None, None)
    want = semantic_maps(out.probabilities, out.uncertainty)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(want, maps, strict=True) if a is not None)


def test_the_first_map_does_not_depend_on_the_sound_and_the_result_does() -> None:
    frames, sound, _ = clip()
    network = make()
    first = network.encode(frames[0])
    with torch.no_grad():
        one, other = (network.decode(first, network.hear(audio_features=s)).scores for s in (sound, sound.flip(1)))
    assert not torch.allclose(one, other)
    with pytest.raises(DataError, match="has audio input"):
        network.decode(first, None)


@pytest.mark.parametrize("row", ABLATION_ROWS)
@pytest.mark.parametrize("task", [{}, SEMANTIC])
def test_every_row_of_the_ablation_trains_every_parameter(row: str, task: dict) -> None:
    frames, sound, targets = clip()
    network = make(**task, **ABLATION_ROWS[row]).train()
    inside = targets[0].class_maps[None] > 0
    losses = RAVSCriterion(network.config)(network(frames, audio_features=sound, token_filter=inside), targets)
    sum(losses.values()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
    assert ("contrast" in losses) == network.config.ama and ("logits/ce" in losses) == network.config.ue
    if row == "+SGSM":
        assert losses["contrast"] == 0


def test_the_filter_of_gtf_works_in_training_alone() -> None:
    frames, sound, targets = clip()
    inside = targets[0].class_maps[None] > 0
    network = make(**ABLATION_ROWS["+GTF"])
    with torch.no_grad():
        plain, filtered = (network(frames, audio_features=sound, token_filter=f).mask_logits for f in (None, inside))
        assert torch.equal(plain, filtered)
        network.train()
        assert not torch.allclose(network(frames, audio_features=sound, token_filter=inside).mask_logits, plain)


def test_padded_frames_do_not_reach_the_others() -> None:
    frames, sound, _ = clip()
    valid = torch.tensor([[True] * 4 + [False] * 2])
    network = make(ue_norm="bound")  # min-max would look at all frames
    other = frames.clone()
    other[:, 4:] = 0
    with torch.no_grad():
        one, two = (network(f, audio_features=sound, valid=valid).probabilities[:, :4] for f in (frames, other))
    torch.testing.assert_close(one, two)


def test_a_single_frame_passes_the_temporal_attention_unchanged() -> None:
    frames, sound, _ = clip(1)
    with torch.no_grad():
        with_, without = (make(temporal=t) for t in (True, False))
        without.load_state_dict({k: v for k, v in with_.state_dict().items() if not k.startswith("temporal.")})
        outs = [network(frames, audio_features=sound).mask_logits for network in (with_, without)]
    torch.testing.assert_close(*outs)


@pytest.mark.parametrize(("rule", "learns"), [("div1p", True), ("none", False)])
def test_the_uncertainty_head_learns_through_y_alone(rule: str, learns: bool) -> None:
    frames, sound, targets = clip()
    network = make(ue_combine=rule).train()
    sum(RAVSCriterion(network.config)(network(frames, audio_features=sound), targets).values()).backward()
    gradient = network.uncertainty_head.weight.grad
    assert (gradient is not None and bool(gradient.abs().sum() > 0)) == learns


def test_the_binary_problem_has_two_channels_of_uncertainty_and_never_one() -> None:
    assert make().uncertainty_head.out_channels == 2 and make(**SEMANTIC).uncertainty_head.out_channels == 3
    assert make(uncertainty_channels=2).uncertainty_head.out_channels == 2
    with pytest.raises(ConfigError, match=r"uncertainty_channels=1 must be 2.*with one is 0"):
        replace(TINY, uncertainty_channels=1)


def test_labels_are_the_best_class_and_scores_compare_it_with_the_background() -> None:
    y = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.4, 0.45, 0.15]]).T.reshape(1, 1, 3, 1, 3)
    delta = torch.arange(9.0).reshape(1, 1, 3, 1, 3) / 10
    maps = semantic_maps(y, delta)
    assert maps.labels.flatten().tolist() == [0, 1, 0]
    assert (maps.scores > 0.5).flatten().tolist() == [False, True, True]  # the argmax over all three
    torch.testing.assert_close(maps.uncertainty.flatten(), torch.tensor([0.0, 0.7, 0.5]))


def test_a_configuration_survives_json_and_names_what_is_wrong() -> None:
    assert RAVSConfig.from_dict(TINY.to_dict()) == TINY
    for changes, message in (
        ({"groups": (4, 3)}, r"groups=\(4, 3\) must be three"),
        ({"groups": (4, 0, 1)}, r"must be three whole numbers from 1"),
        ({"gtf": True}, "gtf=True is a variant of the baseline"),
        ({"temporal_dim": 30}, "temporal_dim=30 must be a multiple of num_heads=4"),
        ({"decoder": "fpn", "decoder_dim": 40}, "decoder_dim=40 must be a multiple of 32"),
        ({"class_names": ("a", "b")}, "task='binary' has one class, class_names has 2"),
        ({"mca": "softmax"}, "mca='softmax' is unknown: choose one of sigmoid_res, softmax_res"),
    ):
        with pytest.raises(ConfigError, match=message):
            replace(TINY, **changes)


def test_targets_that_do_not_fit_are_named() -> None:
    frames, sound, targets = clip()
    out = make(**SEMANTIC)(frames, audio_features=sound)
    with pytest.raises(DataError, match="a class map holds 4, but the network has 2 classes"):
        RAVSCriterion(TINY)(out, [SemanticTargets(targets[0].class_maps * 2, targets[0].supervised)])
    small = SemanticTargets(torch.zeros(6, 16, 16, dtype=torch.int64), targets[0].supervised)
    with pytest.raises(DataError, match=r"\(1, 6, 32, 32\), the class maps \(1, 6, 16, 16\)"):
        RAVSCriterion(TINY)(out, [small])


def test_silent_frames_are_left_out_of_the_contrast_where_annotations_say_so() -> None:
    frames, sound, targets = clip()
    out = make()(frames, audio_features=sound)
    silent = [SemanticTargets(targets[0].class_maps * 0, targets[0].supervised)]
    unknown = [SemanticTargets(targets[0].class_maps * 0, targets[0].supervised & False)]

    def contrast(given: list[SemanticTargets], **changes) -> float:
        return RAVSCriterion(replace(TINY, **changes))(out, given)["contrast"].item()

    with torch.no_grad():
        assert 0 <= RAVSCriterion(TINY).positive_fraction(out) <= 1
    assert contrast(silent) == 0 < contrast(unknown) == contrast(silent, contrast_mask_silent=False)


def overfitted(**changes) -> float:
    """The mean IoU of all frames after training on one clip; a silent frame counts 1 if it is blank."""
    frames, sound, targets = clip(3)
    network = make(**changes).train()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    criterion = RAVSCriterion(network.config)
    for _ in range(130):
        optimizer.zero_grad()
        sum(criterion(network(frames, audio_features=sound), targets).values()).backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        maps = network.decode(network.encode(frames[0]), network.hear(audio_features=sound))
    shown, true = maps.scores[0] > 0.5, targets[0].class_maps > 0
    inter, union = (shown & true).flatten(1).sum(1), (shown | true).flatten(1).sum(1)
    return torch.where(union > 0, inter / union.clamp(min=1), 1.0).mean().item()


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"ue": False}])
def test_the_sound_selects_the_square_after_a_short_training(changes: dict) -> None:
    assert overfitted(**changes) > 0.9
