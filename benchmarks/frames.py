"""Large frames of a fixed camera: whether small and large defects are told apart, in which time and memory.

Frames are made: a textured part with holes and print on a dark background, the same in all of them, moved by up to some
pixels, with other light and other noise in each. Most have a pit, a scratch or a stain, of one of two sizes. They are
clustered as one picture each and in tiles, every time in a new store and a process of its own. Then comes a night of
ten more. In the same store, the good ones are clustered with the defects of each size alone. Beside the seconds stand
those of the processor: on a busy machine only these say what a quiet one would take, divided by its cores.

    python -m benchmarks.frames --work FOLDER
    python -m benchmarks.frames --work FOLDER --frames 20 --shape 1500x2000 --shift 10 --tiles none 4x4
"""

from __future__ import annotations

import argparse
import csv
import resource
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.metrics import normalized_mutual_info_score, roc_auc_score

from anoclust_core.config import RunConfig
from anoclust_core.config.setting import nest
from anoclust_core.safe_text.cells import original
from anoclust_core.seeding import generator
from anoclust_core.synthesis.shapes import smooth_noise, to_uint8

KINDS = ("pit", "scratch", "stain")
SIZES = (12, 200)
"""Of a defect, in pixels of the frame."""

GOOD_SHARE = 0.4
"""Part of the frames without a defect; the others have each kind in each size alike."""

NIGHT_FRAMES = 10

CATEGORY = "frames"
NIGHTS = (date(2026, 1, 1), date(2026, 1, 2))

LAYERS = "2,3"
"""Feature levels: the patches of the first are half as large as usual, 16 pixels of a frame in 6 x 8 tiles."""

QUALITY = 95
"""Of the JPEG files that frames are kept as."""


Result = TypeVar("Result")


@dataclass(frozen=True)
class Camera:
    """Where frames are taken: height and width in pixels, and by how many pixels at most the part is off its place."""

    shape: tuple[int, int]
    shift: int


@dataclass(frozen=True)
class Part:
    """What is in front of the camera: shapes ``(height, width)``, larger than a frame by the shift on every side.

    Attributes
    ----------
    grey
        Grey levels of the part and its background, the same in all frames.
    grain
        Noise of deviation 1: what every piece has of its own, from another place of it.
    inside
        1 on the part, 0 beside it.
    """

    grey: NDArray[np.float32]
    grain: NDArray[np.float32]
    inside: NDArray[np.float32]


def make_part(camera: Camera, *, seed: int = 0) -> Part:
    """Draw a part: a plate with drilled holes and printed bars on a dark background."""
    rng = generator(seed, "part")
    height, width = shape = tuple(side + 2 * camera.shift for side in camera.shape)
    unit = min(camera.shape) / 1500
    y, x = np.ogrid[:height, :width]
    edge = np.minimum(np.minimum(y - 0.08 * height, 0.92 * height - y), np.minimum(x - 0.06 * width, 0.94 * width - x))
    inside = np.clip(edge / (4 * unit) + 0.5, 0, 1)
    grey = 30 + 2 * smooth_noise(shape, rng, scale=2) + inside * (105 + 7 * smooth_noise(shape, rng, scale=12 * unit))
    for _ in range(12):
        row, column = rng.uniform(0.15, 0.85, 2) * shape
        radius = rng.uniform(15, 40) * unit
        grey *= 1 - 0.7 * np.clip((radius - np.hypot(y - row, x - column)) / (2 * unit) + 0.5, 0, 1)
    for _ in range(10):
        top, left = (rng.uniform(0.15, 0.8, 2) * shape).astype(int)
        grey[top : top + int(12 * unit), left : left + int(rng.uniform(80, 250) * unit)] += 45
    grain = smooth_noise(shape, rng, scale=2)
    return Part(grey.astype(np.float32), grain.astype(np.float32), inside.astype(np.float32))


def frame(part: Part, camera: Camera, number: int, kind: str, size: int) -> NDArray[np.uint8]:
    """One frame: the part at its place but for a shift, with a grain, a defect, light and noise of its own."""
    rng = generator(number, "frame")
    height, width = camera.shape
    top, left = rng.integers(0, 2 * camera.shift + 1, 2)
    grain = np.roll(part.grain, rng.integers(0, part.grain.shape), axis=(0, 1))
    piece = (part.grey + 7 * part.inside * grain) * np.float32(rng.uniform(0.96, 1.04))
    grey = piece[top : top + height, left : left + width]
    picture = np.repeat(grey[:, :, None], 3, axis=2)
    if kind != "good":
        row, column = (int(rng.uniform(0.15, 0.85) * side) for side in camera.shape)
        at = (slice(max(0, row - size), row + size), slice(max(0, column - size), column + size))
        picture[at] = draw(picture[at], rng, kind, size)
    noise = rng.standard_normal(camera.shape, dtype=np.float32)
    return to_uint8(picture + 2.5 * noise[:, :, None])


def draw(surface: NDArray[np.float32], rng: np.random.Generator, kind: str, size: int) -> NDArray[np.float32]:
    """A defect of about ``size`` pixels in the middle of a patch of a frame, shape ``(height, width, 3)``."""
    height, width, _ = surface.shape
    y, x = np.mgrid[:height, :width]
    y, x = y - height / 2, x - width / 2
    if kind == "stain":
        tint = np.array([0.78, 0.52, 0.3])
        strength = gaussian_filter(_stain(y, x, rng, size / 2), size / 24)[:, :, None]
        return surface * (1 - strength * (1 - tint))
    if kind == "pit":
        depth = np.clip((size / 2 - np.hypot(y, x)) / (0.08 * size) + 0.5, 0, 1)
        rim = np.exp(-(((np.hypot(y, x) - 0.52 * size) / (0.06 * size)) ** 2)) * (y > 0)
        return surface * (1 - 0.85 * depth[:, :, None]) + 70 * rim[:, :, None]
    angle = rng.uniform(0.2, 1.2)
    along, off = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    thick = max(1.0, size / 16)
    on = np.clip(thick - np.abs(off) + 0.5, 0, 1) * (np.abs(along) < size / 2)
    return surface + 110 * on[:, :, None]


def _stain(
    y: NDArray[np.float64], x: NDArray[np.float64], rng: np.random.Generator, radius: float
) -> NDArray[np.float64]:
    """1 inside a round shape with a wavy edge, else 0."""
    angle = np.arctan2(y, x)
    edge = radius * (1 + 0.15 * np.sin(3 * angle + rng.uniform(0, 6)) + 0.1 * np.sin(5 * angle + rng.uniform(0, 6)))
    return (np.hypot(y, x) < edge).astype(np.float64)


def make_frames(folder: Path, camera: Camera, n_frames: int, *, sizes: Sequence[int] = SIZES, first: int = 0) -> None:
    """Save frames whose names tell the truth: ``NUMBER_good.jpg`` or ``NUMBER_KIND_SIZE.jpg``.

    Parameters
    ----------
    folder
        Gets them.
    camera
        What they are taken with.
    n_frames
        How many; `GOOD_SHARE` of them are good.
    sizes
        Of the defects in pixels.
    first
        Number of the first; others show other defects at other places.
    """
    part = make_part(camera)
    folder.mkdir(parents=True)
    kinds = [(kind, size) for size in sizes for kind in KINDS]
    n_good = round(GOOD_SHARE * n_frames)
    for at in range(n_frames):
        kind, size = ("good", 0) if at < n_good else kinds[(at - n_good) % len(kinds)]
        name = f"{first + at:03d}_{kind}" + (f"_{size}" if size else "")
        Image.fromarray(frame(part, camera, first + at, kind, size)).save(folder / f"{name}.jpg", quality=QUALITY)


def manifest_of(out: Path, folders: Sequence[Path], *, size: int | None = None) -> Path:
    """Write a manifest of the frames in one folder a night: all of them, or the good ones and those of a size."""
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["category", "path", "night"])
        for folder, night in zip(folders, NIGHTS, strict=False):
            names = ("*",) if size is None else ("*_good.jpg", f"*_{size}.jpg")
            paths = sorted(path for name in names for path in folder.glob(name))
            writer.writerows([CATEGORY, str(path), night.isoformat()] for path in paths)
    return out


@dataclass(frozen=True)
class Found:
    """What came of a run.

    Attributes
    ----------
    by_size
        Image AUROC against the good frames, and NMI of the kinds among the defects, of each size.
    finer
        NMI of the kinds of each size where the same tree is cut into a cluster for each kind in each size.
    seconds
        By stage, and ``total``.
    note
        What the run says of alignment; empty where it says nothing.
    """

    by_size: dict[int, tuple[float, float]]
    finer: dict[int, float]
    seconds: dict[str, float]
    note: str


def run_frames(data: Path, store: Path, config: RunConfig) -> Found:
    """Cluster frames from `make_frames`, and score what came of it."""
    from anoclust_core.clustering.linkage import cut_tree
    from flows.run import run_data
    from tasks.stores import arrays
    from tasks.stores.layout import StoreLayout

    (outcome,) = run_data(data, store, config)
    if outcome.error is not None or outcome.run is None:
        raise SystemExit(str(outcome.error))
    notes = [note for note in outcome.summary["notes"] if note.startswith("Patches are compared")]
    assignments = _Assignments.read(outcome.run / "assignments.csv")
    keys = outcome.summary["keys"]
    linkage = arrays.read(StoreLayout(store).folder("trees", CATEGORY, keys["group"]), "linkage").astype(np.float64)
    finer = cut_tree(linkage, n_clusters=1 + len(KINDS) * len(assignments.sizes))
    return Found(
        by_size={size: (assignments.auroc(size), assignments.nmi(size)) for size in assignments.sizes},
        finer={size: assignments.nmi(size, finer) for size in assignments.sizes},
        seconds=dict(outcome.summary["seconds"]),
        note=" ".join(notes),
    )


@dataclass(frozen=True)
class _Assignments:
    """A run's table, a row an image in the order of the run's arrays; the truth stands in the names of the files."""

    kinds: NDArray[np.str_]
    size_of: NDArray[np.int64]
    scores: NDArray[np.float64]
    clusters: NDArray[np.int64]

    @classmethod
    def read(cls, file: Path) -> _Assignments:
        with file.open(encoding="utf-8", newline="") as opened:
            rows = sorted(csv.DictReader(opened), key=lambda row: row["sha256"])
        truth = [Path(original(row["path"])).stem.split("_")[1:] for row in rows]
        return cls(
            kinds=np.array([words[0] for words in truth]),
            size_of=np.array([int(words[1]) if len(words) > 1 else 0 for words in truth]),
            scores=np.array([float(row["anomaly_score"]) for row in rows]),
            clusters=np.array([int(row["cluster"]) for row in rows]),
        )

    @property
    def sizes(self) -> list[int]:
        return sorted({*self.size_of.tolist()} - {0})

    def auroc(self, size: int) -> float:
        """Image AUROC of the defects of a size against the good frames."""
        among = (self.size_of == size) | (self.size_of == 0)
        return float(roc_auc_score(self.size_of[among] == size, self.scores[among]))

    def nmi(self, size: int, clusters: NDArray[np.int64] | None = None) -> float:
        """NMI of the kinds of the defects of a size, by the run's clusters or by others."""
        bad = self.size_of == size
        found = self.clusters if clusters is None else clusters
        return float(normalized_mutual_info_score(self.kinds[bad], found[bad]))


def night_after(manifest: Path, store: Path, config: RunConfig) -> float:
    """Seconds of a night of new frames, after one that has taken up the others."""
    from flows.nights.run import run_nights

    seconds = 0.0
    for night in NIGHTS:
        start = time.perf_counter()
        for outcome in run_nights(manifest, store, config, as_of=night):
            if outcome.error is not None:
                raise SystemExit(str(outcome.error))
            print(f"  night {night}: {dict(outcome.counters)}, re-clustered: {outcome.reclustered}", flush=True)
        seconds = time.perf_counter() - start
    return seconds


@dataclass(frozen=True)
class Spent:
    """What a job took, in a process of its own: seconds of the processor, and the largest memory in GiB."""

    processor: float
    peak: float


def apart(job: Callable[[], Result]) -> tuple[Result, Spent]:
    """What a job gives, and what it took in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measured, job).result()


def _measured(job: Callable[[], Result]) -> tuple[Result, Spent]:
    result, used = job(), resource.getrusage(resource.RUSAGE_SELF)
    return result, Spent(used.ru_utime + used.ru_stime, used.ru_maxrss / (1 << 20))


def settings(tiles: str, aligned: str, layers: str = LAYERS) -> RunConfig:
    """Settings of a run: the number of clusters is known, no frame is known to be good."""
    asked = {
        "data.normals": "none", "data.settle_seconds": 0, "group.n_clusters": 1 + len(KINDS), "embed.tiles": tiles,
        "embed.layers": layers, "pair.aligned": aligned, "night.captured": "column:night", "night.day_starts": "00:00",
        "night.recluster_every": "none",
    }  # fmt: skip
    return RunConfig.model_validate(nest(asked))


def main() -> None:
    """Print a line for each way of cutting and comparing, and the seconds of a night after the tiled and aligned."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for frames and stores; frames are made once")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--shape", default="3000x4000", help="height and width of a frame")
    parser.add_argument("--shift", type=int, default=20, help="pixels that the part is off its place at most")
    parser.add_argument("--sizes", nargs=2, type=int, default=SIZES, help="of the defects, in pixels")
    parser.add_argument("--tiles", nargs="+", default=["none", "6x8"])
    parser.add_argument("--aligned", nargs="+", default=["auto"])
    parser.add_argument("--layers", default=LAYERS, help="feature levels, or auto")
    parser.add_argument("--no-night", action="store_true")
    asked = parser.parse_args()
    height, _, width = asked.shape.partition("x")
    folders = [asked.work / night.isoformat() for night in NIGHTS]
    camera = Camera((int(height), int(width)), asked.shift)
    for folder, first, n_frames in zip(folders, (0, asked.frames), (asked.frames, NIGHT_FRAMES), strict=True):
        if not folder.exists():
            make_frames(folder, camera, n_frames, sizes=asked.sizes, first=first)
    today = manifest_of(asked.work / "today.csv", folders[:1])
    both = manifest_of(asked.work / "both.csv", folders)
    for tiles in asked.tiles:
        for aligned in asked.aligned:
            store, config = asked.work / f"store-{tiles}-{aligned}", settings(tiles, aligned, asked.layers)
            shutil.rmtree(store, ignore_errors=True)
            found, spent = apart(partial(run_frames, today, store, config))
            print(f"tiles {tiles}, aligned {aligned}: {_told(found, spent)}", flush=True)
            if tiles != "none" and not asked.no_night:
                seconds, spent = apart(partial(night_after, both, store, config))
                told = f"{seconds:.0f} s; both nights {spent.processor:.0f} s of the processor, {spent.peak:.1f} GiB"
                print(f"  a night of {NIGHT_FRAMES} frames: {told}", flush=True)
            for size in asked.sizes:
                alone = manifest_of(asked.work / f"{size}.csv", folders[:1], size=size)
                found, _ = apart(partial(run_frames, alone, store, config))
                print(f"  the good ones and {_qualities(found)}", flush=True)


def _told(found: Found, spent: Spent) -> str:
    parts = ", ".join(f"{name} {found.seconds[name]:.0f}" for name in ("embed", "pairwise", "whiten", "report"))
    seconds = f"{found.seconds['total']:.0f} s ({parts}), {spent.processor:.0f} s of the processor"
    finer = ", ".join(f"{size} px {nmi:.2f}" for size, nmi in found.finer.items())
    n_finer = 1 + len(KINDS) * len(found.finer)
    return f"{_qualities(found)}; {seconds}, {spent.peak:.1f} GiB\n  NMI in {n_finer} clusters: {finer}\n  {found.note}"


def _qualities(found: Found) -> str:
    return "; ".join(f"{size} px: AUROC {auroc:.3f}, NMI {nmi:.2f}" for size, (auroc, nmi) in found.by_size.items())


if __name__ == "__main__":
    main()
