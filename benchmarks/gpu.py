"""Pairs of images on a GPU: against the device's own matrix products, a loop over pairs, and the kernel on the CPU.

``python -m benchmarks.gpu`` needs a CUDA device, and ends with exit code 2 and nothing measured where torch sees none.
``--device cpu --quick`` tries the script itself; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from anoclust_core.bags import check_bags, normalize_patches
from anoclust_core.pairwise import cpu, gpu

RUNS: Final = 7

SHAPES: Final = ((64, 1024, 512), (64, 1024, 120), (256, 256, 120))
"""Images, patches and features."""

PEAK_SIDES: Final = (4096, 8192, 16384)
"""Sides of the square products, the best of which is the device's peak."""

COMPARED_IMAGES: Final = 8
"""Images whose distances are compared with those of the CPU."""

NOTHING_MEASURED: Final = 2
"""Exit code where there is no such device."""

Bags = NDArray[np.float32]


def main() -> int:
    """Print the figures of each shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="as torch names it (default: cuda)")
    parser.add_argument(
        "--bags", type=Path, help="features of images to measure too: .npy, (images, patches, features)"
    )
    parser.add_argument("--quick", action="store_true", help="few small images, once")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        print(f"torch {torch.__version__} sees no device {device} here: nothing was measured", file=sys.stderr)
        return NOTHING_MEASURED
    runs = 1 if options.quick else RUNS
    print(f"torch {torch.__version__} on {_name(device)}; {runs} runs in turns: median (smallest to largest)")
    peak = max(_product_rate(side, device, runs) for side in ((256,) if options.quick else PEAK_SIDES))
    print(f"peak of a half-precision product: {peak / 1e9:,.1f} GFLOP/s\n")
    for name, bags in _all_bags(options.bags, quick=options.quick):
        _measure(name, bags, device, runs, peak)
    return 0


def _all_bags(file: Path | None, *, quick: bool) -> Iterator[tuple[str, Bags]]:
    rng = np.random.default_rng(0)
    for n_images, n_patches, dim in ((6, 64, 24),) if quick else SHAPES:
        drawn = rng.standard_normal((n_images, n_patches, dim), np.float32)
        yield "spread-out patches", normalize_patches(drawn)
        # a product line's pictures: few kinds of patches, each near one of a few directions
        kinds = rng.standard_normal((n_patches // 4, dim), np.float32)
        of_kind = kinds[rng.integers(len(kinds), size=(n_images, n_patches))]
        yield "patches of few kinds", normalize_patches(of_kind + drawn / 4)
        flat = of_kind + drawn / 4
        flat[::8] = kinds[0]
        yield "the same, every eighth image flat", normalize_patches(flat)
    if file is not None:
        yield file.name, normalize_patches(np.load(file))


def _measure(name: str, bags: Bags, device: torch.device, runs: int, peak: float) -> None:
    n_images, n_patches, dim = bags.shape
    half = n_images // 2
    left, right = bags[:half], bags[half:]
    n_pairs = len(left) * len(right)
    n_looped = max(1, len(left) // 8)
    on_device = torch.tensor(bags, device=device)
    ways = {
        "ours, array to array": (
            n_pairs,
            lambda: gpu.mutual_nearest_distances(left, right, device=str(device)),
        ),
        "of that checking and copying in": (n_pairs, lambda: _take_in(left, right, device)),
        "torch.cdist, pair by pair, on the device": (
            n_looped * len(right),
            lambda: _loop(on_device[:n_looped], on_device[half:]),
        ),
    }
    seconds = _in_turns({way: call for way, (_, call) in ways.items()}, device, runs)
    print(f"{name}: {len(left)} with {len(right)} images, {n_patches:,} x {dim}")
    for way, (pairs, _) in ways.items():
        rates = [pairs / took for took in seconds[way]]
        print(f"  {way + ':':42}{_spread(rates, '{:,.0f}')} pairs/s")
    ours, taken_in, looped = seconds.values()
    product = 2 * n_pairs * n_patches**2 * dim
    shares = [product / took / peak for took in ours]
    print(f"  {'share of the peak, array to array:':42}{_spread(shares, '{:.3f}')}")
    inside = [product / (took - before) / peak for took, before in zip(ours, taken_in, strict=True) if took > before]
    if inside:
        print(f"  {'share of the peak without taking in:':42}{_spread(inside, '{:.3f}')}")
    faster = [took / n_looped * len(left) / mine for took, mine in zip(looped, ours, strict=True)]
    print(f"  {'times as fast as torch.cdist:':42}{_spread(faster, '{:.1f}')}")
    few = bags[:COMPARED_IMAGES]
    off = np.abs(gpu.nearest_distances_within(few, device=str(device)) - cpu.nearest_distances_within(few)).max()
    print(f"  {'largest difference to the CPU:':42}{off:.1e}\n")


def _take_in(left: Bags, right: Bags, device: torch.device) -> None:
    for bags in (left, right):
        torch.tensor(check_bags(bags), device=device)


def _loop(left: torch.Tensor, right: torch.Tensor) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Both directions of each pair in single precision, as a script would have it."""
    found = []
    for one in left:
        for other in right:
            distances = torch.cdist(one, other)
            found.append((distances.amin(1).cpu().numpy(), distances.amin(0).cpu().numpy()))
    return found


def _product_rate(side: int, device: torch.device, runs: int) -> float:
    """Floating-point operations a second of the best of several half-precision products."""
    one, other = (torch.randn(side, side, device=device).half() for _ in range(2))
    repeats = 10 if device.type == "cuda" else 1

    def multiply() -> None:
        for _ in range(repeats):
            torch.mm(one, other.T)

    return repeats * 2 * side**3 / min(_in_turns({"product": multiply}, device, runs)["product"])


def _in_turns(ways: dict[str, Callable[[], object]], device: torch.device, runs: int) -> dict[str, list[float]]:
    """Seconds of each way in each run, after one that does not count, until the device has finished."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(runs + 1):
        for name, way in ways.items():
            _wait(device)
            start = time.perf_counter()
            way()
            _wait(device)
            if run:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"the device {device}"


def _spread(values: list[float], form: str) -> str:
    middle, least, most = (form.format(value) for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({least} to {most})"


if __name__ == "__main__":
    sys.exit(main())
