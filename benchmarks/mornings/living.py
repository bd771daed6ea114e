"""Live through the nights of a stream with the product, as whoever runs it every night, and keep a record."""

from __future__ import annotations

import csv
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anoclust_core.config import RunConfig
from anoclust_core.synthesis.pictures import draw_image
from anoclust_core.synthesis.stream_records import SURFACES, Stream, StreamImage, Truth
from benchmarks import nights
from benchmarks.mornings.records import UNKNOWN, File, Night, Record, Told
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.layout import StoreLayout

CATEGORY = "part"
MONDAY = date(2026, 1, 5)
"""First night of a stream: its weeks are calendar weeks."""


class Source(Protocol):
    """Where the images of every night come from."""

    name: str
    category: str
    everything: Path
    """Folder or manifest of all images."""
    data: Path
    """Folder or manifest that nights are run on."""
    first: date
    n_nights: int
    truths: tuple[Truth, ...]

    def prepare(self) -> None:
        """Make everything."""

    def files(self, night: int) -> Sequence[File]:
        """Files of a night."""

    def deliver(self, night: int) -> Sequence[File]:
        """Put them where the product looks for them; gives them."""


class StreamSource:
    """A planned stream: its images are drawn at once, and linked into the data folder when their night comes."""

    def __init__(self, stream: Stream, folder: Path) -> None:
        self.stream = stream
        self.name, self.category = f"{stream.seed:03d}", CATEGORY
        self.everything, self.data = folder / "everything", folder / "data"
        self.first, self.n_nights, self.truths = MONDAY, stream.n_nights, stream.truths

    def prepare(self) -> None:
        """Draw and save every image."""
        for folder in (self.everything, self.data):
            shutil.rmtree(folder, ignore_errors=True)
            (folder / CATEGORY).mkdir(parents=True)
        surfaces = photographs()
        for image in self.stream.images:
            file = self.everything / CATEGORY / self._path(image)
            file.parent.mkdir(exist_ok=True)
            Image.fromarray(draw_image(self.stream, image, surfaces)).save(file, compress_level=1)

    def files(self, night: int) -> Sequence[File]:
        """Files of a night, as planned."""
        return [File(self._path(one), one.label, one.marks, one.is_copy) for one in self.stream.on(night)]

    def deliver(self, night: int) -> Sequence[File]:
        """Link the files; the folder of a night without images is not made."""
        delivered = self.files(night)
        for one in delivered:
            file = self.data / CATEGORY / one.path
            file.parent.mkdir(exist_ok=True)
            file.hardlink_to(self.everything / CATEGORY / one.path)
        return delivered

    def _path(self, image: StreamImage) -> str:
        """Of a file in its category, as the product lists it."""
        return f"{(self.first + timedelta(days=image.night)).isoformat()}/{image.number:03d}.png"


@dataclass
class DealtSource:
    """A labelled data set that is dealt out over nights, see `benchmarks.nights.deal`: its files are there already.

    ``everything`` is the same manifest: a night looks at no later image of it.
    """

    name: str
    category: str
    everything: Path
    data: Path
    n_nights: int
    labels: Mapping[str, str]
    dealt: Mapping[str, int]
    truths: tuple[Truth, ...]
    first: date = nights.FIRST

    def prepare(self) -> None:
        """Everything is there."""

    def deliver(self, night: int) -> Sequence[File]:
        """Files of a night, which are there."""
        return self.files(night)

    def files(self, night: int) -> Sequence[File]:
        """Files whose night it is."""
        return [File(path, self.labels[path]) for path, when in sorted(self.dealt.items()) if when == night]


def dealt_source(
    name: str, manifest: Path, work: Path, *, n_nights: int, seed: int, begins: nights.Begins
) -> DealtSource:
    """Deal a labelled manifest out; the truth is that one class begins. The nights see no label."""
    dealt = work / "dealt.csv"
    category, labels = nights.deal(manifest, dealt, nights=n_nights, seed=seed, begins=begins, keep_labels=False)
    with dealt.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row[nights.COLUMN]]
    when = {row["path"]: (date.fromisoformat(row[nights.COLUMN]) - nights.FIRST).days for row in rows}
    new = sorted(when[path] for path, label in labels.items() if label == begins.label)
    third = new[min(2, len(new) - 1)]
    after = min((night for night in when.values() if night > third), default=third)
    truth = Truth("new", begins.label, new[0], third, after)
    return DealtSource(name, category, dealt, dealt, n_nights, labels, when, (truth,))


def photographs() -> dict[str, NDArray[np.uint8]]:
    """Grey photographs that surfaces are cut from."""
    from skimage import data

    return {name: np.asarray(getattr(data, name)(), dtype=np.uint8) for name in SURFACES}


def live(source: Source, work: Path, config: RunConfig) -> Record:
    """Run over everything from scratch, then every night in the same store, and keep a record.

    Embeddings and distances are found by content, so the nights find those of the first run: they decide the same
    without them, and take longer.

    Parameters
    ----------
    source
        Of the images.
    work
        Folder for the store; the store is removed when all is done.
    config
        Settings of the nights.
    """
    store = work / "store"
    shutil.rmtree(store, ignore_errors=True)
    store.mkdir(parents=True)
    source.prepare()
    labels = {
        file.path: file.label for night in range(source.n_nights) for file in source.files(night) if not file.is_copy
    }
    n_classes = len(set(labels.values()))
    given = config.model_copy(update={"group": config.group.model_copy(update={"n_clusters": n_classes})})
    known = nights.from_scratch(source.everything, store, given)
    free = nights.from_scratch(source.everything, store, config)
    lived: list[Night] = []
    last: dict[str, str] = {}
    heard: set[str] = set()
    for number in range(source.n_nights):
        files = source.deliver(number)
        when = source.first + timedelta(days=number)
        start = time.perf_counter()
        outcome = nights.one_night(source.data, store, config, when)
        seconds = time.perf_counter() - start
        now = nights.partition(store, source.category)
        with Catalog.open(config.night.catalog or store / "catalog.sqlite", store=StoreLayout(store)) as catalog:
            notices = [one for one in catalog.notices(source.category) if one.sent_at and one.notice not in heard]
            recorded = catalog.night(source.category, when)
            placed, born = catalog.night_record(source.category, when)
            paths = {fact.content: fact.path for fact in catalog.images(source.category)}
            states = {cluster.cluster: cluster.state for cluster in catalog.clusters(source.category)}
        heard |= {one.notice for one in notices}
        lived.append(
            Night(
                number,
                when.isoformat(),
                tuple(files),
                tuple(Told(one.event, dict(one.payload)) for one in notices),
                {path: cluster for path, cluster in now.items() if last.get(path) != cluster},
                dict(recorded.counters) if recorded else {},
                states,
                {name: tuple(paths[content] for content in evidence["images"]) for name, evidence in born.items()},
                outcome.reclustered,
                round(seconds, 2),
                {paths[one.content]: (one.cluster, round(one.confidence, 4)) for one in placed if one.cluster},
            )
        )
        last = now
    shutil.rmtree(store)
    scores = {
        "scratch": nights.agreement(known, labels),
        "scratch_auto": nights.agreement(free, labels),
        "nights": nights.agreement(last, labels),
        "agreement": nights.agreement(last, free),
        "unknown": sum(cluster == UNKNOWN for cluster in last.values()) / max(len(last), 1),
        "n_classes": n_classes,
        "n_clusters_auto": len(set(free.values())),
        "n_clusters_nights": len(set(last.values()) - {UNKNOWN}),
    }
    return Record(source.name, source.truths, tuple(lived), scores)
