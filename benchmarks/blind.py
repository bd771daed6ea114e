"""Recipe blind with error bars: the VAE trained on sampled cells, and on whole maps as before; over seeds and subsets.

    python -m benchmarks.blind --data mtd.csv --work FOLDER                     five seeds, and five random subsets
    python -m benchmarks.blind --data mtd.csv --work FOLDER --ways sampled whole --images 300 --image-size 256
    python -m benchmarks.blind --data mtd.csv --work FOLDER --report            the tables from the records

Each record is one training of everything on one set of images, on one thread. Records that are there are not made
again, so a command that was cut off goes on. Seeds are on all images; subsets are random nine tenths of them, each with
a seed of its own.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from anoclust_core.benchmark.blind import score_descriptors
from anoclust_core.benchmark.localization import localization_scores
from anoclust_core.benchmark.resampling import random_subsets
from anoclust_core.config import RunConfig
from anoclust_core.config.setting import nest
from anoclust_core.evaluation.protocols import ARDELEAN
from anoclust_core.localization.cells import sample_cells, scaled_cells
from anoclust_core.localization.contrastive import load_head, train_head
from anoclust_core.localization.localizer import Localizer, raw_map
from anoclust_core.localization.maps import finish_maps, flat_field
from anoclust_core.localization.thresholds import robust_threshold
from anoclust_core.localization.training import TrainingState, torch_generator
from anoclust_core.localization.vae import (
    LATENT,
    LEARNING_RATE,
    WEIGHT_DECAY,
    FeatureVae,
    load_vae,
    train_vae,
    vae_loss,
)
from anoclust_core.localization.variants import PROGRAM
from anoclust_core.records import DatasetManifest, EmbeddingSpec
from anoclust_core.seeding import generator
from benchmarks.timing import threads

TAU: Final = 0.002
SEED: Final = 0
"""Of the draws of images; trainings have seeds of their own."""

WHOLE_IMAGES: Final = 8
"""Images of a step where whole maps are learnt from, as in the published program."""

LOCALIZATION: Final = ("pro", "pixel_auroc", "image_auroc")
CLUSTERS: Final = ("nmi", "ari", "f1_micro")

Features = NDArray[np.floating[Any]]


def on_sampled_cells(features: Features, seed: int) -> TrainingState:
    """As the product trains."""
    return train_vae(sample_cells(features, seed=seed), seed=seed)


def on_whole_maps(features: Features, seed: int) -> TrainingState:
    """As the published program trains, and as this one did before: all cells of eight images a step, in turns."""
    dim = features.shape[1]
    vae = FeatureVae(dim, LATENT, latent_relu=False, random=torch_generator(seed, "vae weights"))
    optimizer = torch.optim.AdamW(vae.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    turns = _turns(len(features), seed)
    for step in range(PROGRAM.vae_steps):
        cells = np.concatenate([scaled_cells(features[next(turns)]) for _ in range(WHOLE_IMAGES)])
        noise = torch.randn(len(cells), LATENT, generator=torch_generator(seed, f"vae step {step}"))
        loss = vae_loss(vae, torch.from_numpy(cells), noise)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own gap
        optimizer.step()
    return TrainingState.of(PROGRAM.vae_steps, vae, optimizer)


def _turns(n_images: int, seed: int) -> Iterator[int]:
    """Images in turn, each as often as any other, in a new order every round."""
    which = 0
    while True:
        yield from generator(seed, f"vae round {which}").permutation(n_images).tolist()
        which += 1


WAYS: Final[dict[str, Callable[[Features, int], TrainingState] | None]] = {
    "sampled": on_sampled_cells,
    "whole": on_whole_maps,
    "none": None,
}


class Laps:
    """Seconds of the processor, phase by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.process_time()

    def __call__(self, phase: str) -> None:
        """End a phase."""
        now = time.process_time()
        self.seconds[phase] = round(now - self._last, 2)
        self._last = now


def measure(
    features: Features, labels: Sequence[str | None], truth: NDArray[np.bool_] | None, *, way: str, seed: int
) -> dict[str, Any]:
    """Train everything on some images; gives scores and seconds."""
    laps = Laps()
    train = WAYS[way]
    vae = load_vae(train(features, seed)) if train else None
    laps("VAE")
    raw = np.stack([raw_map(image, vae) for image in features])
    field = flat_field(raw)
    finished = finish_maps(raw, field=field)
    laps("maps")
    found: dict[str, Any] = {"localization": localization_scores(finished, labels, truth, protocol=ARDELEAN)}
    laps("scores of maps")
    threshold = robust_threshold(finished)
    learnt = Localizer(vae, None, field, 0.0, TAU, threshold)
    plain = np.stack([learnt.pooled(image, one) for image, one in zip(features, finished, strict=True)])
    laps("plain descriptors")
    head = load_head(train_head(features, finished > threshold, plain, seed=seed))
    laps("head")
    learnt = Localizer(vae, head, field, 0.0, TAU, threshold)
    final = np.stack([learnt.pooled(image, one) for image, one in zip(features, finished, strict=True)])
    laps("descriptors")
    for name, descriptors in (("full", final), ("no head", plain)):
        row, *_ = score_descriptors(
            descriptors, labels, method="", setting="", clusterings=("ward",), seed=seed, extra={}
        )
        found[name] = {"all": _named(row.scores), "defects": _named(row.defect_only)}
    return {**found, "seconds": laps.seconds, "n_images": len(labels)}


def _named(scores: Any) -> dict[str, float]:
    return {name: float(scores[name]) for name in CLUSTERS if name in scores}


@contextmanager
def images_of(
    data: Path, work: Path, *, n_images: int | None, image_size: int
) -> Iterator[tuple[Features, DatasetManifest, EmbeddingSpec]]:
    """Embed the images of the only category, or some of them, by a run without any training."""
    from flows.run import run_data
    from tasks.networks.backbone_spec import embedding_spec
    from tasks.stores.embeddings import feature_maps
    from tasks.stores.layout import StoreLayout
    from tasks.stores.manifests import load_manifest
    from tasks.stores.runs import parts_of

    work.mkdir(parents=True, exist_ok=True)
    if n_images is not None:
        data = _some(data, work / f"{n_images}.csv", n_images)
    asked = {"recipe": "blind", "blind.vae": False, "blind.contrastive": False, "data.normals": "none"}
    config = RunConfig.model_validate(nest({**asked, "embed.image_size": image_size, "data.settle_seconds": 0}))
    (outcome,) = run_data(data, work / "store", config)
    if outcome.error is not None or outcome.run is None:
        raise SystemExit(str(outcome.error))
    layout = StoreLayout(work / "store")
    images = load_manifest(parts_of(layout, outcome.summary).manifest)
    spec = embedding_spec(layout, config)
    hashes = [image.sha256 for image in images.clustered]
    folder = layout.folder("embeddings", outcome.category, outcome.summary["keys"]["embedding"])
    with feature_maps(folder, hashes, spec, work) as features:
        yield features.values, images, spec


def _some(data: Path, file: Path, n_images: int) -> Path:
    """Draw some lines of a manifest."""
    header, *rows = data.read_text(encoding="utf-8").splitlines()
    chosen = generator(SEED, "images").choice(len(rows), n_images, replace=False)
    file.write_text("\n".join([header, *(rows[row] for row in sorted(chosen))]) + "\n", encoding="utf-8")
    return file


def table(records: Sequence[dict[str, Any]]) -> str:
    """A row for every score, a column for every way over seeds or over subsets: mean, standard deviation and range."""
    names = [("localization", None, name) for name in LOCALIZATION]
    names += [(kind, among, name) for kind in ("full", "no head") for among in ("all", "defects") for name in CLUSTERS]
    own: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in records:
        own.setdefault((one["way"], one["over"]), []).append(one)
    columns = [own[key] for key in sorted(own)]
    lines = [f"| | {' | '.join(f'{way}, {len(own[way, over])} {over}' for way, over in sorted(own))} |"]
    lines.append(f"|{'---|' * (1 + len(columns))}")
    for name in names:
        cells = [_cell(column, *name) for column in columns]
        lines.append(f"| {' '.join(filter(None, name))} | {' | '.join(cells)} |")
    seconds = [f"{np.mean([sum(one['seconds'].values()) for one in column]):.0f}" for column in columns]
    lines.append(f"| CPU seconds | {' | '.join(seconds)} |")
    return "\n".join(lines)


def _cell(records: Sequence[dict[str, Any]], kind: str, among: str | None, name: str) -> str:
    scores = [one[kind] if among is None else one[kind][among] for one in records]
    values = np.array([one[name] for one in scores if one.get(name) is not None])
    if not len(values):
        return "–"
    spread = f" ± {values.std(ddof=1):.3f} ({values.min():.3f} to {values.max():.3f})" if len(values) > 1 else ""
    return f"{values.mean():.3f}{spread}"


def phases(records: Sequence[dict[str, Any]]) -> str:
    """Seconds of the processor by phase."""
    lines = []
    for way in sorted({one["way"] for one in records}):
        own = [one["seconds"] for one in records if one["way"] == way]
        told = ", ".join(f"{phase} {np.mean([one[phase] for one in own]):.1f}" for phase in own[0])
        lines.append(f"{way}: {told}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Make the records that are missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="images of one category, with labels and masks")
    parser.add_argument("--work", type=Path, required=True, help="folder for store and records")
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=["sampled"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--subsets", type=int, default=5)
    parser.add_argument("--images", type=int, help="so many random ones of them (default: all)")
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--report", action="store_true", help="only print what the records say")
    asked = parser.parse_args(argv)
    folder = asked.work / f"records-{asked.images or 'all'}-{asked.image_size}"
    if not asked.report:
        _make(asked, folder)
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    print(f"{table(records)}\n\nseconds of the processor, one thread\n{phases(records)}", flush=True)


def _make(asked: argparse.Namespace, folder: Path) -> None:
    from tasks.benchmark.sohn import ground_truth

    folder.mkdir(parents=True, exist_ok=True)
    size = {"n_images": asked.images, "image_size": asked.image_size}
    with images_of(asked.data, asked.work, **size) as (features, images, spec), threads(1):
        labels = [image.label for image in images.clustered]
        truth = ground_truth(images.clustered, 256, spec) if any(image.mask for image in images.clustered) else None
        every = np.arange(len(labels))
        draws = random_subsets(len(labels), generator=generator(SEED, "subsets"), n_subsets=max(1, asked.subsets))
        jobs = [("seeds", seed, every) for seed in range(asked.seeds)]
        jobs += [("subsets", at, draws[at]) for at in range(asked.subsets)]
        for over, number, rows in jobs:
            for way in asked.ways:
                record = folder / f"{way}-{over}-{number}.json"
                if record.exists():
                    continue
                own = features if len(rows) == len(features) else features[rows]
                of_truth = truth if truth is None else truth[rows]
                found = measure(own, [labels[row] for row in rows], of_truth, way=way, seed=number)
                text = json.dumps({"way": way, "over": over, "number": number, **found}, indent=1)
                record.write_text(text, encoding="utf-8")
                print(f"{record.name}: {json.dumps(found)}", flush=True)


if __name__ == "__main__":
    main()
