from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import timm
import torch
from helpers.builders import digest
from numpy.typing import NDArray
from torch import Tensor, nn

from anoclust_core.config import EmbedConfig, RunConfig
from anoclust_core.embedding.backbones import (
    FeatureExtractor,
    build_extractor,
    describe,
    largest_difference,
    network_size,
    random_image,
)
from anoclust_core.embedding.extraction import embed_images, has_native_bf16
from anoclust_core.embedding.openvino import CONVERSION_TOLERANCE, ConversionError, ConvertedExtractor, convert
from anoclust_core.records import EmbeddingSpec, ImageRecord
from tasks.compute import embedding
from tasks.images.decoding import DecodedPicture
from tasks.networks import openvino
from tasks.networks.openvino import converted, features_file, kept_network, network_file
from tasks.stores.layout import StoreLayout
from tasks.stores.stage_keys import settings_key

TINY, SIDE = "test_resnet", 64


def built(backbone: str, side: int) -> FeatureExtractor:
    """Extractor with random weights."""
    spec = describe(backbone, weights="test", layers=None, image_size=side)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = timm.create_model(spec.timm_model, pretrained=False).state_dict()
    return build_extractor(spec, weights)


@pytest.fixture(scope="module")
def tiny() -> FeatureExtractor:
    return built(TINY, SIDE)


@pytest.fixture(scope="module")
def model(tiny: FeatureExtractor) -> bytes:
    """What that extractor is converted to; converting takes seconds."""
    return convert(tiny, SIDE)


def pictures(n_images: int, side: int) -> NDArray[np.float32]:
    return np.random.default_rng(5).normal(size=(n_images, 3, side, side)).astype(np.float32)


def features(extractor: FeatureExtractor, images: NDArray[np.float32]) -> Tensor:
    with torch.inference_mode():
        return extractor(torch.from_numpy(images))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "side"),
    [
        ("efficientnet_lite0", 128),
        ("efficientnet_lite1", 128),
        ("efficientnet_lite2", 128),
        ("efficientnet_b0", 96),  # sigmoid gates and SiLU
        ("resnet18", 96),
        ("wide_resnet50_2", 64),
        ("vit_tiny_patch16_224", 96),
    ],
)
def test_features_are_those_of_eager_torch(backbone: str, side: int) -> None:
    """Each patch's features differ from eager torch's by less than the stated part of their norm, for any batch."""
    extractor = built(backbone, side)
    network, images = ConvertedExtractor(convert(extractor, side)), pictures(3, side)
    found = network(torch.from_numpy(images))
    assert found.dtype == torch.float32
    assert largest_difference(found, features(extractor, images)) < CONVERSION_TOLERANCE["float32"]


@pytest.fixture
def tiny_spec() -> EmbeddingSpec:
    return describe(TINY, weights="test", layers=None, image_size=SIDE)


@pytest.fixture
def kept(tiny: FeatureExtractor, model: bytes, tiny_spec: EmbeddingSpec, tmp_path: Path) -> Path:
    """File of that network in a store."""
    file = tmp_path / "backbones" / "n.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openvino, "convert", lambda *_: model)
        converted(file, tiny, tiny_spec)
    return file


def chosen(file: Path, spec: EmbeddingSpec, *, n_images: int = 1, **asked: Any) -> embedding.Network:
    config = EmbedConfig.model_validate(asked)
    return embedding.choose_network(config, spec, file, "cpu", n_images=n_images, memory_budget=1 << 40)


def test_a_kept_network_is_used_for_a_single_image_and_torch_builds_nothing(
    tiny: FeatureExtractor, kept: Path, tiny_spec: EmbeddingSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network is converted once; later runs take it from its file, with what it takes in memory."""
    for name in ("build_extractor", "load_state_dict", "converted"):
        monkeypatch.setattr(embedding, name, lambda *_, name=name: pytest.fail(name))
    found = chosen(kept, tiny_spec)
    assert found.is_converted
    assert found.conversion_bytes == 0
    assert found.size == network_size(tiny, SIDE)
    images = pictures(2, SIDE)
    off = largest_difference(found.extractor(torch.from_numpy(images)), features(tiny, images))
    assert off < CONVERSION_TOLERANCE["float32"]


def noisy_network() -> FeatureExtractor:
    """The same network with weights a thousandth larger."""
    extractor = built(TINY, SIDE)
    with torch.no_grad():
        for weights in extractor.parameters():
            weights.mul_(1.001)
    return extractor


def test_a_network_with_other_results_is_refused(tiny: FeatureExtractor, model: bytes) -> None:
    """A conversion whose features are off, or of another shape, is refused, and so is one for another size."""
    network, image = ConvertedExtractor(model), random_image(SIDE).numpy()
    network.check(features(tiny, image), SIDE)
    with pytest.raises(ConversionError, match="off by"):
        network.check(features(noisy_network(), image), SIDE)
    with pytest.raises(ConversionError, match="off by inf"):
        network.check(features(tiny, image)[:, 1:], SIDE)
    with pytest.raises(ConversionError, match="OpenVINO fails"):
        network.check(features(tiny, image), 2 * SIDE)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "network cut off": lambda file: file.write_bytes(file.read_bytes()[:-1000]),
    "network empty": lambda file: file.write_bytes(b""),
    "network gone": lambda file: file.unlink(),
    "network with other weights": lambda file: file.write_bytes(convert(noisy_network(), SIDE)),
    "network of another size": lambda file: file.write_bytes(convert(built(TINY, 2 * SIDE), 2 * SIDE)),
    "features cut off": lambda file: features_file(file).write_bytes(features_file(file).read_bytes()[:-1000]),
    "features empty": lambda file: features_file(file).write_bytes(b""),
    "features something else": lambda file: features_file(file).write_bytes(b"features" * 99),
    "features gone": lambda file: features_file(file).unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_made_again(
    tiny: FeatureExtractor,
    model: bytes,
    kept: Path,
    tiny_spec: EmbeddingSpec,
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
) -> None:
    """A network, or features to compare it with, that is not what was written is replaced and never used."""
    DAMAGES[damage](kept)
    assert kept_network(kept, tiny_spec) is None
    monkeypatch.setattr(openvino, "convert", lambda *_: model)
    monkeypatch.setattr(embedding, "load_state_dict", lambda *_: {})
    monkeypatch.setattr(embedding, "build_extractor", lambda *_: tiny)
    assert chosen(kept, tiny_spec, engine="openvino").is_converted
    assert kept.read_bytes() == model
    assert kept_network(kept, tiny_spec)


def test_a_byte_that_flips_in_the_features_is_noticed(kept: Path, tiny_spec: EmbeddingSpec) -> None:
    """Wherever it is, what it is compared with is what was written, or nothing."""
    whole = features_file(kept).read_bytes()
    written = kept_network(kept, tiny_spec)
    assert written
    for at in range(100, len(whole), len(whole) // 20):
        features_file(kept).write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        found = kept_network(kept, tiny_spec)
        assert found is None or found.size == written.size


class Unconvertible(nn.Module):
    """What it computes depends on values, in a way that no graph can express."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(2) if images.sum() > 0 else images.flatten(3)


def test_a_network_that_cannot_be_converted_runs_in_torch(
    tiny_spec: EmbeddingSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be converted is computed by torch, and the reason is there for a warning in the log."""
    with pytest.raises(ConversionError, match="cannot be converted"):
        convert(Unconvertible(), SIDE)  # type: ignore[arg-type]
    monkeypatch.setattr(embedding, "load_state_dict", lambda *_: {})
    monkeypatch.setattr(embedding, "build_extractor", lambda *_: Unconvertible())
    found = chosen(tmp_path / "n.onnx", tiny_spec, engine="openvino")
    assert not found.is_converted
    assert isinstance(found.extractor, Unconvertible)
    assert found.not_converted.startswith("it cannot be converted")


@pytest.mark.parametrize(
    ("asked", "device", "n_pictures", "has_memory", "expected"),
    [
        ({}, "cpu", embedding.CONVERTED_FROM, True, True),
        ({}, "cpu", embedding.CONVERTED_FROM - 1, True, False),
        ({}, "cpu", 10_000, False, False),
        ({}, "cuda", 10_000, True, False),
        ({"engine": "torch"}, "cpu", 10_000, True, False),
        ({"engine": "openvino"}, "cpu", 1, True, True),
    ],
)
def test_when_a_network_is_converted(
    asked: dict[str, Any], device: str, n_pictures: int, has_memory: bool, expected: bool
) -> None:
    """On a CPU, in float32, for many pictures, unless memory is short or torch asked for."""
    config = EmbedConfig.model_validate(asked)
    wanted = embedding.converts(config, n_pictures=n_pictures, has_memory=has_memory)
    assert (embedding.may_convert(config, device) and wanted) is expected


@pytest.mark.parametrize(
    ("device", "engine", "is_native", "expected"),
    [
        ("cpu", "auto", True, True),
        ("cpu", "auto", False, False),
        ("cpu", "openvino", False, False),
        ("cpu", "torch", True, False),
        ("cuda", "auto", True, False),
    ],
)
def test_bf16_is_computed_by_one_engine_however_few_images_there_are(
    monkeypatch: pytest.MonkeyPatch, device: str, engine: str, is_native: bool, expected: bool
) -> None:
    """Two engines agree to three digits: what one image is embedded with must not depend on how many there are."""
    monkeypatch.setattr(embedding, "has_native_bf16", lambda _: is_native)
    config = EmbedConfig.model_validate({"precision": "bf16", "engine": engine})
    assert embedding.may_convert(config, device) is expected
    for n_pictures, has_memory in ((1, False), (10_000, True)):
        assert embedding.converts(config, n_pictures=n_pictures, has_memory=has_memory)


def test_threads_share_a_converted_network(tiny: FeatureExtractor, model: bytes) -> None:
    """Four threads at the same time, two of them more than it was made for, get the features that one gets."""
    network, images = ConvertedExtractor(model, threads=2), pictures(16, SIDE)
    expected = network(torch.from_numpy(images))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda at: network(torch.from_numpy(images[at : at + 1])), range(16)))
    assert torch.equal(torch.cat(found), expected)


def test_nobody_is_told_that_openvino_is_used() -> None:
    """The package that tells OpenVINO's makers of every import is not imported."""
    program = (
        "import sys, pytest; from anoclust_core.embedding.openvino import ConversionError, ConvertedExtractor\n"
        "with pytest.raises(ConversionError): ConvertedExtractor(b'')\n"
        "assert 'openvino' in sys.modules\n"
        "assert not any(sys.modules[name] for name in sys.modules if name.startswith('openvino_telemetry'))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# Precision


def a_spec() -> EmbeddingSpec:
    return EmbeddingSpec("b", "b", "w", (1,), 64, "bicubic", (0.5,) * 3, (0.5,) * 3, 3, (8, 8), 48)


def test_precision_enters_the_key_where_it_is_not_float32(tmp_path: Path) -> None:
    """Bags of bf16 are never taken for those of float32, whose key is that of stores without any precision."""
    spec = a_spec()
    assert "precision" not in spec.identity
    assert replace(spec, precision="bf16").identity == spec.identity | {"precision": "bf16"}
    keys = {settings_key(RunConfig(), replace(spec, precision=precision)) for precision in ("float32", "bf16")}
    assert len(keys) == 2
    store = StoreLayout(tmp_path)
    assert network_file(store, spec) != network_file(store, replace(spec, weights="x"))


def test_bf16_is_near_float32(tiny: FeatureExtractor) -> None:
    """Features in bf16 have its three digits, are not those of float32, and are float32 of unit norm."""
    images = pictures(2, SIDE)
    exact, rough = (embed_images(tiny, images, device="cpu", precision=precision) for precision in ("float32", "bf16"))
    assert rough.dtype == np.float32
    assert 1e-5 < np.linalg.norm(rough - exact, axis=2).max() < 0.1
    np.testing.assert_allclose(np.linalg.norm(rough, axis=2), 1, rtol=1e-5)


@pytest.mark.skipif(not has_native_bf16("cpu"), reason="this processor has no bfloat16 of its own")
def test_bf16_in_openvino_is_near_float32(tiny: FeatureExtractor, model: bytes) -> None:
    """Features in bf16 are off by less than the stated part of their norm, and by more than rounding to float32."""
    network = ConvertedExtractor(model, precision="bf16")
    network.check(features(tiny, random_image(SIDE).numpy()), SIDE)
    found = network(torch.from_numpy(pictures(3, SIDE)))
    off = largest_difference(found, features(tiny, pictures(3, SIDE)))
    assert CONVERSION_TOLERANCE["float32"] < off < CONVERSION_TOLERANCE["bf16"]


def test_native_bf16_is_what_the_processor_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU has bf16 of its own if one of its instruction sets has."""
    for flags, expected in (({"avx2": True, "avx512_bf16": False}, False), ({"amx_bf16": True}, True)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda flags=flags: flags)
        assert has_native_bf16("cpu") is expected


# Decoding, computing and writing at the same time


def test_later_batches_are_decoded_while_one_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first batch's computation can wait for a later batch to be decoded; taking turns, it would wait for ever."""
    later, patience = Event(), 20.0

    def read(copies: Any, max_pixels: int, deep: Any) -> DecodedPicture:
        if copies[0].path == "1":
            later.set()
        return DecodedPicture(np.zeros((8, 8, 3), np.uint8))

    def compute(images: Tensor) -> Tensor:
        assert later.wait(patience), "nothing was decoded meanwhile"
        return torch.ones(len(images), 4, 3)

    monkeypatch.setattr(embedding, "read_any", read)
    limits = embedding.Limits(threads=2, batch=1, decode_bytes=100)
    images = [(ImageRecord(str(n), f"/{n}", digest(str(n)), "cluster"),) for n in range(6)]
    batches = embedding.embed_batches(images, compute, a_spec(), "cpu", limits)
    assert [batch.hashes for batch in batches] == [[digest(str(n))] for n in range(6)]


def test_later_batches_are_computed_while_one_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes the first batch, to write it, can wait for later ones to be computed."""
    ahead, patience = Event(), 20.0
    monkeypatch.setattr(embedding, "read_any", lambda *_: DecodedPicture(np.zeros((8, 8, 3), np.uint8)))
    done: list[int] = []

    def compute(images: Tensor) -> Tensor:
        done.append(1)
        if len(done) > 5:  # more than are submitted before the first is handed over
            ahead.set()
        return torch.ones(len(images), 4, 3)

    limits = embedding.Limits(threads=2, batch=1, decode_bytes=100)
    images = [(ImageRecord(str(n), f"/{n}", digest(str(n)), "cluster"),) for n in range(12)]
    batches = embedding.embed_batches(images, compute, a_spec(), "cpu", limits)
    next(batches)
    next(batches)
    assert ahead.wait(patience)
    assert len(list(batches)) == 10
