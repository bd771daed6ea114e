"""Questions that people set aside: rows of the history that change nothing else."""

from __future__ import annotations

import pytest
from tile import WHO, recluster

from anoclust_core.errors import ConfigError
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.decisions.words import in_words

LABELS = dict.fromkeys("abcd", 0) | dict.fromkeys("wxyz", 1)


def test_a_dismissal_is_kept_and_can_be_undone(catalog: Catalog) -> None:
    """It has who and when, is refused twice, holds through a re-clustering, and is gone when it is undone."""
    recluster(catalog, "s1", LABELS)
    number = catalog.dismiss("tile", "name-c2", "What is c2?", who=WHO, about="c2")
    catalog.check()
    with pytest.raises(ConfigError, match="name-c2 of tile is dismissed already"):
        catalog.dismiss("tile", "name-c2", "What is c2?", who="lee")
    recluster(catalog, "s2", LABELS, number=1)
    assert catalog.settled("tile").dismissed == {"name-c2"}
    told = next(one for one in catalog.history("tile", "c2") if one.number == number)
    assert (told.who, in_words(told)) == (WHO, "set aside: What is c2?")
    assert catalog.undo("tile", who=WHO) == number
    assert catalog.settled("tile").dismissed == frozenset()


def test_a_dismissal_changes_no_cluster_and_keeps_nothing_from_being_undone(catalog: Catalog) -> None:
    """Who saw a cluster before may decide about it after; what was decided earlier can be undone first."""
    recluster(catalog, "s1", LABELS)
    seen, standing = catalog.versions("tile"), catalog.standing("tile")
    name = catalog.rename("tile", "c1", "chip", who=WHO)
    catalog.dismiss("tile", "camera-2026-11-01", "darker than before", who=WHO)
    assert catalog.versions("tile") == seen | {"c1": name}
    catalog.undo("tile", name, who=WHO)
    now = catalog.standing("tile")
    assert (now.known, now.placed, now.wrong) == (standing.known, standing.placed, standing.wrong)


def test_settled_are_images_that_people_placed_or_took_out(catalog: Catalog) -> None:
    """An image that was confirmed where it is counts as placed."""
    recluster(catalog, "s1", LABELS)
    catalog.move("tile", ["a"], to="c1", who=WHO)
    catalog.mark_wrong("tile", ["w"], who=WHO)
    settled = catalog.settled("tile")
    assert (settled.placed, settled.wrong) == ({"a": "c1"}, {"w"})


def test_a_split_with_a_name_is_whole_or_not_at_all(catalog: Catalog) -> None:
    """A name that another cluster has leaves no cluster behind."""
    recluster(catalog, "s1", LABELS)
    catalog.rename("tile", "c2", "chip", who=WHO)
    with pytest.raises(ConfigError, match="c2 already has the name chip"):
        catalog.split("tile", "c1", ["a"], name="chip", who=WHO)
    assert catalog.identities("tile") == {"c1", "c2"}
    new = catalog.split("tile", "c1", ["a"], name="scratch", who=WHO)
    assert catalog.cluster("tile", new).name == "scratch"
