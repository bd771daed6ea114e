"""A category of three kinds of images, two of which a tree takes for one."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
from numpy.typing import NDArray

from tasks.stores.catalog.catalog import Catalog
from tasks.stores.layout import StoreLayout

NIGHT, NOW = date(2026, 11, 1), datetime(2026, 11, 2, tzinfo=UTC)
KINDS = np.repeat([0, 1, 2], 20)
NAMES = [f"{at:064x}" for at in range(len(KINDS))]


def pictures() -> NDArray[np.float32]:
    """Descriptors of three kinds, two of which a tree takes for one."""
    middles = np.zeros((3, 12))
    middles[1, 0], middles[2, 1] = 4.0, 20.0
    return (middles[KINDS] + np.random.default_rng(0).normal(size=(len(KINDS), 12))).astype(np.float32)


def partition(layout: StoreLayout) -> list[str | None]:
    """Cluster of every image, by row."""
    with Catalog.open(layout.catalog) as catalog:
        return [one.cluster for one in catalog.assignments("board")]
