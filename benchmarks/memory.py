"""Peaks of memory: of every stage against its prediction, and of two large jobs against a limit."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from anoclust_core.evaluation.protocols import protocol_named
from anoclust_core.evaluation.scores import evaluate
from anoclust_core.memory.plan import readable_bytes
from anoclust_core.records import ImageRecord, Reference
from benchmarks import stages
from benchmarks.figures import Figure
from benchmarks.stages import peak_memory
from tasks.stages.group import group
from tasks.stages.report import report
from tasks.stages.weigh import weigh
from tasks.stores import arrays
from tasks.stores.files import sha256_file

SECTION = "memory"

GIB = 1 << 30


def measure_large(*, quick: bool = False) -> Iterator[Figure]:
    """Run both large jobs once, each in a process of its own."""
    for name, job, limit, minutes in (
        ("583 images, 1,024 x 512, all pairs", all_pairs, 1 * GIB, None),
        ("20,000 images, 256 x 120, reference set of 200, to the report", through_reference, 2 * GIB, 30.0),
    ):
        peak, seconds = apart(job, quick)
        yield Figure(
            SECTION, name, readable_bytes(peak), f"limit: {readable_bytes(limit)} above the imports", (peak / limit,),
            better="smaller", target=1.0, peak_bytes=peak,
        )  # fmt: skip
        if minutes is not None:
            yield Figure(
                SECTION, f"{name}, time", f"{seconds / 60:.1f} minutes", f"limit: {minutes:g} minutes",
                (seconds / 60 / minutes,), better="smaller", target=1.0,
            )  # fmt: skip


def apart(job: Callable[[bool, Path], None], quick: bool) -> tuple[int, float]:
    """Peak in bytes above the imports and seconds of a job, in a process that does nothing else."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.memory"])
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measured, job, quick, Path(folder)).result()


def _measured(job: Callable[[bool, Path], None], quick: bool, folder: Path) -> tuple[int, float]:
    start = time.perf_counter()
    with stages.without_prefect(), peak_memory() as peak:
        job(quick, folder)
    return peak[0], time.perf_counter() - start


def all_pairs(quick: bool, folder: Path) -> None:
    """All pairs of 583 images with 1,024 patches of 512."""
    spec = stages.made_up_spec((32, 32), 512)
    stages.pair(folder, stages.write_data_set(folder, 24 if quick else 583, spec), spec, memory_budget=GIB)


def through_reference(quick: bool, folder: Path) -> None:
    """Simulated features of 20,000 images through a reference set of 200: weights, clusters, report."""
    spec = stages.made_up_spec((16, 16), 120)
    images = _with_pictures(folder / "pictures", 300 if quick else 20_000)
    stages.write_bags(folder / "bags", [image.sha256 for image in images], spec)
    manifest = stages.write_manifest(folder, images)
    reference = Reference("cluster", 20 if quick else 200)
    nearest = stages.pair(folder, manifest, spec, reference=reference, memory_budget=2 * GIB)
    run = stages.made_up_run(folder, spec, memory_budget=2 * GIB)
    weights = weigh.fn(
        run=run, key="k", manifest=str(manifest), embeddings=str(folder / "bags"), nearest=nearest,
        folder=str(folder / "weights"),
    )  # fmt: skip
    tree = group.fn(
        run=run, key="k", manifest=str(manifest), weights=weights, among=None, folder=str(folder / "tree"),
        n_clusters=None, n_clusters_rule="",
    )  # fmt: skip
    labels = arrays.read(Path(tree.arrays.uri), "labels")
    report.fn(
        run=run, key="k" * 32, manifest=str(manifest), reference=reference, weights=weights, tree=tree,
        evaluation=evaluate(protocol_named("sohn"), [None] * len(images), labels.tolist()), keys={},
    )  # fmt: skip
    shutil.rmtree(folder / "nearest")


def _with_pictures(folder: Path, n_images: int) -> list[ImageRecord]:
    """Made-up images, 200 of which have a picture to draw; the others' pictures are theirs."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    files = []
    for number in range(min(200, n_images)):
        file = folder / f"{number}.jpg"
        Image.fromarray(rng.integers(0, 255, (256, 256, 3), dtype=np.uint8)).save(file)
        files.append((file, sha256_file(file)))
    images = stages.made_up_images(n_images)
    with_own = [
        ImageRecord(image.path, str(file), digest, "cluster")
        for image, (file, digest) in zip(images, files, strict=False)
    ]
    return with_own + [
        ImageRecord(image.path, str(files[at % len(files)][0]), image.sha256, "cluster")
        for at, image in enumerate(images[len(files) :])
    ]
