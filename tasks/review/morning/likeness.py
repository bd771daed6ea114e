"""Which clusters are most alike, and which cluster an image would go to next: what answers are suggested by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from anoclust_core.matching.identities import id_order
from anoclust_core.matching.morning_list import nearest_others
from anoclust_core.matching.prototypes import Groups
from tasks.review.rarity import Measures


def suggested_clusters(
    measures: Measures, cluster_of: Mapping[str, str], images: Sequence[str], living: Sequence[str]
) -> dict[str, str]:
    """Nearest other cluster of every living cluster and of some images, by stored descriptors.

    Parameters
    ----------
    measures
        What is stored of the category.
    cluster_of
        Cluster of every image that has one, by content.
    images
        Images to suggest a cluster for, by content.
    living
        Clusters that can be suggested.

    Returns
    -------
    suggested
        By identity and content; without what has no stored descriptor, or no other cluster.
    """
    sums: dict[str, NDArray[np.float64]] = {}
    sizes: dict[str, int] = {}
    wanted = set(images)
    rows: dict[str, NDArray[np.float64]] = {}
    for contents, values in measures.parts():
        of = np.array([cluster_of.get(content, "") for content in contents])
        for cluster in np.unique(of).tolist():
            own = values[of == cluster]
            sums[cluster] = sums.get(cluster, np.zeros(own.shape[1])) + own.sum(axis=0)
            sizes[cluster] = sizes.get(cluster, 0) + len(own)
        rows |= {content: values[at] for at, content in enumerate(contents) if content in wanted}
    ids = tuple(sorted(set(living) & sums.keys(), key=id_order))
    if not ids:
        return {}
    counts = np.array([sizes[name] for name in ids])
    clusters = Groups(ids, np.stack([sums[name] for name in ids]) / counts[:, None], counts)
    found = nearest_others(clusters, {name: name for name in ids}, clusters)
    if rows:
        single = Groups(tuple(rows), np.stack(list(rows.values())), np.ones(len(rows), np.int64))
        found |= nearest_others(single, {content: cluster_of.get(content, "") for content in rows}, clusters)
    return found
