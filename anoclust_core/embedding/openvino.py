"""Feature extractors in OpenVINO: the same features as torch's, in half the time or less on a CPU."""

from __future__ import annotations

import sys
import threading
import warnings
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from anoclust_core.embedding.backbones import FeatureExtractor, largest_difference, random_image
from anoclust_core.embedding.precision import Precision
from anoclust_core.errors import AnoclustError

CONVERSION_TOLERANCE: Final[dict[Precision, float]] = {"float32": 1e-4, "bf16": 0.1}
"""Largest relative difference of a patch's features from eager torch's in single precision: rounding, no more. Three
digits in each of fifty layers come to some 0.04, in torch as in OpenVINO."""

_HINTS: Final[dict[Precision, str]] = {"float32": "f32", "bf16": "bf16"}


class ConversionError(AnoclustError):
    """A network that OpenVINO cannot compute as torch does; torch computes it instead."""


class ConvertedExtractor:
    """A feature extractor that OpenVINO computes, one image at a time, on one core for each thread that calls it.

    Several threads may call it at the same time; its weights are there once.

    Parameters
    ----------
    model
        What `convert` gave.
    threads
        How many threads will call it at the same time; more wait for each other.
    precision
        What it computes in; in ``bf16`` only where the processor has that.

    Raises
    ------
    ConversionError
        If the bytes are no model that OpenVINO takes, or it is not installed.
    """

    def __init__(self, model: bytes, *, threads: int = 1, precision: Precision = "float32") -> None:
        openvino = openvino_module()
        asked = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
            "ENABLE_CPU_PINNING": False,  # other processes have cores of their choice too
        }
        try:
            core = openvino.Core()
            self._network: Any = core.compile_model(core.read_model(model, b""), "CPU", asked)
        except RuntimeError as error:  # all that OpenVINO raises
            raise ConversionError(f"OpenVINO does not take the network: {_first_line(error)}") from error
        self._precision: Precision = precision
        self._of_thread = threading.local()

    def __call__(self, images: Tensor) -> Tensor:
        """Shape ``(n, 3, side, side)`` to ``(n, n_patches, dim)``, float32; not normalised to unit length."""
        if not hasattr(self._of_thread, "request"):
            self._of_thread.request = self._network.create_infer_request()
        request = self._of_thread.request
        # its own buffers, bound once: handed in and out image by image, arrays take a twentieth of the time
        taken, given = request.get_input_tensor().data, request.get_output_tensor().data
        features = np.empty((len(images), *given.shape[1:]), np.float32)
        for image, of_image in zip(images.numpy(), features, strict=True):
            taken[0] = image
            request.infer(share_outputs=True)
            of_image[:] = given[0]
        return torch.from_numpy(features)

    def check(self, expected: Tensor, image_size: int) -> None:
        """Compare with what eager torch made of `random_image`, shape ``(1, n_patches, dim)``.

        Raises
        ------
        ConversionError
            If a patch's features differ by more than ``CONVERSION_TOLERANCE``, relative to their norm.
        """
        try:
            found = self(random_image(image_size))
        except (RuntimeError, ValueError) as error:  # ValueError: made for images of another size
            raise ConversionError(f"OpenVINO fails: {_first_line(error)}") from error
        off = largest_difference(found, expected) if found.shape == expected.shape else float("inf")
        if not off <= CONVERSION_TOLERANCE[self._precision]:  # NaN is off too
            raise ConversionError(f"its features in OpenVINO are off by {off:.1g}")


def convert(extractor: FeatureExtractor, image_size: int) -> bytes:
    """Convert an extractor in evaluation mode on the CPU to an ONNX model of one image; some seconds.

    Raises
    ------
    ConversionError
        If it uses what cannot be converted, or the packages are not installed.
    """
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter about itself
            program = torch.onnx.export(extractor, (random_image(image_size),), dynamo=True, verbose=False)
    except (ImportError, RuntimeError) as error:  # the exporter wraps whatever goes wrong in a RuntimeError
        raise ConversionError(f"it cannot be converted: {_first_line(error)}") from error
    if program is None:
        raise ConversionError("it cannot be converted")
    model: bytes = program.model_proto.SerializeToString()
    return model


def openvino_module() -> Any:
    """OpenVINO, kept from telling its makers of every import: it does without ``openvino_telemetry``, which would.

    Raises
    ------
    ConversionError
        If it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise ConversionError(f"OpenVINO cannot be imported: {error}") from error
    return openvino


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
