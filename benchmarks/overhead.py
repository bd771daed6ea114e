"""What Prefect, Dask and Zarr add to the bare kernels; how long starting, repeating and asking for help take.

A whole run in a new store is compared with the same kernels called on arrays in memory: images are read and embedded,
pairs compared, patches weighed and pooled, the tree built. Importing libraries, Prefect's own start and the report are
left out of the run; they are told apart in its summary.
"""

from __future__ import annotations

import csv
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from anoclust_core.bags import descriptors, normalize_patches
from anoclust_core.clustering.linkage import cut_tree, linkage_tree
from anoclust_core.config import RunConfig
from anoclust_core.pairwise import cpu, tiling
from anoclust_core.records import DatasetManifest
from anoclust_core.weighting.rarity import expected_rarity
from anoclust_core.weighting.weights import soft_weights, temperature
from benchmarks.figures import Figure
from benchmarks.stages import PLENTY
from flows.run import run_data
from tasks.compute.dask_jobs import CORES
from tasks.compute.embedding import choose_limits, choose_network, embed_batches, with_copies
from tasks.datasets.demo import write_demo
from tasks.images.listing import list_datasets
from tasks.networks.backbone_spec import embedding_spec
from tasks.stores.layout import StoreLayout

SECTION = "overhead"

ADDED = 1.15
FIRST_SECONDS = 8.0
START_SECONDS = 10.0
SERVED_SECONDS = 2.0
REPEAT_SECONDS = 0.65
HELP_SECONDS = 0.4

FEW = 12
"""Images of a run that only shows how long a command takes to start and to end."""

ANOCLUST = (sys.executable, "-m", "flows.cli")


def measure(runs: int, *, quick: bool = False, data: Path | None = None) -> Iterator[Figure]:
    """Give the figures for a data set of one category; the first category of the demo where none is given."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if data is None:
            write_demo(folder / "demo")
            data = folder / "demo"
        yield from _measure(runs, data, folder, quick=quick)


def _measure(runs: int, data: Path, folder: Path, *, quick: bool) -> Iterator[Figure]:
    config = RunConfig()
    manifest = list_datasets(data, config)[0].without_normals()
    images = tuple(image for image in manifest.images if image.role == "cluster")
    manifest = replace(manifest, images=images[:24] if quick else images)
    listed = folder / "listed.csv"
    with listed.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([("path", "category"), *((image.file, manifest.category) for image in manifest.images)])
    number = count()
    whole: list[float] = []
    bare: list[float] = []
    for run in range(runs + 1):
        store = folder / f"store{next(number)}"
        start = time.perf_counter()
        _bare(manifest, config, store)
        took = time.perf_counter() - start
        (outcome,) = run_data(listed, store, config)
        if outcome.error is not None:
            raise outcome.error
        seconds = outcome.summary["seconds"]
        if run:
            bare.append(took)
            whole.append(seconds["total"] - sum(seconds[part] for part in ("imports", "orchestrator_start", "report")))
    yield Figure(
        SECTION,
        f"a run, {len(manifest.images):,} images of {manifest.category}",
        f"{statistics.median(whole):.1f} s without imports, Prefect's start and the report",
        f"bare kernels on arrays in memory: {statistics.median(bare):.1f} s",
        tuple(one / other for one, other in zip(whole, bare, strict=True)),
        better="smaller",
        target=ADDED,
    )
    few = folder / "few.csv"
    few.write_text("\n".join(listed.read_text(encoding="utf-8").splitlines()[: FEW + 1]) + "\n", encoding="utf-8")
    home = {**os.environ, "PREFECT_HOME": str(folder / "prefect")}
    home.pop("PREFECT_API_URL", None)
    alone = _first_runs(few, folder / "alone", runs, home)
    yield _within_limit(f"a run of {FEW} images in a new store, whole command", alone.commands, FIRST_SECONDS)
    yield _within_limit("Prefect's start, no server", alone.starts, START_SECONDS)
    with _server(home) as address:
        asked = {**home, "PREFECT_API_URL": address}
        yield _within_limit(
            "Prefect's start, a server", _first_runs(few, folder / "served", runs, asked).starts, SERVED_SECONDS
        )
    again = [*ANOCLUST, "run", str(listed), "--store", str(store)]
    yield _within_limit("a repeat with nothing to do", _timed(again, runs), REPEAT_SECONDS)
    yield _within_limit("`anoclust --help`", _timed([*ANOCLUST, "--help"], runs), HELP_SECONDS)


def _bare(manifest: DatasetManifest, config: RunConfig, store: Path) -> NDArray[np.int64]:
    """Labels of a run by its kernels alone, on every core as a run uses them."""
    spec = embedding_spec(StoreLayout(store), config)
    bags = _embedded(manifest, config, spec, store)
    nearest = np.zeros((len(bags), *bags.shape[:2]), np.float16)
    side = tiling.block_images(spec.n_patches, spec.dim)
    parts = [slice(start, start + side) for start in range(0, len(bags), side)]

    def compare(places: tuple[slice, slice]) -> None:
        rows, columns = places
        if rows == columns:
            nearest[rows, rows] = cpu.nearest_distances_within(bags[rows])
        else:
            forward, backward = cpu.mutual_nearest_distances(bags[rows], bags[columns])
            nearest[rows, columns], nearest[columns, rows] = forward, backward

    pairs = [(rows, columns) for at, rows in enumerate(parts) for columns in parts[at:]]
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(CORES) as pool:
        list(pool.map(compare, pairs))
    rarity = expected_rarity(nearest, np.ones(len(bags), np.int64), is_reference=np.ones(len(bags), np.bool_))
    weights = soft_weights(rarity, tau=temperature(config.weigh.tau, rarity))
    return cut_tree(linkage_tree(descriptors(bags, weights), method="ward"), n_clusters=5)


def _embedded(manifest: DatasetManifest, config: RunConfig, spec: Any, store: Path) -> NDArray[np.float32]:
    """Bags of all images, by the stage's own threads, and kept in memory in half precision: as they are read again."""
    contents = with_copies(list(dict.fromkeys(image.sha256 for image in manifest.images)), manifest.images)
    network = choose_network(
        config.embed, spec, store.with_suffix(".onnx"), "cpu", n_images=len(contents), memory_budget=PLENTY
    )
    limits = choose_limits(network, spec, "cpu", n_images=len(contents), memory_budget=PLENTY)
    batches = embed_batches(contents, network.extractor, spec, "cpu", limits)
    return np.concatenate([normalize_patches(batch.bags[0]) for batch in batches if batch.hashes])


class _FirstRuns(NamedTuple):
    """Seconds of whole commands, and of Prefect's start in each."""

    commands: list[float]
    starts: list[float]


def _first_runs(data: Path, stores: Path, runs: int, environment: Mapping[str, str]) -> _FirstRuns:
    """Runs in new processes and stores; a first one, which is not counted, makes Prefect's database and the kernels."""
    taken = _FirstRuns([], [])
    for run in range(runs + 1):
        store = stores / str(run)
        command = [*ANOCLUST, "run", str(data), "--store", str(store)]
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=environment)  # noqa: S603 - this very program
        took = time.perf_counter() - start
        (summary,) = (store / "runs").glob("*/*/summary.json")
        if run:
            taken.commands.append(took)
            taken.starts.append(json.loads(summary.read_text(encoding="utf-8"))["seconds"]["orchestrator_start"])
    return taken


@contextmanager
def _server(environment: Mapping[str, str]) -> Iterator[str]:
    """Address of a Prefect server that ends with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    address = f"http://127.0.0.1:{port}/api"
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:  # noqa: S603
        try:
            for _ in range(120):
                with suppress(httpx.HTTPError):
                    if httpx.get(f"{address}/health").is_success:
                        break
                time.sleep(1)
            yield address
        finally:
            server.terminate()


def _timed(command: list[str], runs: int) -> list[float]:
    seconds = []
    for run in range(runs + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - this very program
        if run:
            seconds.append(time.perf_counter() - start)
    return seconds


def _within_limit(name: str, seconds: list[float], limit: float) -> Figure:
    return Figure(
        SECTION, name, f"{statistics.median(seconds):.2f} s", f"limit: {limit:g} s",
        tuple(took / limit for took in seconds), better="smaller", target=1.0,
    )  # fmt: skip
