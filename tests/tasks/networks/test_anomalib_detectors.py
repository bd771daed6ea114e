"""Detectors that anomalib trains for us: from pictures and weights of a file to a model that OpenVINO runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from anoclust_core.errors import ConfigError, StoreError
from anoclust_core.records import Detector
from tasks.networks import anomalib_detectors, checkpoints
from tasks.networks.anomalib_detectors import check_training, export_detector, train_detector
from tasks.networks.detector_training import DetectorTraining, backbone_of
from tasks.networks.detectors import DetectorNetwork

pytestmark = pytest.mark.slow

SIDE = 32


@pytest.fixture(scope="module")
def pictures() -> NDArray[np.uint8]:
    """Grey noise of low contrast."""
    noise = np.random.default_rng(0).normal(120, 8, size=(8, SIDE, SIDE, 1)).clip(0, 255)
    return np.repeat(noise.astype(np.uint8), 3, axis=3)


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Random weights of ResNet-18 in a file."""
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(timm.create_model("resnet18", pretrained=False).state_dict(), path)
    return str(path)


def training(
    method: str,
    checkpoint: str | None,
    *,
    backbone: str = "resnet18",
    side: int = SIDE,
    steps: int = 0,
    textures: str | None = None,
) -> DetectorTraining:
    backbone = "" if method == "draem" else backbone
    return DetectorTraining(method, backbone, checkpoint, side, steps, textures, seed=0)


def spoiled(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same picture with a bright square in one corner."""
    changed = pixels.copy()
    changed[:10, :10] = 255
    return changed


@pytest.mark.parametrize(("method", "steps"), [("patchcore", 0), ("padim", 0), ("cfa", 2)])
def test_a_method_finds_what_was_not_in_its_pictures(
    method: str, steps: int, pictures: NDArray[np.uint8], resnet: str, tmp_path: Path
) -> None:
    """With the weights of a file, the same seed trains the same detector, and its map is brightest at the change."""
    told: list[tuple[int, int]] = []
    detectors = [
        train_detector(
            pictures, training(method, resnet, steps=steps), device="cpu", progress=lambda *at: told.append(at)
        )
        for _ in range(2)
    ]
    given = torch.from_numpy(spoiled(pictures[0])).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        first, second = (detector(given).numpy() for detector in detectors)
    np.testing.assert_array_equal(first, second)
    assert told[-1][0] == told[-1][1]
    assert first.shape == (1, 1, SIDE, SIDE)
    assert first[0, 0, :10, :10].mean() > first[0, 0, 16:, 16:].mean()
    if method == "padim":  # the others are exported in the same way
        export_detector(detectors[0], tmp_path / "detector.xml", side=SIDE)
        network = DetectorNetwork(Detector(str(tmp_path / "detector.xml"), ""))
        np.testing.assert_allclose(network(spoiled(pictures[0])), first[0, 0], rtol=1e-3, atol=1e-3)


def test_draem_takes_a_step_on_pasted_textures(pictures: NDArray[np.uint8], tmp_path: Path) -> None:
    """DRAEM needs no weights and pastes the pictures of a folder; one without any is refused."""
    with pytest.raises(ConfigError, match=r"--textures .* holds no picture"):
        train_detector(
            pictures[:2], training("draem", None, steps=1, textures=str(tmp_path)), device="cpu", progress=_silent
        )
    detector = train_detector(pictures[:2], training("draem", None, steps=1), device="cpu", progress=_silent)
    with torch.no_grad():
        found = detector(torch.rand(1, 3, SIDE, SIDE))
    assert found.shape == (1, 1, SIDE, SIDE)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1


def test_weights_that_are_not_at_hand_are_named(pictures: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a backbone's weights would have to come from a hub, the message says which, and how to give them."""
    monkeypatch.setattr(checkpoints, "_probe", lambda _: "no network")
    with pytest.raises(StoreError, match=r"the weights of 'resnet18' are not installed.*--checkpoint FILE"):
        train_detector(pictures, training("cfa", None, steps=1), device="cpu", progress=_silent)


def test_a_checkpoint_of_another_network_is_refused(pictures: NDArray[np.uint8], checkpoint: Path) -> None:
    """Weights that do not fit the backbone train nothing."""
    with pytest.raises(StoreError, match=r"do not fit resnet18"):
        train_detector(pictures, training("padim", str(checkpoint)), device="cpu", progress=_silent)


def test_networks_of_all_kinds_are_looked_at(pictures: NDArray[np.uint8], tmp_path: Path) -> None:
    """A ConvNeXt, whose parts and levels others count differently, is looked at with its weights, at strides 8 and 16.

    The exported detector makes the same map.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network: Any = timm.create_model("test_convnext", pretrained=False).eval()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    asked = training("patchcore", str(tmp_path / "weights.safetensors"), backbone="test_convnext")
    detector = train_detector(pictures, asked, device="cpu", progress=_silent)
    given = torch.from_numpy(spoiled(pictures[0])).permute(2, 0, 1)[None].float() / 255
    expected: list[torch.Tensor] = []
    for at in (1, 2):
        network.stages[at].register_forward_hook(lambda *found: expected.append(found[-1]))
    with torch.no_grad():
        network(given)
        found = list(detector.model.feature_extractor(given).values())  # type: ignore[operator,union-attr]
        made = detector(given).numpy()
    assert [one.shape[-1] for one in found] == [SIDE // 8, SIDE // 16]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    export_detector(detector, tmp_path / "detector.xml", side=SIDE)
    exported = DetectorNetwork(Detector(str(tmp_path / "detector.xml"), ""))(spoiled(pictures[0]))
    np.testing.assert_allclose(exported, made[0, 0], rtol=1e-3, atol=1e-3)


def test_a_network_without_the_levels_of_a_method_is_refused() -> None:
    """A ViT has one stride only, and a method that looks at several says which it needs."""
    with pytest.raises(ConfigError, match=r"patchcore .* strides 8, 16; test_vit has those of 16; choose another"):
        check_training(training("patchcore", None, backbone="test_vit"))


def test_cfa_takes_its_own_backbones() -> None:
    """Asked for nothing, CFA has the paper's backbone; one that anomalib's CFA does not have is refused."""
    assert backbone_of("cfa", "efficientnet_lite2") == "wide_resnet50_2"
    assert backbone_of("draem", "efficientnet_lite2") == ""
    with pytest.raises(ConfigError, match="wide_resnet50_2 or resnet18; found 'resnet50'"):
        backbone_of("cfa", "resnet50")


def test_without_anomalib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training without the extra says how to install it."""

    def missing() -> None:
        raise ImportError("No module named 'anomalib'")

    monkeypatch.setattr(anomalib_detectors, "_anomalib", missing)
    with pytest.raises(ConfigError, match=r"pip install 'anoclust\[detectors\]'"):
        anomalib_detectors.check_installed()


def _silent(*_: int) -> None:
    """Tell nobody."""
