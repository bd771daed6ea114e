"""A person's cut: the stored tree of the last clustering in so many groups, which are the clusters from then on.

The tree, the descriptors and the distances are there already; imports no Prefect.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from anoclust_core.clustering.linkage import cut_tree
from anoclust_core.errors import ConfigError
from anoclust_core.keys import content_key
from anoclust_core.matching.assigning import member_confidence, member_distances
from anoclust_core.matching.identities import id_order, owner_of
from anoclust_core.matching.prototypes import Prototypes, fit_prototypes
from tasks.night.lasting import Lasting, assigned, first_rows, lasting_clusters
from tasks.stores import arrays
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.decisions.asking import Seen
from tasks.stores.catalog.facts import AssignmentFact, SnapshotFact, Standing, assignment_facts
from tasks.stores.layout import StoreLayout
from tasks.stores.locks import category_lock
from tasks.stores.nights.measured import Measured, arrays_since, read_measured
from tasks.stores.nights.snapshots import Snapshot, members, pin, read_snapshot


@dataclass(frozen=True)
class Cut:
    """What a cut made of the clusters.

    Attributes
    ----------
    decision
        Its number.
    clusters
        The groups, by identity.
    born, gone
        Clusters that are new, and those that are no longer there.
    n_moved
        Images that came since the last clustering and are in another cluster now.
    """

    decision: int
    clusters: tuple[str, ...]
    born: tuple[str, ...]
    gone: tuple[str, ...]
    n_moved: int


def cut_clusters(
    layout: StoreLayout,
    catalog: Catalog,
    category: str,
    number: int,
    *,
    who: str,
    expected: Seen = None,
    wait_seconds: float = 0.0,
) -> Cut:
    """Cut the tree of a category's last clustering into a number of groups, and let these be the clusters.

    Groups are matched to the lasting clusters as a re-clustering's are; what a person put somewhere stays there. Known
    clusters that the cut joins with others are gone: who cuts has the last word. Images that came since the clustering
    follow their cluster: where it went into one group, into that; where into several, into the nearest.

    Parameters
    ----------
    layout, catalog, category
        The store, its catalog, and whose clusters.
    number
        Groups, from 1 to the number of images of the last clustering.
    who, expected
        As for all decisions, see `DecidingCatalog`.
    wait_seconds
        How long to wait for a run of the category to end.

    Raises
    ------
    ConfigError
        If there has been no clustering yet, or there cannot be so many groups; `ChangedSinceError` if a cluster has
        changed since the person saw it.
    StoreError
        If the tree is gone or damaged.
    BusyError
        If a run of the category goes on.
    """
    with category_lock(layout, category, wait_seconds=wait_seconds):
        latest = catalog.latest_snapshot(category)
        if latest is None:
            raise ConfigError(
                f"the images of {category} have not been clustered yet, so that there is nothing to cut; `anoclust "
                "nightly` clusters them once there are two"
            )
        snapshot, measured, labels = _cut(layout, category, read_snapshot(latest), number)
        images = members(layout, snapshot).clustered
        rows = first_rows([image.sha256 for image in images])
        contents, groups = [images[row].sha256 for row in rows], labels[rows]
        measured = measured.of(rows)
        dim = measured.descriptors.shape[1]
        since = {at: row for at, row in arrays_since(layout, category).items() if len(row) == dim}

        def record(found: Standing) -> Cut:
            """Match the groups against how clusters stand, and record them where they still do."""
            lasting = _lasting(found, contents, groups, measured)
            now = _since(found, contents, lasting, measured, since)
            decision = catalog.cut(
                SnapshotFact(
                    category=category,
                    key=snapshot.key,
                    made_at=datetime.now(UTC),
                    n_images=len(contents),
                    merge_height=measured.height,
                    details={**snapshot.details, "reason": f"{who} cut the tree into {number}"},
                ),
                number=number,
                match=lasting.match,
                assignments=[*assigned(contents, lasting.ids, measured), *now],
                found=found,
                who=who,
                expected=expected,
            )
            match = lasting.match
            gone = sorted({*match.merged_into, *match.clusters("retired")}, key=id_order)
            clusters = tuple(sorted({one for one in lasting.ids if one is not None}, key=id_order))
            return Cut(decision, clusters, match.clusters("born"), tuple(gone), len(now))

        done = catalog.recording(category, record)
        pin(layout, category, snapshot)
    return done


def _cut(
    layout: StoreLayout, category: str, before: Snapshot, number: int
) -> tuple[Snapshot, Measured, NDArray[np.int64]]:
    """Cut the tree, keep the cut beside it; gives the snapshot that nights go on from, its descriptors and labels."""
    tree = layout.folder("trees", category, before.keys["group"])
    linkage = arrays.read(tree, "linkage").astype(np.float64)
    if number > len(linkage) + 1:
        raise ConfigError(
            f"the last clustering of {category} has {len(linkage) + 1:,} images, and cannot be cut into {number:,} "
            "groups; give a smaller number"
        )
    labels = cut_tree(linkage, n_clusters=number)
    made = {"tree": before.keys["group"], "number": number, "at": datetime.now(UTC).isoformat()}
    keys = {**before.keys, "group": content_key("cut", made)}
    arrays.write_arrays(layout.folder("trees", category, keys["group"]), {"linkage": linkage, "labels": labels}, {})
    measured = read_measured(layout, category, keys)
    return replace(before, key=keys["group"], keys=keys, merge_height=measured.height), measured, labels


def _lasting(found: Standing, contents: Sequence[str], labels: NDArray[np.int64], measured: Measured) -> Lasting:
    """Groups with lasting identities: who cuts has the last word on what is joined."""
    return lasting_clusters(replace(found, known=frozenset()), contents, labels, measured.chosen_by)


def _since(
    found: Standing,
    contents: Sequence[str],
    lasting: Lasting,
    measured: Measured,
    since: Mapping[str, NDArray[np.float32]],
) -> list[AssignmentFact]:
    """Where images go that are not in the tree and whose cluster is another one now, or several."""
    here = set(contents)
    went: dict[str, Counter[str]] = defaultdict(Counter)
    for content, cluster in zip(contents, lasting.ids, strict=True):
        before = found.assigned.get(content)
        if cluster is not None and before is not None:
            went[owner_of(before, found.merged_into)][cluster] += 1
    parts = {name: sorted(counts, key=lambda one: (-counts[one], id_order(one))) for name, counts in went.items()}
    rows = [at for at, cluster in enumerate(lasting.ids) if cluster is not None]
    ids = [cluster for cluster in lasting.ids if cluster is not None]
    prototypes = fit_prototypes(measured.descriptors[rows], ids, merge_height=measured.height)
    moved = []
    for content, cluster in found.assigned.items():
        if content in here or content in found.placed or cluster is None:
            continue
        own = owner_of(cluster, found.merged_into)
        to = parts.get(own, [own])
        if to != [own]:
            moved.append(_followed(content, to, prototypes, since.get(content)))
    return moved


def _followed(
    content: str, parts: Sequence[str], prototypes: Prototypes, descriptor: NDArray[np.float32] | None
) -> AssignmentFact:
    """The nearest of the groups that a cluster went into; the largest where the image has no descriptor any more."""
    if descriptor is None:
        return AssignmentFact(content, parts[0], 0.0, 0.0)
    row = descriptor[None]
    far = {part: float(member_distances(row, [part], prototypes)[0]) for part in parts}
    nearest = min(parts, key=lambda part: far[part])
    (fact,) = assignment_facts([content], [nearest], [far[nearest]], member_confidence(row, [nearest], prototypes))
    return fact
