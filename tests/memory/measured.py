"""Runs one stage in this process and says how much memory it took; imported by a fork server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import matplotlib.pyplot  # noqa: F401 - part of the imports, not of the report
import numpy as np
from helpers.builders import digest, save_detector

import tasks.stages.describe as describe_stage
import tasks.stages.detect as detect_stage
import tasks.stages.embed as embed_stage
import tasks.stages.localize as localize_stage
import tasks.stages.report as report_stage
from anoclust_core.clustering.linkage import linkage_tree
from anoclust_core.config import BlindConfig, EmbedConfig, GroupConfig, RunConfig
from anoclust_core.embedding.backbones import build_extractor, describe, fold_batch_norms, network_size
from anoclust_core.embedding.deep_images import DeepRange
from anoclust_core.evaluation.protocols import protocol_named
from anoclust_core.evaluation.scores import evaluate
from anoclust_core.localization.cells import cells_an_image
from anoclust_core.memory.blind import describe_plan, localize_plan
from anoclust_core.memory.clusters import group_plan, report_plan
from anoclust_core.memory.images import embed_plan
from anoclust_core.memory.pairs import weigh_plan
from anoclust_core.memory.plan import DECODE_BYTES_PER_PIXEL
from anoclust_core.records import (
    ArrayHandle,
    BagWeights,
    ClusterTree,
    Cover,
    Detector,
    EmbeddingSpec,
    ImageRecord,
    NearestDistances,
    Reference,
)
from anoclust_core.weighting.auto import BAGS_AT_ONCE
from benchmarks import stages
from benchmarks.stages import (
    PLENTY,
    made_up_images,
    made_up_run,
    made_up_spec,
    peak_memory,
    without_prefect,
    write_bags,
    write_data_set,
    write_distances,
    write_manifest,
)
from tasks.compute.dask_jobs import CORES
from tasks.compute.detection import THREADS as DETECT_THREADS
from tasks.compute.detection import detection_memory
from tasks.compute.embedding import BATCH_IMAGES, CONVERSION_BYTES, THREADS_CONVERTED
from tasks.images.decoding import bytes_to_decode, decode_image
from tasks.networks.checkpoints import load_state_dict
from tasks.networks.detectors import DetectorNetwork
from tasks.networks.openvino import converted
from tasks.stages import group as group_stage
from tasks.stages import near_duplicates as near_stage
from tasks.stages import weigh as weigh_stage
from tasks.stages import whiten as whiten_stage
from tasks.stages.pair import covering_memory, plan_blocks
from tasks.stores import arrays
from tasks.stores.embeddings import segment_images
from tasks.stores.files import sha256_file


@dataclass(frozen=True)
class Measured:
    """Peak above what the process had before, and the prediction, in bytes."""

    what: str
    peak: int
    predicted: int


def embed(size: int, folder: Path, *, engine: str = "torch", is_kept: bool = False) -> Measured:
    """Photographs of several sizes through the network that is installed, in torch or in OpenVINO.

    Three measurements share a folder: the first makes the pictures, and a network is converted once.
    """
    from PIL import Image

    side, pixels, n_images = ((128, 300, 40), (256, 600, 40), (256, 3000, 24), (512, 900, 16))[size]
    config = RunConfig.model_validate({"embed": {"image_size": side, "device": "cpu", "engine": engine}})
    spec = describe(config.embed.backbone, weights="w", layers=None, image_size=side, in_levels=True)
    rng = np.random.default_rng(0)
    images = []
    for number in range(n_images):
        file = folder / f"{number}.jpg"
        small = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        if not file.exists():
            Image.fromarray(small).resize((pixels, pixels)).save(file)
        images.append(ImageRecord(file.name, str(file), sha256_file(file), "cluster"))
    manifest = write_manifest(folder, images)
    extractor = build_extractor(spec, load_state_dict(config.embed.backbone, spec.timm_model, None))
    taken, batch = network_size(fold_batch_norms(extractor, side), side), BATCH_IMAGES["cpu"]
    is_converted = engine == "openvino"
    threads = THREADS_CONVERTED if is_converted else CORES
    plan = embed_plan(
        n_values=sum(level.n_patches * level.dim for level in spec.levels),
        image_size=side,
        weight_bytes=taken.weight_bytes,
        activation_bytes=taken.activation_bytes,
        images_at_once=CORES if is_converted else threads * batch,
        batch=batch,
        threads=threads,
        segment_images=min(n_images, segment_images(spec.n_patches, spec.dim)),
        decode_bytes=DECODE_BYTES_PER_PIXEL * pixels**2 * threads,
    )
    predicted = plan.total
    network, own = folder / "kept" / "network.onnx", folder / f"{engine}, kept: {is_kept}"
    if is_kept and not network.exists():
        converted(network, extractor, spec)
    elif is_converted and not is_kept:
        network = own / "network.onnx"
        predicted += CONVERSION_BYTES + 4 * taken.weight_bytes
    del extractor
    with without_prefect(), peak_memory() as peak:
        embed_stage.embed.fn(
            run=made_up_run(folder, spec, config),
            key="k",
            manifest=str(manifest),
            folder=str(own / "bags"),
            deeper=str(own / "deeper") if spec.deeper else "",
            network=str(network),
        )
    if network.parent == own and network.exists():
        (folder / "kept").mkdir(exist_ok=True)
        for file in own.glob("network.*"):
            file.replace(folder / "kept" / file.name)
    return Measured(f"{n_images} images of {pixels} px at {side}", peak[0], predicted)


def embed_converted(size: int, folder: Path) -> Measured:
    """The same through a network that is converted first."""
    return embed(size, folder, engine="openvino")


def embed_kept(size: int, folder: Path) -> Measured:
    """The same through a network that was converted before."""
    return embed(size, folder, engine="openvino", is_kept=True)


def embed_tiles(_: int, folder: Path) -> Measured:
    """Frames of 25 megapixels in tiles, with memory for decoding just one of them at a time."""
    from PIL import Image

    pixels, n_images, budget = 5000, 6, 900 << 20
    config = RunConfig.model_validate({"embed": {"tiles": "3x4", "device": "cpu", "engine": "torch"}})
    spec = describe(config.embed.backbone, weights="w", layers=None, image_size=256, in_levels=True).in_tiles((3, 4), 0)
    small = np.random.default_rng(0).integers(0, 255, (n_images, 60, 60, 3), dtype=np.uint8)
    images = []
    for number in range(n_images):
        file = folder / f"{number}.jpg"
        Image.fromarray(small[number]).resize((pixels, pixels)).save(file, progressive=True, subsampling=0)
        images.append(ImageRecord(file.name, str(file), sha256_file(file), "cluster"))
    manifest = write_manifest(folder, images)
    with without_prefect(), peak_memory() as peak:
        result = embed_stage.embed.fn(
            run=made_up_run(folder, spec, config, memory_budget=budget),
            key="k",
            manifest=str(manifest),
            folder=str(folder / "bags"),
            deeper=str(folder / "deeper"),
            network=str(folder / "network.onnx"),
        )
    assert not result.not_now
    return Measured(f"{n_images} frames of {pixels} px in 3x4 tiles", peak[0], budget)


def decode(_: int, folder: Path) -> Measured:
    """One picture of each kind; the one whose peak is the largest part of what is predicted."""
    import tifffile
    import torchvision.io  # noqa: F401 - part of the imports
    from PIL import Image

    side = 2200
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 255, (60, 60, 3), dtype=np.uint8)).resize((side, side))
    clear = colours.copy()
    clear.putalpha(colours.convert("L"))
    turned = Image.Exif()
    turned[0x0112] = 6
    colours.convert("L").save(folder / "grey.jpg")
    colours.save(folder / "turned.jpg", exif=turned)
    colours.save(folder / "progressive.jpg", progressive=True, subsampling=0)
    colours.save(folder / "colours.webp", method=0)
    colours.save(folder / "packed.tif", compression="tiff_lzw")
    clear.save(folder / "clear.png", compress_level=1)
    colours.convert("P").save(folder / "palette.png")
    wide = np.asarray(colours).astype(np.uint16) * 200
    tifffile.imwrite(folder / "deep.tif", wide, photometric="rgb", compression="zlib", predictor=True)
    Image.fromarray(wide[:, :, 0]).save(folder / "deep.png", compress_level=1)
    deep = [DeepRange("uint16", 0.0, 65535.0, 1)]
    found = []
    for file in sorted(folder.iterdir()):
        with peak_memory() as peak:
            decode_image(file.read_bytes(), deep=deep)
        found.append(Measured(f"{file.name}, {side} px", peak[0], bytes_to_decode(file)))
    return max(found, key=lambda one: one.peak / one.predicted)


def pair(size: int, folder: Path) -> Measured:
    """All pairs of made-up bags."""
    n_images, grid, dim = ((64, (8, 8), 48), (200, (16, 16), 120), (64, (32, 32), 120), (32, (32, 32), 512))[size]
    return _pair(n_images, made_up_spec(grid, dim), folder)


def pair_aligned(size: int, folder: Path) -> Measured:
    """The same within a window."""
    n_images, grid = ((200, (16, 16)), (48, (64, 64)), (20, (96, 128)), (12, (192, 256)))[size]
    return _pair(n_images, replace(made_up_spec(grid, 120), aligned_within=2), folder)


def pair_covers(size: int, folder: Path) -> Measured:
    """The same with a part of each image's patches, which is chosen first."""
    n_images, grid, many = ((200, (16, 16), 32), (64, (32, 32), 256), (24, (64, 64), 512), (12, (96, 128), 2048))[size]
    return _pair(n_images, replace(made_up_spec(grid, 120), cover=Cover(many, 0)), folder)


def _pair(n_images: int, spec: EmbeddingSpec, folder: Path) -> Measured:
    manifest = write_data_set(folder, n_images, spec)
    n_missing = n_images * (n_images - 1) // 2
    _, predicted = plan_blocks(
        spec, (n_images, n_images), n_missing=n_missing, n_workers=CORES, is_here=True, memory_budget=PLENTY
    )
    total = predicted.total
    if spec.cover:
        total = max(total, covering_memory(spec, n_images=n_images, is_here=True).total)
    with without_prefect(), peak_memory() as peak:
        stages.pair(folder, manifest, spec)
    return Measured(f"{n_images} images, {spec.n_patches} x {spec.dim}", peak[0], total)


def weigh(size: int, folder: Path) -> Measured:
    """Made-up distances."""
    n_images, grid, dim = ((64, (8, 8), 48), (300, (16, 16), 120), (600, (16, 16), 120), (120, (32, 32), 512))[size]
    spec = made_up_spec(grid, dim)
    images = made_up_images(n_images)
    hashes = sorted(image.sha256 for image in images)
    write_bags(folder / "bags", hashes, spec)
    write_distances(folder, hashes, spec.n_patches)
    manifest = write_manifest(folder, images)
    predicted = weigh_plan(
        n_images=n_images,
        n_contents=n_images,
        n_reference=n_images,
        n_patches=spec.n_patches,
        dim=dim,
        bags=BAGS_AT_ONCE,
    )
    nearest = NearestDistances(str(folder / "nearest"), "k", Reference("cluster"), (n_images, n_images, spec.n_patches))
    with without_prefect(), peak_memory() as peak:
        weigh_stage.weigh.fn(
            run=made_up_run(folder, spec),
            key="k",
            manifest=str(manifest),
            embeddings=str(folder / "bags"),
            nearest=nearest,
            folder=str(folder / "weights"),
        )
    return Measured(f"{n_images} images, {spec.n_patches} x {dim}", peak[0], predicted.total)


def whiten(size: int, folder: Path) -> Measured:
    """Made-up distances and bags of two levels."""
    n_images, grid, dim = ((64, (8, 8), 48), (300, (16, 16), 120), (600, (16, 16), 120), (120, (32, 32), 512))[size]
    deeper = made_up_spec((grid[0] // 2, grid[1] // 2), 2 * dim)
    spec = replace(made_up_spec(grid, dim), deeper=deeper)
    images = made_up_images(n_images)
    hashes = sorted(image.sha256 for image in images)
    for name, level in (("bags", spec), ("deeper", deeper)):
        write_bags(folder / name, hashes, level)
    write_distances(folder, hashes, spec.n_patches)
    manifest = write_manifest(folder, images)
    predicted = whiten_stage.whitening_memory(spec, n_contents=n_images, n_reference=n_images, has_normals=False)
    nearest = NearestDistances(str(folder / "nearest"), "k", Reference("cluster"), (n_images, n_images, spec.n_patches))
    with without_prefect(), peak_memory() as peak:
        whiten_stage.whiten.fn(
            run=made_up_run(folder, spec),
            key="k",
            manifest=str(manifest),
            embeddings=(str(folder / "bags"), str(folder / "deeper")),
            nearest=nearest,
            folder=str(folder / "weights"),
            model=str(folder / "models"),
            n_clusters=None,
        )
    return Measured(f"{n_images} images, {spec.n_patches} x {dim} and {2 * dim}", peak[0], predicted.total)


def near_duplicates(size: int, folder: Path) -> Measured:
    """Made-up distances of all pairs."""
    n_images, grid, dim = ((64, (8, 8), 48), (300, (16, 16), 120), (600, (16, 16), 120), (120, (32, 32), 512))[size]
    spec, images = made_up_spec(grid, dim), made_up_images(n_images)
    write_distances(folder, sorted(image.sha256 for image in images), spec.n_patches)
    return _near_duplicates(Reference("cluster"), spec, write_manifest(folder, images), n_images, folder)


def near_duplicates_compared(size: int, folder: Path) -> Measured:
    """Made-up bags, a few pairs of which are compared."""
    n_images, grid, dim = ((64, (8, 8), 48), (300, (16, 16), 120), (600, (16, 16), 120), (120, (32, 32), 512))[size]
    spec, images = made_up_spec(grid, dim), made_up_images(n_images)
    write_bags(folder / "bags", sorted(image.sha256 for image in images), spec)
    return _near_duplicates(Reference("cluster", 20), spec, write_manifest(folder, images), n_images, folder)


def _near_duplicates(
    reference: Reference, spec: EmbeddingSpec, manifest: Path, n_images: int, folder: Path
) -> Measured:
    is_stored = reference.size is None
    predicted = near_stage.searching_memory(spec, n_contents=n_images, is_stored=is_stored)
    nearest = NearestDistances(str(folder / "nearest"), "k", reference, (n_images, n_images, spec.n_patches))
    with without_prefect(), peak_memory() as peak:
        near_stage.near_duplicates.fn(
            run=made_up_run(folder, spec),
            key="k",
            manifest=str(manifest),
            embeddings=str(folder / "bags"),
            nearest=nearest,
            folder=str(folder / "near_duplicates"),
        )
    return Measured(f"{n_images} images, {spec.n_patches} x {spec.dim}", peak[0], predicted.total)


def _weights(folder: Path, n_images: int, n_patches: int, dim: int) -> BagWeights:
    rng = np.random.default_rng(0)
    stored = {
        "rarity": rng.random((n_images, n_patches), dtype=np.float32),
        "weights": rng.random((n_images, n_patches), dtype=np.float32),
        "descriptors": rng.standard_normal((n_images, dim), dtype=np.float32),
    }
    arrays.write_arrays(folder / "weights", stored, {"tau": 0.1})
    shapes = {name: values.shape for name, values in stored.items()}
    return BagWeights(ArrayHandle(str(folder / "weights"), "k", shapes), 0.1)


def group(size: int, folder: Path) -> Measured:
    """Trees over random descriptors."""
    n_images, dim, linkage = (
        (500, 48, "ward"),
        (3000, 120, "average"),
        (5000, 512, "ward"),
        (12_000, 120, "ward"),
    )[size]
    weights = _weights(folder, n_images, 4, dim)
    manifest = write_manifest(folder, made_up_images(n_images))
    with without_prefect(), peak_memory() as peak:
        group_stage.group.fn(
            run=made_up_run(folder, made_up_spec((2, 2), dim), RunConfig(group=GroupConfig(linkage=linkage))),
            key="k",
            manifest=str(manifest),
            weights=weights,
            among=None,
            folder=str(folder / "tree"),
            n_clusters=None,
            n_clusters_rule="",
        )
    predicted = group_plan(
        n_images=n_images, dim=dim, n_patches=4, has_matrix=linkage == "average", has_distances=False
    )
    return Measured(f"{n_images} descriptors of {dim}, {linkage}", peak[0], predicted.total)


def group_distances(size: int, folder: Path) -> Measured:
    """Ward over Hausdorff distances from made-up nearest distances."""
    n_images, n_patches = ((64, 64), (400, 64), (1000, 64), (1500, 16))[size]
    images = made_up_images(n_images)
    hashes = sorted(image.sha256 for image in images)
    write_distances(folder, hashes, n_patches)
    manifest = write_manifest(folder, images)
    weights = _weights(folder, n_images, n_patches, 120)
    among = NearestDistances(str(folder / "nearest"), "k", Reference("cluster"), (n_images, n_images, n_patches))
    spec = made_up_spec((1, n_patches), 120)
    with without_prefect(), peak_memory() as peak:
        group_stage.group.fn(
            run=made_up_run(folder, spec, RunConfig(recipe="sohn", group=GroupConfig(distance="max_min_max"))),
            key="k",
            manifest=str(manifest),
            weights=weights,
            among=among,
            folder=str(folder / "tree"),
            n_clusters=None,
            n_clusters_rule="",
        )
    predicted = group_plan(n_images=n_images, dim=120, n_patches=n_patches, has_matrix=False, has_distances=True)
    return Measured(f"{n_images} images, {n_patches} patches, Hausdorff", peak[0], predicted.total)


_MAPS = ((8, (16, 16), 48), (24, (32, 32), 168), (24, (64, 64), 168), (64, (64, 64), 168))
"""Images, grid and length of feature maps."""


def localize(size: int, folder: Path) -> Measured:
    """Anomaly maps of made-up feature maps; three steps of training need as much as all of them."""
    n_images, grid, dim = _MAPS[size]
    manifest, spec = _write_maps(folder, n_images, grid, dim)
    short = {"program": replace(localize_stage.VARIANTS["program"], vae_steps=3)}
    with without_prefect(), patch.object(localize_stage, "VARIANTS", short), peak_memory() as peak:
        localize_stage.localize.fn(
            run=made_up_run(folder, spec, RunConfig(embed=EmbedConfig(device="cpu"))),
            key="k",
            manifest=str(manifest),
            embeddings=str(folder / "bags"),
            folder=str(folder / "maps" / "m"),
            training=str(folder / "training" / "t"),
        )
    predicted = localize_plan(
        n_contents=n_images,
        n_patches=spec.n_patches,
        dim=dim,
        sampled=cells_an_image(n_images, spec.n_patches) * n_images,
        batch=localize_stage.BATCH,
        threads=CORES,
        at_once=localize_stage.IMAGES_AT_ONCE,
    )
    return Measured(f"{n_images} images, {spec.n_patches} x {dim}", peak[0], predicted.total)


def describe_blindly(size: int, folder: Path) -> Measured:
    """A head and descriptors from made-up feature and anomaly maps."""
    n_images, grid, dim = _MAPS[size]
    manifest, spec = _write_maps(folder, n_images, grid, dim)
    maps = np.random.default_rng(1).random((n_images, *grid), dtype=np.float32) ** 8
    arrays.write_arrays(folder / "maps" / "m", {"maps": maps}, {})
    with without_prefect(), peak_memory() as peak:
        describe_stage.describe.fn(
            run=made_up_run(
                folder, spec, RunConfig(blind=BlindConfig(threshold="otsu", vae=False), embed=EmbedConfig(device="cpu"))
            ),
            key="k",
            manifest=str(manifest),
            embeddings=str(folder / "bags"),
            maps=ArrayHandle(str(folder / "maps" / "m"), "k", {"maps": maps.shape}),
            folder=str(folder / "weights" / "w"),
            training=(str(folder / "training" / "v"), str(folder / "training" / "t")),
            n_classes=None,
        )
    predicted = describe_plan(n_images=n_images, n_contents=n_images, n_patches=spec.n_patches, dim=dim, threads=CORES)
    return Measured(f"{n_images} images, {spec.n_patches} x {dim}", peak[0], predicted.total)


def _write_maps(folder: Path, n_images: int, grid: tuple[int, int], dim: int) -> tuple[Path, EmbeddingSpec]:
    spec = replace(made_up_spec(grid, dim), unit_norm=False)
    return write_data_set(folder, n_images, spec), spec


def report(size: int, folder: Path) -> Measured:
    """A report of random results over pictures that repeat."""
    from PIL import Image

    n_images, n_clusters = ((50, 3), (400, 6), (2000, 12), (6000, 20))[size]
    spec = made_up_spec((16, 16), 120)
    rng = np.random.default_rng(0)
    images = []
    for number in range(n_images):
        file = folder / f"{number % 200}.jpg"
        if not file.exists():
            Image.fromarray(rng.integers(0, 255, (400, 400, 3), dtype=np.uint8)).save(file)
        sha256 = sha256_file(file) if number < 200 else digest(str(number))
        images.append(ImageRecord(f"{number}.jpg", str(file), sha256, "cluster"))
    manifest_path = write_manifest(folder, images)
    weights = _weights(folder, n_images, spec.n_patches, spec.dim)
    labels = rng.integers(0, n_clusters, n_images)
    linkage = linkage_tree(arrays.read(folder / "weights", "descriptors"), method="ward")
    arrays.write_arrays(folder / "tree", {"linkage": linkage, "labels": labels}, {})
    tree = ClusterTree(
        ArrayHandle(str(folder / "tree"), "k", {"linkage": linkage.shape, "labels": labels.shape}), n_clusters, "r", 3
    )
    predicted = report_plan(
        n_images=n_images,
        n_patches=spec.n_patches,
        dim=spec.dim,
        n_drawn=min(n_images, n_clusters * report_stage.DRAWN_PER_CLUSTER),
        thumbnail_bytes=3 * report_stage.THUMBNAIL_SIDE**2,
        largest_pixels=400**2,
    )
    with without_prefect(), peak_memory() as peak:
        report_stage.report.fn(
            run=made_up_run(folder, spec),
            key="k" * 32,
            manifest=str(manifest_path),
            reference=Reference("cluster"),
            weights=weights,
            tree=tree,
            evaluation=evaluate(protocol_named("sohn"), [None] * n_images, labels.tolist()),
            keys={"embedding": "k"},
        )
    return Measured(f"{n_images} images, {n_clusters} clusters", peak[0], predicted.total)


def detect(size: int, folder: Path) -> Measured:
    """Photographs of two sizes through a detector made by hand, whose maps are large."""
    from PIL import Image

    side, pixels, n_images = ((256, 600, 60), (512, 2000, 24))[size]
    rng = np.random.default_rng(0)
    images = []
    for number in range(n_images):
        file = folder / f"{number}.jpg"
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).resize((pixels, pixels)).save(file)
        images.append(ImageRecord(file.name, str(file), sha256_file(file), "cluster"))
    detector = Detector(str(save_detector(folder / "model.onnx", shape=(1, 3, side, side))), "d")
    spec = replace(made_up_spec((8, 8), 4), detector=detector)
    plan = detection_memory(
        DetectorNetwork(detector),
        n_images=n_images,
        decode_bytes=DECODE_BYTES_PER_PIXEL * pixels**2 * DETECT_THREADS,
    )
    manifest = write_manifest(folder, images)
    with without_prefect(), peak_memory() as peak:
        detect_stage.detect.fn(
            run=made_up_run(folder, spec), key="k", manifest=str(manifest), folder=str(folder / "maps")
        )
    return Measured(f"{n_images} images of {pixels} px at {side}", peak[0], plan.total)


MEASURES: dict[str, Callable[[int, Path], Measured]] = {
    "embed": embed,
    "embed, converted": embed_converted,
    "embed, kept": embed_kept,
    "embed, tiles": embed_tiles,
    "decode": decode,
    "detect": detect,
    "pair": pair,
    "pair aligned": pair_aligned,
    "pair covers": pair_covers,
    "near_duplicates": near_duplicates,
    "near_duplicates, compared": near_duplicates_compared,
    "weigh": weigh,
    "whiten": whiten,
    "group": group,
    "group by distances": group_distances,
    "localize": localize,
    "describe": describe_blindly,
    "report": report,
}

SIZES = {"embed, tiles": 1, "decode": 1, "detect": 2}
"""How many sizes a stage is measured in, where these are not four."""
