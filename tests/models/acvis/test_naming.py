"""Classes of masks from ImageNet's classifier: which ones belong together, pooling, the whole network."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from acvis_kit.clip import Clip
from acvis_kit.config import AVISEG_CLASSES, PRESETS, ACVISConfig, InferenceConfig
from acvis_kit.errors import ConfigError
from acvis_kit.inference.postprocess import _without_duplicates
from acvis_kit.inference.predictor import Predictor
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.models.acvis.naming import IMAGENET_CLASSES, MaskClassifier, pool
from tests.conftest import make_model

NAMES = ("dog", "person", "other")
SMALL = replace(
    PRESETS["acvis-filmed-small"], hidden_dim=32, num_frame_queries=4, num_video_queries=4, feedforward_dim=32,
    class_names=NAMES, audio_dim=16,
)  # fmt: skip


class Given(nn.Module):
    """A classifier that returns the logits it was given, of ImageNet's 1,000 classes."""

    def __init__(self, **logits: float) -> None:
        super().__init__()
        self.logits = torch.zeros(1000)
        for name, value in logits.items():
            self.logits[int(name[1:])] = value

    def forward(self, pooled: Tensor) -> Tensor:
        return self.logits.expand(*pooled.shape[:-1], 1000)


@pytest.fixture(scope="module")
def network() -> ACVIS:
    return make_model(SMALL)


def probabilities(classifier: MaskClassifier, objectness: float, given: Given) -> list[float]:
    logits = classifier(torch.tensor([[objectness]]), torch.zeros(1, 5), given)
    return logits.softmax(-1)[0].tolist()


def test_masks_can_be_named_without_queries(network: ACVIS) -> None:
    """A mask is named by what is inside it, in its own frame; no masks have no names."""
    frames = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        pixels = network.encode(frames)
        masks = torch.zeros(3, 64, 96, dtype=torch.bool)
        masks[:2, :32, :32] = True
        masks[2] = True
        names = network.name_masks(masks, pixels, torch.tensor([0, 1, 1]))
        assert names is not None
        alone = network.mask_classifier.of_objects(pixels.semantics[1, :, 0, 0], network.backbone.classifier)
        none = network.name_masks(masks[:0], pixels, torch.zeros(0, dtype=torch.int64))
    assert names.shape == (3, len(NAMES) + 1) and torch.allclose(names.exp().sum(-1), torch.ones(3), atol=1e-2)
    assert torch.allclose(names[1], alone, atol=1e-2) and not torch.allclose(names[0], names[1], atol=1e-4)
    assert none.shape == (0, len(NAMES) + 1)


def test_the_breeds_of_dogs_are_one_class() -> None:
    """Two breeds with logit log(400): 2 * 400 / (2 * 400 + 998 + 3 learned rows), times 3/4 that there is an object."""
    breed = torch.tensor(400.0).log().item()
    dog, person, other, none = probabilities(
        MaskClassifier(NAMES, 5), torch.tensor(3.0).log().item(), Given(_151=breed, _268=breed)
    )
    total = 2 * 400 + 998 + 3
    dogs = 2 * 400 + 116 + 1  # the other 116 breeds, and the learned row
    assert dog == pytest.approx(0.75 * dogs / total, rel=1e-4)
    assert person == pytest.approx(0.75 / total, rel=1e-2)
    assert other == pytest.approx(0.75 * (total - dogs - 1) / total, rel=1e-4)
    assert none == pytest.approx(0.25, rel=1e-3)


def test_without_other_the_unnamed_classes_are_none() -> None:
    dog, none = probabilities(MaskClassifier(("dog",), 5), 40.0, Given(_402=40.0))  # certainly an acoustic guitar
    assert dog < 1e-4 and none > 0.999


def test_imagenets_classes_belong_to_one_class_each() -> None:
    numbers = [number for own in IMAGENET_CLASSES.values() for number in own]
    assert len(numbers) == len(set(numbers)) and set(IMAGENET_CLASSES) <= set(AVISEG_CLASSES)
    assert MaskClassifier(AVISEG_CLASSES, 5).groups.sum(1).eq(1).all()


def test_pooling_takes_the_mean_inside_the_mask() -> None:
    """A 2x2 map of features 1, 2, 3, 4 in one channel; the first mask covers the left half, the second all of it."""
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 1, 2, 2)  # (P, E, h', w')
    masks = torch.full((2, 1, 8, 8), 30.0)  # (Q, P, h, w)
    masks[0, :, :, 4:] = -30
    torch.testing.assert_close(pool([(masks, features)]), torch.tensor([[2.0], [2.5]]))


def test_an_empty_mask_pools_everything() -> None:
    features = torch.arange(4.0).view(1, 1, 2, 2)
    torch.testing.assert_close(pool([(torch.full((1, 1, 4, 4), -3.0), features)]), torch.tensor([[1.5]]))


def test_parts_of_a_clip_pool_as_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.randn(2, 1, 3, 5, 8, 8, generator=generator)  # (D, B, Q, P, h, w)
    features = torch.randn(1, 1, 5, 7, 2, 2, generator=generator).expand(2, -1, -1, -1, -1, -1)[:, 0][:, None]
    parts = [(masks[..., a:b, :, :], features[:, :, a:b]) for a, b in ((0, 2), (2, 5))]
    torch.testing.assert_close(pool(parts), pool([(masks, features)]))


def test_training_reaches_the_learned_rows_and_not_the_backbone(network: ACVIS) -> None:
    network = make_model(SMALL).train()
    network.backbone.requires_grad_(False)
    output = network(torch.rand(2, 3, 3, 64, 64) * 255, torch.randn(2, 3, 96, 64))
    assert output.frame_class_logits.shape[-1] == output.video.class_logits.shape[-1] == len(NAMES) + 1
    output.video.class_logits[..., :-1].square().sum().backward()
    assert network.mask_classifier is not None and network.mask_classifier.learned.weight.grad is not None
    assert network.mask_classifier.learned.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in network.backbone.parameters())


def test_each_clip_of_a_batch_is_named_by_its_own_frames() -> None:
    """Naming mixes no clips: the class logits of one clip are those it has alone."""
    network = make_model(replace(SMALL, audio_encoder="compact")).train()  # without batch norms, which do mix them
    frames, sound = torch.rand(2, 3, 3, 64, 64) * 255, torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        both, alone = network(frames, sound), network(frames[1:], sound[1:])
    torch.testing.assert_close(both.video.class_logits[:, 1:], alone.video.class_logits, atol=1e-4, rtol=1e-4)


def test_voiceless_classes_agree_with_no_sound(network: ACVIS) -> None:
    head = network.frame_decoder.sounding_head
    states, classes = torch.zeros(1, 1, 32), torch.tensor([[[-40.0, -40.0, 40.0, -40.0]]])  # certainly "other"
    loud = head(states, classes, torch.full((1, 3), 9.0))
    assert torch.equal(loud, head(states, classes, torch.full((1, 3), -9.0)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "resnet50", "backbone_class_map": False}, "class_head='backbone' needs a backbone with ImageNet"),
        ({"targets": "sounding", "pixel_classes": False}, "voiceless=.* needs targets='visible'"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(PRESETS["acvis-filmed-small"], **changes)


def test_the_configuration_returns_from_json() -> None:
    assert ACVISConfig.from_dict(SMALL.to_dict()) == SMALL


def test_a_voiceless_class_is_not_part_of_a_prediction(network: ACVIS) -> None:
    """The learned row of "other" wins everywhere: without `voiceless` it is predicted, with it nothing is."""
    frames = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sound, found = torch.randn(32_000, generator=torch.Generator().manual_seed(1)) * 0.1, {}
    for voiceless in ((), ("other",)):
        model = make_model(replace(SMALL, voiceless=voiceless))
        assert model.mask_classifier is not None
        torch.nn.init.constant_(model.mask_classifier.learned.bias[2:], 60.0)
        torch.nn.init.constant_(model.tracker.class_head.bias, 60.0)
        predictor = Predictor(
            model, short_side=64, inference=replace(SMALL, score_threshold=0.01, sounding_threshold=0.0)
        )
        found[voiceless] = {track.class_name for track in predictor(Clip.from_arrays(frames, sound)).tracks}
    assert found == {(): {"other"}, ("other",): set()}


def test_a_prediction_does_not_depend_on_how_frames_are_encoded_together(network: ACVIS) -> None:
    """A track is named by all of its frames, whatever their chunks; some lie on disk."""
    frames = torch.randint(0, 256, (5, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    clip = Clip.from_arrays(frames, torch.randn(80_000, generator=torch.Generator().manual_seed(1)) * 0.1)
    settings = replace(SMALL, score_threshold=0.0, sounding_threshold=0.0, short_side=64)
    whole = Predictor(network, inference=settings, frames_at_once=5)(clip)
    parts = Predictor(network, inference=settings, frames_at_once=2, feature_budget_mb=1)(clip)
    torch.testing.assert_close(whole.scores, parts.scores, atol=1e-5, rtol=1e-4)
    assert whole.tracks and [track.label for track in whole.tracks] == [track.label for track in parts.tracks]


@pytest.mark.parametrize(
    ("most", "kept"),
    [
        (0.5, [0, 2, 4]),  # the second shares 8 of 12 places with the first; the fourth is the first once more
        (0.7, [0, 1, 2, 4]),
        (0.99, [0, 1, 2, 4]),
    ],
)
def test_a_track_on_the_same_object_as_a_better_one_is_dropped(most: float, kept: list[int]) -> None:
    """Masks of 10 places each: two that share 8, one that shares 2 with the first, and an empty one."""
    shared = torch.tensor([[10, 8, 2, 0], [8, 10, 2, 0], [2, 2, 10, 0], [0, 0, 0, 0]], dtype=torch.float32)
    candidates = [(0, 5), (1, 6), (2, 5), (0, 6), (3, 5)]  # a row and a class
    assert _without_duplicates(candidates, shared, InferenceConfig(duplicate_iou=most)) == kept


def test_a_track_inside_a_better_one_of_its_class_is_dropped() -> None:
    """A mask of 100 places, two of 5 with 4 of them inside it, and one of 5 with 3."""
    shared = torch.diag(torch.tensor([100.0, 5, 5, 5]))
    shared[0, 1:] = shared[1:, 0] = torch.tensor([4.0, 4, 3])
    dog, person = 0, 1
    candidates = [(0, dog), (1, dog), (2, person), (3, dog)]
    assert _without_duplicates(candidates, shared, InferenceConfig(duplicate_share=0.7)) == [0, 2, 3]
    assert _without_duplicates(candidates, shared, InferenceConfig()) == [0, 1, 2, 3]
    behind = [(1, dog), (0, dog)]  # the large one lies not in the small one
    assert _without_duplicates(behind, shared, InferenceConfig(duplicate_share=0.7)) == [0, 1]


def test_duplicates_are_dropped_from_a_prediction(network: ACVIS) -> None:
    """Of random queries many stand for the same places; of those that stay none overlaps another by more."""
    frames = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    clip = Clip.from_arrays(frames, torch.randn(32_000, generator=torch.Generator().manual_seed(1)) * 0.1)
    settings = replace(SMALL, score_threshold=0.0, sounding_threshold=0.0, short_side=64)
    everything = Predictor(network, inference=settings)(clip).masks().flatten(1).float()
    masks = Predictor(network, inference=replace(settings, duplicate_iou=0.3))(clip).masks().flatten(1).float()
    assert 0 < len(masks) < len(everything)
    inside = masks @ masks.T
    areas = inside.diagonal()
    overlap = inside / (areas[:, None] + areas - inside).clamp(min=1) - torch.eye(len(masks))
    one_class = Predictor(network, inference=replace(settings, duplicate_share=0.5))(clip)
    labels, masks = one_class.labels, one_class.masks().flatten(1).float()
    share = masks @ masks.T / masks.sum(1).clamp(min=1)[:, None]  # of the row's mask in the column's, a better one
    assert 0 < len(masks) < len(everything)
    assert not (share.tril(-1) * (labels[:, None] == labels) > 0.6).any()
    assert overlap.max() < 0.4  # 0.3 on a grid of a quarter of the resolution
