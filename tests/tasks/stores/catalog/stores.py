"""Stores with a catalog that has seen births, re-clusterings and decisions of every kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from anoclust_core.matching.partitions import match_partitions
from tasks.stores.catalog import opening
from tasks.stores.catalog.capture import CaptureRule
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.changes import TABLES
from tasks.stores.catalog.facts import AssignmentFact, ImageFact, NightFact, NoticeFact, SnapshotFact
from tasks.stores.catalog.identity import read_marker
from tasks.stores.catalog.rebuild import Rebuilt, rebuild_catalog
from tasks.stores.layout import StoreLayout
from tasks.stores.nights.arrivals import NightRules

FIRST = date(2026, 11, 1)
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
RULES = NightRules((CaptureRule("file"),), UTC, time(6))


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


@dataclass(frozen=True)
class Store:
    """A store and where its catalog is."""

    layout: StoreLayout
    where: Path | str

    def open(self) -> Catalog:
        return Catalog.open(self.where, store=self.layout)

    def do(self, act: Callable[[Catalog], object]) -> None:
        with self.open() as catalog:
            act(catalog)

    def rebuild(self) -> Rebuilt:
        return rebuild_catalog(self.layout, self.where, RULES)

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table."""
        marker = read_marker(self.layout)
        engine = opening.connect(self.where, schema=marker.schema if marker else None)
        try:
            with engine.connect() as connection:
                return {
                    table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
                    for table in TABLES
                }
        finally:
            engine.dispose()

    def lose_catalog(self) -> None:
        """Delete the catalog as if there had never been one."""
        file = opening.file_of(self.where)
        if file is not None:
            for path in file.parent.glob(f"{file.name}*"):
                path.unlink()
            return
        from sqlalchemy import text

        marker = read_marker(self.layout)
        assert marker is not None
        engine = opening.connect(self.where)
        with engine.begin() as connection:
            connection.execute(text(f"DROP SCHEMA {marker.schema} CASCADE"))
        engine.dispose()


def image(content: str, number: int) -> ImageFact:
    return ImageFact(
        content, f"{content}.png", NOON + timedelta(days=number), day(number), extra={"line": f"ü {number}"}, label="x"
    )


def put(
    store: Store,
    number: int,
    into: Mapping[str, str | None],
    born: Sequence[str] = (),
    *,
    category: str = "tile",
    page: bool = True,
) -> None:
    """Have a night that puts images into clusters; its page is written last, as a night does."""
    moment = NOON + timedelta(days=number)
    night = NightFact(category, day(number), "begun", "k", moment, moment, {"new": len(into), "rarity": 0.1 + 0.2})
    with store.open() as catalog:
        catalog.record_night(
            night,
            new=[image(content, number) for content in into],
            assignments=[AssignmentFact(c, cluster, 1 / 3, 0.9) for c, cluster in into.items()],
            born={cluster: {"images": list(into)} for cluster in born},
            tell=[
                NoticeFact(category, f"new {name}", day(number), "anoclust.cluster.new", {"cluster": name})
                for name in born
            ],
        )
        catalog.conclude_night(replace(night, state="done"))
        catalog.mark_sent(category, [f"new {name}" for name in born])
    if page:
        summary = store.layout.night(category, day(number)) / "summary.json"
        summary.parent.mkdir(parents=True, exist_ok=True)
        summary.write_text("{}")


def recluster(store: Store, key: str, labels: Mapping[str, int], number: int, *, category: str = "tile") -> None:
    """Re-cluster everything."""
    with store.open() as catalog:
        match = match_partitions(
            catalog.partition(category),
            labels,
            taken=catalog.identities(category),
            merged_into=catalog.merges(category),
        )
        catalog.record_snapshot(
            SnapshotFact(category, key, NOON + timedelta(days=number), len(labels), 0.7, {"weights": "w"}),
            night=day(number),
            match=match,
            assignments=[AssignmentFact(content, match.ids[label], 0.1, 1.0) for content, label in labels.items()],
        )


def a_life(store: Store, *, category: str = "tile", page: bool = True, of_now: bool = True) -> list[Callable[[], None]]:
    """Steps of a category's life: births, a night done again, re-clusterings, all decisions, undo, one key twice.

    Without ``of_now`` the decisions are those that the first versions knew.
    """

    def night(number: int, into: Mapping[str, str | None], born: Sequence[str] = ()) -> Callable[[], None]:
        return lambda: put(store, number, into, born, category=category, page=page)

    def decide(act: Callable[[Catalog], object]) -> Callable[[], None]:
        return lambda: store.do(act)

    first = {"a": "c1", "b": "c1", "c": "c1", "d": "c2", "e": "c2", "f": None}
    parts = {"a": 0, "b": 0, "c": 0, "d": 1, "e": 1, "f": 1, "g": 2, "h": 2, "i": 2}
    when = NOON
    new = [
        decide(lambda c: c.mark_ordinary(category, "c1", True, who="kim", when=when)),
        decide(lambda c: c.move(category, ["g"], to="c1", who="kim", when=when)),
        decide(lambda c: c.mark_wrong(category, ["e", "g"], who="lee", when=when)),
        decide(lambda c: c.undo(category, who="kim", when=when)),
        decide(lambda c: c.mark_wrong(category, ["e", "g"], who="lee", when=when)),
    ]
    return [
        night(0, first, ["c1", "c2"]),
        night(0, {**first, "d": "c1", "e": None}, ["c1"]),
        night(0, first, ["c1", "c2"]),
        decide(lambda c: c.rename(category, "c1", "scratch ü", who="kim", when=when)),
        night(1, {"g": "c3", "h": "c3", "i": "c3"}, ["c3"]),
        decide(lambda c: c.annotate(category, "c2", "look at\nline 7", who="kim", when=when)),
        lambda: recluster(store, "s1", parts, 1, category=category),
        decide(lambda c: c.undo(category, next(d.number for d in c.history(category) if d.kind == "note"), who="kim")),
        decide(lambda c: c.merge(category, ["c2"], into="c1", who="lee", when=when)),
        decide(lambda c: c.split(category, "c1", ["a", "d"], who="lee", when=when)),
        decide(lambda c: c.undo(category, who="kim", when=when)),
        decide(lambda c: c.split(category, "c1", ["b"], who="lee", when=when)),
        decide(lambda c: c.retire(category, "c3", who="kim", when=when)),
        decide(lambda c: c.rename(category, "c1", "dent", who="kim", when=when)),
        *(new if of_now else ()),
        lambda: recluster(store, "s2", {**parts, "c": 1}, 2, category=category),
        lambda: recluster(store, "s1", parts, 3, category=category),
        decide(lambda c: c.record_images(category, [replace(image("a", 0), path="moved.png")])),
        night(4, {"j": "c1", "k": None}),
    ]


def live(store: Store, **options: Any) -> None:
    for step in a_life(store, **options):
        step()
