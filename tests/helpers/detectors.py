"""Detectors as other programs export them, made by hand: small models in the ONNX format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from anoclust_core.records import Detector
from tasks.images.decoding import decode_image
from tasks.networks.detectors import DetectorNetwork

SIDE = 32


def save_detector(
    path: Path,
    *,
    shape: Sequence[int | str] = ("n", 3, SIDE, SIDE),
    outputs: Sequence[str] = ("anomaly_map",),
    usual: float = 0.47,
    channels: int = 1,
) -> Path:
    """Save a model whose map is how far the mean of the channels lies from what is usual, squared, at every pixel.

    ``channels`` is that of the map; every output is this map. Pixels are taken to go from 0 to 1.
    """
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
    network = DetectorNetwork(detector)
    for file in sorted(data.rglob("*.png")):
        path = folder / f"{file.relative_to(data)}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, map_of(network, file))
    return folder


def map_of(network: DetectorNetwork, file: Path) -> NDArray[np.float32]:
    """Map of the picture in a file."""
    return network(decode_image(file.read_bytes()))
