"""How bad the clusters of a category are, and which of them hold ordinary parts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from anoclust_core.matching.identities import owner_of
from anoclust_core.matching.severity import ordinary_clusters
from tasks.night.place import Place
from tasks.stores import arrays
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import ClusterFact
from tasks.stores.nights.snapshots import members, read_snapshot


@dataclass(frozen=True)
class Severity:
    """Severity of clusters.

    Attributes
    ----------
    levels
        By living cluster the median of its images' rarest patches; none of clusters without a measured image.
    ordinary
        Clusters of good parts.
    """

    levels: Mapping[str, float] = field(default_factory=dict)
    ordinary: frozenset[str] = frozenset()

    def above_ordinary(self, cluster: str) -> float | None:
        """How much rarer a cluster's images are than ordinary ones; None where either is not known."""
        usual = [self.levels[name] for name in self.ordinary if name in self.levels]
        return self.levels[cluster] - float(np.median(usual)) if usual and cluster in self.levels else None


@dataclass(frozen=True)
class Said:
    """What people say of clusters; of one that was merged into another, it is what they say of that one.

    Attributes
    ----------
    names
        Name of every cluster, or None.
    marks
        Clusters marked as no defect (True) or as one (False).
    """

    names: Mapping[str, str | None]
    marks: Mapping[str, bool]

    @classmethod
    def of(cls, clusters: Sequence[ClusterFact]) -> Said:
        """Read it from all clusters of a category."""
        into = {one.cluster: one.merged_into for one in clusters if one.merged_into}
        own = {one.cluster: one for one in clusters}
        said = {one.cluster: own.get(owner_of(one.cluster, into)) for one in clusters}
        return cls(
            {name: of.name if of else None for name, of in said.items()},
            {name: of.ordinary for name, of in said.items() if of and of.ordinary is not None},
        )


def ordinary_images(where: Mapping[str, str | None], highest: Mapping[str, float], said: Said) -> frozenset[str]:
    """Images in clusters of ordinary parts, by content: those that a new kind has to be rarer than.

    A single cluster, of which nobody said anything, has nothing beside it that could tell whether its parts are
    ordinary. They are what is usual, and near copies of one of them are no new kind.

    Parameters
    ----------
    where, highest
        Cluster of every image, and its rarest patch.
    said
        What people say of clusters.
    """
    ordinary = _severity(where, highest, said).ordinary
    clusters = {cluster for cluster in where.values() if cluster is not None}
    if len(clusters) == 1 and not any(said.names.get(one) or one in said.marks for one in clusters):
        ordinary = frozenset(clusters)
    return frozenset(content for content, cluster in where.items() if cluster in ordinary)


def cluster_severity(place: Place, catalog: Catalog, weights: str | None) -> Severity:
    """Severity of every living cluster, by images of the last clustering and of tonight.

    Parameters
    ----------
    place, catalog
        Where.
    weights
        Folder of the rarity of tonight's images, or None.
    """
    highest = _highest_rarity(place, catalog, weights)
    living = [one for one in catalog.clusters(place.category) if one.state in {"provisional", "confirmed"}]
    said = Said.of(living)
    where = {fact.content: fact.cluster for fact in catalog.assignments(place.category) if fact.cluster in said.names}
    return _severity(where, highest, said)


def _severity(where: Mapping[str, str | None], highest: Mapping[str, float], said: Said) -> Severity:
    values: dict[str, list[float]] = defaultdict(list)
    for content, cluster in where.items():
        if cluster is not None and content in highest:
            values[cluster].append(highest[content])
    levels = {name: float(np.median(found)) for name, found in values.items()}
    return Severity(levels, ordinary_clusters(values, {name: said.names.get(name) for name in values}, said.marks))


def _highest_rarity(place: Place, catalog: Catalog, weights: str | None) -> dict[str, float]:
    """Rarest patch of every image of the last clustering and of tonight, by content.

    Measured against its reference, or by what recipe blind has learnt in it.
    """
    found: dict[str, float] = {}
    latest = catalog.latest_snapshot(place.category)
    snapshot = read_snapshot(latest) if latest is not None else None
    if snapshot is not None and (snapshot.reference is not None or snapshot.is_detected or snapshot.recipe == "blind"):
        images = members(place.layout, snapshot).clustered
        highest = arrays.read(place.layout.folder("weights", place.category, snapshot.keys["weigh"]), "rarity")
        found = {image.sha256: float(value) for image, value in zip(images, highest.max(axis=1), strict=True)}
    if weights is not None:
        contents = (arrays.describe(Path(weights)) or {}).get("contents", [])
        highest = arrays.read(Path(weights), "rarity").max(axis=1)
        found = dict(zip(contents, highest.tolist(), strict=True)) | found
    return found
