"""Re-clusterings learn from what people decided, say so, and forget it where a decision is undone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from three_kinds import NAMES, partition, pictures

from anoclust_core.matching.assigning import Choice
from tasks.night.learning import read_head
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.decisions.words import in_words
from tasks.stores.layout import StoreLayout

Recluster = Callable[..., str]


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
