"""Views of parts in nights: which one stands for its part, once new views came or everything was re-clustered.

A part is decided by the views that are there. A view that comes later joins its part; where it is rarer than the view
that stood for the part, it takes over: the part is given to a cluster again, and counts in the night of that view.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from anoclust_core.records import DatasetManifest, ImageRecord
from anoclust_core.weighting.parts import deciding_rows
from tasks.night.place import Place
from tasks.stores import arrays
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import ImageFact
from tasks.stores.nights.snapshots import Snapshot
from tasks.stores.stage_keys import VIEW_RARITY


def decided_tonight(
    place: Place,
    snapshot: Snapshot,
    was: DatasetManifest,
    fresh: Iterable[str],
    new: Sequence[tuple[ImageRecord, float]],
) -> dict[str, str]:
    """Say which view stands for each part that has a new one, for every view of it by content; nothing by image.

    Parameters
    ----------
    place, snapshot, was
        Where, what the last re-clustering left, and its images.
    fresh
        Contents of tonight's images.
    new
        Highest rarity of every image that was compared tonight, earlier views of the same parts among them.
    """
    if place.run.config.group.by != "part":
        return {}
    came = set(fresh)
    touched = {image.part for image, _ in new if image.sha256 in came} - {None}
    weights = place.layout.folder("weights", place.category, snapshot.keys["weigh"])
    of_snapshot = zip(was.compared, arrays.read(weights, VIEW_RARITY).max(axis=1).tolist(), strict=True)
    scores = {image.sha256: (image.part, score) for image, score in of_snapshot if image.part in touched}
    scores |= {image.sha256: (image.part, score) for image, score in new if image.part in touched}
    contents = sorted(scores)
    rows = deciding_rows(np.array([scores[one][1] for one in contents]), [scores[one][0] for one in contents])
    stands = {scores[contents[row]][0]: contents[row] for row in rows}
    return {content: stands[scores[content][0]] for content in contents}


def decided_unseen(place: Place, catalog: Catalog, fresh: Sequence[ImageRecord]) -> dict[str, str]:
    """Let one view stand for each part while no rarity is known: the one that did, or the first by content."""
    if place.run.config.group.by != "part":
        return {}
    touched = {image.part for image in fresh} - {None}
    known = [fact for fact in catalog.images(place.category) if fact.part in touched and fact.quarantined is None]
    stands = {image.part: image.sha256 for image in sorted(fresh, key=lambda image: image.sha256, reverse=True)}
    stands |= {fact.part: fact.content for fact in known if fact.decided_by is None}
    return {image.sha256: stands[image.part] for image in fresh if image.part is not None}


def decided_again(images: DatasetManifest, facts: Iterable[ImageFact]) -> dict[str, str]:
    """Say for every image that the catalog has which one stands for it, after a clustering of some or all of them."""
    views_of = images.views
    stands = {image.part: image.sha256 for image in images.clustered if image.part in views_of}
    by = {image.sha256: image.sha256 for image in images.clustered}
    by = {image.sha256: stands[part] for part, views in views_of.items() for image in views} | by
    for fact in facts:  # of images that this clustering could not take, those of its parts follow
        if fact.content not in by:
            by[fact.content] = stands.get(fact.part, fact.content)
    return by


def changed_facts(facts: Iterable[ImageFact], by: Mapping[str, str]) -> list[ImageFact]:
    """Images whose part another view stands for than the catalog says."""
    wanted = ((fact, by.get(fact.content, fact.decided_by or fact.content)) for fact in facts)
    now = ((fact, None if deciding == fact.content else deciding) for fact, deciding in wanted)
    return [replace(fact, decided_by=deciding) for fact, deciding in now if deciding != fact.decided_by]
