"""Small data sets, settings and models that tests of tasks and flows share."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from anoclust_core.config import RunConfig
from anoclust_core.config.setting import flatten, nest
from anoclust_core.records import DatasetManifest, Detector, ImageRecord, Role

TINY_BACKBONE = "test_resnet"
"""A timm model of half a million weights; 64 px give 8 x 8 patches of length 48."""

TINY_SIDE = 64


def save_tiny_checkpoint(path: Path, *, seed: int = 0) -> Path:
    """Save random weights of the tiny backbone."""
    import timm
    import torch
    from safetensors.torch import save_file

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = timm.create_model(TINY_BACKBONE, pretrained=False)
    save_file(model.state_dict(), path)
    return path


def tiny_config(checkpoint: Path, **settings: Any) -> RunConfig:
    """Settings of a run with the tiny backbone on the CPU, over images that are taken as soon as they are written."""
    own = {"backbone": TINY_BACKBONE, "checkpoint": str(checkpoint), "image_size": TINY_SIDE, "device": "cpu"}
    return config_of(**{**own, "settle_seconds": 0, **settings})


_DOTTED = {name.rpartition(".")[2]: name for name in flatten(RunConfig().model_dump())}


def config_of(**settings: Any) -> RunConfig:
    """Settings of a run by the last part of their names."""
    return RunConfig.model_validate(nest({_DOTTED.get(name, name): value for name, value in settings.items()}))


def surface(seed: int, defect: str = "good") -> NDArray[np.uint8]:
    """Draw a grey speckled surface with no defect, a bright ``hole`` or dark ``scratch`` marks somewhere on it."""
    rng = np.random.default_rng(seed)
    grey = rng.normal(120, 8, size=(TINY_SIDE, TINY_SIDE)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(np.repeat(grey[:, :, None], 3, axis=2))
    draw = ImageDraw.Draw(image)
    x, y = (int(v) for v in rng.integers(8, TINY_SIDE - 28, size=2))
    if defect == "hole":
        draw.ellipse((x, y, x + 18, y + 18), fill=(250, 240, 60))
    elif defect == "scratch":
        for offset in (0, 6, 12):
            draw.line((x + offset, y, x + offset + 8, y + 20), fill=(0, 0, 40), width=2)
    return np.asarray(image)


def exposed_again(pixels: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Expose the part of a picture once more: a little more or less light, and other noise."""
    rng = np.random.default_rng(seed)
    seen = pixels * rng.uniform(0.99, 1.01) + rng.normal(0, 1, size=pixels.shape[:2])[..., None]
    return np.asarray(seen.clip(0, 255).astype(np.uint8))


def save_image(path: Path, pixels: NDArray[Any]) -> Path:
    """Save pixels in the format that the ending names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def flat_folder(root: Path, numbers: Sequence[int]) -> Path:
    """Save unlabelled surfaces, each told by its number; every third has a hole, every third a scratch."""
    for number in numbers:
        save_image(root / f"{number:03d}.png", surface(number, ("good", "hole", "scratch")[number % 3]))
    return root


def mvtec_category(root: Path, counts: Mapping[str, int], *, seed: int = 0) -> Path:
    """Save one category in the MVTec layout; ``counts`` maps folders like ``test/hole`` to their number of images."""
    for at, (folder, count) in enumerate(counts.items()):
        for number in range(count):
            pixels = surface(10_000 * seed + 100 * at + number, Path(folder).name)
            save_image(root / folder / f"{number:03d}.png", pixels)
    return root


def write_manifest_csv(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """Write rows as a manifest."""
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def digest(name: str) -> str:
    """Give a content hash for a made-up image."""
    return hashlib.sha256(name.encode()).hexdigest()


def manifest_of(hashes: Sequence[str], normals: Sequence[str] = ()) -> DatasetManifest:
    """List made-up images by their content hashes."""

    def record(sha256: str, role: Role) -> ImageRecord:
        return ImageRecord(path=f"{role}/{sha256}", file=f"/{sha256}", sha256=sha256, role=role)

    return DatasetManifest(
        "tile", tuple([record(h, "cluster") for h in hashes] + [record(h, "normal") for h in normals])
    )


def unit_bags(n_images: int, n_patches: int = 6, dim: int = 8, *, seed: int = 0) -> NDArray[np.float32]:
    """Random bags of unit-norm patches."""
    values = np.random.default_rng(seed).normal(size=(n_images, n_patches, dim))
    return (values / np.linalg.norm(values, axis=2, keepdims=True)).astype(np.float32)


DETECTOR_SIDE = 32
"""Side of the pictures that the detectors below see."""


def save_detector(
    path: Path,
    *,
    shape: Sequence[int | str] = ("n", 3, DETECTOR_SIDE, DETECTOR_SIDE),
    outputs: Sequence[str] = ("anomaly_map",),
    usual: float = 0.47,
    channels: int = 1,
) -> Path:
    """Save a model whose map is how far the mean of the channels lies from what is usual, squared, at every pixel.

    ``channels`` is that of the map; every output is this map. Pixels are taken to go from 0 to 1.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    sides = list(shape[2:])
    constants = [
        numpy_helper.from_array(np.array([usual], np.float32), "usual"),
        numpy_helper.from_array(np.array([1, channels, 1, 1]), "times"),
        numpy_helper.from_array(np.array([1]), "axes"),
    ]
    nodes = [
        helper.make_node("ReduceMean", ["picture", "axes"], ["grey"], keepdims=1),
        helper.make_node("Sub", ["grey", "usual"], ["off"]),
        helper.make_node("Mul", ["off", "off"], ["squared"]),
        *(helper.make_node("Tile", ["squared", "times"], [name]) for name in outputs),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [shape[0], channels, *sides]) for name in outputs],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def save_maps(detector: Detector, data: Path, folder: Path) -> Path:
    """Save the detector's map of every picture below a folder, as another program would that runs it."""
    from tasks.images.decoding import decode_image
    from tasks.networks.detectors import DetectorNetwork

    network = DetectorNetwork(detector)
    for file in sorted(data.rglob("*.png")):
        path = folder / f"{file.relative_to(data)}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, network(decode_image(file.read_bytes())))
    return folder
