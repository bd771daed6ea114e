"""Exported anomaly detectors: OpenVINO models (``.xml`` and ``.bin``) and ONNX, whatever program has made them.

A model is a description of arithmetic. A pickle is a program: none is ever read.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anoclust_core.config import RunConfig
from anoclust_core.errors import ConfigError
from anoclust_core.keys import KEY_LENGTH
from anoclust_core.records import DatasetManifest, Detector, EmbeddingSpec
from tasks.stores.addresses import with_home
from tasks.stores.detected import DetectedMaps
from tasks.stores.files import safe_name
from tasks.stores.layout import StoreLayout
from tasks.stores.stage_keys import detected_key

ENDINGS: Final = (".xml", ".onnx")
"""Files of models, in the order in which they are looked for in a folder."""

MAP_NAME: Final = "anomaly_map"
"""Output of the models that anomalib exports."""

_PICKLES: Final = (".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth", ".torch")
_PICKLED: Final = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""First bytes of what torch and pickle write."""

_EXPORT: Final = "export the model to OpenVINO or ONNX, as anomalib does with `anomalib export --export_type openvino`"

_IMAGENET: Final = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_SCALES: Final = {"unit": ((0.0,) * 3, (255.0,) * 3), "imagenet": _IMAGENET, "bytes": ((0.0,) * 3, (1.0,) * 3)}
"""What is subtracted from a byte of each channel, and what it is divided by."""

_BYTES: Final = "u8"
_READ: Final = ("f16", "f32", "f64")
_NUMBERS: Final = frozenset({*_READ, "bf16"})
"""Kinds of numbers: of bytes, those that NumPy reads as they are, and all that a map may be made of."""

_BLOCK: Final = 1 << 20


def detector_of(config: RunConfig, category: str) -> Detector | None:
    """Detector that the weights of a category follow, by its file; None where they follow something else.

    The file is read as bytes only; `DetectorNetwork` opens the model.

    Raises
    ------
    ConfigError
        If there is no such file, or one that is no model.
    """
    if config.weigh.detector is None:
        return None
    file = _model_file(config.weigh.detector, category)
    _refuse_pickles(file)
    asked = config.detector
    return Detector(str(file), _digest(file), asked.rows_and_columns, asked.input_values, asked.map_output)


def check_detector(layout: StoreLayout, images: DatasetManifest, spec: EmbeddingSpec) -> None:
    """Open the detector where an image has no map yet: before anything else is done, a model of no use is told.

    Raises
    ------
    ConfigError
        As `DetectorNetwork`.
    """
    if spec.detector is None:
        return
    if DetectedMaps(layout.folder("detected", images.category, detected_key(spec))).missing(images.clustered):
        DetectorNetwork(spec.detector)


def _model_file(given: str, category: str) -> Path:
    """File of the model; of a folder, that of the category."""
    path = with_home(given)
    if path.is_dir():
        found = model_in(path, category)
        if found is None:
            names = " or ".join(f"{safe_name(category)}{ending}" for ending in ENDINGS)
            raise ConfigError(f"--weights detector:{given} is a folder without {names}; name the file of the model")
        return found
    if not path.is_file():
        raise ConfigError(f"--weights detector:{given} is not there; name the file of an exported model, .xml or .onnx")
    return path


def model_in(folder: Path, category: str) -> Path | None:
    """File of a category's model in a folder, if there is one."""
    candidates = [folder / f"{safe_name(category)}{ending}" for ending in ENDINGS]
    return next((file for file in candidates if file.is_file()), None)


def _refuse_pickles(file: Path) -> None:
    """Refuse what is no exported model, by its name and its first bytes."""
    with file.open("rb") as opened:
        head = opened.read(4)
    if file.suffix.lower() in _PICKLES or head.startswith(_PICKLED):
        raise ConfigError(
            f"{file} is a checkpoint of Python objects (a pickle), which can run any program when it is read, so "
            f"Anoclust reads none; {_EXPORT}, and give that file"
        )
    if file.suffix.lower() not in ENDINGS:
        beside = file.with_suffix(".xml")
        hint = f"give {beside.name} beside it" if beside.is_file() else _EXPORT
        raise ConfigError(f"{file} is no exported model, whose name ends in .xml (OpenVINO) or .onnx; {hint}")


def _digest(file: Path) -> str:
    """Digest of what all files of a model hold."""
    digest = hashlib.sha256()
    for part in (file, *_beside(file)):
        digest.update(f"{part.stat().st_size} ".encode())
        with part.open("rb") as opened:
            while block := opened.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()[:KEY_LENGTH]


def _beside(file: Path) -> list[Path]:
    """Files that hold the weights of a model, where those are not in the model's own."""
    names = [file.with_suffix(".bin").name] if file.suffix.lower() == ".xml" else _external_data(file)
    found = [file.parent / name for name in names]
    lost = [path.name for path in found if not path.is_file()]
    if lost:
        raise ConfigError(f"{file} has its weights in {lost[0]}, which is not beside it; copy both files together")
    return found


def _external_data(file: Path) -> list[str]:
    """Names of the files that an ONNX model keeps weights in."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx.external_data_helper import uses_external_data

    try:
        model = onnx.load(file, load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise ConfigError(f"{file} is no ONNX model ({_first_line(error)}); {_EXPORT}") from error
    names = {
        entry.value
        for tensor in _tensors(model)
        if uses_external_data(tensor)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    outside = sorted(name for name in names if Path(name).name != name)
    if outside:
        raise ConfigError(f"{file} keeps weights in {outside[0]}, outside of its own folder; {_EXPORT}")
    return sorted(names)


def _tensors(message: Any) -> Iterator[Any]:
    """All tensors of an ONNX model, wherever they stand: weights, attributes of nodes, branches, functions."""
    import onnx
    from google.protobuf.message import Message

    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in (value,) if isinstance(value, Message) else value:
                yield from _tensors(part)


@dataclass(frozen=True)
class DetectorSize:
    """Bytes that a model takes: its weights, and everything that it computes for one picture."""

    weight_bytes: int
    activation_bytes: int


class DetectorNetwork:
    """A detector that OpenVINO runs on a CPU, one picture at a time in each thread that calls it.

    Parameters
    ----------
    detector
        From `detector_of`.
    threads
        How many threads will call it at the same time.

    Attributes
    ----------
    input_size
        Height and width in pixels that pictures are resized to.
    map_shape
        Height and width of its maps.
    size
        What it takes in memory.

    Raises
    ------
    ConfigError
        If OpenVINO does not take the model, or it is not one that makes a map of an RGB picture; the message says what
        was found, and which setting helps.
    """

    def __init__(self, detector: Detector, *, threads: int = 1) -> None:
        from anoclust_core.embedding.openvino import openvino_module

        self._file = Path(detector.file).name
        openvino = openvino_module()
        asked = {
            "INFERENCE_PRECISION_HINT": "f32",  # the same maps on every machine
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
            "ENABLE_CPU_PINNING": False,  # other processes have cores of their choice too
        }
        try:
            core = openvino.Core()
            model = core.read_model(detector.file)
            self.input_size = self._fixed_size(model, detector)
            self._output = self._map_output(model, detector.output)
            self.map_shape: tuple[int, int] = _map_shape(model.outputs[self._output])
            self.size = _size_of(model)
            self._scales = _scales(model, detector.values)
            self._check_numbers(model, detector.values)
            self._network: Any = core.compile_model(model, "CPU", asked)
        except RuntimeError as error:  # all that OpenVINO raises
            raise ConfigError(
                f"OpenVINO cannot read the detector {detector.file} ({_first_line(error)}); {_EXPORT}"
            ) from error
        self._of_thread = threading.local()

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Map of one picture.

        Parameters
        ----------
        pixels
            Shape ``(height, width, 3)``, RGB bytes, of any size.

        Returns
        -------
        map
            Shape `map_shape`, covers the picture; larger where more anomalous, finite.

        Raises
        ------
        ConfigError
            If the map holds values that are not finite.
        """
        if not hasattr(self._of_thread, "request"):
            self._of_thread.request = self._network.create_infer_request()
        request = self._of_thread.request
        height, width = self.input_size
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        small = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), np.float32)
        mean, scale, is_reversed = self._scales
        given = (small[:, :, ::-1] if is_reversed else small) - mean
        given /= scale
        request.get_input_tensor().data[0] = given.transpose(2, 0, 1)
        request.infer()
        found = np.array(request.get_output_tensor(self._output).data, np.float32).reshape(self.map_shape)
        if not np.isfinite(found).all():
            raise ConfigError(
                f"the detector {self._file} gives a map with values that are not finite; train it again, or check "
                "--input-values"
            )
        return found

    def _fixed_size(self, model: Any, detector: Detector) -> tuple[int, int]:
        """Give the model's input one size, and say which."""
        shapes = [one.partial_shape for one in model.inputs]
        told = ", ".join(str(shape) for shape in shapes)
        if len(shapes) != 1 or shapes[0].rank.is_dynamic or len(shapes[0]) != 4:
            raise ConfigError(
                f"the detector {self._file} takes {told}; Anoclust gives it one RGB picture as (1, 3, height, width); "
                "export it that way"
            )
        if shapes[0][1].is_static and shapes[0][1].get_length() != 3:
            raise ConfigError(
                f"the detector {self._file} takes {told}, pictures that have not three channels; Anoclust gives it RGB "
                "pictures as (1, 3, height, width); export it that way"
            )
        own = tuple(side.get_length() if side.is_static else 0 for side in list(shapes[0])[2:])
        size = detector.size or (own if all(own) else self._size_of_map(model, detector.output))
        if any(own) and tuple(side or asked for side, asked in zip(own, size, strict=True)) != tuple(size):
            raise ConfigError(
                f"--input-size {size[0]}x{size[1]}: the detector {self._file} takes pictures of {own[0]}x{own[1]} "
                "pixels; omit --input-size"
            )
        model.reshape({model.inputs[0]: [1, 3, *size]})
        return size[0], size[1]

    def _check_numbers(self, model: Any, values: str) -> None:
        """Refuse kinds of numbers that would be written or read as others: bfloat16, which NumPy has not, and integers.

        A model of bytes takes pixels as they are.
        """
        taken, given = (_kind(one) for one in (model.inputs[0], model.outputs[self._output]))
        if taken not in (_BYTES, *_READ) or given not in _READ:
            raise ConfigError(
                f"the detector {self._file} takes numbers of the kind {taken} and gives a map of {given}; Anoclust "
                f"writes {', '.join((_BYTES, *_READ))} and reads {', '.join(_READ)}; export it with f32"
            )
        mean, scale, _ = self._scales
        if taken == _BYTES and (mean.any() or (scale != 1).any()):
            found = (
                "its model_info has values for other numbers" if values == "auto" else f"found --input-values {values}"
            )
            raise ConfigError(
                f"the detector {self._file} takes pixels as bytes, 0 to 255; {found}; give --input-values bytes"
            )

    def _size_of_map(self, model: Any, output: str | None) -> tuple[int, int]:
        """Size of pictures for a model that takes any: that of its map, where that has one."""
        shape = model.outputs[self._map_output(model, output)].partial_shape
        sides = list(shape)[-2:] if shape.rank.is_static and len(shape) >= 2 else []
        if len(sides) == 2 and all(side.is_static for side in sides):
            return sides[0].get_length(), sides[1].get_length()
        raise ConfigError(
            f"the detector {self._file} takes pictures of any size, and does not say of which it was trained on; give "
            "--input-size, such as 256x256"
        )

    def _map_output(self, model: Any, asked: str | None) -> int:
        """Which of the model's outputs is the map."""
        names = [sorted(one.names) for one in model.outputs]
        told = ", ".join(
            f"{'/'.join(own) or 'without a name'} {one.partial_shape}"
            for own, one in zip(names, model.outputs, strict=True)
        )
        wanted = asked or MAP_NAME
        found = [at for at, own in enumerate(names) if wanted in own]
        if not found and asked is None:
            found = [at for at, one in enumerate(model.outputs) if _is_map(one)]
        if asked is not None and not found:
            raise ConfigError(f"--map-output {asked}: the detector {self._file} gives {told}; name one of these")
        if len(found) != 1 or not _is_map(model.outputs[found[0]]):
            raise ConfigError(
                f"the detector {self._file} gives {told}; a map has one channel of numbers, (1, 1, height, width); "
                "export a model with a map, or name its output with --map-output"
            )
        return found[0]


def _is_map(output: Any) -> bool:
    """Whether an output has rows and columns, one channel, and numbers: masks of yes and no are none."""
    shape = output.partial_shape
    if shape.rank.is_dynamic or not 2 <= len(shape) <= 4 or _kind(output) not in _NUMBERS:
        return False
    sides = list(shape)
    is_one = all(side.is_dynamic or side.get_length() == 1 for side in sides[:-2])
    return is_one and all(side.is_dynamic or side.get_length() > 1 for side in sides[-2:])


def _kind(port: Any) -> str:
    """Kind of numbers of an input or output, as OpenVINO calls it."""
    return str(port.element_type.type_name)


def _map_shape(output: Any) -> tuple[int, int]:
    height, width = list(output.partial_shape)[-2:]
    return height.get_length(), width.get_length()


def _size_of(model: Any) -> DetectorSize:
    """Bytes of all constants, and of all that is computed: more than is there at a time."""
    weights = activations = 0
    for operation in model.get_ordered_ops():
        is_constant = operation.get_type_name() == "Constant"
        for output in operation.outputs():
            if output.partial_shape.is_static:
                size = prod(output.shape) * output.element_type.size
                weights, activations = weights + is_constant * size, activations + (not is_constant) * size
    return DetectorSize(weights, activations)


Scales = tuple[NDArray[np.float32], NDArray[np.float32], bool]
"""Mean and scale in bytes of each channel, as the model has them, and whether it has blue first."""


def _scales(model: Any, values: str) -> Scales:
    """What is done to bytes before the model gets them."""
    is_reversed = _told(model, "reverse_input_channels").lower() in ("true", "yes", "1")
    if values == "auto":
        given = [_numbers(_told(model, name)) for name in ("mean_values", "scale_values")]
        if any(given):
            mean, scale = given[0] or (0.0,) * 3, given[1] or (1.0,) * 3
            return np.array(mean, np.float32), np.array(scale, np.float32), is_reversed
        values = "bytes" if _kind(model.inputs[0]) == _BYTES else "unit"
    mean, scale = _SCALES[values]
    return np.array(mean, np.float32), np.array(scale, np.float32), is_reversed


def _told(model: Any, name: str) -> str:
    """What a model's ``model_info`` says; nothing where it has none."""
    path = ["model_info", name]
    return str(model.get_rt_info(path).astype(str)) if model.has_rt_info(path) else ""


def _numbers(text: str) -> Sequence[float]:
    """Three numbers as ``model_info`` has them, in brackets or not; none where there are others."""
    try:
        found = [float(part) for part in text.strip("[]() ").replace(",", " ").split()]
    except ValueError:
        return ()
    return found if len(found) == 3 else ()


def _first_line(error: Exception) -> str:
    """First line that says anything: OpenVINO begins with where in its source it was."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return (told or lines or [type(error).__name__])[0][:200]
