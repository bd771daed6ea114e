"""Run the whole pipeline in a test and read back what it wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from anoclust_core.config import RunConfig
from anoclust_core.safe_text.cells import original
from flows.plan import plan_run
from flows.run import CategoryOutcome, run_data
from tasks.images.listing import list_datasets
from tasks.networks.backbone_spec import embedding_spec
from tasks.stores import arrays
from tasks.stores.embeddings import EmbeddingSegments
from tasks.stores.layout import StoreLayout
from tasks.stores.stage_keys import embedding_keys

RARITY_TOLERANCE = 1e-3
"""Distances are stored in half precision, at most 5e-4 off for values below 1; rarity is a mean of them."""

DESCRIPTOR_TOLERANCE = 1e-3
"""Descriptors follow from embeddings in half precision and from weights, that follow from rarity."""


def run_one(data: Path, store: Path, config: RunConfig) -> CategoryOutcome:
    """Run the only category of a data set; an error of the category is raised."""
    (outcome,) = run_data(data, store, config)
    if outcome.error is not None:
        raise outcome.error
    return outcome


def run_folder(outcome: CategoryOutcome) -> Path:
    """Folder of a run that went well."""
    assert outcome.run is not None
    return outcome.run


def assignments(outcome: CategoryOutcome) -> pd.DataFrame:
    """Rows of assignments.csv by path."""
    rows = pd.read_csv(run_folder(outcome) / "assignments.csv", dtype={"path": str}, keep_default_na=False)
    return rows.assign(path=rows["path"].map(original)).set_index("path")


def cluster_by_content(outcome: CategoryOutcome) -> dict[str, int]:
    """Cluster of every image content."""
    frame = assignments(outcome)
    return dict(zip(frame["sha256"], frame["cluster"], strict=True))


def work(images_embedded: int, pair_products: int) -> dict[str, int]:
    """Work that a run should have done."""
    return {"images_embedded": images_embedded, "pair_products": pair_products}


def pairs_among(n_images: int) -> int:
    """Number of unordered pairs."""
    return n_images * (n_images - 1) // 2


def stored_arrays(data: Path, store: Path, config: RunConfig) -> dict[str, NDArray[np.floating]]:
    """Rarity and descriptors of a finished run, rows by content hash."""
    layout = StoreLayout(store)
    spec = embedding_spec(layout, config)
    (listed,) = list_datasets(data, config)
    segments = EmbeddingSegments(layout.folder("embeddings", listed.category, embedding_keys(listed, spec).embedding))
    images = listed.without(segments.unreadable(listed.images))
    folder = layout.folder("weights", listed.category, plan_run(images, config, spec).keys["weigh"])
    return {name: arrays.read(folder, name) for name in ("rarity", "weights", "descriptors")}


def assert_same_result(
    first: tuple[Path, Path, CategoryOutcome], second: tuple[Path, Path, CategoryOutcome], config: RunConfig
) -> None:
    """Check that two runs over the same images, given as (data, store, outcome), came to one result."""
    assert cluster_by_content(first[2]) == cluster_by_content(second[2])
    ours, theirs = stored_arrays(*first[:2], config), stored_arrays(*second[:2], config)
    np.testing.assert_allclose(ours["rarity"], theirs["rarity"], atol=RARITY_TOLERANCE)
    np.testing.assert_allclose(ours["descriptors"], theirs["descriptors"], atol=DESCRIPTOR_TOLERANCE)
    assert first[2].summary["tau"] == pytest.approx(second[2].summary["tau"], abs=1e-4)
    for name in ("n_clusters", "dataset_hash", "images", "metrics", "n_clusters_suggested"):
        assert first[2].summary[name] == second[2].summary[name], name
