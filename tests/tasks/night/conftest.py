"""Re-clusterings of three kinds of images, without a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from three_kinds import KINDS, NAMES, NIGHT, NOW, pictures

from anoclust_core.clustering.linkage import cut_tree, linkage_tree
from anoclust_core.config import RunConfig
from anoclust_core.records import DatasetManifest, EmbeddingSpec, ImageRecord
from tasks.night import adopt
from tasks.night.place import Place
from tasks.stages.category_run import CategoryRun
from tasks.stores import arrays
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import ImageFact
from tasks.stores.layout import StoreLayout
from tasks.stores.nights.measured import Measured


@pytest.fixture
def layout(tmp_path: Path) -> StoreLayout:
    """Give a store with a tree of all images, cut into two, and a catalog that knows the images."""
    layout = StoreLayout(tmp_path)
    linkage = linkage_tree(pictures(), method="ward")
    tree = {"linkage": linkage, "labels": cut_tree(linkage, n_clusters=2)}
    arrays.write_arrays(layout.folder("trees", "board", "t"), tree, {})
    rare = {"descriptors": pictures(), "rarity": np.zeros((len(KINDS), 4), np.float32)}
    arrays.write_arrays(layout.folder("weights", "board", "w"), rare, {})
    with Catalog.open(layout.catalog) as catalog:
        catalog.record_images("board", [ImageFact(name, f"{name}.png", NOW, NIGHT) for name in NAMES])
    return layout


@pytest.fixture
def adopting(layout: StoreLayout, monkeypatch: pytest.MonkeyPatch) -> Callable[..., adopt.Adopted]:
    """Give a re-clustering that finds the same tree every time; it gives what became of the clusters."""
    images = tuple(ImageRecord(f"{name}.png", f"/gone/{name}.png", name, "cluster") for name in NAMES)
    spec = EmbeddingSpec("b", "b", "w", (1,), 64, "bicubic", (0.5,) * 3, (0.5,) * 3, 3, (2, 2), 3)
    keys = {"group": "t", "weigh": "w"}
    tree, weights = (layout.folder(kind, "board", key) for kind, key in (("trees", "t"), ("weights", "w")))
    parts = SimpleNamespace(manifest=layout.root / "m", tree=tree, weights=weights, keys=keys)
    linkage = arrays.read(tree, "linkage")
    monkeypatch.setattr(adopt.runs, "read_summary", lambda _: {"tau": 0.1})
    monkeypatch.setattr(adopt, "load_manifest", lambda _: DatasetManifest("board", images))
    monkeypatch.setattr(adopt, "parts_of", lambda *_: parts)
    monkeypatch.setattr(adopt, "read_measured", lambda *_: Measured(pictures(), 1.0, tree=linkage))

    def work(*, learn: str = "auto") -> adopt.Adopted:
        config = RunConfig.model_validate({"night": {"learn": learn}})
        place = Place(CategoryRun(layout, "board", config, spec, 1 << 30), layout.catalog, NIGHT, NOW)
        return adopt.adopt.fn(place=place, run_folder="r", settings_key="s", reference=None, reason="asked for")

    return work


@pytest.fixture
def recluster(layout: StoreLayout, adopting: Callable[..., adopt.Adopted]) -> Callable[..., str]:
    """Give the same re-clustering; it gives the key of its snapshot."""

    def work(*, learn: str = "auto") -> str:
        adopting(learn=learn)
        with Catalog.open(layout.catalog) as catalog:
            latest = catalog.latest_snapshot("board")
        assert latest is not None
        return latest.key

    return work
