"""Published weights of single encoders, for AVSC and RAVS: from files and the Hub."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from acvis_kit.config import ACVISConfig
from acvis_kit.errors import WeightsError, kind_of
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.models.avsc.config import AVSC_PRESETS
from acvis_kit.models.avsc.model import AVSC
from acvis_kit.models.encoders.audio import VGGish
from acvis_kit.models.encoders.backbones import build_backbone
from acvis_kit.models.encoders.beats import BEATs, BEATsLayout
from acvis_kit.models.encoders.config import EncoderConfig
from acvis_kit.models.encoders.pictures import MiT, TimmPictureEncoder
from acvis_kit.models.encoders.sounds import SoundEncoder
from acvis_kit.models.ravs.config import RAVS_PRESETS
from acvis_kit.models.ravs.model import RAVS
from acvis_kit.weights.convert import from_reference
from acvis_kit.weights.encoders import load_audio_weights, load_imagenet_weights
from acvis_kit.weights.load import load_model
from acvis_kit.weights.transfer import copy_encoders
from tests.conftest import make_model
from tests.models.encoders.test_sounds import needs_transformers
from tests.training.tiny import CONFIG
from tests.weights.fake_hub import FakeHub
from tests.weights.test_download import fake, files  # noqa: F401  # fixtures


def encoder_with(network: nn.Module, name: str) -> SoundEncoder:
    """An encoder of sound around a network, which may be smaller than the published one."""
    encoder = SoundEncoder(EncoderConfig(audio_encoder="compact"))
    encoder.network, encoder.name = network, name
    return encoder


def same(one: nn.Module, two: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


SMALL_BEATS = BEATsLayout(
    embed_dim=32, encoder_layers=2, encoder_embed_dim=64, encoder_ffn_embed_dim=64, encoder_attention_heads=4,
    conv_pos=16, conv_pos_groups=4,
)  # fmt: skip


def test_beats_is_read_from_a_checkpoint_of_its_authors_with_or_without_a_classifier(tmp_path: Path) -> None:
    torch.manual_seed(0)
    published = BEATs(replace(SMALL_BEATS, predictor_class=7))
    content = {"cfg": asdict(published.layout) | {"finetuned_model": True}, "model": published.state_dict()}
    torch.save(content, tmp_path / "beats.pt")
    encoder = encoder_with(BEATs(SMALL_BEATS), "beats")
    assert load_audio_weights(encoder, tmp_path / "beats.pt") == "beats"
    own = encoder.network.state_dict()
    assert own and all(torch.equal(value, published.state_dict()[name]) for name, value in own.items())
    with pytest.raises(WeightsError, match="do not fit"):
        load_audio_weights(encoder_with(BEATs(replace(SMALL_BEATS, conv_pos=8)), "beats"), tmp_path / "beats.pt")
    torch.save({"model": {}}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="a checkpoint of BEATs holds 'cfg' and 'model'"):
        load_audio_weights(encoder, tmp_path / "other.pt")


@pytest.mark.usefixtures("fake")
def test_a_file_on_the_hub_is_fetched(fake: FakeHub, tmp_path: Path) -> None:  # noqa: F811  # the fixture
    torch.manual_seed(0)
    published = BEATs(SMALL_BEATS)
    torch.save({"cfg": asdict(SMALL_BEATS), "model": published.state_dict()}, tmp_path / "beats.pt")
    fake.repositories["someone/beats"] = {"beats.pt": (tmp_path / "beats.pt").read_bytes()}
    encoder = encoder_with(BEATs(SMALL_BEATS), "beats")
    load_audio_weights(encoder, "someone/beats:beats.pt")
    assert same(encoder.network, published) and fake.downloads() == ["beats.pt"]


def test_vggish_is_read_alone_or_within_an_acvis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acvis_kit.models.encoders.audio.VGGISH_HIDDEN", 8)  # 72 M parameters otherwise
    torch.manual_seed(0)
    published = VGGish(quantize=False)
    for prefix in ("", "audio_encoder."):
        torch.save({prefix + name: value for name, value in published.state_dict().items()}, tmp_path / "vggish.pth")
        encoder = encoder_with(VGGish(quantize=False), "vggish")
        assert not same(encoder.network, published)
        load_audio_weights(encoder, tmp_path / "vggish.pth")
        assert same(encoder.network, published)
    torch.save({"conv.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="holds no VGGish"):
        load_audio_weights(encoder, tmp_path / "other.pth")


def test_an_encoder_without_published_weights_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"audio_encoder='compact' has no published weights: .*--init-from"):
        load_audio_weights(SoundEncoder(EncoderConfig(audio_encoder="compact")), tmp_path / "any.pth")


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no weights", encoding="utf-8")
    for name in ("text.pt", "nowhere.pt"):
        with pytest.raises(WeightsError, match=rf"{name} is not a file of weights"):
            load_audio_weights(encoder_with(BEATs(SMALL_BEATS), "beats"), tmp_path / name)


@pytest.mark.parametrize(
    "content",
    [
        None, 3, "text", [torch.zeros(2)], torch.zeros(2), {}, {"model": None}, {"model": {}}, {"model": [1]},
        {"model": {"model": {"a": torch.zeros(2)}}}, {"epoch": 3}, {1: torch.zeros(2)}, {"cfg": 3, "model": {}},
        {"cfg": {}, "model": 3}, {"cfg": {"embed_dim": "x"}, "model": {}},
        {"cfg": asdict(SMALL_BEATS), "model": {"a": 1}},
    ],
    ids=repr,
)  # fmt: skip
def test_a_file_without_a_dictionary_of_tensors_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pt")
    with torch.device("meta"):
        encoders = {
            load_audio_weights: [encoder_with(BEATs(SMALL_BEATS), "beats"), encoder_with(VGGish(), "vggish")],
            load_imagenet_weights: [build_backbone(ACVISConfig()), TimmPictureEncoder("pvt_v2_b0")],
        }
    for load, takers in encoders.items():
        for taker in takers:
            with pytest.raises(WeightsError):
                load(taker, tmp_path / "other.pt")
    with pytest.raises(WeightsError):
        from_reference(tmp_path / "other.pt")
    if not isinstance(content, dict):
        with pytest.raises(WeightsError, match=rf"other.pt holds {kind_of(content)}, not a dictionary"):
            load_imagenet_weights(encoders[load_imagenet_weights][0], tmp_path / "other.pt")


def test_imagenet_weights_may_lie_under_the_key_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    given, taker = build_backbone(ACVISConfig()), build_backbone(ACVISConfig())
    torch.save({"model": given.state_dict(), "epoch": 300}, tmp_path / "resnet.pth")
    load_imagenet_weights(taker, tmp_path / "resnet.pth")
    assert same(given, taker)


def test_timms_encoders_of_the_semantic_systems_take_what_timm_publishes(tmp_path: Path) -> None:
    import timm

    torch.manual_seed(0)
    whole = timm.create_model("pvt_v2_b0", pretrained=False)
    torch.save(whole.state_dict(), tmp_path / "pvt_v2_b0.pth")
    encoder = TimmPictureEncoder("pvt_v2_b0").eval()
    load_imagenet_weights(encoder, tmp_path / "pvt_v2_b0.pth")
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(encoder(image)[-1], whole.eval().forward_features(image))


def test_mit_takes_a_folder_of_transformers_with_a_classifier_or_without(tmp_path: Path) -> None:
    needs_transformers()
    import transformers

    blocks, widths = (1, 1, 1, 1), (8, 16, 40, 64)
    torch.manual_seed(0)
    layout = transformers.SegformerConfig(depths=list(blocks), hidden_sizes=list(widths), num_attention_heads=[1] * 4)
    whole = transformers.SegformerForImageClassification(layout)
    whole.save_pretrained(tmp_path / "mit")
    encoder = MiT(blocks, widths)
    encoder.model.config.num_attention_heads = [1] * 4
    load_imagenet_weights(encoder, tmp_path / "mit")
    assert same(encoder.model, whole.segformer)
    with pytest.raises(WeightsError, match=r"transformers cannot load .*nowhere as SegformerModel"):
        load_imagenet_weights(encoder, tmp_path / "nowhere")
    small = transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    transformers.BertModel(small).save_pretrained(tmp_path / "bert")
    with pytest.raises(WeightsError, match="Segformer"):
        load_imagenet_weights(encoder, tmp_path / "bert")


def test_encoders_of_an_acvis_are_copied(tmp_path: Path) -> None:
    """A deformable pixel decoder too; an audio encoder of another kind stays as it is."""
    shipped = load_model("acvis-synth-tiny")
    torch.manual_seed(0)
    avsc = AVSC(AVSC_PRESETS["avsc-synth-tiny"])
    assert copy_encoders(shipped, avsc) == "copied: backbone, audio encoder, pixel decoder"
    assert same(avsc.backbone, shipped.backbone) and same(avsc.sound_encoder.network, shipped.audio_encoder)
    assert same(avsc.proposal_head.pixel_decoder, shipped.pixel_decoder)

    ravs = RAVS(RAVS_PRESETS["ravs-synth-tiny"])
    assert copy_encoders(shipped, ravs) == "copied: backbone, audio encoder"
    other = ACVIS(replace(shipped.config, audio_encoder="precomputed", audio_classes=False, audio_tokens="clip"))
    assert copy_encoders(other, ravs) == "copied: backbone"
    with pytest.raises(WeightsError, match="the backbone of the initial weights is of another kind"):
        copy_encoders(make_model(replace(CONFIG, backbone="resnet50"), 0), ravs)
