"""Snapshots: what a re-clustering left, found again by the nights after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from anoclust_core.errors import DamagedError, StoreError
from anoclust_core.records import DatasetManifest, ImageRecord, Reference, Role, unique_contents
from anoclust_core.seeding import generator
from anoclust_core.weighting.reference import reference_contents
from tasks.stores import arrays
from tasks.stores.catalog.facts import SnapshotFact
from tasks.stores.files import read_checked, with_digest, write_json
from tasks.stores.layout import StoreLayout
from tasks.stores.manifests import load_manifest
from tasks.stores.upkeep.recover import clear_place

YARDSTICK: Final = 64
"""Images that nights are compared by: enough for a median, and few enough to be compared with every new image."""


@dataclass(frozen=True)
class Yardstick:
    """Images that the first clustering with a backbone chose, and later ones hand on.

    Attributes
    ----------
    embedding
        Key of the embeddings; with another backbone or size there is another yardstick.
    role
        ``normal`` or ``cluster``: what the images are to the category.
    contents
        At most ``YARDSTICK``.
    """

    embedding: str
    role: Role
    contents: Sequence[str]


@dataclass(frozen=True)
class Snapshot:
    """What a re-clustering left for the nights after it, besides the clusters themselves.

    Attributes
    ----------
    key
        The snapshot.
    night
        Night of the re-clustering.
    settings_key
        Key of what was asked for, `tasks.stores.stage_keys.settings_key`.
    run
        Name of the run.
    keys
        Keys of the run's stages.
    manifest
        Path of the run's manifest in the store.
    reference
        Which images rarity is measured against; None where it is not measured.
    tau
        Temperature in embedding units.
    merge_height
        Highest merge that the cut kept.
    n_usable
        Usable images that the catalog had, those of later nights left out; in snapshots of earlier versions with them.
    recipe
        By which the images were clustered; that of nights after it, unless another one is asked for.
    yardstick
        Images that every night is measured against besides, so that nights can be compared across re-clusterings; None
        in snapshots of earlier versions.
    region
        Digest of what was looked at of images without a region of their own; None is all of them.
    """

    key: str
    night: date
    settings_key: str
    run: str
    keys: Mapping[str, str]
    manifest: str
    reference: Reference | None
    tau: float
    merge_height: float
    n_usable: int
    recipe: str
    yardstick: Yardstick | None = None
    region: str | None = None

    @property
    def is_detected(self) -> bool:
        """Whether patches are weighted by the maps of a detector: then one image needs no others to be measured."""
        return "detected" in self.keys

    @property
    def details(self) -> dict[str, Any]:
        """What the catalog keeps beside the key, as JSON values."""
        return {
            "night": self.night.isoformat(),
            "settings": self.settings_key,
            "run": self.run,
            "keys": dict(self.keys),
            "manifest": self.manifest,
            "reference": asdict(self.reference) if self.reference else None,
            "tau": self.tau,
            "n_usable": self.n_usable,
            "recipe": self.recipe,
            "yardstick": asdict(self.yardstick) if self.yardstick else None,
            **({"region": self.region} if self.region else {}),
        }


@dataclass(frozen=True)
class SnapshotReference:
    """Images that rarity is measured against, and how many images have each content."""

    images: tuple[ImageRecord, ...]
    contents: tuple[str, ...]
    counts: tuple[int, ...]
    role: Role


def read_snapshot(fact: SnapshotFact) -> Snapshot:
    """Read what the catalog keeps.

    Raises
    ------
    StoreError
        If it is not what this version writes.
    """
    try:
        found = fact.details
        return Snapshot(
            key=fact.key,
            night=date.fromisoformat(found["night"]),
            settings_key=found["settings"],
            run=found["run"],
            keys=found["keys"],
            manifest=found["manifest"],
            reference=Reference(**found["reference"]) if found["reference"] else None,
            tau=found["tau"],
            merge_height=fact.merge_height,
            n_usable=found["n_usable"],
            # snapshots of before there was a third recipe do not say theirs
            recipe=found.get("recipe") or ("blind" if "localize" in found["keys"] else "sohn"),
            yardstick=Yardstick(**found["yardstick"]) if found.get("yardstick") else None,
            region=found.get("region"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"the snapshot {fact.key} of {fact.category} in the catalog is not readable ({error!r}); "
            "`anoclust nightly --recluster` makes a new one"
        ) from error


def is_whole(layout: StoreLayout, category: str, snapshot: Snapshot) -> bool:
    """Whether the store still has what the nights need of a snapshot."""
    try:
        load_manifest(layout.root / snapshot.manifest)
    except (OSError, DamagedError):
        return False
    return all(arrays.is_complete(folder) for folder in made_of(layout, category, snapshot.keys))


def made_of(layout: StoreLayout, category: str, keys: Mapping[str, str]) -> list[Path]:
    """Folders of arrays that nights need of a snapshot whose run has these keys."""
    kinds = {"weights": "weigh", "trees": "group", "models": "whiten", "localizers": "describe"}
    return [layout.folder(kind, category, keys[stage]) for kind, stage in kinds.items() if stage in keys]


def members(layout: StoreLayout, snapshot: Snapshot) -> DatasetManifest:
    """Images of a snapshot, the rows of its descriptors among them."""
    return load_manifest(layout.root / snapshot.manifest)


def snapshot_reference(images: DatasetManifest, reference: Reference) -> SnapshotReference:
    """Images of a snapshot that rarity is measured against."""
    contents, counts = reference_contents(reference, images)
    wanted = set(contents)
    of_role = images.normals if reference.role == "normal" else images.compared
    found = {image.sha256: image for image in of_role if image.sha256 in wanted}
    return SnapshotReference(
        tuple(found[content] for content in contents), tuple(contents), tuple(counts), reference.role
    )


def yardstick(images: DatasetManifest, embedding: str, before: Snapshot | None) -> Yardstick:
    """Yardstick of a new snapshot: that of the one before, or images of its own.

    Parameters
    ----------
    images
        Of the new snapshot.
    embedding
        Key of their embeddings.
    before
        The snapshot before, if there was one.
    """
    role: Role = "normal" if images.normals else "cluster"
    if before is not None and before.yardstick is not None:
        known = {image.sha256 for image in images.normals or images.compared}
        kept = before.yardstick
        if (kept.embedding, kept.role) == (embedding, role) and known.issuperset(kept.contents):
            return kept
    contents = unique_contents(images.normals or images.compared)[0]
    chosen = generator(0, "yardstick").permutation(len(contents))[:YARDSTICK]
    return Yardstick(embedding, role, sorted(contents[at] for at in chosen))


def pin(layout: StoreLayout, category: str, snapshot: Snapshot) -> None:
    """Note in the store what must not be collected, whatever database the catalog is in."""
    write_json(layout.snapshot(category), with_digest({"key": snapshot.key, **snapshot.details}))


def keep_pinned(layout: StoreLayout, category: str, snapshot: Snapshot) -> None:
    """Note it again where the note is gone, damaged, or of an earlier snapshot."""
    noted = None
    with suppress(StoreError):
        noted = pinned(layout, layout.nights(category))
    if noted != {"key": snapshot.key, **snapshot.details}:
        clear_place(layout, layout.snapshot(category))
        pin(layout, category, snapshot)


def pinned(layout: StoreLayout, folder: Path) -> dict[str, Any] | None:
    """What was noted; ``folder`` is that of the category's nights. None where nothing was.

    Raises
    ------
    StoreError
        If the note cannot be read.
    """
    path = folder / layout.snapshot("").name
    try:
        return read_checked(path)
    except FileNotFoundError:
        return None
    except DamagedError as error:
        raise StoreError(f"{error.found}; the next night of the category writes it again") from error
