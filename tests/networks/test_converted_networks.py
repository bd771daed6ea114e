from __future__ import annotations

import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import timm
import torch
from builders import digest
from numpy.typing import NDArray
from torch import Tensor, nn

import tasks.embed as embed_stage
from anoclust_core.backbones import FeatureExtractor, build_extractor, describe, largest_difference
from anoclust_core.config import EmbedConfig, RunConfig
from anoclust_core.conversion import CONVERSION_TOLERANCE, ConversionError, ConvertedExtractor, convert
from anoclust_core.embedding import embed_images, has_native_bf16
from anoclust_core.records import EmbeddingSpec, ImageRecord
from flows.plan import settings_key
from tasks.stores.layout import StoreLayout
from tasks.stores.networks import converted, kept_network, network_file

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


def test_the_converted_network_is_kept(
    tiny: FeatureExtractor, model: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network is converted once; the next time its file is read."""
    file = tmp_path / "backbones" / "n.onnx"
    monkeypatch.setattr("tasks.stores.networks.convert", lambda *_: model)
    first = converted(file, tiny, SIDE)
    monkeypatch.setattr("tasks.stores.networks.convert", lambda *_: pytest.fail("converted again"))
    images = torch.from_numpy(pictures(2, SIDE))
    assert torch.equal(converted(file, tiny, SIDE, kept=kept_network(file, "float32"))(images), first(images))


@pytest.fixture(scope="module")
def noisy() -> FeatureExtractor:
    """The same network with weights a thousandth larger."""
    extractor = built(TINY, SIDE)
    with torch.no_grad():
        for weights in extractor.parameters():
            weights.mul_(1.001)
    return extractor


@pytest.mark.parametrize("damage", ["cut off", "no network"])
def test_a_damaged_file_is_made_anew(
    tiny: FeatureExtractor, model: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """A file that is cut off or empty is replaced."""
    file = tmp_path / "n.onnx"
    file.write_bytes({"cut off": model[: len(model) // 2], "no network": b""}[damage])
    monkeypatch.setattr("tasks.stores.networks.convert", lambda *_: model)
    converted(file, tiny, SIDE, kept=kept_network(file, "float32"))
    assert file.read_bytes() == model


def test_a_file_with_other_weights_is_made_anew(noisy: FeatureExtractor, model: bytes, tmp_path: Path) -> None:
    """A file that holds the network with other weights is replaced; its features are never used."""
    file, images = tmp_path / "n.onnx", pictures(2, SIDE)
    file.write_bytes(model)
    found = converted(file, noisy, SIDE, kept=kept_network(file, "float32"))(torch.from_numpy(images))
    assert largest_difference(found, features(noisy, images)) < CONVERSION_TOLERANCE["float32"]
    assert file.read_bytes() != model


class Unconvertible(nn.Module):
    """What it computes depends on values, in a way that no graph can express."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(2) if images.sum() > 0 else images.flatten(3)


def test_a_network_that_cannot_be_converted_runs_in_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be converted is a warning in the log that names the network, and torch computes it."""
    with pytest.raises(ConversionError, match="cannot be converted"):
        convert(Unconvertible(), SIDE)  # type: ignore[arg-type]
    monkeypatch.setattr(embed_stage, "get_run_logger", lambda: logging.getLogger("run"))
    spec = describe(TINY, weights="test", layers=None, image_size=SIDE)
    assert embed_stage._converted(tmp_path / "n.onnx", Unconvertible(), spec, None) is None  # type: ignore[arg-type]
    assert f"{TINY} runs in torch and not in OpenVINO: it cannot be converted" in caplog.text


def test_a_network_with_other_results_is_refused(noisy: FeatureExtractor, model: bytes) -> None:
    """A conversion whose features are off is refused."""
    with pytest.raises(ConversionError, match="off by"):
        ConvertedExtractor(model).checked(noisy, SIDE)


@pytest.mark.parametrize(
    ("asked", "device", "n_images", "exists", "has_memory", "expected"),
    [
        ({}, "cpu", embed_stage.CONVERTED_FROM, False, True, True),
        ({}, "cpu", embed_stage.CONVERTED_FROM - 1, False, True, False),
        ({}, "cpu", 1, True, True, True),
        ({}, "cpu", 10_000, True, False, False),
        ({}, "cuda", 10_000, True, True, False),
        ({"engine": "torch"}, "cpu", 10_000, True, True, False),
        ({"engine": "openvino"}, "cpu", 1, False, True, True),
    ],
)
def test_when_a_network_is_converted(
    tmp_path: Path, asked: dict[str, Any], device: str, n_images: int, exists: bool, has_memory: bool, expected: bool
) -> None:
    """On a CPU, in float32, for many images or where the file is there, unless memory is short or torch asked for."""
    file = tmp_path / "n.onnx"
    if exists:
        file.write_bytes(b"")
    config = EmbedConfig.model_validate(asked)
    wanted = embed_stage._is_converted(config, file, n_images=n_images, has_memory=has_memory)
    assert (embed_stage._may_convert(config, device) and wanted) is expected


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, engine: str, is_native: bool, expected: bool
) -> None:
    """Two engines agree to three digits: what one image is embedded with must not depend on how many there are."""
    monkeypatch.setattr(embed_stage, "has_native_bf16", lambda _: is_native)
    config = EmbedConfig.model_validate({"precision": "bf16", "engine": engine})
    assert embed_stage._may_convert(config, device) is expected
    for n_images, has_memory in ((1, False), (10_000, True)):
        file = tmp_path / "n.onnx"
        assert embed_stage._is_converted(config, file, n_images=n_images, has_memory=has_memory)


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
        "import sys, pytest; from anoclust_core.conversion import ConversionError, ConvertedExtractor\n"
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
    found = ConvertedExtractor(model, precision="bf16").checked(tiny, SIDE)(torch.from_numpy(pictures(3, SIDE)))
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

    def read(copies: Any, max_pixels: int) -> NDArray[np.uint8]:
        if copies[0].path == "1":
            later.set()
        return np.zeros((8, 8, 3), np.uint8)

    def compute(images: Tensor) -> Tensor:
        assert later.wait(patience), "nothing was decoded meanwhile"
        return torch.ones(len(images), 4, 3)

    monkeypatch.setattr(embed_stage, "_read_any", read)
    limits = embed_stage._Limits(threads=2, batch=1, max_pixels=100)
    images = [(ImageRecord(str(n), f"/{n}", digest(str(n)), "cluster"),) for n in range(6)]
    batches = embed_stage._embed_batches(images, compute, a_spec(), "cpu", limits)
    assert [batch.hashes for batch in batches] == [[digest(str(n))] for n in range(6)]


def test_later_batches_are_computed_while_one_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes the first batch, to write it, can wait for later ones to be computed."""
    ahead, patience = Event(), 20.0
    monkeypatch.setattr(embed_stage, "_read_any", lambda copies, pixels: np.zeros((8, 8, 3), np.uint8))
    done: list[int] = []

    def compute(images: Tensor) -> Tensor:
        done.append(1)
        if len(done) > 5:  # more than are submitted before the first is handed over
            ahead.set()
        return torch.ones(len(images), 4, 3)

    limits = embed_stage._Limits(threads=2, batch=1, max_pixels=100)
    images = [(ImageRecord(str(n), f"/{n}", digest(str(n)), "cluster"),) for n in range(12)]
    batches = embed_stage._embed_batches(images, compute, a_spec(), "cpu", limits)
    next(batches)
    next(batches)
    assert ahead.wait(patience)
    assert len(list(batches)) == 10
