from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from anoclust_core.embedding.backbones import FeatureExtractor, build_extractor, describe, timm_name
from anoclust_core.embedding.extraction import choose_device, embed_holistically, embed_images, prepare_image
from anoclust_core.errors import ArrayContractError, ConfigError, StoreError
from anoclust_core.records import EmbeddingSpec

quick = settings(max_examples=25, deadline=None, database=None)

CNN, LITE, PYRAMID, VIT = "resnet18", "tf_efficientnet_lite0", "pvt_v2_b0", "vit_tiny_patch16_224"
TINY_CNN, TINY_VIT = "test_resnet", "test_vit"  # timm's own for tests; that ViT is made for 160 pixels


@cache  # models are built again and again otherwise
def spec_of(backbone: str, *, image_size: int, layers: tuple[int, ...] | None = None) -> EmbeddingSpec:
    return describe(backbone, weights="test", layers=layers, image_size=image_size)


@cache
def random_weights(name: str, **options: Any) -> Mapping[str, Tensor]:
    """State dict of a model as timm would give it, classifier included, without touching torch's global seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MappingProxyType(timm.create_model(name, pretrained=False, **options).state_dict())


def pictures(n_images: int, side: int) -> NDArray[np.float32]:
    return np.random.default_rng(5).normal(size=(n_images, 3, side, side)).astype(np.float32)


class GivenMaps(nn.Module):
    """Stands for a timm model; its feature maps are given."""

    def __init__(self, *maps: NDArray[np.float32]) -> None:
        super().__init__()
        self.maps = [torch.from_numpy(level) for level in maps]

    def forward_intermediates(self, images: Tensor, *, indices: list[int], **options: object) -> list[Tensor]:
        return [self.maps[index] for index in indices]


def pooled_by_hand(level: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean over each cell and those of its eight neighbours that exist; shape ``(n, dim, height, width)``."""
    height, width = level.shape[2:]
    pooled = np.empty(level.shape)
    for y in range(height):
        for x in range(width):
            window = level[:, :, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            pooled[:, :, y, x] = window.astype(float).mean(axis=(2, 3))
    return pooled


# What a backbone is


@pytest.mark.parametrize(
    ("backbone", "image_size", "layers", "grid", "dim", "pooling"),
    [
        (CNN, 64, (2,), (8, 8), 128, 3),
        (CNN, 96, (2,), (12, 12), 128, 3),
        (LITE, 64, (3,), (4, 4), 112, 3),
        (PYRAMID, 64, (1,), (8, 8), 64, 3),
        (VIT, 224, (6,), (14, 14), 192, 1),
        (VIT, 96, (6,), (6, 6), 192, 1),
    ],
)
def test_default_layers_of_each_kind_of_backbone(
    backbone: str, image_size: int, layers: tuple[int, ...], grid: tuple[int, int], dim: int, pooling: int
) -> None:
    """A CNN or pyramid is read at stride 8 (EfficientNet-Lite: 16) and averaged 3x3, a ViT in its middle, as it is."""
    spec = spec_of(backbone, image_size=image_size)
    assert (spec.layers, spec.grid, spec.dim, spec.patch_pooling) == (layers, grid, dim, pooling)
    assert (spec.backbone, spec.weights, spec.image_size) == (backbone, "test", image_size)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "image_size", "layers", "grid", "dim", "pooling"),
    [
        ("wide_resnet50_2", 256, (2,), 32, 512, 3),
        ("resnet18", 256, (2,), 32, 128, 3),
        ("resnet50", 256, (2,), 32, 512, 3),
        ("resnet101", 256, (2,), 32, 512, 3),
        ("resnet152", 256, (2,), 32, 512, 3),
        ("efficientnet_b0", 256, (2,), 32, 40, 3),
        ("efficientnet_b4", 256, (2,), 32, 56, 3),
        ("efficientnet_b7", 256, (2,), 32, 80, 3),
        ("vit_tiny_patch16_224", 224, (6,), 14, 192, 1),
        ("vit_small_patch16_224", 224, (6,), 14, 384, 1),
        ("vit_base_patch16_224", 224, (6,), 14, 768, 1),
        ("vit_large_patch16_224", 224, (12,), 14, 1024, 1),
        ("efficientnet_lite0", 256, (3,), 16, 112, 3),
        ("efficientnet_lite1", 256, (3,), 16, 112, 3),
        ("efficientnet_lite2", 256, (3,), 16, 120, 3),
    ],
)
def test_layers_of_the_papers_backbones(
    backbone: str, image_size: int, layers: tuple[int, ...], grid: int, dim: int, pooling: int
) -> None:
    """Table 6 of [SOHN23]: block 2 of a ResNet, reduction 3 (stride 8) of an EfficientNet, the middle block of a ViT.

    Blocks count from 1 in the paper and from 0 in timm. Its block 13 exists in ViT-L (24 blocks); ViT-B has 12, of
    which the middle one is block 7.
    """
    spec = spec_of(backbone, image_size=image_size)
    assert (spec.layers, spec.grid, spec.dim, spec.patch_pooling) == (layers, (grid, grid), dim, pooling)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "model", "layers", "dim"),
    [
        ("efficientnet_lite2", "tf_efficientnet_lite2", (3,), 120),
        ("wide_resnet50_2", "wide_resnet50_2.tv_in1k", (2,), 512),
    ],
)
def test_the_default_and_the_papers_backbone(backbone: str, model: str, layers: tuple[int, ...], dim: int) -> None:
    """The names of the default backbone and of the papers' stand for the models that the documentation says."""
    spec = spec_of(backbone, image_size=256)
    assert (spec.timm_model, spec.layers, spec.dim) == (model, layers, dim)


def test_preprocessing_is_that_of_the_weights() -> None:
    """Mean, standard deviation and interpolation are those that timm records for the model."""
    for backbone in (LITE, VIT):
        spec, recorded = spec_of(backbone, image_size=96), timm.get_pretrained_cfg(backbone)
        assert recorded is not None
        assert (spec.mean, spec.std, spec.interpolation) == (recorded.mean, recorded.std, recorded.interpolation)


def test_without_a_checkpoint_the_weights_are_named_after_timms_tag() -> None:
    """Weights that timm would download are identified by model and tag, so another tag is another embedding."""
    names = [describe(n, weights=None, layers=None, image_size=64).weights for n in (CNN, "resnet18.tv_in1k")]
    assert names == [f"timm/{timm.get_pretrained_cfg(CNN).architecture}.a1_in1k", "timm/resnet18.tv_in1k"]  # type: ignore[union-attr]


def test_describing_a_backbone_twice_gives_the_same() -> None:
    """What a backbone is does not depend on the random weights that it is tried with."""
    first, second = (describe(TINY_CNN, weights="test", layers=None, image_size=64) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("backbone", ["resnet1888", "", "no such model", "hf-hub:someone/something", "resnet18.nope"])
def test_an_unknown_model_is_refused(backbone: str) -> None:
    """A name, or a tag, that timm does not know is an error for the user; nothing is looked up on the network."""
    with pytest.raises(ConfigError):
        spec_of(backbone, image_size=64)


def test_a_misspelt_model_gets_suggestions() -> None:
    """The error about an unknown model names some that are spelt alike."""
    with pytest.raises(ConfigError, match=r"no model named 'resnet1888'; did you mean .*resnet18"):
        timm_name("resnet1888")


@pytest.mark.parametrize(("backbone", "layers"), [(CNN, (5,)), (CNN, (2, 99)), (CNN, (-1,)), (VIT, (12,))])
def test_a_layer_that_does_not_exist_is_refused(backbone: str, layers: tuple[int, ...]) -> None:
    """A layer outside the model is an error that lists the layers there are, with their strides."""
    with pytest.raises(ConfigError, match=r"has the layers 0 \(stride \d+\), 1 \(stride \d+\)") as error:
        spec_of(backbone, image_size=96, layers=layers)
    assert str(error.value).endswith(f"found --layers {','.join(map(str, layers))}")


@pytest.mark.parametrize("backbone", ["xcit_nano_12_p16_224", "maxvit_rmlp_pico_rw_256", "levit_128s"])
def test_an_image_size_that_the_model_cannot_take_is_refused(backbone: str) -> None:
    """A size that does not fit the model's windows or patches is an error that names the option to change."""
    with pytest.raises(ConfigError, match=r"100 px.*--image-size"):
        spec_of(backbone, image_size=100)


def test_a_model_without_feature_maps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that cannot give its intermediate feature maps is an error, not a crash later on."""
    monkeypatch.setattr(timm, "create_model", lambda *args, **options: nn.Identity())
    with pytest.raises(ConfigError, match="gives no feature maps"):
        describe(CNN, weights="test", layers=None, image_size=64)


# From feature maps to bags


@quick
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 6))
def test_patches_are_averaged_with_their_valid_neighbours(seed: int, height: int, width: int) -> None:
    """Pooling 3x3 is the mean over a cell and its neighbours; at the border only over those that exist."""
    level = np.random.default_rng(seed).normal(size=(2, 3, height, width)).astype(np.float32)
    extractor = FeatureExtractor(GivenMaps(level), layers=(0,), patch_pooling=3)
    bags = extractor(torch.zeros(2, 3, 8, 8)).numpy()
    expected = pooled_by_hand(level).transpose(0, 2, 3, 1).reshape(2, height * width, 3)
    np.testing.assert_allclose(bags, expected, rtol=1e-5, atol=1e-6)
    assert extractor.grid == (height, width)


def test_without_pooling_patches_are_the_cells_row_by_row() -> None:
    """A window of one cell leaves the map as it is; the patches run along the rows of the grid."""
    level = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    bags = FeatureExtractor(GivenMaps(level), layers=(0,), patch_pooling=1)(torch.zeros(1, 3, 8, 8)).numpy()
    assert bags.tolist() == [[[i, i + 12] for i in range(12)]]


def test_several_layers_are_joined_on_the_finest_grid() -> None:
    """Each patch holds the features of all layers; coarser maps are stretched over the finest grid."""
    rng = np.random.default_rng(0)
    fine, coarse = rng.normal(size=(2, 3, 8, 8)).astype(np.float32), np.empty((2, 5, 2, 2), np.float32)
    coarse[...] = rng.normal(size=(2, 5, 1, 2))  # columns differ, rows do not
    for maps, layers in [((fine, coarse), (0, 1)), ((coarse, fine), (0, 1))]:
        extractor = FeatureExtractor(GivenMaps(*maps), layers=layers, patch_pooling=1)
        bags = extractor(torch.zeros(2, 3, 8, 8)).numpy().reshape(2, 8, 8, 8)
        of_fine, of_coarse = (bags[..., :3], bags[..., 3:]) if maps[0] is fine else (bags[..., 5:], bags[..., :5])
        assert extractor.grid == (8, 8)
        np.testing.assert_array_equal(of_fine, fine.transpose(0, 2, 3, 1))
        np.testing.assert_allclose(of_coarse, np.broadcast_to(of_coarse[:, :1], of_coarse.shape), rtol=0, atol=1e-5)
        np.testing.assert_allclose(of_coarse[:, 0, 0], coarse[:, :, 0, 0], rtol=1e-6)
        np.testing.assert_allclose(of_coarse[:, 0, -1], coarse[:, :, 0, 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("backbone", "image_size", "layers", "grid"),
    [(TINY_CNN, 64, (1, 3), (16, 16)), (PYRAMID, 64, (1, 2), (8, 8)), (TINY_VIT, 96, (2, 5), (6, 6))],
)
def test_joined_layers_of_a_real_backbone(
    backbone: str, image_size: int, layers: tuple[int, ...], grid: tuple[int, int]
) -> None:
    """The description of several layers tells the finest grid and the sum of their lengths, and the bags have them."""
    spec = spec_of(backbone, image_size=image_size, layers=layers)
    recorded = timm.create_model(backbone, pretrained=False).feature_info
    assert (spec.grid, spec.dim) == (grid, sum(recorded[layer]["num_chs"] for layer in layers))
    bags = embed_images(build_extractor(spec, random_weights(backbone)), pictures(1, image_size), device="cpu")
    # the checkpoint of the ViT is for 160 pixels and is used at 96
    assert bags.shape == (1, spec.n_patches, spec.dim)


def test_a_cnn_is_read_with_the_given_weights() -> None:
    """The patches of a ResNet's last layer are what the whole model with these weights gives there, averaged 3x3."""
    spec, weights = spec_of(TINY_CNN, image_size=96, layers=(4,)), random_weights(TINY_CNN)
    model = timm.create_model(TINY_CNN, pretrained=False).eval()
    model.load_state_dict(weights)
    images = pictures(2, 96)
    with torch.inference_mode():
        level = model.forward_features(torch.from_numpy(images)).numpy()
        bags = build_extractor(spec, weights)(torch.from_numpy(images)).numpy()
    expected = pooled_by_hand(level).transpose(0, 2, 3, 1).reshape(2, 9, -1)
    np.testing.assert_allclose(bags, expected, rtol=1e-4, atol=1e-5)


def test_a_vit_is_read_after_its_middle_block_without_the_class_token() -> None:
    """The patches of a ViT are the tokens that its middle block gives, without the class token and not pooled."""
    spec, weights = spec_of(TINY_VIT, image_size=96), random_weights(TINY_VIT, img_size=96)
    model = timm.create_model(TINY_VIT, pretrained=False, img_size=96).eval()
    model.load_state_dict(weights)
    seen: list[Tensor] = []
    model.blocks[3].register_forward_hook(lambda module, given, tokens: seen.append(tokens))
    images = torch.from_numpy(pictures(2, 96))
    with torch.inference_mode():
        model(images)
        bags = build_extractor(spec, weights)(images)
    np.testing.assert_allclose(bags.numpy(), seen[0][:, 1:].numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("backbone", "image_size"), [(TINY_CNN, 64), (LITE, 64), (PYRAMID, 64), (TINY_VIT, 96)])
def test_bags_are_unit_vectors_and_do_not_depend_on_the_batch(backbone: str, image_size: int) -> None:
    """Every patch has length 1, and an image has the same bag alone, in a batch of five, and twice in a row."""
    spec = spec_of(backbone, image_size=image_size)
    extractor, images = build_extractor(spec, random_weights(backbone)), pictures(5, image_size)
    together = embed_images(extractor, images, device="cpu")
    assert together.shape == (5, spec.n_patches, spec.dim)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together.astype(float), axis=2), 1, rtol=1e-5)
    one_by_one = [embed_images(extractor, images[i : i + 1], device="cpu")[0] for i in range(5)]
    np.testing.assert_allclose(one_by_one, together, rtol=0, atol=1e-5)
    np.testing.assert_allclose(embed_images(extractor, images, device="cpu"), together, rtol=0, atol=1e-6)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_a_broken_backbone_is_refused() -> None:
    """Weights that give NaN are an error that points at them, not bags of NaN."""
    level = np.full((1, 3, 2, 2), np.nan, np.float32)
    extractor = FeatureExtractor(GivenMaps(level), layers=(0,), patch_pooling=1)
    with pytest.raises(ArrayContractError, match="check the backbone's weights"):
        embed_images(extractor, pictures(1, 8), device="cpu")


# One embedding of the whole image


@pytest.mark.parametrize(("backbone", "image_size"), [(TINY_CNN, 64), (LITE, 64), (PYRAMID, 64), (TINY_VIT, 96)])
def test_the_holistic_embedding_is_what_the_classifier_is_given(backbone: str, image_size: int) -> None:
    """The whole model's classifier, put behind the embedding, gives the model's own answer; layers do not matter."""
    spec = spec_of(backbone, image_size=image_size)
    size = {"img_size": image_size} if backbone == TINY_VIT else {}
    weights, images = random_weights(backbone, **size), pictures(3, image_size)
    model = timm.create_model(backbone, pretrained=False, **size).eval()
    model.load_state_dict(weights)
    embeddings = embed_holistically(build_extractor(spec, weights), images, device="cpu")
    assert embeddings.dtype == np.float32
    with torch.inference_mode():
        answers = model(torch.from_numpy(images)).numpy()
        found = model.get_classifier()(torch.from_numpy(embeddings)).numpy()
    np.testing.assert_allclose(found, answers, rtol=1e-3, atol=1e-4 * np.abs(answers).max())
    last = replace(spec, layers=(len(model.feature_info) - 1,))
    again = embed_holistically(build_extractor(last, weights), images, device="cpu")
    np.testing.assert_allclose(again, embeddings, rtol=1e-5, atol=1e-6)


def test_the_holistic_embedding_of_a_cnn_is_the_mean_of_its_last_map() -> None:
    """A ResNet's embedding is the average over the cells of its last layer, the very cells that become patches."""
    spec, weights, images = spec_of(TINY_CNN, image_size=96, layers=(4,)), random_weights(TINY_CNN), pictures(2, 96)
    extractor = build_extractor(replace(spec, patch_pooling=1), weights)
    with torch.inference_mode():
        cells = extractor(torch.from_numpy(images)).numpy()
    embeddings = embed_holistically(extractor, images, device="cpu")
    np.testing.assert_allclose(embeddings, cells.mean(axis=1), rtol=1e-4, atol=1e-5)
    one_by_one = [embed_holistically(extractor, images[i : i + 1], device="cpu")[0] for i in range(2)]
    np.testing.assert_allclose(one_by_one, embeddings, rtol=1e-4, atol=1e-6)


class GivenPooled(nn.Module):
    """Stands for a timm model; what it pools to is given."""

    def __init__(self, pooled: Tensor) -> None:
        super().__init__()
        self.pooled = pooled

    def forward_features(self, images: Tensor) -> Tensor:
        return images

    def forward_head(self, features: Tensor, *, pre_logits: bool) -> Tensor:
        return self.pooled


def test_a_holistic_embedding_that_is_none_is_refused() -> None:
    """Weights that give NaN, and a model that does not pool, are errors that say so."""
    for pooled, error, message in [
        (torch.full((1, 4), torch.nan), ArrayContractError, "check the backbone's weights"),
        (torch.zeros(1, 4, 2, 2), ConfigError, "choose one that pools"),
    ]:
        extractor = FeatureExtractor(GivenPooled(pooled), layers=(0,), patch_pooling=1)
        with pytest.raises(error, match=message):
            embed_holistically(extractor, pictures(1, 8), device="cpu")


# Weights


def changed(weights: Mapping[str, Tensor], key: str, value: Tensor | None) -> dict[str, Tensor]:
    others = {name: tensor for name, tensor in weights.items() if name != key}
    return others if value is None else others | {key: value}


@pytest.mark.parametrize(
    ("backbone", "key", "value", "message"),
    [
        (TINY_CNN, "layer2.0.conv1.weight", None, "layer2.0.conv1.weight"),
        (TINY_CNN, "layer2.0.conv1.weight", torch.zeros(2, 2, 3, 3), "layer2.0.conv1.weight"),
        (TINY_CNN, "layer9.weight", torch.zeros(1), "layer9.weight"),
        (LITE, "conv_stem.weight", None, "conv_stem.weight"),
        (TINY_VIT, "blocks.3.mlp.fc1.weight", None, "blocks.3.mlp.fc1.weight"),
        (TINY_VIT, "norm.weight", torch.zeros(3), "norm.weight"),
        (TINY_VIT, "cls_token", None, "cls_token"),
    ],
)
def test_weights_that_do_not_fit_are_refused(backbone: str, key: str, value: Tensor | None, message: str) -> None:
    """A checkpoint with a weight missing, unknown or of another shape is an error that names weight, file and model."""
    spec = replace(spec_of(backbone, image_size=96), weights="sha256-of-the-file")
    with pytest.raises(StoreError, match=message) as error:
        build_extractor(spec, changed(random_weights(backbone), key, value))
    assert "sha256-of-the-file" in str(error.value)
    assert backbone in str(error.value)


@pytest.mark.parametrize("backbone", [TINY_CNN, TINY_VIT])
def test_weights_of_another_architecture_or_none_are_refused(backbone: str) -> None:
    """The checkpoint of another model, or an empty one, is an error."""
    spec = spec_of(backbone, image_size=96)
    for weights in (random_weights(LITE), {}):
        with pytest.raises(StoreError):
            build_extractor(spec, weights)


@pytest.mark.parametrize("other", [TINY_CNN, TINY_VIT])
def test_weights_that_timm_cannot_rename_are_refused(other: str) -> None:
    """Where timm takes another network's weights for those of an older program, that is an error like any other."""
    spec = describe("test_convnext", weights="of-another", layers=None, image_size=64)
    with pytest.raises(StoreError, match=r"weights of-another do not fit test_convnext: timm cannot rename them"):
        build_extractor(spec, random_weights(other))


@pytest.mark.parametrize("backbone", [TINY_CNN, LITE, TINY_VIT])
def test_the_classifier_of_a_checkpoint_does_not_matter(backbone: str) -> None:
    """A checkpoint that was trained for other classes, or has no classifier, gives the same bags."""
    spec, images = spec_of(backbone, image_size=96), pictures(1, 96)
    weights = random_weights(backbone)
    head = timm.create_model(backbone, pretrained=False).pretrained_cfg["classifier"]
    seven = {
        **weights,
        f"{head}.weight": torch.ones(7, weights[f"{head}.weight"].shape[1]),
        f"{head}.bias": torch.ones(7),
    }
    none = {name: tensor for name, tensor in weights.items() if not name.startswith(f"{head}.")}
    bags = [embed_images(build_extractor(spec, given), images, device="cpu") for given in (weights, seven, none)]
    np.testing.assert_allclose(bags[1], bags[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(bags[2], bags[0], rtol=0, atol=1e-6)


def test_building_does_not_change_the_checkpoint() -> None:
    """The given weights are left as they were, so a second extractor can be built from them."""
    weights = dict(random_weights(TINY_VIT))
    before = {name: tensor.clone() for name, tensor in weights.items()}
    build_extractor(spec_of(TINY_VIT, image_size=96), weights)
    assert weights.keys() == before.keys()
    assert all(torch.equal(weights[name], before[name]) for name in before)


# From a file's pixels to the backbone's input


def spec_for_pixels(side: int, interpolation: str = "bicubic") -> EmbeddingSpec:
    return EmbeddingSpec(
        "b", "b", "w", (1,), side, interpolation, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 3, (1, 1), 1
    )


@quick
@given(
    st.tuples(*[st.integers(0, 255)] * 3),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(["bicubic", "bilinear", "lanczos", "nearest"]),
)
def test_an_image_of_one_colour_becomes_its_normalised_colour(
    colour: tuple[int, int, int], height: int, width: int, interpolation: str
) -> None:
    """Colours are scaled to [0, 1], minus the mean, over the standard deviation, channel by channel, at any size."""
    spec = spec_for_pixels(16, interpolation)
    image = prepare_image(np.full((height, width, 3), colour, np.uint8), spec)
    assert image.shape == (3, 16, 16)
    assert image.dtype == np.float32
    assert image.flags.c_contiguous
    expected = (np.array(colour) / 255 - spec.mean) / spec.std
    np.testing.assert_allclose(image, np.broadcast_to(expected[:, None, None], image.shape), atol=1e-5)


def test_an_image_of_the_right_size_is_not_resampled() -> None:
    """A square image that already has the side of the input keeps every pixel, not turned or mirrored."""
    spec = spec_for_pixels(16)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    back = prepare_image(pixels, spec).transpose(1, 2, 0) * spec.std + spec.mean
    np.testing.assert_array_equal(np.rint(back * 255).astype(int), pixels)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "lanczos", "nearest"])
@pytest.mark.parametrize("odd", [None, (0, 0, 1), (17, 3, 2), (39, 29, 0)])
def test_a_grey_image_is_prepared_as_a_coloured_one(interpolation: str, odd: tuple[int, int, int] | None) -> None:
    """A channel comes out the same, bit for bit, whether the others are equal to it or not, were it by one value."""
    spec = spec_for_pixels(16, interpolation)
    grey = np.random.default_rng(0).integers(0, 255, (40, 30, 1), dtype=np.uint8)
    pixels = np.repeat(grey, 3, axis=2)
    if odd:
        pixels[odd] += 1
    found = prepare_image(pixels, spec)
    for channel in range(3):
        coloured = np.concatenate([255 - pixels[..., :1]] * 3, axis=2)
        coloured[..., channel] = pixels[..., channel]
        np.testing.assert_array_equal(found[channel], prepare_image(coloured, spec)[channel])


def test_a_grey_image_whose_channels_share_their_memory_is_prepared_as_a_copy_of_it() -> None:
    """As images are read: bit for bit, and into the place of a batch that is given."""
    spec = spec_for_pixels(16, "bicubic")
    grey = np.random.default_rng(0).integers(0, 255, (40, 30, 1), dtype=np.uint8)
    shared, batch = np.broadcast_to(grey, (40, 30, 3)), np.full((2, 3, 16, 16), np.nan, np.float32)
    prepare_image(shared, spec, out=batch[1])
    np.testing.assert_array_equal(batch[1], prepare_image(shared.copy(), spec))
    assert np.isnan(batch[0]).all()


@pytest.mark.parametrize(("height", "width"), [(16, 64), (64, 16), (20, 80)])
def test_a_long_image_is_squashed_and_not_cut(height: int, width: int) -> None:
    """The whole of an oblong image is in the square: its bright end keeps its share and its place."""
    pixels = np.zeros((height, width, 3), np.uint8)
    if width > height:
        pixels[:, : width // 4] = 255
    else:
        pixels[: height // 4] = 255
    image = prepare_image(pixels, spec_for_pixels(16, "nearest"))[0]
    bright = image > 0
    expected = np.zeros((16, 16), bool)
    expected[:4] = True
    assert (bright == (expected.T if width > height else expected)).all()


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.uint16),
        np.zeros((4, 4, 3), bool),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
    ],
)
def test_pixels_that_are_not_rgb_bytes_are_refused(pixels: NDArray[Any]) -> None:
    """Grey, transparent, 16-bit or float pixels are an error that tells what was found."""
    with pytest.raises(ArrayContractError, match=r"\(height, width, 3\).*found .*") as error:
        prepare_image(pixels, spec_for_pixels(16))
    assert str(pixels.dtype) in str(error.value)


# Devices


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A machine with the given number of GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)


@pytest.mark.parametrize(
    ("gpus", "wanted", "found"),
    [
        (0, "auto", "cpu"),
        (0, "cpu", "cpu"),
        (1, "auto", "cuda"),
        (1, "cpu", "cpu"),
        (1, "cuda", "cuda"),
        (2, "cuda:1", "cuda:1"),
    ],
    indirect=["gpus"],
)
@pytest.mark.usefixtures("gpus")
def test_the_device_that_is_there_is_taken(wanted: str, found: str) -> None:
    """``auto`` takes a GPU where there is one; a device that is named is taken if it exists."""
    assert choose_device(wanted) == found


@pytest.mark.parametrize(
    ("gpus", "wanted"), [(0, "cuda"), (0, "cuda:7"), (1, "cuda:1"), (2, "cuda:7")], indirect=["gpus"]
)
@pytest.mark.usefixtures("gpus")
def test_a_gpu_that_is_not_there_is_refused(wanted: str) -> None:
    """Asking for a GPU that does not exist is an error that says how many there are and what to use instead."""
    with pytest.raises(ConfigError, match=rf"--device {wanted}: torch sees \d CUDA devices.*--device cpu or auto"):
        choose_device(wanted)
