"""How time grows with the images: all pairs, a reference set, and a night of a fixed number of new ones."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import skimage
from matplotlib.figure import Figure as Drawing
from PIL import Image

from anoclust_core.records import Reference
from anoclust_core.synthesis import DEFECT_TYPES, draw_defect, draw_normal
from benchmarks import stages
from benchmarks.figures import Figure

SECTION = "growth"

SIZES = (250, 500, 1000, 2000, 4000)
QUICK_SIZES = (120, 160)

SPEC = stages.made_up_spec((8, 8), 120)
REFERENCE = 100
SIDE = 128
NEW_IMAGES = 20
NIGHTS = 5
"""Nights with new images after the first one. The median counts: Prefect's own server takes its time now and then."""

EXPECTED = {"all pairs": 2.0, "reference set": 1.0, "a night of 20 new images": 0.0}
TOLERATED = 0.25
"""How far an exponent may be above the expected one."""

Seconds = dict[str, list[float]]


def measure(*, quick: bool = False, plot: Path | None = None) -> Iterator[Figure]:
    """Time every way at every size, pairs once, nights a few times; the exponent is fitted over all sizes."""
    sizes = QUICK_SIZES if quick else SIZES
    found: Seconds = {name: [] for name in EXPECTED}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _pairs(folder / "first", stages.write_data_set(folder / "first", 8, SPEC), None)  # compiles
        list(_nights(folder / "first-nights", sizes[:1]))  # imports
        for size in sizes:
            bags = folder / str(size)
            manifest = stages.write_data_set(bags, size, SPEC)
            found["all pairs"].append(_pairs(bags, manifest, None))
            found["reference set"].append(_pairs(bags, manifest, min(REFERENCE, size // 2)))
            shutil.rmtree(bags)
        found["a night of 20 new images"] = list(_nights(folder / "nights", sizes))
    if plot is not None:
        draw(sizes, found, plot)
    for way, seconds in found.items():
        exponent = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
        told = ", ".join(f"{size:,}: {took:.1f} s" for size, took in zip(sizes, seconds, strict=True))
        yield Figure(
            SECTION, f"{way}, exponent", told, f"expected: {EXPECTED[way]:g}", (exponent,), better="smaller",
            target=EXPECTED[way] + TOLERATED,
        )  # fmt: skip


def _pairs(folder: Path, manifest: Path, reference: int | None) -> float:
    """Seconds of the pairwise stage over the simulated bags of a folder."""
    with stages.without_prefect():
        start = time.perf_counter()
        stages.pair(folder, manifest, SPEC, to=f"to{reference}", reference=Reference("cluster", reference))
        return time.perf_counter() - start


def _nights(folder: Path, sizes: Sequence[int]) -> Iterator[float]:
    """Seconds of a whole night, Prefect and report included, by the number of images before; none re-clusters."""
    from flows.prefect_server.around import prepare_prefect

    prepare_prefect(debug=False)
    from anoclust_core.config import RunConfig
    from flows.nights.run import run_nights

    config = RunConfig.model_validate(
        {
            "night": {"captured": "path:%Y-%m-%d", "recluster_every": None, "recluster_unknown": 1.0},
            "data": {"settle_seconds": 0},
            "embed": {"image_size": SIDE},
            "pair": {"reference": REFERENCE},
        }
    )
    for size in sizes:
        data, store = folder / str(size) / "data", folder / str(size) / "store"
        seconds = []
        for number in range(NIGHTS + 1):
            night = date(2026, 1, 1 + number)
            first, n_images = (size + NEW_IMAGES * (number - 1), NEW_IMAGES) if number else (0, size)
            _deliver(data / "tile" / str(night), first, n_images)
            start = time.perf_counter()
            for outcome in run_nights(data, store, config, as_of=night):
                if outcome.error is not None:
                    raise outcome.error
                if outcome.counters["new"] != n_images or bool(outcome.reclustered) is bool(number):
                    raise RuntimeError(f"not the night that was to be measured: {outcome}")
            seconds.append(time.perf_counter() - start)
        yield statistics.median(seconds[1:])
        shutil.rmtree(folder / str(size))


def _deliver(folder: Path, first: int, n_images: int) -> None:
    """Write pictures of bricks, every other one with a defect."""
    folder.mkdir(parents=True)
    photograph = skimage.data.brick()
    for number in range(first, first + n_images):
        rng = np.random.default_rng(number)
        picture = draw_normal(photograph, rng, size=SIDE, quarter_turns=False)
        if number % 2:
            picture, _ = draw_defect(picture, rng, defect=DEFECT_TYPES[number // 2 % len(DEFECT_TYPES)])
        Image.fromarray(picture).save(folder / f"{number}.png", compress_level=1)


def draw(sizes: Sequence[int], found: Seconds, plot: Path) -> None:
    """Draw seconds over images, both on logarithmic axes."""
    drawing = Drawing(figsize=(7, 4.5), layout="constrained")
    axes = drawing.add_subplot()
    for way, seconds in found.items():
        exponent = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
        axes.loglog(sizes, seconds, marker="o", label=f"{way}: images to the power of {exponent:.2f}")
    axes.set(xlabel="images of the category", ylabel="seconds", xticks=sizes, xticklabels=[f"{n:,}" for n in sizes])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    drawing.savefig(plot, dpi=110)
