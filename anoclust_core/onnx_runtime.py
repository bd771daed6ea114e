"""Feature extractors in ONNX Runtime: the same features as torch's, in about half the time on a CPU."""

from __future__ import annotations

import warnings
from typing import Any, Final, Self

import numpy as np
import torch
from torch import Tensor

from anoclust_core.backbones import FeatureExtractor, largest_difference, random_image
from anoclust_core.errors import AnoclustError

CONVERSION_TOLERANCE: Final = 1e-4
"""Largest relative difference of a patch's features between ONNX Runtime and eager torch: float32 rounding, no more."""


class ConversionError(AnoclustError):
    """A network that ONNX Runtime cannot compute as torch does; torch computes it instead."""


class ConvertedExtractor:
    """A feature extractor that ONNX Runtime computes, one image at a time on the thread that calls it.

    Several threads may call it at the same time; its weights are there once.

    Parameters
    ----------
    model
        What `convert` gave.

    Raises
    ------
    ConversionError
        If the bytes are no model that ONNX Runtime takes, or it is not installed.
    """

    def __init__(self, model: bytes) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ConversionError(f"onnxruntime cannot be imported: {error}") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only: they are raised, and warnings would go to the terminal
        options.enable_cpu_mem_arena = False  # an arena keeps the most that all threads ever needed
        try:
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except _runtime_errors() as error:
            raise ConversionError(f"ONNX Runtime does not take the network: {_first_line(error)}") from error
        self._session: Any = session
        self._input: str = session.get_inputs()[0].name

    def __call__(self, images: Tensor) -> Tensor:
        """Shape ``(n, 3, side, side)`` to ``(n, n_patches, dim)``, float32; not normalised to unit length."""
        one_by_one = [
            self._session.run(None, {self._input: image[None].contiguous().numpy()})[0][0] for image in images
        ]
        return torch.from_numpy(np.stack(one_by_one))

    def checked(self, extractor: FeatureExtractor, image_size: int) -> Self:
        """Itself, if it gives the features of an extractor on the CPU.

        Raises
        ------
        ConversionError
            If a patch's features differ by more than ``CONVERSION_TOLERANCE``, relative to their norm.
        """
        image = random_image(image_size)
        try:
            found = self(image)
        except _runtime_errors() as error:
            raise ConversionError(f"ONNX Runtime fails: {_first_line(error)}") from error
        with torch.inference_mode():
            expected = extractor(image)
        off = largest_difference(found, expected) if found.shape == expected.shape else float("inf")
        if not off <= CONVERSION_TOLERANCE:  # NaN is off too
            raise ConversionError(f"its features in ONNX Runtime are off by {off:.1g}")
        return self


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


def _runtime_errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises; it has no class above them all."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (
        state.EPFail,
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NotImplemented,
        state.RuntimeException,
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
