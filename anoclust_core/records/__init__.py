"""What passes between stages: images, how they are embedded, and handles of what was written."""

from anoclust_core.records.embedding import (
    Cover,
    Detector,
    EmbeddingSpec,
    EmbeddingStore,
    Reference,
    Window,
)
from anoclust_core.records.images import (
    GOOD,
    REGION_COLUMN,
    DatasetManifest,
    ImageRecord,
    Role,
    SameReason,
    SetAside,
    by_reason,
    unique_contents,
)
from anoclust_core.records.stages import (
    ArrayHandle,
    BagWeights,
    ClusterTree,
    NearestDistances,
)

__all__ = [
    "GOOD",
    "REGION_COLUMN",
    "ArrayHandle",
    "BagWeights",
    "ClusterTree",
    "Cover",
    "DatasetManifest",
    "Detector",
    "EmbeddingSpec",
    "EmbeddingStore",
    "ImageRecord",
    "NearestDistances",
    "Reference",
    "Role",
    "SameReason",
    "SetAside",
    "Window",
    "by_reason",
    "unique_contents",
]
