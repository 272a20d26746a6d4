"""One interface of picture encoders: the kit's, timm's by name, MiT, stage by stage, at half the stride."""

import sys

import pytest
import torch

from acvis_kit.errors import ConfigError, WeightsError
from acvis_kit.models.encoders.config import EncoderConfig
from acvis_kit.models.encoders.feature_pyramid import FeaturePyramid
from acvis_kit.models.encoders.pictures import MiT, build_picture_encoder, build_staged_encoder, run_stages
from tests.models.encoders.test_sounds import needs_transformers


def config(backbone: str, **changes) -> EncoderConfig:
    return EncoderConfig(backbone=backbone, **changes)


@pytest.mark.parametrize("name", ["resnet50", "swin_b", "compact", "pvt_v2_b5", "resnet18", "mit_b5"])
@pytest.mark.parametrize("first_stride", [4, 2])
def test_maps_are_as_declared(name: str, first_stride: int) -> None:
    if name == "mit_b5":
        needs_transformers()
    if first_stride == 2 and name in ("resnet50", "swin_b", "resnet18"):
        with pytest.raises(ConfigError, match=f"first_stride=2 needs a backbone.*not '{name}'"), torch.device("meta"):
            build_picture_encoder(config(name, first_stride=2))
        return
    with torch.device("meta"):  # shapes only
        encoder = build_picture_encoder(config(name, first_stride=first_stride)).eval()
        maps = encoder(torch.empty(2, 3, 64, 96))
    assert encoder.strides == tuple(first_stride * 2**i for i in range(4))
    assert [tuple(m.shape) for m in maps] == [
        (2, c, 64 // s, 96 // s) for c, s in zip(encoder.channels, encoder.strides, strict=True)
    ]


def test_half_the_stride_takes_the_same_weights() -> None:
    whole, half = (build_picture_encoder(config("compact", first_stride=stride)) for stride in (4, 2))
    half.load_state_dict(whole.state_dict())
    image = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(half.stem[0](image)[..., ::2, ::2], whole.stem[0](image))


@pytest.mark.parametrize("name", ["resnet50", "compact", "pvt_v2_b0", "swin_tiny_patch4_window7_224"])
def test_stages_one_after_another_give_the_maps_of_the_whole(name: str) -> None:
    torch.manual_seed(0)
    encoder = build_staged_encoder(config(name, drop_path=0.0)).eval()
    size = 224 if "224" in name else 64
    image = torch.randn(1, 3, size, size)
    with torch.no_grad():
        whole = encoder.net(image) if hasattr(encoder, "net") else encoder(image)
        if "224" in name:  # timm's Swin has its channels last
            whole = [m.permute(0, 3, 1, 2) for m in whole]
        for ours, theirs in zip(run_stages(encoder, image), whole, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_weights_of_a_whole_timm_model_load_into_its_maps() -> None:
    import timm

    torch.manual_seed(0)
    whole = timm.create_model("pvt_v2_b0", pretrained=False).eval()  # with a classifier
    encoder = build_picture_encoder(config("pvt_v2_b0", first_stride=2)).eval()
    encoder.load_published(whole.state_dict())
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        whole.patch_embed.proj.stride = (2, 2)
        torch.testing.assert_close(encoder(image)[-1], whole.forward_features(image))
    with pytest.raises(WeightsError, match="do not fit timm's pvt_v2_b0"):
        encoder.load_published({"conv1.weight": torch.zeros(3)})


def test_mit_is_transformers_segformer() -> None:
    needs_transformers()
    torch.manual_seed(0)
    encoder = MiT((2, 2, 2, 2), (32, 64, 160, 256)).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(encoder(image)[-1], encoder.model(image).last_hidden_state)


def test_an_unknown_or_unsuitable_backbone_names_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"backbone='pvt9' is unknown: choose resnet50.*mit_b5.*timm"):
        build_picture_encoder(config("pvt9"))
    with pytest.raises(ConfigError, match=r"backbone='hf-hub:timm/resnet18' is unknown"):  # nothing is downloaded
        build_picture_encoder(config("hf-hub:timm/resnet18"))
    with pytest.raises(ConfigError, match=r"backbone='vit_tiny_patch16_224' of timm"):
        build_picture_encoder(config("vit_tiny_patch16_224"))
    with pytest.raises(ConfigError, match=r"backbone='swin_t' cannot be run stage by stage"):
        build_staged_encoder(config("swin_t"))
    with pytest.raises(ConfigError, match=r"first_stride=3 must be 4 or 2"):
        config("compact", first_stride=3)


def test_without_transformers_mit_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"needs transformers.*acvis-kit\[avs\]"):
        build_picture_encoder(config("mit_b5"))


def test_the_pyramid_carries_the_coarsest_map_into_the_finest() -> None:
    torch.manual_seed(0)
    pyramid = FeaturePyramid(32, (4, 8, 16, 24))
    maps = [torch.randn(2, c, 32 // s, 48 // s) for c, s in zip((4, 8, 16, 24), (1, 2, 4, 8), strict=True)]
    before = pyramid(maps)
    assert [tuple(scale.shape) for scale in before.scales] == [(2, 32, 4, 6), (2, 32, 8, 12), (2, 32, 16, 24)]
    maps[-1] = torch.randn_like(maps[-1])
    assert before.fine.shape == (2, 32, 32, 48) and not torch.equal(pyramid(maps).fine, before.fine)


def test_positions_tell_alike_places_of_the_pyramid_apart() -> None:
    torch.manual_seed(0)
    channels, strides = (4, 8, 16, 24), (1, 2, 4, 8)
    maps = [torch.ones(1, c, 64 // s, 64 // s) for c, s in zip(channels, strides, strict=True)]
    plain = FeaturePyramid(32, channels)
    placed = FeaturePyramid(32, channels, positions=True)
    placed.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(placed(maps).fine, plain(maps).fine), "the projections start at zero"
    for project in placed.position:
        torch.nn.init.normal_(project.weight)

    def difference(fine: torch.Tensor) -> float:  # of two places far from the edges
        return (fine[..., 24, 24] - fine[..., 40, 40]).abs().max().item()

    assert difference(plain(maps).fine) < 1e-5 < 0.1 < difference(placed(maps).fine)


def test_layers_of_the_pyramid_carry_a_place_to_all_others() -> None:
    torch.manual_seed(0)
    channels, strides = (4, 8, 16, 24), (1, 2, 4, 8)
    maps = [torch.randn(1, c, 128 // s, 128 // s) for c, s in zip(channels, strides, strict=True)]
    changed = [*maps[:-1], maps[-1].clone()]
    changed[-1][..., 0, 0] += 100.0
    for layers, reached in ((0, False), (1, True)):
        pyramid = FeaturePyramid(32, channels, layers=layers, num_heads=4)
        pyramid.top[1] = torch.nn.Identity()  # the norm's mean and variance reach every place too
        far = [pyramid(m).scales[0][..., -1, -1] for m in (maps, changed)]
        assert torch.equal(*far) is not reached
