"""Nights to test with: images by night and class, and what became of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anoclust_core.config import RunConfig
from anoclust_core.synthesis import draw_defect, draw_normal
from flows.nights.outcome import NightOutcome
from flows.nights.run import run_nights
from helpers.builders import save_image, surface, tiny_config, write_manifest_csv
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.layout import StoreLayout

FIRST = date(2026, 11, 1)
CATEGORY = "board"
TWO = ("good", "hole") * 5


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def night_config(checkpoint: Path, **settings: object) -> RunConfig:
    """Settings of nights with the tiny backbone; a folder's name says when its images were taken."""
    return tiny_config(checkpoint, **{"night.captured": "path:%Y-%m-%d", **settings})


class Stream:
    """Images that arrive night by night in one folder, and the nights over them.

    Parameters
    ----------
    root
        Folder for images and store.
    config
        What is asked for.
    """

    def __init__(self, root: Path, config: RunConfig) -> None:
        self.root, self.config = root, config
        self.data, self.store = root / "data", root / "store"
        self._rows: list[dict[str, str]] = []

    def at(self, root: Path, config: RunConfig) -> Stream:
        """The same stream in another place, to which its files and its catalog were copied."""
        copy = Stream(root, config)
        copy._rows = [dict(row) for row in self._rows]
        return copy

    def copied(self, root: Path) -> Stream:
        """A copy of everything, in a folder that is not there yet."""
        shutil.copytree(self.root, root)
        return self.at(root, self.config)

    def deliver(self, number: int, classes: Sequence[str], *, first: int = 0) -> list[Path]:
        """Write one image of each class, delivered and taken in one night."""
        found = []
        for at, label in enumerate(classes, start=first):
            path = self.data / CATEGORY / str(day(number)) / f"{at:02d}-{label}.png"
            found.append(self.put(path, surface(1000 * number + at, label), label))
        return found

    def put(self, path: Path, pixels: NDArray[np.uint8], label: str) -> Path:
        """Write one image and list it in the manifest."""
        save_image(path, pixels)
        self.list(path, label)
        return path

    def list(self, path: Path, label: str) -> None:
        """List a file in the manifest."""
        name = path.relative_to(self.data).as_posix()
        self._rows = [row for row in self._rows if row["path"] != name]
        self._rows.append({"path": name, "category": CATEGORY, "label": label})
        write_manifest_csv(self.manifest, self._rows)

    def forget(self, path: Path) -> None:
        """Remove a file and its line in the manifest."""
        path.unlink()
        name = path.relative_to(self.data).as_posix()
        self._rows = [row for row in self._rows if row["path"] != name]
        write_manifest_csv(self.manifest, self._rows)

    @property
    def manifest(self) -> Path:
        return self.data / "images.csv"

    def night(self, number: int | None, *, recluster: bool = False) -> NightOutcome:
        """Run a night; an error of it is raised."""
        as_of = None if number is None else day(number)
        (outcome,) = run_nights(self.manifest, self.store, self.config, as_of=as_of, recluster=recluster)
        if outcome.error is not None:
            raise outcome.error
        return outcome

    def catalog(self) -> Catalog:
        return Catalog.open(self.config.night.catalog or self.store / "catalog.sqlite", store=StoreLayout(self.store))

    def partition(self) -> dict[str, str]:
        """Cluster of every image by path, merges followed."""
        with self.catalog() as catalog:
            paths = {fact.content: fact.path for fact in catalog.images(CATEGORY)}
            return {paths[fact.content]: fact.cluster or "unknown" for fact in catalog.assignments(CATEGORY)}

    def told(self, event: str = "anoclust.cluster.new") -> list[tuple[date, Mapping[str, object]]]:
        """Night and payload of every event of a kind that was sent."""
        with self.catalog() as catalog:
            return [(one.night, one.payload) for one in catalog.notices(CATEGORY) if one.event == event and one.sent_at]

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Event and payload of everything that was sent, the first first."""
        with self.catalog() as catalog:
            found = sorted((one for one in catalog.notices(CATEGORY) if one.sent_at), key=lambda one: one.night)
            return [(one.event, dict(one.payload)) for one in found]


def classes_of(paths: Iterable[str]) -> list[str]:
    """Class of each image, which its name ends in."""
    return [Path(path).stem.rpartition("-")[2] for path in paths]


def identity_of(partition: Mapping[str, str], label: str) -> str:
    """Cluster that most images of a class are in."""
    found = [cluster for path, cluster in partition.items() if classes_of([path]) == [label]]
    return max(sorted(set(found)), key=found.count)


def demo_drawer(name: str) -> Callable[[Sequence[int], str], NDArray[np.uint8]]:
    """Draws pictures as the demo has them, from one of its photographs."""
    from skimage import data

    photograph = np.asarray(getattr(data, name)())

    def drawn(seed: Sequence[int], label: str) -> NDArray[np.uint8]:
        rng = np.random.default_rng(list(seed))
        pixels = draw_normal(photograph, rng, quarter_turns=name != "brick")
        return pixels if label == "good" else draw_defect(pixels, rng, defect=label)[0]

    return drawn
