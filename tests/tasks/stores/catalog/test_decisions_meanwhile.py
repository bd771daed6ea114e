"""What people decide while a night or a re-clustering is worked out: at every point between reading and writing.

The tasks are called without Prefect, on descriptors that are made up; the catalog is real.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.cluster.hierarchy import ward
from sqlalchemy.orm import Session

from anoclust_core.config import RunConfig
from anoclust_core.errors import BusyError, ConfigError
from anoclust_core.matching.partitions import match_partitions
from anoclust_core.matching.prototypes import merge_height
from anoclust_core.records import DatasetManifest, EmbeddingSpec, ImageRecord, NearestDistances, Reference
from tasks.night.describe import NewDescriptors
from tasks.night.place import Place
from tasks.stages.category_run import CategoryRun
from tasks.stores.catalog import catalog as catalogs
from tasks.stores.catalog.catalog import Catalog
from tasks.stores.catalog.facts import AssignmentFact, ImageFact, SnapshotFact
from tasks.stores.layout import StoreLayout
from tasks.stores.nights.measured import Measured
from tasks.stores.nights.snapshots import Snapshot

pytestmark = pytest.mark.slow

FIRST, TONIGHT = date(2026, 11, 1), date(2026, 11, 2)
NOW = datetime(2026, 11, 2, 5, tzinfo=UTC)
OLD = {f"a{number}": 0 for number in range(6)} | {f"b{number}": 1 for number in range(6)}
"""Images of the last clustering, in two clusters."""
NEW = {"a6": 0, "b6": 1} | {f"s{number}": 2 for number in range(4)}
"""Images of tonight, one kind of which is new."""

Decide = Callable[[Catalog], object]


def _descriptors(labels: Mapping[str, int]) -> np.ndarray:
    """Three kinds of images, far from each other."""
    rng = np.random.default_rng(0)
    noise = {name: rng.normal(0, 0.02, 3) for name in sorted({**OLD, **NEW})}
    return np.array([np.eye(3)[kind] + noise[name] for name, kind in labels.items()], dtype=np.float32)


def _images(labels: Mapping[str, int]) -> tuple[ImageRecord, ...]:
    return tuple(ImageRecord(f"{name}.png", f"/gone/{name}.png", name, "cluster") for name in labels)


def _store(root: Path) -> StoreLayout:
    """Make a store with one clustering of the old images: c1 and c2."""
    layout = StoreLayout(root)
    root.mkdir(parents=True)
    ids = dict(enumerate(("c1", "c2")))
    with Catalog.open(layout.catalog) as catalog:
        catalog.record_snapshot(
            SnapshotFact("board", "old", NOW, len(OLD), 0.5),
            night=FIRST,
            match=match_partitions({}, OLD),
            assignments=[AssignmentFact(name, ids[kind], 0.1, 0.9) for name, kind in OLD.items()],
            new=[ImageFact(name, f"{name}.png", NOW, FIRST) for name in OLD],
        )
    return layout


Work = Callable[[StoreLayout], object]


def _place(layout: StoreLayout) -> Place:
    spec = EmbeddingSpec("b", "b", "w", (1,), 64, "bicubic", (0.5,) * 3, (0.5,) * 3, 3, (2, 2), 3)
    return Place(CategoryRun(layout, "board", RunConfig(), spec, 1 << 30), layout.catalog, TONIGHT, NOW)


@pytest.fixture(params=["re-clustering", "night"])
def work(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Work:
    """Give the task that records a re-clustering of everything, or a night with a new cluster."""
    from tasks.night import adopt, assign

    everything = dict(sorted((OLD | NEW).items()))
    pooled = _descriptors(everything)
    keys = {"group": "new", "weigh": "w"}
    if request.param == "re-clustering":
        kept = {"descriptors": pooled, "linkage": ward(pooled), "labels": np.array(list(everything.values()))}
        kept["rarity"] = np.zeros((len(everything), 4))
        read, is_complete = adopt.arrays.read, adopt.arrays.is_complete  # what was learnt from decisions is real
        monkeypatch.setattr(adopt.runs, "read_summary", lambda _: {"tau": 0.1})
        monkeypatch.setattr(adopt, "load_manifest", lambda _: DatasetManifest("board", _images(everything)))
        monkeypatch.setattr(adopt, "pin", lambda *_: None)
        monkeypatch.setattr(
            adopt.arrays, "read", lambda at, name: read(at, name) if is_complete(Path(at)) else kept[name]
        )
        height = merge_height(kept["linkage"], n_clusters=int(kept["labels"].max()) + 1)
        monkeypatch.setattr(
            adopt, "read_measured", lambda *_: Measured(kept["descriptors"], height, tree=kept["linkage"])
        )

        def recluster(layout: StoreLayout) -> object:
            parts = SimpleNamespace(manifest=layout.root / "m", tree="t", weights="w", keys=keys)
            monkeypatch.setattr(adopt, "parts_of", lambda *_: parts)
            with Catalog.open(layout.catalog) as catalog:  # the nights before have seen all
                catalog.record_images("board", [ImageFact(name, f"{name}.png", NOW, TONIGHT) for name in NEW])
            return adopt.adopt.fn(
                place=_place(layout), run_folder="r", settings_key="s", reference=None, reason="asked for"
            )

        return recluster

    rows = {name: at for at, name in enumerate(everything)}
    monkeypatch.setattr(assign, "members", lambda *_: DatasetManifest("board", _images(OLD)))
    against = SimpleNamespace(contents=(), counts=(), role="cluster")
    monkeypatch.setattr(assign, "snapshot_reference", lambda *_: against)

    def described(*_: object, **__: object) -> NewDescriptors:
        flat = np.zeros((len(NEW), 4))
        return NewDescriptors(flat, flat, pooled[[rows[name] for name in sorted(NEW)]])

    monkeypatch.setattr(assign, "describe_new", described)
    monkeypatch.setattr(assign, "read_measured", lambda *_: Measured(_descriptors(OLD), 0.5))
    monkeypatch.setattr(assign, "_keep_arrays", lambda *_, **__: "")
    monkeypatch.setattr(assign.arrays, "read", lambda *_: np.zeros((len(OLD), 4)))
    snapshot = Snapshot("old", FIRST, "s", "r", keys, "m", Reference("cluster", 4), 0.1, 0.5, len(OLD), "sohn")

    def take_up(layout: StoreLayout) -> object:
        return assign.assign_images.fn(
            place=_place(layout),
            given=DatasetManifest("board", _images(NEW)),
            settled=DatasetManifest("board", _images(NEW)),
            embeddings=(str(layout.root / "e"), ""),
            nearest=NearestDistances(str(layout.root / "d"), "k", Reference("cluster"), (len(NEW), 4, 4)),
            snapshot=snapshot,
        )

    return take_up


def _members(catalog: Catalog, cluster: str) -> list[str]:
    return sorted(fact.content for fact in catalog.assignments("board") if fact.cluster == cluster)


def _split(catalog: Catalog) -> None:
    catalog.split("board", "c1", ["a0", "a1"], who="kim")


def _undo(catalog: Catalog) -> None:
    catalog.undo("board", who="kim")


def _merge(catalog: Catalog) -> None:
    catalog.merge("board", ["c1"], into="c2", who="kim")


def _retire(catalog: Catalog) -> None:
    catalog.retire("board", "c2", who="kim")


DECISIONS: dict[str, tuple[Decide | None, Decide]] = {
    "retire": (None, _retire),
    "split": (None, _split),
    "merge": (None, _merge),
    "rename": (None, lambda catalog: catalog.rename("board", "c1", "pits", who="kim")),
    "note": (None, lambda catalog: catalog.annotate("board", "c1", "see line 7", who="kim")),
    "undo of a split": (_split, _undo),
    "undo of a merge": (_merge, _undo),
    "undo of a retirement": (_retire, _undo),
    "retire beside a split": (_split, _retire),
}
"""What was decided long before, and what is decided meanwhile."""


def _outcome(layout: StoreLayout) -> object:
    """All that can be asked about clusters, but for times and the numbers of decisions."""
    with Catalog.open(layout.catalog) as catalog:
        told = [
            (one.cluster, one.kind, one.after.get("merged_into"), one.after.get("overlaps"), one.undone)
            for one in catalog.history("board")
        ]
        return (
            catalog.clusters("board"),
            {fact.content: fact.cluster for fact in catalog.assignments("board")},
            catalog.standing("board").assigned,
            sorted(told, key=str),
            sorted(one.notice for one in catalog.notices("board")),
        )


def _serial(work: Work, folder: Path, before: Decide | None, decide: Decide) -> list[object]:
    """Outcomes of deciding first and of deciding last; one where the last cannot be."""
    found = []
    for order in ("first", "last"):
        layout = _store(folder / order)
        with Catalog.open(layout.catalog) as catalog:
            if before:
                before(catalog)
            if order == "first":
                decide(catalog)
        work(layout)
        if order == "last":
            try:
                with Catalog.open(layout.catalog) as catalog:
                    decide(catalog)
            except ConfigError:
                continue
        found.append(_outcome(layout))
    return found


@contextmanager
def _before_transaction(number: int, act: Callable[[], object]) -> Iterator[list[str]]:
    """Do something just before the n-th transaction that is begun in the block; gives what was begun."""
    begun: list[str] = []
    acting = False

    def counted(name: str) -> Callable[..., Any]:
        begin = getattr(Catalog, name)

        @contextmanager
        def wrapped(self: Catalog, *arguments: str) -> Iterator[Session]:
            nonlocal acting
            if not acting:
                begun.append(name)
                if len(begun) == number:
                    acting = True
                    act()
                    acting = False
            with begin(self, *arguments) as session:
                yield session

        return wrapped

    with pytest.MonkeyPatch.context() as patch:
        for name in ("_reading", "_writing"):
            patch.setattr(Catalog, name, counted(name))
        yield begun


@pytest.mark.parametrize("name", DECISIONS)
def test_a_decision_at_any_point_is_as_if_it_came_before_or_after(work: Work, tmp_path: Path, name: str) -> None:
    """Whatever is decided between two transactions holds, and no identity is given twice."""
    before, decide = DECISIONS[name]
    allowed = _serial(work, tmp_path, before, decide)
    for number in itertools.count(1):
        layout = _store(tmp_path / f"{number}")
        if before:
            with Catalog.open(layout.catalog) as catalog:
                before(catalog)

        def act(layout: StoreLayout = layout) -> None:
            with Catalog.open(layout.catalog) as catalog:
                decide(catalog)

        with _before_transaction(number, act) as begun:
            work(layout)
        if len(begun) < number:
            break
        assert _outcome(layout) in allowed, f"before transaction {number} of {begun}"
        shutil.rmtree(layout.root)
    assert number > 2


@pytest.mark.parametrize("words", [("retire", "board", "c2"), ("split", "board", "c1", "a0.png", "a1.png")])
def test_a_command_between_reading_and_writing_holds(work: Work, tmp_path: Path, words: tuple[str, ...]) -> None:
    """`anoclust clusters` in a process of its own, just before a night or a re-clustering is written."""
    layout = _store(tmp_path / "undisturbed")
    with _before_transaction(0, lambda: None) as undisturbed:
        work(layout)
    assert undisturbed[-1] == "_writing"
    layout = _store(tmp_path / "store")

    def command() -> None:
        program = "from flows.cli import main; main()"
        line = [sys.executable, "-c", program, "clusters", *words, "--store", str(layout.root)]
        done = subprocess.run(line, cwd=Path(__file__).parents[4], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr

    with _before_transaction(len(undisturbed), command) as disturbed:
        work(layout)
    assert len(disturbed) > len(undisturbed)
    with Catalog.open(layout.catalog) as catalog:
        states = {one.cluster: one.state for one in catalog.clusters("board")}
        where = {fact.content: fact.cluster for fact in catalog.assignments("board")}
    born = where["s0"]
    if words[0] == "retire":
        assert states["c2"] == "retired"
        assert born not in {"c1", "c2"}
    else:
        # a re-clustering may let others follow the split: those at the middle of what is left stay
        assert (where["a0"], where["a1"], where["a3"], born) == ("c3", "c3", "c1", "c4")
    assert [where[f"s{number}"] for number in range(4)] == [born] * 4


def test_who_never_stops_deciding_is_told(work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A night gives up after some attempts, says why, and nothing is half recorded."""
    layout = _store(tmp_path / "store")
    standing = Catalog.standing

    def disturbed(self: Catalog, category: str) -> Any:
        found = standing(self, category)
        with Catalog.open(layout.catalog) as other:
            other.annotate("board", "c1", "again", who="kim")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "standing", disturbed)
        with pytest.raises(BusyError, match=f"changed {catalogs.ATTEMPTS} times"):
            work(layout)
    with Catalog.open(layout.catalog) as catalog:
        assert catalog.nights("board") == []
        assert {one.cluster for one in catalog.clusters("board")} == {"c1", "c2"}
