# ruff: noqa: E501 - tables read as tables
"""Published numbers, copied from the papers; every table that shows one marks it as published.

Rows of [SOHN23] (Sohn et al., *Anomaly Clustering*, WACV 2023, and its supplement) were made with WideResNet-50 block 2
features of 256 px images, unless said otherwise. Scores stand as NMI, ARI, F1 (weighted).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, TypeAlias

OBJECT: Final = "MVTec (object)"
TEXTURE: Final = "MVTec (texture)"
MTD: Final = "MTD"

Triple: TypeAlias = tuple[float, float, float]

GROUPS: Final = MappingProxyType(
    {
        OBJECT: (
            "bottle", "cable", "capsule", "hazelnut", "metal_nut", "pill", "screw", "toothbrush", "transistor", "zipper",
        ),
        TEXTURE: ("carpet", "grid", "leather", "tile", "wood"),
        MTD: ("magnetic_tile",),
    }
)  # fmt: skip
"""Categories that the papers average over, by the names that Anoclust's manifests give them."""

AVERAGE: Final = "average"
MAX_HAUSDORFF: Final = "max Hausdorff"
WEIGHTED: Final = "weighted average"
SEMI: Final = "weighted average, normals"
MASK: Final = "weighted average, masks"

TABLE_1: Final[MappingProxyType[str, dict[str, Triple]]] = MappingProxyType(
    {
        AVERAGE: {OBJECT: (0.244, 0.109, 0.399), TEXTURE: (0.273, 0.123, 0.402), MTD: (0.065, 0.024, 0.289)},
        MAX_HAUSDORFF: {OBJECT: (0.415, 0.275, 0.526), TEXTURE: (0.625, 0.534, 0.708), MTD: (0.193, 0.112, 0.381)},
        WEIGHTED: {OBJECT: (0.451, 0.346, 0.553), TEXTURE: (0.674, 0.601, 0.707), MTD: (0.179, 0.120, 0.346)},
        SEMI: {OBJECT: (0.577, 0.449, 0.628), TEXTURE: (0.669, 0.570, 0.698), MTD: (0.390, 0.314, 0.490)},
        MASK: {OBJECT: (0.724, 0.652, 0.725), TEXTURE: (0.685, 0.609, 0.703), MTD: (0.467, 0.359, 0.482)},
    }
)
"""Table 1; the mask row is that of Table 7 and section 4.3."""

TABLE_3: Final[MappingProxyType[str, dict[str, tuple[float, float, float, float]]]] = MappingProxyType(
    {
        AVERAGE: {OBJECT: (0.819, 0.380, 0.231, 0.094), TEXTURE: (0.807, 0.378, 0.243, 0.083)},
        MAX_HAUSDORFF: {OBJECT: (0.868, 0.533, 0.373, 0.204), TEXTURE: (0.926, 0.769, 0.702, 0.346)},
        WEIGHTED: {OBJECT: (0.860, 0.474, 0.346, 0.192), TEXTURE: (0.907, 0.760, 0.629, 0.393)},
        SEMI: {OBJECT: (0.915, 0.671, 0.527, 0.327), TEXTURE: (0.940, 0.824, 0.666, 0.366)},
    }
)
"""Table 3: mAUC, R@0.9, R@0.95, R@0.99."""

TABLE_4: Final[MappingProxyType[str, dict[str, float]]] = MappingProxyType(
    {
        "holistic": {OBJECT: 0.256, TEXTURE: 0.507, MTD: 0.205},
        MAX_HAUSDORFF: {OBJECT: 0.281, TEXTURE: 0.542, MTD: 0.250},
        WEIGHTED: {OBJECT: 0.320, TEXTURE: 0.568, MTD: 0.227},
        SEMI: {OBJECT: 0.381, TEXTURE: 0.597, MTD: 0.280},
    }
)
"""Table 4: NMI with WideResNet-50's last layer, 8 x 8 patches of 2,048."""

TABLE_5: Final[MappingProxyType[str, dict[str, float]]] = MappingProxyType(
    {
        "mean_mean": {OBJECT: 0.196, TEXTURE: 0.232, MTD: 0.071},
        "max_min_max": {OBJECT: 0.415, TEXTURE: 0.625, MTD: 0.193},
        "max_min_mean": {OBJECT: 0.372, TEXTURE: 0.562, MTD: 0.160},
        "min_min": {OBJECT: 0.126, TEXTURE: 0.187, MTD: 0.130},
        "mean_min_max": {OBJECT: 0.220, TEXTURE: 0.400, MTD: 0.141},
        "mean_min_mean": {OBJECT: 0.235, TEXTURE: 0.348, MTD: 0.134},
        "expectation": {OBJECT: 0.451, TEXTURE: 0.674, MTD: 0.179},
        "maximum": {OBJECT: 0.252, TEXTURE: 0.614, MTD: 0.138},
        "minimum": {OBJECT: 0.472, TEXTURE: 0.625, MTD: 0.052},
    }
)
"""Table 5: NMI of the Hausdorff variants, and of weights by expectation, maximum or minimum over the other images."""

TABLE_7: Final[MappingProxyType[str, tuple[Triple, Triple, Triple, Triple, Triple]]] = MappingProxyType(
    {
        "bottle": ((0.426, 0.186, 0.448), (0.585, 0.510, 0.764), (0.495, 0.421, 0.567), (0.607, 0.461, 0.639), (0.531, 0.438, 0.584)),
        "cable": ((0.439, 0.209, 0.421), (0.636, 0.348, 0.579), (0.730, 0.673, 0.770), (0.889, 0.903, 0.935), (0.939, 0.934, 0.849)),
        "capsule": ((0.172, 0.060, 0.339), (0.156, 0.045, 0.276), (0.185, 0.070, 0.380), (0.334, 0.191, 0.466), (0.443, 0.329, 0.533)),
        "hazelnut": ((0.063, -0.003, 0.314), (0.552, 0.327, 0.500), (0.568, 0.430, 0.610), (0.868, 0.889, 0.936), (0.904, 0.925, 0.954)),
        "metal_nut": ((0.342, 0.160, 0.376), (0.448, 0.339, 0.542), (0.610, 0.439, 0.527), (0.639, 0.457, 0.624), (0.556, 0.373, 0.528)),
        "pill": ((0.313, 0.134, 0.300), (0.384, 0.169, 0.390), (0.469, 0.246, 0.419), (0.515, 0.317, 0.438), (0.653, 0.484, 0.576)),
        "screw": ((0.049, -0.000, 0.264), (0.031, -0.006, 0.239), (0.038, -0.007, 0.251), (0.376, 0.267, 0.418), (0.592, 0.505, 0.672)),
        "toothbrush": ((0.000, -0.018, 0.581), (0.251, 0.050, 0.652), (0.214, -0.008, 0.599), (0.214, -0.008, 0.599), (1.000, 1.000, 1.000)),
        "transistor": ((0.282, 0.110, 0.497), (0.499, 0.478, 0.703), (0.573, 0.674, 0.755), (0.651, 0.462, 0.594), (0.825, 0.921, 0.874)),
        "zipper": ((0.353, 0.255, 0.454), (0.606, 0.491, 0.615), (0.628, 0.521, 0.648), (0.677, 0.552, 0.635), (0.800, 0.614, 0.679)),
        "carpet": ((0.287, 0.138, 0.392), (0.660, 0.586, 0.795), (0.656, 0.576, 0.647), (0.550, 0.430, 0.553), (0.707, 0.592, 0.614)),
        "grid": ((0.158, 0.033, 0.326), (0.129, 0.018, 0.308), (0.143, 0.018, 0.304), (0.258, 0.093, 0.361), (0.137, 0.019, 0.312)),
        "leather": ((0.398, 0.218, 0.465), (0.725, 0.652, 0.762), (0.778, 0.674, 0.704), (0.787, 0.677, 0.728), (0.712, 0.632, 0.684)),
        "tile": ((0.288, 0.157, 0.444), (0.932, 0.914, 0.957), (0.933, 0.921, 0.957), (0.930, 0.922, 0.957), (1.000, 1.000, 1.000)),
        "wood": ((0.231, 0.066, 0.384), (0.678, 0.500, 0.716), (0.860, 0.815, 0.921), (0.823, 0.725, 0.893), (0.868, 0.802, 0.907)),
        "magnetic_tile": ((0.065, 0.024, 0.289), (0.193, 0.112, 0.381), (0.179, 0.120, 0.346), (0.390, 0.314, 0.490), (0.467, 0.359, 0.482)),
    }
)  # fmt: skip
"""Table 7, one row per category: average, max Hausdorff, weighted average, with normals, with masks."""

_H, _W = "max Hausdorff", "weighted average"

TABLE_8: Final[MappingProxyType[str, dict[str, dict[str, Triple]]]] = MappingProxyType(
    {
        "k-means": {_W: {OBJECT: (0.429, 0.301, 0.544), TEXTURE: (0.642, 0.567, 0.714), MTD: (0.204, 0.135, 0.374)}},
        "GMM": {_W: {OBJECT: (0.395, 0.264, 0.498), TEXTURE: (0.578, 0.469, 0.635), MTD: (0.204, 0.141, 0.377)}},
        "spectral": {
            _H: {OBJECT: (0.419, 0.287, 0.546), TEXTURE: (0.609, 0.525, 0.702), MTD: (0.143, 0.089, 0.354)},
            _W: {OBJECT: (0.428, 0.305, 0.555), TEXTURE: (0.606, 0.516, 0.681), MTD: (0.150, 0.098, 0.341)},
        },
        "single": {
            _H: {OBJECT: (0.108, 0.025, 0.238), TEXTURE: (0.078, 0.008, 0.173), MTD: (0.087, 0.019, 0.202)},
            _W: {OBJECT: (0.133, 0.041, 0.261), TEXTURE: (0.108, 0.005, 0.186), MTD: (0.065, 0.012, 0.200)},
        },
        "complete": {
            _H: {OBJECT: (0.316, 0.187, 0.409), TEXTURE: (0.360, 0.184, 0.356), MTD: (0.128, 0.062, 0.320)},
            _W: {OBJECT: (0.294, 0.146, 0.405), TEXTURE: (0.452, 0.265, 0.510), MTD: (0.116, 0.075, 0.310)},
        },
        "average": {
            _H: {OBJECT: (0.245, 0.109, 0.328), TEXTURE: (0.223, 0.064, 0.294), MTD: (0.080, 0.024, 0.242)},
            _W: {OBJECT: (0.276, 0.095, 0.345), TEXTURE: (0.400, 0.213, 0.398), MTD: (0.094, 0.034, 0.284)},
        },
        "Ward": {
            _H: {OBJECT: (0.415, 0.275, 0.526), TEXTURE: (0.625, 0.534, 0.708), MTD: (0.193, 0.112, 0.381)},
            _W: {OBJECT: (0.451, 0.346, 0.553), TEXTURE: (0.674, 0.601, 0.707), MTD: (0.179, 0.120, 0.346)},
        },
    }
)
"""Table 8: clustering methods on two distances; their NMI is Table 2."""

K_MEDOIDS_NMI: Final[MappingProxyType[str, dict[str, float]]] = MappingProxyType(
    {_H: {OBJECT: 0.140, TEXTURE: 0.274, MTD: 0.050}, _W: {OBJECT: 0.235, TEXTURE: 0.430, MTD: 0.076}}
)
"""Table 2 only: k-medoids; on max Hausdorff it is BAMIC."""

DEEP_CLUSTERING: Final[MappingProxyType[str, dict[str, tuple[Triple, Triple]]]] = MappingProxyType(
    {
        "IIC": {
            OBJECT: ((0.086, 0.019, 0.297), (0.170, 0.117, 0.366)),
            TEXTURE: ((0.107, 0.023, 0.261), (0.188, 0.096, 0.300)),
            MTD: ((0.064, 0.020, 0.252), (0.034, 0.017, 0.230)),
        },
        "GATCluster": {
            OBJECT: ((0.119, 0.044, 0.320), (0.265, 0.202, 0.475)),
            TEXTURE: ((0.171, 0.072, 0.305), (0.298, 0.202, 0.442)),
            MTD: ((0.028, 0.009, 0.243), (0.113, 0.064, 0.333)),
        },
        "SCAN": {
            OBJECT: ((0.176, 0.078, 0.335), (0.198, 0.123, 0.393)),
            TEXTURE: ((0.277, 0.153, 0.335), (0.314, 0.203, 0.393)),
            MTD: ((0.071, 0.029, 0.282), (0.087, 0.053, 0.309)),
        },
    }
)
"""Tables 2 and 8: deep clustering, last epoch, and the epoch that the test labels choose."""

TABLE_9: Final[MappingProxyType[str, dict[str, tuple[Triple, Triple]]]] = MappingProxyType(
    {
        AVERAGE: {OBJECT: ((0.249, 0.114, 0.412), (0.002, 0.003, 0.004)), TEXTURE: ((0.288, 0.122, 0.405), (0.003, 0.003, 0.003))},
        MAX_HAUSDORFF: {OBJECT: ((0.423, 0.274, 0.520), (0.004, 0.005, 0.004)), TEXTURE: ((0.650, 0.560, 0.722), (0.004, 0.005, 0.005))},
        WEIGHTED: {OBJECT: ((0.458, 0.333, 0.563), (0.003, 0.005, 0.004)), TEXTURE: ((0.665, 0.582, 0.709), (0.003, 0.004, 0.003))},
        SEMI: {OBJECT: ((0.584, 0.477, 0.653), (0.004, 0.006, 0.005)), TEXTURE: ((0.702, 0.616, 0.743), (0.004, 0.005, 0.004))},
        "max": {OBJECT: ((0.336, 0.204, 0.488), (0.003, 0.004, 0.004)), TEXTURE: ((0.598, 0.478, 0.658), (0.004, 0.004, 0.003))},
        "GeM": {OBJECT: ((0.338, 0.209, 0.486), (0.003, 0.004, 0.004)), TEXTURE: ((0.602, 0.482, 0.660), (0.003, 0.004, 0.003))},
        "SPoC": {OBJECT: ((0.249, 0.114, 0.412), (0.002, 0.003, 0.004)), TEXTURE: ((0.288, 0.122, 0.405), (0.003, 0.003, 0.003))},
        "bag of words": {OBJECT: ((0.226, 0.102, 0.396), (0.003, 0.003, 0.003)), TEXTURE: ((0.312, 0.126, 0.359), (0.004, 0.004, 0.004))},
    }
)  # fmt: skip
"""Table 9: mean and standard error over 100 random 90 % subsets."""

TABLE_10: Final[MappingProxyType[str, dict[str, dict[str, tuple[float, float | None]]]]] = MappingProxyType(
    {
        "k-means": {_W: {OBJECT: (0.429, 0.002), TEXTURE: (0.637, 0.002), MTD: (0.204, None)}},
        "GMM": {_W: {OBJECT: (0.397, 0.002), TEXTURE: (0.583, 0.003), MTD: (0.204, None)}},
        "k-medoids": {
            _H: {OBJECT: (0.152, 0.005), TEXTURE: (0.301, 0.005), MTD: (0.050, None)},
            _W: {OBJECT: (0.250, 0.004), TEXTURE: (0.391, 0.006), MTD: (0.076, None)},
        },
        "spectral": {
            _H: {OBJECT: (0.415, 0.003), TEXTURE: (0.618, 0.003), MTD: (0.143, None)},
            _W: {OBJECT: (0.422, 0.002), TEXTURE: (0.606, 0.003), MTD: (0.150, None)},
        },
        "single": {
            _H: {OBJECT: (0.122, 0.003), TEXTURE: (0.086, 0.002), MTD: (0.087, None)},
            _W: {OBJECT: (0.141, 0.003), TEXTURE: (0.116, 0.002), MTD: (0.065, None)},
        },
        "complete": {
            _H: {OBJECT: (0.321, 0.005), TEXTURE: (0.404, 0.007), MTD: (0.128, None)},
            _W: {OBJECT: (0.339, 0.005), TEXTURE: (0.495, 0.007), MTD: (0.116, None)},
        },
        "average": {
            _H: {OBJECT: (0.225, 0.005), TEXTURE: (0.272, 0.007), MTD: (0.080, None)},
            _W: {OBJECT: (0.213, 0.002), TEXTURE: (0.367, 0.007), MTD: (0.094, None)},
        },
        "Ward": {
            _H: {OBJECT: (0.423, 0.004), TEXTURE: (0.650, 0.004), MTD: (0.193, None)},
            _W: {OBJECT: (0.458, 0.003), TEXTURE: (0.665, 0.003), MTD: (0.179, None)},
        },
    }
)
"""Table 10: NMI, mean and standard error over 100 random 90 % subsets; the MTD column is one run."""

PIXEL_AUROC: Final = MappingProxyType({WEIGHTED: 0.912, SEMI: 0.973})
"""Localisation by the weights on MVTec, section 4.3."""
