"""AVSC as a whole: its stages, what depends on the sound, a toy world that it learns."""

from dataclasses import replace

import pytest
import torch

from acvis_kit.clip import SemanticTargets
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.losses.avsc import AVSCCriterion
from acvis_kit.losses.proposals import present_classes
from acvis_kit.models.avsc.candidates import Candidates
from acvis_kit.models.avsc.config import AVSC_PRESETS, AVSCConfig
from acvis_kit.models.avsc.model import AVSC

TINY = replace(
    AVSC_PRESETS["avsc-synth-tiny"],
    class_names=("square", "bar", "ring"),
    hidden_dim=32,
    num_queries=8,
    decoder_layers=2,
    feedforward_dim=64,
    input_size=64,
)


def make(**changes) -> AVSC:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AVSC(replace(TINY, **changes)).eval()


@pytest.fixture(scope="module")
def model() -> AVSC:
    return make()


def frames(clips: int = 2, length: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (clips, length, 3, 64, 64), generator=torch.Generator().manual_seed(0)).byte()


def targets(clips: int = 2, length: int = 3) -> list[SemanticTargets]:
    maps = torch.zeros(clips, length, 64, 64, dtype=torch.int64)
    maps[..., 8:40, 8:40] = 2
    supervised = torch.zeros(length, dtype=torch.bool)
    supervised[0] = True
    return [SemanticTargets(one, supervised) for one in maps]


def test_every_layer_is_supervised_in_training_and_the_last_is_used_afterwards(model: AVSC) -> None:
    out = make().train()(frames()).proposals
    assert out.class_logits.shape == (2, 6, 8, 4) and out.mask_logits.shape == (2, 6, 8, 16, 16)
    with torch.no_grad():
        assert model(frames()).proposals.class_logits.shape == (1, 6, 8, 4)


@pytest.mark.parametrize("pixel_decoder", ["fpn", "deformable"])
def test_losses_of_stage_1_reach_every_parameter_of_stage_1_alone(pixel_decoder: str) -> None:
    network = make(pixel_decoder=pixel_decoder).train()
    network.train_stage("proposals")
    losses = AVSCCriterion(TINY)(network(frames()), targets())
    assert set(losses) == {"proposals/class", "proposals/focal", "proposals/dice", "silent_objects"}
    sum(losses.values()).backward()
    with_gradient = {name for name, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    # A frame's candidates for dead units may miss a few: whole modules must not be missing.
    assert (
        {n.split(".")[0] for n in with_gradient} == {n.split(".")[0] for n in trained} == {"backbone", "proposal_head"}
    )


def test_stage_2_trains_the_sound_alone_and_can_use_candidates_of_before() -> None:
    network = make(audio_frozen=False).train()
    network.train_stage("correlation")
    assert not network.backbone.training and not network.proposal_head.training and network.sound_classifier.training
    mel = torch.randn(2, 3, 96, 64)
    out = network(frames(), mel)
    before = network.encode(frames().flatten(0, 1))
    again = network(None, mel, candidates=before)
    torch.testing.assert_close(out.soft_mask, again.soft_mask)
    assert (
        out.proposals is None and out.class_probabilities.shape == (2, 3, 3) and out.soft_mask.shape == (2, 3, 64, 64)
    )
    losses = AVSCCriterion(TINY)(out, targets())
    assert set(losses) == {"correlation"}
    assert {n.split(".")[0] for n, p in network.named_parameters() if p.requires_grad} == {
        "sound_encoder",
        "sound_classifier",
    }
    with pytest.raises(DataError, match="give frames, or candidates"):
        network()
    with pytest.raises(ConfigError, match="stage='both' is unknown: choose one of proposals, correlation"):
        network.train_stage("both")
    network.train_stage("proposals")
    with pytest.raises(DataError, match="stage 1 makes proposals of frames"):
        network(None, mel, candidates=before)
    assert network.backbone.training and all(p.requires_grad for p in network.backbone.parameters())


def test_frames_without_annotation_do_not_count() -> None:
    network = make().train()
    out = network(frames())
    one = AVSCCriterion(TINY)(out, targets())
    blank = [
        SemanticTargets(torch.where(t.supervised[:, None, None], t.class_maps, 3), t.supervised) for t in targets()
    ]
    other = AVSCCriterion(TINY)(out, blank)
    assert {k: v.item() for k, v in one.items()} == {k: v.item() for k, v in other.items()}
    none = [SemanticTargets(t.class_maps, t.supervised & False) for t in targets()]
    losses = AVSCCriterion(TINY)(out, none)
    assert sum(losses.values()).item() == 0
    sum(losses.values()).backward()


def test_switches_of_the_losses_change_what_they_name() -> None:
    out = make().train()(frames())

    def losses(**changes) -> dict[str, float]:
        return {k: v.item() for k, v in AVSCCriterion(replace(TINY, **changes))(out, targets()).items()}

    base = losses()
    assert losses(soas_weight=0.0)["silent_objects"] == 0 < base["silent_objects"]
    assert losses(soas_reduction="mean")["silent_objects"] < base["silent_objects"]
    assert losses(nonobj="argmax")["silent_objects"] != base["silent_objects"]
    assert losses(deep_supervision=False)["proposals/focal"] < base["proposals/focal"]


def test_targets_that_do_not_fit_are_named() -> None:
    out = make().train()(frames())
    wrong = [SemanticTargets(t.class_maps * 2, t.supervised) for t in targets()]
    with pytest.raises(DataError, match=r"a class map holds 4, but the network has 3 classes"):
        AVSCCriterion(TINY)(out, wrong)
    uneven = [targets()[0], SemanticTargets(torch.zeros(3, 32, 32, dtype=torch.int64), torch.ones(3).bool())]
    with pytest.raises(DataError, match=r"different shapes \[\(3, 32, 32\), \(3, 64, 64\)\]"):
        AVSCCriterion(TINY)(out, uneven)


def test_the_candidates_do_not_depend_on_the_sound_and_the_maps_do(model: AVSC) -> None:
    candidates = model.encode(frames(1).flatten(0, 1))
    candidates = candidates._replace(masks=torch.rand(3, 3, 64, 64) < 0.3, scores=torch.ones(3, 3))
    with torch.no_grad():
        maps = [model.decode(candidates, model.hear(torch.randn(1, 3, 96, 64))) for _ in range(2)]
    assert maps[0].scores.shape == (1, 3, 64, 64) and maps[0].objects.shape == (1, 3, 3, 64, 64)
    assert not torch.equal(maps[0].scores, maps[1].scores)


def test_pixels_beside_a_mask_have_its_class_for_maps_that_are_resized() -> None:
    network = make(audio_encoder="precomputed", precomputed_dim=2)
    for parameter in network.sound_classifier.parameters():
        parameter.data.zero_()
    network.sound_classifier.layers[2].bias.data = torch.tensor([-9.0, 0.0, 9.0])
    masks = torch.zeros(1, 3, 8, 8, dtype=torch.bool)
    masks[0, 2, 2:6, 2:6] = True
    with torch.no_grad():
        sound = network.hear(audio_features=torch.zeros(1, 1, 2))
        labels = network.decode(Candidates(masks, torch.ones(1, 3)), sound).labels[0, 0]
    assert (labels[1:7, 1:7] == 2).all() and not labels[0].any()


def test_without_audio_the_output_does_not_depend_on_the_sound_bit_by_bit() -> None:
    network = make(audio_use=False)
    network.train_stage("correlation")
    with torch.no_grad():
        one, other = (network(frames(), torch.randn(2, 3, 96, 64)) for _ in range(2))
    assert torch.equal(one.soft_mask, other.soft_mask) and network.sound_encoder is None
    assert one.soft_mask.shape == (2, 3, 64, 64)


def test_a_configuration_survives_json_and_names_what_is_wrong() -> None:
    assert AVSCConfig.from_dict(TINY.to_dict()) == TINY
    with pytest.raises(ConfigError, match="hidden_dim=48 must be a multiple of 32"):
        replace(TINY, hidden_dim=48)
    with pytest.raises(ConfigError, match="input_size=100 must be a multiple of 32"):
        replace(TINY, input_size=100)
    with pytest.raises(ConfigError, match="class_names must contain"):
        replace(TINY, class_names=("a", "a"))
    with pytest.raises(ConfigError, match="unknown fields of loss, soas"):
        AVSCConfig.from_dict(TINY.to_dict() | {"loss": {"soas": 1}})
    with pytest.raises(ConfigError, match="unknown sections training"):
        AVSCConfig.from_dict(TINY.to_dict() | {"training": {}})
    with pytest.raises(ConfigError, match="model_type='acvis' is not 'avsc'"):
        AVSCConfig.from_dict(TINY.to_dict() | {"model_type": "acvis"})


# A toy world for stage 2: every frame shows a square (class 0) and a bar (class 1); their tones are two bands.
SQUARE, BAR, BOTH, SILENCE, OTHER = range(5)


def tones(kinds: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A vector of 8 bands for each kind of sound, with noise: (N, 8)."""
    bands = torch.zeros(5, 8)
    bands[SQUARE, 1] = bands[BAR, 5] = bands[OTHER, 3] = 1
    bands[BOTH] = bands[SQUARE] + bands[BAR]
    return bands[kinds] + 0.05 * torch.randn(len(kinds), 8, generator=generator)


def toy_frames(kinds: torch.Tensor) -> tuple[Candidates, torch.Tensor]:
    masks = torch.zeros(len(kinds), 2, 8, 8, dtype=torch.bool)
    masks[:, 0, 1:4, 1:4] = masks[:, 1, 6, :] = True
    sounds = torch.stack([(kinds == SQUARE) | (kinds == BOTH), (kinds == BAR) | (kinds == BOTH)], 1)
    truth = (masks & sounds[..., None, None]) * torch.tensor([1, 2])[:, None, None]
    return Candidates(masks, torch.ones(len(kinds), 2)), truth.sum(1)


def learn_toy(act: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Fraction of blank frames, and of frames without a mistake, of each kind, after stage 2."""
    network = make(
        class_names=("square", "bar"), audio_encoder="precomputed", precomputed_dim=8, audio_act=act, audio_hidden=32
    )
    network.train_stage("correlation")
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(network.sound_classifier.parameters(), 1e-2)
    for _ in range(120):
        kinds = torch.randint(0, 5, (32,), generator=generator)
        candidates, truth = toy_frames(kinds)
        out = network(None, audio_features=tones(kinds, generator)[None], candidates=candidates)
        target = [SemanticTargets(truth, torch.ones(32, dtype=torch.bool))]
        loss = AVSCCriterion(network.config)(out, target)["correlation"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    kinds = torch.arange(5).repeat_interleave(40)
    candidates, truth = toy_frames(kinds)
    with torch.no_grad():
        maps = network.decode(candidates, network.hear(audio_features=tones(kinds, generator)[None]))
    shown = torch.where(maps.scores[0] > 0.5, maps.labels[0] + 1, 0)
    blank = ~shown.flatten(1).any(1)
    right = (shown == truth).flatten(1).all(1)
    return blank.view(5, 40).float().mean(1), right.view(5, 40).float().mean(1)


def test_after_stage_2_each_tone_selects_its_object_and_silence_none() -> None:
    blank, right = learn_toy("sigmoid")
    assert (right > 0.9).all()
    assert blank[SILENCE] > 0.9 and blank[OTHER] > 0.9 and blank[BOTH] == 0


def test_with_a_softmax_mixtures_and_silence_fail() -> None:
    """The paper's P_a sums to 1. With two classes one of them passes 0.5 in silence, and never both."""
    blank, right = learn_toy("softmax")
    assert right[BOTH] < 0.1 and right[SQUARE] > 0.9 and blank[SILENCE] < 0.9


def test_a_null_class_mends_silence_but_not_mixtures() -> None:
    blank, right = learn_toy("softmax_null")
    assert blank[SILENCE] > 0.9 and right[BOTH] < 0.1


def test_classes_of_a_frame_come_from_its_map() -> None:
    _, truth = toy_frames(torch.tensor([BOTH, SQUARE, SILENCE]))
    assert present_classes(truth).sets.sizes.tolist() == [2, 1, 0]


def scenes(number: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames of noise with a red square and a blue bar at random places; by turns one of them sounds.

    Nothing in a frame tells which of them sounds.
    """
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.randint(60, 120, (number, 3, 64, 64), generator=generator).float()
    maps = torch.zeros(number, 64, 64, dtype=torch.int64)
    for i in range(number):
        y, x, bar = torch.randint(4, 24, (3,), generator=generator).tolist()
        bar = 44 + bar // 2
        pictures[i, :, y : y + 20, x : x + 20] = torch.tensor([230.0, 30, 30])[:, None, None]
        pictures[i, :, bar : bar + 8] = torch.tensor([30.0, 30, 230])[:, None, None]
        if i % 2:
            maps[i, bar : bar + 8] = 2
        else:
            maps[i, y : y + 20, x : x + 20] = 1
    return pictures, maps


@pytest.mark.slow
def test_stage_1_finds_what_can_sound_also_where_it_is_silent() -> None:
    network = make().train()
    criterion, optimizer = AVSCCriterion(network.config), torch.optim.AdamW(network.parameters(), 1e-3)
    for step in range(60):
        pictures, maps = scenes(8, seed=step)
        losses = criterion(network(pictures[None]), [SemanticTargets(maps, torch.ones(8, dtype=torch.bool))])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    network.eval()
    pictures, maps = scenes(8, seed=1000)
    candidates = network.encode(pictures)
    assert candidates.counts.float().mean() > 1.5  # the silent one, too
    found = candidates.masks[torch.arange(8), torch.arange(8) % 2]  # of the one that sounds
    inter, union = (found & (maps > 0)).flatten(1).sum(1), (found | (maps > 0)).flatten(1).sum(1)
    assert (inter / union).mean() > 0.75
