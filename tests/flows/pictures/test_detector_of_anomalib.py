"""A detector that anomalib has trained and exported, from its file to clusters, in a run and in nights."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.builders import TINY_BACKBONE, TINY_SIDE, save_image, tiny_config
from helpers.running import cluster_by_content, run_one
from helpers.streams import CATEGORY, Stream, day, demo_drawer, night_config
from numpy.typing import NDArray
from PIL import Image

from anoclust_core.config import RunConfig
from anoclust_core.weighting.weights import map_scores
from tasks.images.decoding import decode_image
from tasks.networks.detectors import DetectorNetwork, detector_of
from tasks.stores import arrays
from tasks.stores.layout import StoreLayout
from tasks.stores.runs import parts_of

pytestmark = [pytest.mark.usefixtures("prefect_db"), pytest.mark.slow]

LABELS = ("good", "hole", "stain") * 4


def picture(at: int, label: str) -> NDArray[np.uint8]:
    """One of the demo's pictures of bricks, small."""
    drawn = Image.fromarray(demo_drawer("brick")((7, at), label))
    return np.asarray(drawn.convert("RGB").resize((TINY_SIDE, TINY_SIDE)))


@dataclass(frozen=True)
class Exported:
    """A detector as anomalib has it, and the files that anomalib wrote of it."""

    model: Any
    openvino: Path
    onnx: Path

    def map_of(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Map that anomalib itself makes of a picture."""
        import torch

        given = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            found: NDArray[np.float32] = self.model(given).anomaly_map[0, 0].numpy()
        return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """PaDiM on a tiny backbone with random weights, trained on normals of the demo, exported by anomalib's own code."""
    root = tmp_path_factory.mktemp("exported")
    size = (TINY_SIDE, TINY_SIDE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of anomalib and its libraries about each other
        import torch
        from anomalib.models.image.padim.lightning_model import Padim

        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = Padim(
                backbone=TINY_BACKBONE,
                layers=[1],
                pre_trained=False,
                n_features=8,
                pre_processor=Padim.configure_pre_processor(image_size=size),
                evaluator=False,
                visualizer=False,
            )
        normals = np.stack([picture(100 + at, "good") for at in range(12)])
        model.train()
        model.model(model.pre_processor(torch.from_numpy(normals).permute(0, 3, 1, 2).float() / 255))
        model.model.fit()
        model.eval()
        openvino = model.to_openvino(root, input_size=size, onnx_kwargs={"opset_version": 18})
        onnx = model.to_onnx(root, input_size=size, opset_version=18)
    return Exported(model, openvino, onnx)


@pytest.mark.parametrize("format_of", ["openvino", "onnx"])
def test_both_formats_give_the_maps_of_anomalib(format_of: str, exported: Exported) -> None:
    """What is read from an exported file makes the maps that anomalib makes: size, values and output are told by it."""
    file = getattr(exported, format_of)
    detector = detector_of(RunConfig.model_validate({"weigh": {"weights": f"detector:{file}"}}), "brick")
    assert detector is not None
    network = DetectorNetwork(detector)
    assert (network.input_size, network.map_shape) == ((TINY_SIDE, TINY_SIDE), (TINY_SIDE, TINY_SIDE))
    for at, label in enumerate(LABELS[:3]):
        pixels = picture(at, label)
        np.testing.assert_allclose(network(pixels), exported.map_of(pixels), rtol=1e-3, atol=1e-3)


def test_from_anomalib_to_clusters(exported: Exported, checkpoint: Path, tmp_path: Path) -> None:
    """A run and a first night by the exported file are the run that is given anomalib's own maps in a folder.

    The night after it shows only the new images to the detector, and weighs them by what anomalib makes of them.
    """
    settings = {"recipe": "sohn", "n_clusters": 3, "weights": f"detector:{exported.openvino}"}
    stream = Stream(tmp_path / "stream", night_config(checkpoint, recluster_every="none", **settings))
    for at, label in enumerate(LABELS):
        name = f"{at:02d}-{label}.png"
        stream.put(stream.data / CATEGORY / str(day(0)) / name, picture(at, label), label)
        save_image(tmp_path / "data" / CATEGORY / name, picture(at, label))
        (tmp_path / "maps").mkdir(exist_ok=True)
        np.save(tmp_path / "maps" / f"{name}.npy", exported.map_of(picture(at, label)))
    data = tmp_path / "data" / CATEGORY
    found = run_one(data, tmp_path / "one", tiny_config(checkpoint, **settings))
    given = run_one(
        data, tmp_path / "two", tiny_config(checkpoint, **{**settings, "weights": f"maps:{tmp_path / 'maps'}"})
    )
    partition = cluster_by_content(given)
    assert cluster_by_content(found) == partition
    ours, theirs = (
        arrays.read(parts_of(StoreLayout(tmp_path / store), outcome.summary).weights, "rarity")
        for store, outcome in (("one", found), ("two", given))
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)

    stream.night(0)
    with stream.catalog() as catalog:
        lasting = {fact.content: fact.cluster for fact in catalog.assignments(CATEGORY)}
    assert len({(lasting[content], partition[content]) for content in partition}) == 3
    for at, label in enumerate(LABELS[:3]):
        stream.put(stream.data / CATEGORY / str(day(1)) / f"{at:02d}-{label}.png", picture(50 + at, label), label)
    second = stream.night(1)
    assert second.reclustered is None
    assert second.work == {"images_embedded": 3, "images_detected": 3, "pair_products": 0}
    assert second.counters["assigned"] + second.counters["unknown"] == 3
    new = {file.name: file for file in (stream.data / CATEGORY / str(day(1))).iterdir()}
    with stream.catalog() as catalog:
        paths = {fact.content: fact.path for fact in catalog.images(CATEGORY)}
    kept = [
        folder
        for folder in (stream.store / "weights" / CATEGORY).iterdir()
        if "contents" in (arrays.describe(folder) or {})
    ]
    assert len(kept) == 1
    contents = (arrays.describe(kept[0]) or {})["contents"]
    maps = [
        exported.map_of(decode_image(new[Path(paths[content]).name].read_bytes()))
        for content in contents
        if str(day(1)) in paths[content]
    ]
    rarity = arrays.read(kept[0], "rarity")[[str(day(1)) in paths[content] for content in contents]]
    np.testing.assert_allclose(rarity, map_scores(maps, (8, 8)), rtol=1e-3, atol=1e-3)
