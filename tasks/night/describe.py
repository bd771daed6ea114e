"""Rarity, weights and descriptors of a night's images, by what the snapshot has learnt: no older one moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anoclust_core.embedding.extraction import choose_device
from anoclust_core.records import ImageRecord, Role
from anoclust_core.weighting.auto_switches import AUTO
from anoclust_core.weighting.regions import least_outside
from anoclust_core.weighting.weights import soft_weights
from tasks.compute.counting import Measure
from tasks.compute.detection import detected_scores
from tasks.compute.level_pooling import levels_of, pool_levels, scores_of_contents, weights_of_scores
from tasks.compute.localizing import each_image
from tasks.compute.rarity_pooling import pooled, rarity_of_contents, weights_of
from tasks.night.place import Place
from tasks.stages.whiten import read_model
from tasks.stores.embeddings import LevelSegments
from tasks.stores.localizers import read_localizer
from tasks.stores.nearest import NearestSlabs
from tasks.stores.nights.snapshots import Snapshot
from tasks.stores.regions import regions_of


@dataclass(frozen=True)
class NewDescriptors:
    """Rarity and weights of images by content, ``(n_images, n_patches)``, and their descriptors, ``(n_images, dim)``.

    ``descriptors`` and ``choosing`` are those of `tasks.stores.nights.measured.Measured`.
    """

    rarity: NDArray[np.float64]
    weights: NDArray[np.float64]
    descriptors: NDArray[np.float32]
    choosing: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Against:
    """What the rarity of images is measured against.

    Attributes
    ----------
    slabs
        Distances from the images to the snapshot's reference.
    role
        What the images of the reference are.
    measure
        These images, as often as they count.
    """

    slabs: NearestSlabs
    role: Role
    measure: Measure


def describe_new(
    place: Place,
    snapshot: Snapshot,
    images: Sequence[ImageRecord],
    *,
    embeddings: tuple[str, str],
    against: Against | None,
) -> NewDescriptors:
    """Describe images as those of the snapshot were described, by its recipe.

    Parameters
    ----------
    place
        Where.
    snapshot
        What the last re-clustering left.
    images
        The images, each content once.
    embeddings
        Folders of their embeddings: the first level, and the deeper one or an empty name.
    against
        Reference of the snapshot; None where patches are weighted by the maps of a detector, and by recipe blind, which
        measures images by what it has learnt.
    """
    contents = [image.sha256 for image in images]
    if snapshot.recipe == "blind":
        return _by_localizer(place, snapshot, contents, embeddings[0])
    levels = LevelSegments.of(*embeddings)
    regions = regions_of(place.layout, images, place.run.spec)
    inside = regions[0].inside(contents) if regions[0] else None
    if snapshot.recipe != "auto":
        rarity = _rarity(place, contents, against)
        if inside is not None:
            rarity = least_outside(rarity, inside)
        weights = weights_of(place.run.config.weigh, rarity, tau=snapshot.tau, inside=inside)
        return NewDescriptors(rarity, weights, pooled(levels.first, contents, weights))
    model, scoring, places = read_model(place.layout.folder("models", place.category, snapshot.keys["whiten"]))
    scores = _scores(place, contents, against)
    if places is not None:
        scores -= places.scores
    rarity = scoring.summed(scores)
    if inside is not None:
        rarity = least_outside(rarity, inside)
    weights = weights_of_scores(place.run.config.weigh, scoring, rarity, inside)
    of_levels = levels_of(place.run.spec, levels.levels, AUTO.n_levels, regions)
    found = pool_levels(of_levels, contents, weights, places=places)
    return NewDescriptors(rarity, weights.mean(axis=1), found.levels[0].plain, model.descriptors(found.levels))


def _rarity(place: Place, contents: Sequence[str], against: Against | None) -> NDArray[np.float64]:
    """Rarity of every patch, or what a detector's maps say of it, ``(n_images, n_patches)``."""
    if against is None:
        return detected_scores(place.layout, place.category, place.run.spec, contents)
    measure = against.measure
    return rarity_of_contents(against.slabs, contents, measure.contents, measure.counts, against.role, own=measure.own)


def _scores(place: Place, contents: Sequence[str], against: Against | None) -> NDArray[np.float64]:
    """Scores of every patch that recipe auto joins, ``(n_images, n_patches, n_scores)``."""
    if against is None:
        return _rarity(place, contents, None)[..., None]
    measure = against.measure
    return scores_of_contents(
        against.slabs, contents, measure.contents, measure.counts, role=against.role, switches=AUTO, own=measure.own
    )


def _by_localizer(place: Place, snapshot: Snapshot, contents: Sequence[str], embeddings: str) -> NewDescriptors:
    """Describe images by the VAE, the flat field and the head of the snapshot's run."""
    device, spec = choose_device(place.run.config.embed.device), place.run.spec
    folder = place.layout.folder("localizers", place.category, snapshot.keys["describe"])
    localizer = read_localizer(folder, device=device)
    found = dict(
        each_image(
            Path(embeddings),
            contents,
            spec,
            lambda _, features: localizer.describe(features, device=device),
            device=device,
        )
    )
    maps, descriptors = zip(*(found[at] for at in range(len(contents))), strict=True)
    scores = np.stack(maps).reshape(len(contents), -1).astype(np.float64)
    return NewDescriptors(scores, soft_weights(scores, tau=localizer.tau), np.stack(descriptors))
