"""Ways past the dense limit of the pairwise stage, on real features: what each could save at best, and what it costs.

**Bounds.** With features rotated to their principal axes, a product is at most that of the leading ones plus the
product of the norms of the rest. A tile of products can be left out where that bound stays below the largest product of
each of its rows and of each of its columns. The share of such tiles is counted with the final maxima as thresholds,
which no algorithm has before it is done: it is the most that could be saved.

**Lower precision.** Rates of large products in bfloat16 and int8 by torch against float32, before any rescoring. And
what is left to measure again: products of integers differ from the true ones by no more than what both patches lost by
rounding, so that every product within twice that of the largest one of its row or its column may belong to the nearest
patch.

**Shared patches.** The share of patches with another one in the same image so near that one product could serve both.

    python -m benchmarks.pruning [DATA]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from anoclust_core.config import RunConfig
from anoclust_core.embedding.backbones import build_extractor, describe, fold_batch_norms
from anoclust_core.embedding.extraction import embed_images, prepare_image
from benchmarks.timing import in_turns, paired
from tasks.datasets.demo import write_demo
from tasks.images.decoding import read_image
from tasks.images.listing import list_datasets
from tasks.networks.checkpoints import checkpoint_identity, load_state_dict

IMAGES = 40
LEADING = (8, 16, 32, 64)
TILE = (6, 16)
BITS = (6, 7, 8, 16)
"""Of the integers that features are rounded to, their sign included."""

NEAR = 0.05
"""Distance below which two patches of an image count as one here: rarity moves by no more than that."""

PRODUCT_SIDE = 1024


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="images; the demo's by default")
    asked = parser.parse_args()
    bags = features(asked.data)
    n_images, n_patches, dim = bags.shape
    print(f"{n_images} images, {n_patches} x {dim}\n")
    print("| leading features | their share of the work | tiles ruled out at best |\n|---|---|---|")
    for leading in LEADING:
        print(f"| {leading} | {leading / dim:.0%} | {ruled_out(bags, leading):.1%} |")
    print("\n| precision | rate against float32: median (min to max) |\n|---|---|")
    for name, ratios in rates().items():
        print(f"| {name} | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |")
    print("\n| bits of an integer | candidates a patch, of each image pair |\n|---|---|")
    for bits in BITS:
        print(f"| {bits} | {candidates(bags, bits):.1f} |")
    print(f"\npatches within {NEAR} of an earlier one of their image: {shared(bags):.1%}")


def features(data: Path | None) -> NDArray[np.float32]:
    """Bags of some real images, ``(n_images, n_patches, dim)``."""
    with tempfile.TemporaryDirectory() as scratch:
        if data is None:
            data = Path(scratch) / "demo"
            write_demo(data)
        images = list_datasets(data, RunConfig())[0].clustered
        chosen = [images[at] for at in np.random.default_rng(0).permutation(len(images))[:IMAGES]]
        backbone = RunConfig().embed.backbone
        spec = describe(backbone, weights=checkpoint_identity(backbone, None), layers=None, image_size=256)
        extractor = fold_batch_norms(build_extractor(spec, load_state_dict(backbone, spec.timm_model, None)), 256)
        pixels = [prepare_image(read_image(Path(image.file), sha256=image.sha256), spec) for image in chosen]
        return embed_images(extractor, np.stack(pixels), device="cpu")


def ruled_out(bags: NDArray[np.float32], leading: int) -> float:
    """Share of tiles that a bound by so many leading principal features could leave out, known maxima given."""
    flat = bags.reshape(-1, bags.shape[2]).astype(float)
    _, axes = np.linalg.eigh(flat.T @ flat)
    turned = bags.astype(float) @ axes[:, ::-1]
    rest = np.linalg.norm(turned[..., leading:], axis=2)
    height, width = TILE
    n_left = n_all = 0
    for i in range(0, len(bags), 2):
        for j in range(1, len(bags), 2):
            products = turned[i] @ turned[j].T
            bound = turned[i, :, :leading] @ turned[j, :, :leading].T + np.outer(rest[i], rest[j])
            may_win = (bound >= products.max(axis=1, keepdims=True)) | (bound >= products.max(axis=0))
            rows, columns = (size // of for size, of in zip(may_win.shape, TILE, strict=True))
            tiles = may_win[: rows * height, : columns * width].reshape(rows, height, columns, width)
            n_left += int((~tiles.any(axis=(1, 3))).sum())
            n_all += rows * columns
    return n_left / n_all


def rates() -> dict[str, tuple[float, ...]]:
    """How many times as fast as in float32 a large product is in lower precisions, on all cores."""
    values = torch.from_numpy(np.random.default_rng(0).standard_normal((PRODUCT_SIDE, PRODUCT_SIDE), dtype=np.float32))
    halves, bytes_ = values.to(torch.bfloat16), (values * 30).to(torch.int8)
    ways: dict[str, Callable[[], object]] = {
        "float32": lambda: values @ values,
        "bfloat16": lambda: halves @ halves,
        "int8": lambda: torch._int_mm(bytes_, bytes_),
    }
    seconds = in_turns(ways, one_thread=False)
    return {name: paired(seconds, name, "float32") for name in ways if name != "float32"}


def candidates(bags: NDArray[np.float32], bits: int) -> float:
    """Products of integers a patch that may be the largest of their row or column, over pairs of images.

    Features are turned at random before, so that none is much larger than the others, as the bound likes it best.
    """
    draws = np.random.default_rng(0)
    axes, _ = np.linalg.qr(draws.standard_normal((bags.shape[2], bags.shape[2])))
    turned = (bags - bags.mean(axis=(0, 1))).astype(float) @ axes
    step = np.abs(turned).max() / (2 ** (bits - 1) - 1)
    rounded = step * np.rint(turned / step)
    lost = np.linalg.norm(rounded - turned, axis=2)
    counts = []
    for i in range(0, len(bags), 2):
        for j in range(1, len(bags), 2):
            left, right = turned[i], rounded[j]
            off = np.outer(lost[i], np.linalg.norm(right, axis=1)) + np.outer(np.linalg.norm(left, axis=1), lost[j])
            squared = (left**2).sum(axis=1)[:, None] + (turned[j] ** 2).sum(axis=1) - 2 * rounded[i] @ right.T
            least, most = squared - 2 * off, squared + 2 * off
            may_be = (least <= most.min(axis=1, keepdims=True)) | (least <= most.min(axis=0))
            counts.append(may_be.sum() / len(left))
    return float(np.mean(counts))


def shared(bags: NDArray[np.float32]) -> float:
    """Share of patches with an earlier patch of the same image within ``NEAR``."""
    near = 1 - NEAR**2 / 2
    found = [(np.tril(bag @ bag.T, k=-1) > near).any(axis=1).mean() for bag in bags]
    return float(np.mean(found))


if __name__ == "__main__":
    main()
