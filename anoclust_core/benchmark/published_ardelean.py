"""Numbers printed in [ARDELEAN24], *Blind Localization and Clustering of Anomalies in Textures*; see `published`.

WideResNet-50 to the end of block 2, 512 px, 64 x 64 cells, tau = 0.002. Scores of clusters stand as NMI, ARI, F1
(micro, by the authors' program), those of localisation as PRO, pixel AUROC and image AUROC in percent.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, TypeAlias

from anoclust_core.benchmark.published import AVERAGE, GROUPS, MAX_HAUSDORFF, MTD, OBJECT, TEXTURE, WEIGHTED, Triple

LEAVES: Final = "Leaves"

COLUMNS: Final = MappingProxyType(
    {TEXTURE: GROUPS[TEXTURE], MTD: GROUPS[MTD], LEAVES: ("coffee_leaves",), OBJECT: GROUPS[OBJECT]}
)
"""Categories that the paper averages over, by the names that Anoclust's manifests give them; it has no objects."""

N_IMAGES: Final = MappingProxyType({MTD: 1344, LEAVES: 422})
"""Images behind a column, where the paper says it."""

BACKBONE: Final = "wide_resnet50_2"
GRID: Final = (64, 64)
IMAGE_SIZE: Final = 512
DIM: Final = 512
TAU: Final = 0.002

OURS: Final = "ours"
WITHOUT_VAE: Final = "ours without VAE"
WITHOUT_HEAD: Final = "ours without contrastive learning"
WITHOUT_BOTH: Final = "ours without both"

TABLE_1: Final[MappingProxyType[str, dict[str, Triple]]] = MappingProxyType(
    {
        "SelfFormaly (normals given)": {TEXTURE: (0.743, 0.675, 0.795)},
        "SPICE": {TEXTURE: (0.268, 0.079, 0.174), MTD: (0.028, 0.014, 0.309), LEAVES: (0.351, 0.272, 0.429)},
        "SCAN": {TEXTURE: (0.277, 0.153, 0.335), MTD: (0.071, 0.029, 0.282), LEAVES: (0.394, 0.356, 0.526)},
        "STEGO": {TEXTURE: (0.389, 0.271, 0.459), MTD: (0.056, 0.111, 0.586), LEAVES: (0.055, 0.021, 0.344)},
        AVERAGE: {TEXTURE: (0.273, 0.123, 0.402), MTD: (0.065, 0.024, 0.289), LEAVES: (0.341, 0.359, 0.519)},
        MAX_HAUSDORFF: {TEXTURE: (0.625, 0.534, 0.708), MTD: (0.193, 0.112, 0.381), LEAVES: (0.546, 0.605, 0.780)},
        WEIGHTED: {TEXTURE: (0.674, 0.601, 0.707), MTD: (0.179, 0.120, 0.346), LEAVES: (0.459, 0.462, 0.630)},
        OURS: {TEXTURE: (0.790, 0.716, 0.806), MTD: (0.221, 0.392, 0.670), LEAVES: (0.712, 0.736, 0.829)},
    }
)
"""Table 1: clustering."""

SOHN_RARITY: Final = "Sohn et al., rarity"
FCA: Final = "FCA"
FCA_VAE: Final = "FCA + VAE"

Localization: TypeAlias = tuple[float, float, float | None]

TABLE_2: Final[MappingProxyType[str, dict[str, Localization]]] = MappingProxyType(
    {
        "ILTM (another protocol)": {TEXTURE: (79.04, 85.38, None)},
        "DRAEM": {TEXTURE: (31.12, 57.08, 73.04), MTD: (22.80, 54.22, 54.98), LEAVES: (33.53, 76.91, 51.34)},
        "CFA": {TEXTURE: (92.51, 97.27, 88.54), MTD: (65.27, 73.86, 62.49), LEAVES: (76.92, 97.15, 81.51)},
        SOHN_RARITY: {TEXTURE: (90.84, 96.61, 98.69), MTD: (66.51, 72.86, 77.00), LEAVES: (75.25, 97.15, 92.02)},
        "Zhang et al.": {TEXTURE: (91.26, 96.80, 97.58)},
        FCA: {TEXTURE: (96.92, 98.74, 99.85), MTD: (72.15, 74.48, 80.29), LEAVES: (48.10, 88.50, 62.05)},
        FCA_VAE: {TEXTURE: (97.50, 99.02, 99.93), MTD: (75.53, 75.32, 83.87), LEAVES: (77.20, 97.62, 90.62)},
    }
)
"""Table 2: localisation in mixed normal and defective images, in percent."""

TABLE_3: Final[MappingProxyType[str, dict[str, Triple]]] = MappingProxyType(
    {
        WITHOUT_BOTH: {TEXTURE: (0.756, 0.682, 0.781), MTD: (0.176, 0.166, 0.507), LEAVES: (0.333, 0.235, 0.443)},
        WITHOUT_VAE: {TEXTURE: (0.807, 0.733, 0.811), MTD: (0.167, 0.214, 0.539), LEAVES: (0.528, 0.507, 0.706)},
        WITHOUT_HEAD: {TEXTURE: (0.769, 0.693, 0.775), MTD: (0.142, 0.161, 0.513), LEAVES: (0.512, 0.461, 0.588)},
        OURS: TABLE_1[OURS],
    }
)
"""Table 3: ablation."""

TABLE_4: Final[MappingProxyType[str, dict[str, float]]] = MappingProxyType(
    {
        "kmeans": {TEXTURE: 0.778, MTD: 0.211, LEAVES: 0.689},
        "ward": {TEXTURE: 0.790, MTD: 0.221, LEAVES: 0.712},
        "gmm": {TEXTURE: 0.750, MTD: 0.157, LEAVES: 0.724},
        "spectral": {TEXTURE: 0.757, MTD: 0.189, LEAVES: 0.629},
    }
)
"""Table 4: NMI of clustering methods on the final descriptors, by their names in `anoclust_core.clustering.methods`."""
