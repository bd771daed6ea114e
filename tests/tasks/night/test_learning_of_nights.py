"""Re-clusterings learn from what people decided, say so, and forget it where a decision is undone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from anoclust_core.clustering.linkage import cut_tree, linkage_tree
from anoclust_core.config import RunConfig
from anoclust_core.matching.assigning import Choice
from anoclust_core.records import DatasetManifest, EmbeddingSpec, ImageRecord
from tasks.night import adopt
from tasks.night.learning import read_head
from tasks.night.place import Place
from tasks.stages.category_run import CategoryRun
from tasks.stores import arrays
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.decisions.words import in_words
from tasks.stores.catalog.facts import ImageFact
from tasks.stores.layout import StoreLayout
from tasks.stores.nights.measured import Measured

NIGHT, NOW = date(2026, 11, 1), datetime(2026, 11, 2, tzinfo=UTC)
KINDS = np.repeat([0, 1, 2], 20)
NAMES = [f"{at:064x}" for at in range(len(KINDS))]

Recluster = Callable[..., str]


def pictures() -> NDArray[np.float32]:
    """Descriptors of three kinds, two of which a tree takes for one."""
    middles = np.zeros((3, 12))
    middles[1, 0], middles[2, 1] = 4.0, 20.0
    return (middles[KINDS] + np.random.default_rng(0).normal(size=(len(KINDS), 12))).astype(np.float32)


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
def recluster(layout: StoreLayout, monkeypatch: pytest.MonkeyPatch) -> Recluster:
    """Give a re-clustering that finds the same tree every time; it gives the key of its snapshot."""
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

    def work(*, learn: str = "auto") -> str:
        config = RunConfig.model_validate({"night": {"learn": learn}})
        place = Place(CategoryRun(layout, "board", config, spec, 1 << 30), layout.catalog, NIGHT, NOW)
        adopt.adopt.fn(place=place, run_folder="r", settings_key="s", reference=None, reason="asked for")
        with Catalog.open(layout.catalog) as catalog:
            latest = catalog.latest_snapshot("board")
        assert latest is not None
        return latest.key

    return work


def partition(layout: StoreLayout) -> list[str | None]:
    """Cluster of every image, by row."""
    with Catalog.open(layout.catalog) as catalog:
        return [one.cluster for one in catalog.assignments("board")]


def split_off(layout: StoreLayout, rows: slice) -> str:
    """Split some images off their cluster and name the new one, as a person would."""
    with Catalog.open(layout.catalog) as catalog:
        new = catalog.split("board", str(partition(layout)[rows.start]), NAMES[rows], who="kim")
        catalog.rename("board", new, "scratch", who="kim")
    return new


def test_a_split_teaches_the_next_reclustering(layout: StoreLayout, recluster: Recluster) -> None:
    """Six images of the second kind are split off the first: the next re-clustering finds the others, and says why."""
    assert recluster() == "t"
    before = partition(layout)
    assert len(set(before[:40])) == 1
    new = split_off(layout, slice(20, 26))
    key = recluster()
    after = partition(layout)
    assert key != "t"
    assert after[20:26] == [new] * 6
    assert sum(one == new for one in after[26:40]) >= 12
    assert sum(one == before[0] for one in after[:20]) >= 17
    assert after[40:] == before[40:]
    with Catalog.open(layout.catalog) as catalog:
        (told,) = [one for one in catalog.history("board", new) if "learnt" in one.after and one.cluster == new]
    moved = [name for row, name in enumerate(NAMES) if after[row] == new and not 20 <= row < 26]
    learnt = told.after["learnt"]
    assert (learnt["decisions"], sorted(learnt["contents"])) == (2, moved)
    words = f"moved {len(moved)} images to it by learning from 2 decisions ({len(moved)} of c1)"
    assert in_words(told).endswith(words)
    assert recluster() == key
    assert partition(layout) == after


def test_without_decisions_nothing_is_learnt(layout: StoreLayout, recluster: Recluster) -> None:
    """Neither where nobody decided nor where all was undone is there another tree, another key or another word."""
    assert recluster() == "t"
    before = partition(layout)
    split_off(layout, slice(20, 26))
    with Catalog.open(layout.catalog) as catalog:
        catalog.undo("board", who="kim")
        catalog.undo("board", who="kim")
    assert recluster() == "t"
    assert partition(layout) == before
    with Catalog.open(layout.catalog) as catalog:
        assert not any("learnt" in one.after for one in catalog.history("board"))
    assert [path.name for path in layout.folder("trees", "board", "t").parent.iterdir()] == ["t"]


def test_what_was_learnt_is_gone_once_its_decisions_are_undone(layout: StoreLayout, recluster: Recluster) -> None:
    assert recluster() == "t"
    before = partition(layout)
    split_off(layout, slice(20, 26))
    assert recluster() != "t"
    with Catalog.open(layout.catalog) as catalog:
        catalog.undo("board", who="kim")
        catalog.undo("board", who="kim")
    assert recluster() == "t"
    after = partition(layout)
    assert len(set(after[:40])) == 1
    assert after[40:] == before[40:]


def test_learning_can_be_turned_off(layout: StoreLayout, recluster: Recluster) -> None:
    """What people put somewhere stays there all the same."""
    recluster()
    new = split_off(layout, slice(20, 26))
    assert recluster(learn="off") == "t"
    assert [row for row, one in enumerate(partition(layout)) if one == new] == list(range(20, 26))


def test_nights_score_new_images_by_what_was_learnt(layout: StoreLayout, recluster: Recluster) -> None:
    """A cluster born since is taken where it is the nearest; with no decision there is no head."""
    recluster()
    assert read_head(layout, "board", "t") is None
    new = split_off(layout, slice(20, 26))
    head = read_head(layout, "board", recluster())
    assert head is not None
    scores = head.scores(pictures()[30:33], pictures())
    old = partition(layout)
    nearest = Choice((str(old[0]), "c9", str(old[0])), np.array([0.5, 0.7, 0.5]))
    choice = head.choice(scores, old, nearest, {})
    assert choice.ids == (new, "c9", new)
    assert choice.confidence[1] == 0.7
    assert head.choice(scores, [None] * len(old), nearest, {}) is nearest
    assert head.scores(pictures()[:0], pictures()).shape == (0, scores.shape[1])
