"""What people look through is what the catalog has, in SQLite and in PostgreSQL."""

from __future__ import annotations

from datetime import date

from filling import FIRST, fill

from tasks.stores.catalog.browsing import LABEL
from tasks.stores.catalog.catalog import Catalog


def test_places_are_the_assignments(catalog: Catalog) -> None:
    """Every image stands once, in the cluster that it is in now, with its night, the surest first."""
    fill(catalog)
    with catalog.browsing("tile") as browsing:
        places = browsing.places()
    shown = {
        content: (places.names[cluster], date.fromordinal(night))
        for content, cluster, night in zip(places.contents, places.clusters, places.nights, strict=True)
    }
    nights = {fact.content: fact.night for fact in catalog.images("tile")}
    assigned = catalog.assignments("tile")
    assert len(places.contents) == len(assigned)
    assert shown == {fact.content: (fact.cluster, nights[fact.content]) for fact in assigned}
    sure = {fact.content: fact.confidence for fact in assigned}
    assert list(places.contents) == sorted(places.contents, key=lambda content: (-sure[content], content))


def test_columns_and_their_values(catalog: Catalog) -> None:
    """Columns of the manifest are known with their values, and images are found by them."""
    fill(catalog)
    with catalog.browsing("tile") as browsing:
        assert browsing.columns() == {"line": ["7 ü"]}
        everything = {fact.content for fact in catalog.images("tile")}
        assert browsing.with_values({"line": "7 ü"}) == everything
        assert browsing.with_values({"line": "8"}) == set()
        assert browsing.with_values({'no "such" column': "7 ü"}) == set()
        assert browsing.values("line") == dict.fromkeys(everything, "7 ü")
        assert browsing.values(LABEL) == {}
        usable = sum(fact.quarantined is None for fact in catalog.images("tile"))
        assert browsing.n_images() == (usable, len(everything) - usable)


def test_clusters_are_those_of_the_catalog(catalog: Catalog) -> None:
    """Clusters come with the sizes that are given, in the order of their identities."""
    fill(catalog)
    found = catalog.clusters("tile")
    with catalog.browsing("tile") as browsing:
        assert browsing.clusters({one.cluster: one.n_images for one in found}) == found


def test_a_name_moves_no_image(catalog: Catalog) -> None:
    """Where images are is another state after a move, and the same after a name; images change with nights alone."""
    fill(catalog)

    def states() -> tuple[object, object, object]:
        with catalog.browsing("tile") as browsing:
            return browsing.revision(), browsing.revision_of_places(), browsing.revision_of_images()

    whole, places, images = states()
    catalog.rename("tile", "c3", "grey", who="kim")
    named, places_then, images_then = states()
    assert (named != whole, places_then, images_then) == (True, places, images)
    content = next(fact.content for fact in catalog.assignments("tile") if fact.cluster != "c3")
    catalog.move("tile", [content], to="c3", who="kim")
    assert states()[1] != places
    assert states()[2] == images
    assert max(fact.night for fact in catalog.images("tile")) > FIRST
