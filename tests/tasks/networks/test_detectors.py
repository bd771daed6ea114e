"""What is read from an exported detector, and what is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.builders import DETECTOR_SIDE as SIDE
from helpers.builders import config_of, save_detector
from onnx import helper

from anoclust_core.embedding.openvino import openvino_module
from anoclust_core.errors import ConfigError
from anoclust_core.records import Detector
from tasks.networks.detectors import DetectorNetwork, detector_of

PIXELS = np.random.default_rng(0).integers(0, 256, size=(SIDE, SIDE, 3)).astype(np.uint8)
GREY = PIXELS.mean(axis=2) / 255


def opened(file: Path, **settings: object) -> DetectorNetwork:
    """Open a model as a run does."""
    detector = detector_of(config_of(weights=f"detector:{file}", **settings), "part")
    assert detector is not None
    return DetectorNetwork(detector)


def test_a_map_is_what_the_model_says(tmp_path: Path) -> None:
    """The model gets RGB from 0 to 1, and its output is the map."""
    network = opened(save_detector(tmp_path / "model.onnx"))
    assert (network.input_size, network.map_shape) == ((SIDE, SIDE), (SIDE, SIDE))
    np.testing.assert_allclose(network(PIXELS), (GREY - 0.47) ** 2, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "mean", "scale"), [("bytes", 0.0, 1 / 255), ("imagenet", np.array([0.485, 0.456, 0.406]).mean(), None)]
)
def test_values_are_as_asked_for(tmp_path: Path, values: str, mean: float, scale: float | None) -> None:
    """Bytes go in as they are, and ImageNet's way of normalising is that of its channels."""
    network = opened(save_detector(tmp_path / "model.onnx"), input_values=values)
    if scale is None:
        off = ((PIXELS / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).mean(axis=2)
    else:
        off = (GREY - mean) / scale
    np.testing.assert_allclose(network(PIXELS), (off - 0.47) ** 2, rtol=1e-4, atol=1e-4)


def test_what_the_model_says_of_its_values_holds(tmp_path: Path) -> None:
    """Mean and scale of a model's own description are taken, in bytes, with its order of colours."""
    openvino = openvino_module()
    model = openvino.Core().read_model(save_detector(tmp_path / "model.onnx"))
    model.set_rt_info("10 20 30", ["model_info", "mean_values"])
    model.set_rt_info("[50, 60, 70]", ["model_info", "scale_values"])
    model.set_rt_info("True", ["model_info", "reverse_input_channels"])
    openvino.save_model(model, str(tmp_path / "told.xml"), compress_to_fp16=False)
    off = ((PIXELS[:, :, ::-1] - [10.0, 20, 30]) / [50, 60, 70]).mean(axis=2)
    np.testing.assert_allclose(opened(tmp_path / "told.xml")(PIXELS), (off - 0.47) ** 2, rtol=1e-4, atol=1e-4)


def test_a_model_of_any_size_takes_the_one_asked_for(tmp_path: Path) -> None:
    """Where the model does not say how large its pictures are, the setting does, for pictures of any size."""
    file = save_detector(tmp_path / "model.onnx", shape=(1, 3, "rows", "columns"))
    network = opened(file, input_size="16x24")
    assert (network.input_size, network.map_shape) == ((16, 24), (16, 24))
    assert network(PIXELS[:20]).shape == (16, 24)


def with_kinds(file: Path, *, taken: str = "f32", given: str = "f32", mean: str = "") -> Path:
    """The model of a file, in OpenVINO's format, that takes and gives numbers of some kinds."""
    from openvino.preprocess import PrePostProcessor

    openvino = openvino_module()
    steps = PrePostProcessor(openvino.Core().read_model(file))
    steps.input().tensor().set_element_type(getattr(openvino.Type, taken))
    steps.output().tensor().set_element_type(getattr(openvino.Type, given))
    model = steps.build()
    if mean:
        model.set_rt_info(mean, ["model_info", "mean_values"])
    openvino.save_model(model, str(file.with_suffix(".xml")), compress_to_fp16=False)
    return file.with_suffix(".xml")


@pytest.mark.parametrize(("taken", "given"), [("f32", "f64"), ("f32", "f16"), ("f64", "f32"), ("f16", "f32")])
def test_numbers_of_any_length_make_the_same_map(tmp_path: Path, taken: str, given: str) -> None:
    """Half, single and double precision differ by their rounding only."""
    file = save_detector(tmp_path / "model.onnx")
    expected = opened(file)(PIXELS)
    np.testing.assert_allclose(opened(with_kinds(file, taken=taken, given=given))(PIXELS), expected, atol=2e-3)


@pytest.mark.parametrize(("taken", "given"), [("f32", "bf16"), ("bf16", "f32"), ("i32", "f32"), ("i8", "f32")])
def test_numbers_that_would_be_taken_for_others_are_refused(tmp_path: Path, taken: str, given: str) -> None:
    """OpenVINO hands bfloat16 over as the bits of half precision, and integers have no place for 0 to 1."""
    file = with_kinds(save_detector(tmp_path / "model.onnx"), taken=taken, given=given)
    with pytest.raises(ConfigError, match=f"kind {taken} and gives a map of {given}.*export it with f32"):
        opened(file)


def test_a_model_of_bytes_gets_bytes(tmp_path: Path) -> None:
    """Pixels are bytes already; values that are no bytes are refused, whoever asks for them."""
    file = save_detector(tmp_path / "model.onnx", usual=120)
    of_bytes = with_kinds(file, taken="u8")
    np.testing.assert_allclose(opened(of_bytes)(PIXELS), (255 * GREY - 120) ** 2, rtol=1e-4)
    with pytest.raises(ConfigError, match=r"as bytes, 0 to 255; found --input-values unit; give --input-values bytes"):
        opened(of_bytes, input_values="unit")
    of_other = with_kinds(file, taken="u8", mean="10 20 30")
    with pytest.raises(ConfigError, match=r"its model_info has values for other numbers; give --input-values bytes"):
        opened(of_other)
    np.testing.assert_allclose(opened(of_other, input_values="bytes")(PIXELS), (255 * GREY - 120) ** 2, rtol=1e-4)


def test_one_of_several_outputs_is_named(tmp_path: Path) -> None:
    """Of two maps without the usual name, one has to be named."""
    file = save_detector(tmp_path / "model.onnx", outputs=("first", "second"))
    with pytest.raises(ConfigError, match=r"gives first .*, second .*--map-output"):
        opened(file)
    assert opened(file, map_output="second").map_shape == (SIDE, SIDE)


def test_weights_beside_the_model_belong_to_it(tmp_path: Path) -> None:
    """A change in a file of weights makes another detector; a lost one is told; one elsewhere is refused."""
    model = onnx.load(save_detector(tmp_path / "model.onnx"))
    onnx.save(model, tmp_path / "split.onnx", save_as_external_data=True, location="split.onnx.data", size_threshold=0)
    config = config_of(weights=f"detector:{tmp_path / 'split.onnx'}")
    before = detector_of(config, "part")
    data = tmp_path / "split.onnx.data"
    data.write_bytes(data.read_bytes()[:-1] + b"\x01")
    after = detector_of(config, "part")
    assert before is not None
    assert after is not None
    assert before.digest != after.digest
    data.unlink()
    with pytest.raises(ConfigError, match=r"weights in split\.onnx\.data, which is not beside it"):
        detector_of(config, "part")
    outside = onnx.load(tmp_path / "split.onnx", load_external_data=False)
    for tensor in outside.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../secret" if entry.key == "location" else entry.value
    (tmp_path / "split.onnx").write_bytes(outside.SerializeToString())
    with pytest.raises(ConfigError, match=r"keeps weights in \.\./secret, outside of its own folder"):
        detector_of(config, "part")


def external(location: str) -> onnx.TensorProto:
    """A weight that stands in another file."""
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[1], data_location="EXTERNAL")
    for key, value in (("location", location), ("offset", "0"), ("length", "4")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def branch(tensor: onnx.TensorProto) -> onnx.GraphProto:
    return helper.make_graph([], "branch", [], [], [tensor])


PLACES: dict[str, Callable[[onnx.ModelProto, onnx.TensorProto], object]] = {
    "a constant": lambda model, w: model.graph.node.append(helper.make_node("Constant", [], ["w"], value=w)),
    "several of an attribute": lambda model, w: model.graph.node.append(helper.make_node("X", [], ["w"], many=[w])),
    "a branch": lambda model, w: model.graph.node.append(helper.make_node("If", ["a"], ["b"], then_branch=branch(w))),
    "a constant in a branch of a branch": lambda model, w: model.graph.node.append(
        helper.make_node(
            "If",
            ["a"],
            ["b"],
            then_branch=helper.make_graph([helper.make_node("If", [], [], then_branch=branch(w))], "outer", [], []),
        )
    ),
    "a sparse weight": lambda model, w: model.graph.sparse_initializer.add().values.CopyFrom(w),
    "a function": lambda model, w: model.functions.append(
        helper.make_function(
            "own", "F", [], ["w"], [helper.make_node("Constant", [], ["w"], value=w)], [helper.make_opsetid("", 18)]
        )
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_weights_beside_the_model_wherever_they_are_used(tmp_path: Path, place: str) -> None:
    """Not only the model's list of weights may name a file: it belongs to the detector, and must not lie elsewhere."""
    model = onnx.load(save_detector(tmp_path / "model.onnx"))
    PLACES[place](model, external("weights.bin"))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    config = config_of(weights=f"detector:{tmp_path / 'model.onnx'}")
    with pytest.raises(ConfigError, match=r"weights in weights\.bin, which is not beside it"):
        detector_of(config, "part")
    found = set()
    for content in (b"\0\0\0\0", b"\0\0\0\x3f"):
        (tmp_path / "weights.bin").write_bytes(content)
        detector = detector_of(config, "part")
        assert detector is not None
        found.add(detector.digest)
    assert len(found) == 2
    outside = onnx.load(save_detector(tmp_path / "model.onnx"))
    PLACES[place](outside, external("../secret"))
    (tmp_path / "model.onnx").write_bytes(outside.SerializeToString())
    with pytest.raises(ConfigError, match=r"keeps weights in \.\./secret, outside of its own folder"):
        detector_of(config, "part")


class Evil:
    """Content that would write a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.write_text, (self.path, "owned")


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "model.onnx", "model.xml"])
def test_no_pickle_is_read_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    """A pickle is refused by its first bytes too, and nothing in it runs."""
    (tmp_path / name).write_bytes(pickle.dumps(Evil(tmp_path / "owned")))
    with pytest.raises(ConfigError, match=r"a pickle\), which can run any program"):
        detector_of(config_of(weights=f"detector:{tmp_path / name}"), "part")
    assert not (tmp_path / "owned").exists()


def test_a_folder_has_a_model_for_each_category(tmp_path: Path) -> None:
    """Each category has the model of its name; the same model elsewhere is the same detector."""
    config = config_of(weights=f"detector:{tmp_path}")
    for name, usual in (("nut", 0.3), ("bolt", 0.5)):
        save_detector(tmp_path / f"{name}.onnx", usual=usual)
    nut, bolt = (detector_of(config, name) for name in ("nut", "bolt"))
    moved = detector_of(config_of(weights=f"detector:{save_detector(tmp_path / 'x' / 'y.onnx', usual=0.3)}"), "bolt")
    assert nut is not None
    assert bolt is not None
    assert moved is not None
    assert nut.identity == moved.identity != bolt.identity
    with pytest.raises(ConfigError, match=r"without tile\.xml or tile\.onnx"):
        detector_of(config, "tile")


def test_a_map_that_is_no_numbers_is_refused(tmp_path: Path) -> None:
    """NaN in a map is told at once, and never becomes a weight."""
    network = DetectorNetwork(Detector(str(save_detector(tmp_path / "model.onnx", usual=float("nan"))), ""))
    with pytest.raises(ConfigError, match="not finite"):
        network(PIXELS)
