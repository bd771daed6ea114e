"""Decisions about clusters that a re-clustering splits or joins: kept where that is clear, asked again where not."""

from __future__ import annotations

import pytest
from tile import WHO, recluster

from anoclust_core.errors import ConfigError
from tasks.stores.catalog.catalog import Catalog

WHOLE = dict.fromkeys("abcdefgh", 0)
PARTS = dict.fromkeys("abcde", 0) | dict.fromkeys("fgh", 1)


def asked(catalog: Catalog) -> dict[str, str]:
    """Open questions: name without the number of the change, and text."""
    return {one.question.partition("-")[2]: one.text for one in catalog.questions("tile")}


def named(catalog: Catalog, ending: str) -> str:
    return next(one.question for one in catalog.questions("tile") if one.question.endswith(ending))


def test_a_mark_is_asked_again_for_what_was_split_off(catalog: Catalog) -> None:
    """The cluster that keeps the identity keeps its mark; of the other nobody knows. Any mark settles it."""
    recluster(catalog, "s1", WHOLE)
    catalog.mark_ordinary("tile", "c1", True, who=WHO)
    assert catalog.questions("tile") == []
    recluster(catalog, "s2", PARTS, number=1)
    assert asked(catalog) == {
        "c2-mark": "c1 is marked as no defect, and c2 was split off from c1 on 2026-11-02: is c2 no defect too?"
    }
    number = catalog.answer("tile", named(catalog, "c2-mark"), True, who="lee")
    assert (catalog.cluster("tile", "c2").ordinary, asked(catalog)) == (True, {})
    catalog.undo("tile", number, who="lee")
    catalog.mark_ordinary("tile", "c2", False, who="lee")
    assert asked(catalog) == {}


def test_a_no_is_kept_and_can_be_undone(catalog: Catalog) -> None:
    """It leaves everything as it is, and is not asked again after the next clustering; undone, it is open again."""
    recluster(catalog, "s1", WHOLE)
    catalog.mark_ordinary("tile", "c1", False, who=WHO)
    recluster(catalog, "s2", PARTS, number=1)
    question = named(catalog, "c2-mark")
    number = catalog.answer("tile", question, False, who="lee")
    recluster(catalog, "s3", PARTS | {"i": 1}, number=2)
    assert (asked(catalog), catalog.cluster("tile", "c2").ordinary) == ({}, None)
    with pytest.raises(ConfigError, match=f"no question {question} of tile is open"):
        catalog.answer("tile", question, True, who="lee")
    catalog.undo("tile", number, who="lee")
    assert list(asked(catalog)) == ["c2-mark"]


def test_what_was_decided_after_the_split_is_not_asked(catalog: Catalog) -> None:
    """Who marked what is left of a cluster saw what was split off."""
    recluster(catalog, "s1", WHOLE)
    recluster(catalog, "s2", PARTS, number=1)
    catalog.mark_ordinary("tile", "c1", True, who=WHO)
    assert catalog.questions("tile") == []


def test_wrong_images_that_went_with_a_piece_are_asked_about(catalog: Catalog) -> None:
    """Perhaps that piece is where they belong; yes takes them out of it, and moving them there settles it too."""
    recluster(catalog, "s1", WHOLE)
    catalog.mark_wrong("tile", ["a", "g", "h"], who=WHO)
    recluster(catalog, "s2", PARTS, number=1)
    places = {fact.content: fact.cluster for fact in catalog.assignments("tile")}
    assert (places["a"], places["g"], places["h"]) == (None, "c2", "c2")
    (question,) = catalog.questions("tile")
    assert question.contents == ("g", "h")
    assert question.text == (
        "2 images that are wrong in c1 went to c2, and c2 was split off from c1 on 2026-11-02: wrong in c2 too?"
    )
    catalog.move("tile", ["g"], to="c2", who=WHO)
    (question,) = catalog.questions("tile")
    assert question.contents == ("h",)
    catalog.answer("tile", question.question, True, who=WHO)
    places = {fact.content: fact.cluster for fact in catalog.assignments("tile")}
    assert (places["g"], places["h"], asked(catalog)) == ("c2", None, {})


def test_name_and_mark_of_a_joined_cluster_are_asked_about_where_the_other_has_none(catalog: Catalog) -> None:
    """A name of the larger cluster stays without a question."""
    recluster(catalog, "s1", PARTS)
    catalog.rename("tile", "c2", "edge", who=WHO)
    catalog.mark_ordinary("tile", "c2", True, who=WHO)
    recluster(catalog, "s2", WHOLE, number=1)
    assert asked(catalog) == {
        "c1-mark": "c2 is marked as no defect, and c1 was joined with c2 on 2026-11-02: is c1 no defect too?",
        "c1-name": "c2 was named edge, and c1 was joined with c2 on 2026-11-02: is c1 edge?",
    }
    catalog.answer("tile", named(catalog, "c1-name"), True, who=WHO)
    assert catalog.cluster("tile", "edge").cluster == "c1"
    catalog.undo("tile", who=WHO)
    catalog.rename("tile", "c1", "pits", who=WHO)
    assert list(asked(catalog)) == ["c1-mark"]


def test_wrong_in_a_cluster_is_wrong_in_the_one_that_it_was_joined_to(catalog: Catalog) -> None:
    """Joined by a re-clustering: what a person merged, the person saw."""
    recluster(catalog, "s1", PARTS)
    catalog.mark_wrong("tile", ["h"], who=WHO)
    recluster(catalog, "s2", WHOLE, number=1)
    assert catalog.standing("tile").wrong == {"h": {"c1", "c2"}}
    catalog.undo("tile", next(one.number for one in catalog.history("tile") if one.kind == "merged"), who=WHO)
    catalog.merge("tile", ["c2"], into="c1", who=WHO)
    assert catalog.standing("tile").wrong == {"h": {"c2"}}
