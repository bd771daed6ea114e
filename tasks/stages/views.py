"""Views of parts between the stages: arrays get a row for each part, and the manifest says which view that is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from anoclust_core.config import RunConfig
from anoclust_core.records import BagWeights, DatasetManifest
from anoclust_core.weighting.parts import decided, deciding_rows
from tasks.stores import arrays
from tasks.stores.stage_keys import VIEW_RARITY


def rows_of_parts(
    config: RunConfig, images: DatasetManifest, stored: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Arrays with a row for each part, and beside them the rarity of all views; by image they stay as they are.

    Parameters
    ----------
    config
        Its ``group.by`` says which.
    images
        In which no view has decided yet.
    stored
        Arrays with a row for each clustered image, ``rarity`` among them.
    """
    if config.group.by != "part":
        return dict(stored)
    rows = deciding_rows(stored["rarity"].max(axis=1), [image.part for image in images.clustered])
    return {**{name: values[rows] for name, values in stored.items()}, VIEW_RARITY: stored["rarity"]}


def decided_by_rarity(images: DatasetManifest, weights: BagWeights) -> DatasetManifest:
    """Manifest with one clustered image for each row of the arrays: the rarest view of each part."""
    return decided(images, arrays.read(Path(weights.arrays.uri), VIEW_RARITY).max(axis=1))
