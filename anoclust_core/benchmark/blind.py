"""What [ARDELEAN24] varies: ablations, thresholds and temperatures, and the scores of its descriptors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from anoclust_core.arrays import checked_sequence
from anoclust_core.benchmark.geometry import Geometry
from anoclust_core.benchmark.published_ardelean import OURS, WITHOUT_BOTH, WITHOUT_HEAD, WITHOUT_VAE
from anoclust_core.benchmark.scoring import Measurement, score, trivial
from anoclust_core.clustering.checks import checked_descriptors
from anoclust_core.evaluation.protocols import ARDELEAN

CLUSTERING: Final = "ardelean_clustering"
LOCALIZATION: Final = "ardelean_localization"
ABLATION: Final = "ardelean_ablation"
CLUSTERINGS: Final = "ardelean_clusterings"
THRESHOLDS: Final = "ardelean_thresholds"
TEMPERATURES: Final = "ardelean_temperatures"
DETECTORS: Final[Mapping[str, str]] = MappingProxyType(
    {"draem": "DRAEM", "cfa": "CFA", "patchcore": "PatchCore", "padim": "PaDiM"}
)
"""Rows of Table 2 that detectors make which were trained before, by the folder that each method's models lie in; the
paper has the first two."""

REFERENCE: Final = "ardelean_reference_"
"""Experiments by the names that files bear; the last one stands before those of [SOHN23]."""

ABLATIONS: Final[Mapping[str, Mapping[str, bool]]] = MappingProxyType(
    {
        WITHOUT_BOTH: {"vae": False, "contrastive": False},
        WITHOUT_VAE: {"vae": False, "contrastive": True},
        WITHOUT_HEAD: {"vae": True, "contrastive": False},
        OURS: {"vae": True, "contrastive": True},
    }
)
"""Rows of Table 3 and the settings of recipe blind that make them."""

AS_THEY_ARE: Final = ", no flat field"
"""How a row of Table 2 goes on where maps keep what is usual at each place of all images, as in the paper."""

THRESHOLD_RULES: Final = ("robust", "otsu", "kmeans-quantile")
"""As in `anoclust_core.config.BlindConfig`."""

TAUS: Final = (
    "0.0005", "0.001", "0.0015", "0.002", "0.003", "0.005", "0.01",
    "0.1sd", "0.2sd", "0.3sd", "0.5sd", "1sd", "2sd",
)  # fmt: skip
"""Temperatures of Figure 5: around the published 0.002, whose unit is that of the published features' maps, and in
standard deviations of the maps at hand; as `anoclust_core.config` writes them."""

HEAD: Final = "with contrastive learning"
NO_HEAD: Final = "without contrastive learning"
"""Lines of Figure 5."""

WARD_AND_K_MEANS: Final = ("ward", "kmeans")
"""Clusterings that Figure 5 and the paper's supplement compare."""


def score_descriptors(
    descriptors: NDArray[np.floating[Any]],
    labels: Sequence[str | None],
    *,
    method: str,
    setting: str,
    clusterings: Sequence[str],
    seed: int,
    extra: Mapping[str, float],
) -> list[Measurement]:
    """Cluster images by their descriptors and score the clusters, with the trivial partitions after them.

    Parameters
    ----------
    descriptors
        Shape ``(n_images, dim)``, finite.
    labels
        One per image.
    method, setting
        What the rows say of themselves.
    clusterings
        Names in `anoclust_core.clustering.methods`, a row each.
    seed
        Of clusterings with random starts.
    extra
        Numbers that stand beside the scores.
    """
    clusterings = checked_sequence("clusterings", clusterings, (str,))
    geometry = Geometry(descriptors=checked_descriptors(descriptors))
    rows = [
        score(
            geometry,
            labels,
            protocol=ARDELEAN,
            seed=seed,
            method=method,
            clustering=clustering,
            setting=setting,
            extra=extra,
        )
        for clustering in clusterings
    ]
    return rows + trivial(labels, ARDELEAN)


def taus_of_curve(own: str) -> tuple[str, ...]:
    """Temperatures of Figure 5, with the one that the tables are made with."""
    return tuple(dict.fromkeys((*TAUS, own)))
