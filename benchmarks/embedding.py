"""Embedding, decoding included, against the raw eager forward pass of the same network on images decoded before.

The stage runs as a run calls it, on image files, without Prefect around: it reads, checks, decodes, resizes, computes,
and writes segments. The reference is timm's network as it comes, in channels-last float32, up to the features that the
stage needs, on all cores in torch's own way, with the best of several batch sizes, in a process of its own
(``eager.py``); it neither reads nor writes. The network is converted for OpenVINO before, as it is in any store where
images were embedded before; what that takes, once, is printed.

    python -m benchmarks.embedding [DATA] [--backbone NAME] [--image-size SIDE]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np

import tasks.compute.embedding as embedding
import tasks.stages.embed as embed_stage
from anoclust_core.config import RunConfig
from anoclust_core.embedding.backbones import FeatureExtractor, build_extractor, describe
from anoclust_core.embedding.extraction import has_native_bf16, prepare_image
from anoclust_core.records import DatasetManifest, EmbeddingSpec
from benchmarks.eager import EagerProcess, eager_process
from benchmarks.stages import made_up_run, peak_memory, without_prefect, write_manifest
from benchmarks.timing import RUNS, in_turns, paired
from tasks.datasets.demo import write_demo
from tasks.images.decoding import read_image
from tasks.images.listing import list_datasets
from tasks.networks.checkpoints import checkpoint_identity, load_state_dict
from tasks.networks.openvino import converted
from tasks.stores.embeddings import EmbeddingSegments

TARGET: Final = 1.4
"""Images a second of the stage over those of the reference."""

TARGET_BF16: Final = 2.2
"""The same in bf16, on a CPU that has it built in."""

BATCHES: Final = (1, 2, 4, 8, 16, 32)
"""Batch sizes that the reference may choose from."""

CHOOSING_RUNS: Final = 5
"""Runs of each batch size, in turns: with two of each, one after the other, a bad moment chose one half as fast."""


def measure(
    runs: int = RUNS,
    *,
    quick: bool = False,
    data: Path | None = None,
    backbone: str = "efficientnet_lite2",
    image_size: int = 256,
    engine: str = "auto",
) -> list[dict[str, Any]]:
    """Images a second of the stage and of the reference, in paired runs.

    Parameters
    ----------
    runs
        Paired runs.
    quick
        Take 32 images, to try the script.
    data
        Any data set of `anoclust run`; None is the generated demo.
    backbone, image_size, engine
        As in the settings.

    Returns
    -------
    figures
        One for each precision that is measured here: ``name``, ``unit``, ``ours``, ``reference`` (medians in that
        unit), ``ratio_median``, ``ratio_min``, ``ratio_max``, ``ratios``, ``peak_bytes``, ``target``, and under
        ``details`` what else is worth printing.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        images = _images(folder, data, limit=32 if quick else 600)
        weights = checkpoint_identity(backbone, None)
        spec = describe(backbone, weights=weights, layers=None, image_size=image_size)
        extractor = build_extractor(spec, load_state_dict(backbone, spec.timm_model, None))
        specs = [spec, *([replace(spec, precision="bf16")] if has_native_bf16("cpu") else [])]
        with without_prefect(), eager_process(spec, _prepared(images, spec, folder)) as eager:
            return [_measure(runs, images, of, extractor, folder, engine, eager) for of in specs]


def _prepared(images: DatasetManifest, spec: EmbeddingSpec, folder: Path) -> Path:
    """Write the images as the network takes them, one float32 array."""
    pixels = [read_image(Path(image.file), sha256=image.sha256) for image in images.images]
    np.save(folder / "prepared.npy", np.stack([prepare_image(one, spec) for one in pixels]))
    return folder / "prepared.npy"


def _images(folder: Path, data: Path | None, *, limit: int) -> DatasetManifest:
    if data is None:
        data = folder / "demo"
        write_demo(data)
    images = [image for dataset in list_datasets(data, RunConfig()) for image in dataset.images]
    contents = {image.sha256: image for image in images}
    return DatasetManifest("tile", tuple(contents.values())[:limit])


def _measure(
    runs: int,
    images: DatasetManifest,
    spec: EmbeddingSpec,
    extractor: FeatureExtractor,
    folder: Path,
    engine: str,
    eager: EagerProcess,
) -> dict[str, Any]:
    n_images = len(images.images)
    manifest = write_manifest(folder / spec.precision, images.images)
    network = folder / "network.onnx"
    conversion = 0.0
    if engine != "torch":
        start = time.perf_counter()
        converted(network, extractor, spec)
        conversion = time.perf_counter() - start
    asked = {"device": "cpu", "backbone": spec.backbone, "engine": engine, "precision": spec.precision}
    config = RunConfig.model_validate({"embed": asked})

    def stage() -> float:
        start = time.process_time()
        embed_stage.embed.fn(
            run=made_up_run(folder, spec, config),
            key="k",
            manifest=str(manifest),
            deeper="",
            folder=tempfile.mkdtemp(dir=folder),  # goes with the folder: to remove it is not the stage's work
            network=str(network),
        )
        return time.process_time() - start

    with peak_memory() as peak:
        stage()
    few = min(max(BATCHES), n_images)
    sizes = {str(size): eager.forward(batch=size, n_images=few) for size in BATCHES}
    by_size = in_turns(sizes, runs=CHOOSING_RUNS, one_thread=False)
    batch = min(BATCHES, key=lambda size: statistics.median(by_size[str(size)]))
    # loading weights and folding them is the stage's too; the reference has its network ready
    ways: dict[str, Callable[[], float]] = {
        "stage": stage,
        "eager": eager.forward(batch=batch, n_images=n_images),
        "whole": eager.forward(batch=batch, n_images=n_images, up_to_features=False),
    }
    processor: dict[str, list[float]] = {name: [] for name in ways}
    seconds = in_turns({name: _noting(way, processor[name]) for name, way in ways.items()}, runs=runs, one_thread=False)
    in_processor_time = [other / one for one, other in zip(processor["stage"][1:], processor["eager"][1:], strict=True)]
    ratios = paired(seconds, "stage", against="eager")
    return {
        "name": f"{spec.backbone} at {spec.image_size}, {spec.precision}",
        "unit": "images/s",
        "ours": n_images / statistics.median(seconds["stage"]),
        "reference": n_images / statistics.median(seconds["eager"]),
        "ratio_median": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "ratios": ratios,
        "peak_bytes": peak[0],
        "target": TARGET if spec.precision == "float32" else TARGET_BF16,
        "details": {
            "images": n_images,
            "reference_batch": batch,
            "reference_seconds": seconds["eager"],
            "whole_network": n_images / statistics.median(seconds["whole"]),
            "conversion_seconds": conversion,
            "processor_ratio": statistics.median(in_processor_time),
            "processor_ratio_min": min(in_processor_time),
            "processor_ratio_max": max(in_processor_time),
            **_overlaps(stage),
        },
    }


def _noting(way: Callable[[], float], spent: list[float]) -> Callable[[], None]:
    """Note the processor time of all threads too: on a busy machine it says more than the clock."""
    return lambda: spent.append(way())


Interval = tuple[float, float]


def _overlaps(stage: Callable[[], object]) -> dict[str, float]:
    """Share of the seconds spent decoding, and writing, during which another thread computed."""
    spent: dict[str, list[tuple[int, float, float]]] = {"decode": [], "compute": [], "write": []}
    with ExitStack() as stack:
        stack.enter_context(_noted(spent["decode"], embedding, "read_any"))
        stack.enter_context(_noted(spent["decode"], embedding, "prepare_image"))
        stack.enter_context(_noted(spent["compute"], embedding, "embed_images"))
        stack.enter_context(_noted(spent["write"], EmbeddingSegments, "append"))
        stage()
    return {
        f"{what}_while_computing": sum(
            _covered((start, end), [(a, b) for other, a, b in spent["compute"] if other != thread])
            for thread, start, end in spent[what]
        )
        / sum(end - start for _, start, end in spent[what])
        for what in ("decode", "write")
    }


@contextmanager
def _noted(spent: list[tuple[int, float, float]], owner: Any, name: str) -> Iterator[None]:
    """Note when a function runs, and on which thread."""
    real = getattr(owner, name)

    def timed(*given: Any, **named: Any) -> Any:
        start = time.perf_counter()
        try:
            return real(*given, **named)
        finally:
            spent.append((threading.get_ident(), start, time.perf_counter()))

    with patch.object(owner, name, timed):
        yield


def _covered(interval: Interval, others: list[Interval]) -> float:
    """Seconds of an interval during which at least one of the others is going on."""
    covered, reached = 0.0, interval[0]
    for start, end in sorted(others):
        start, end = max(start, reached), min(end, interval[1])
        if end > start:
            covered += end - start
            reached = end
    return covered


def main() -> None:
    """Print a line for each figure, and what belongs to it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="any data set of `anoclust run` (default: the demo)")
    parser.add_argument("--backbone", default="efficientnet_lite2")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--engine", default="auto", help="as in the settings: torch is the stage without OpenVINO")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--quick", action="store_true", help="32 images, to try the script")
    asked = parser.parse_args()
    figures = measure(
        asked.runs,
        quick=asked.quick,
        data=asked.data,
        backbone=asked.backbone,
        image_size=asked.image_size,
        engine=asked.engine,
    )
    print("| what | stage | raw eager forward pass | ratio: median (min to max) | target | peak memory |")
    print("|---|---|---|---|---|---|")
    for of in figures:
        print(
            f"| {of['name']} | {of['ours']:.1f} {of['unit']} | {of['reference']:.1f} {of['unit']} "
            f"| **{of['ratio_median']:.2f}** ({of['ratio_min']:.2f} to {of['ratio_max']:.2f}) | >= {of['target']} "
            f"| {of['peak_bytes'] / 2**20:.0f} MiB |"
        )
        more = of["details"]
        notes = (
            f"{more['images']} images; reference in batches of {more['reference_batch']}",
            f"{more['whole_network']:.1f} {of['unit']} for the whole network",
            f"converting it took {more['conversion_seconds']:.1f} s, once",
            f"in processor time the stage is {more['processor_ratio']:.2f} times as fast "
            f"({more['processor_ratio_min']:.2f} to {more['processor_ratio_max']:.2f})",
            f"another thread computed during {more['decode_while_computing']:.0%} of the time spent decoding and "
            f"{more['write_while_computing']:.0%} of that spent writing",
        )
        print("\n" + ";\n".join(notes) + "\n")
    if not has_native_bf16("cpu"):
        print("bf16 was not measured: this processor does not have it built in.")


if __name__ == "__main__":
    main()
