"""JSON values of the catalog and of its journal are such as every database and every reader takes."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf, nan
from pathlib import Path
from typing import NoReturn

import pytest
from sqlalchemy import text
from stores import Store
from stores import recluster as recluster_store
from tile import NOON, day, image

from anoclust_core.matching.partitions import match_partitions
from tasks.stores.catalog import checksums, opening
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import AssignmentFact, SnapshotFact
from tasks.stores.catalog.schema import to_json
from tasks.stores.layout import StoreLayout


def refuse(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is no JSON")


def test_an_infinite_separation_is_null(catalog: Catalog) -> None:
    """A known cluster of equal images lies infinitely far from all others: the history says null, in any database."""
    match = match_partitions({}, {"a": 0, "b": 1})
    far, near = (replace(change, separation=by) for change, by in zip(match.changes, (inf, 3.5), strict=True))
    catalog.record_snapshot(
        SnapshotFact("tile", "s1", NOON, 2, 0.7),
        night=day(0),
        match=replace(match, changes=(far, near)),
        assignments=[AssignmentFact(content, match.ids[label], 0.1, 1.0) for content, label in (("a", 0), ("b", 1))],
        new=[image("a"), image("b")],
    )
    history = catalog.history("tile")
    assert [one.after["separation"] for one in history] == [None, 3.5]
    json.dumps([dict(one.after) for one in history], allow_nan=False)


@pytest.mark.parametrize("value", [inf, -inf, nan])
def test_what_is_no_json_is_not_written(value: float) -> None:
    """It would be found out when somebody moves to another database."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"separation": [value]})


def test_an_infinity_of_an_earlier_version_is_read_as_null(tmp_path: Path) -> None:
    """A catalog and a journal that have one are read, and what is written from now on has none."""
    layout = StoreLayout(tmp_path)
    store = Store(layout, layout.catalog)
    store.do(lambda catalog: catalog.record_images("tile", [image("a"), image("b")]))
    recluster_store(store, "s1", {"a": 0, "b": 1}, 0)
    engine = opening.connect(store.where)
    with engine.begin() as connection:
        connection.execute(text("""UPDATE decisions SET after = '{"separation": Infinity}'"""))
        checksums.seal_everything(connection)
    engine.dispose()
    with store.open() as catalog:
        assert [one.after for one in catalog.history("tile")] == [{"separation": None}] * 2
    layout.journal.unlink()
    store.do(lambda catalog: catalog.rename("tile", "c1", "dent", who="kim"))
    lines = layout.journal.read_text(encoding="utf-8").splitlines()
    assert all(json.loads(line, parse_constant=refuse) for line in lines)
    store.lose_catalog()
    store.rebuild()
    with store.open() as catalog:
        assert [one.after for one in catalog.history("tile")][:2] == [{"separation": None}] * 2
