"""Nights of one category, from delivered files to events: what is new, what is done again, what people decided."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.builders import surface
from helpers.streams import CATEGORY, TWO, Stream, classes_of, day, identity_of, night_config

from anoclust_core.errors import BusyError, DatasetError
from flows.nights.outcome import NightOutcome
from flows.nights.run import run_nights
from tasks.night.cutting import cut_clusters
from tasks.stores.layout import StoreLayout
from tasks.stores.locks import category_lock

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]

THREE = ("good", "hole", "scratch") * 4


def placed(stream: Stream) -> dict[str, str]:
    """Cluster of every image by path, the unknown left out: what a re-clustering must not change."""
    return {path: cluster for path, cluster in stream.partition().items() if cluster != "unknown"}


def test_a_night_looks_at_new_images_only(two_nights: Stream) -> None:
    """The second night embedded its own images, and compared each of them with those of the snapshot."""
    with two_nights.catalog() as catalog:
        first, second = catalog.nights(CATEGORY)
    assert (first.counters["new"], first.counters["pair_products"]) == (10, 45)
    assert (second.counters["new"], second.counters["pair_products"]) == (6, 60)
    assert second.counters["assigned"] >= 5
    found = two_nights.partition()
    assert len(found) == 16
    assert {identity_of(found, "good"), identity_of(found, "hole")} == {"c1", "c2"}


def test_nothing_new_is_quick_and_imports_nothing_heavy(stream: Stream) -> None:
    """The same night again, be it one without an image, does nothing: neither torch nor Prefect is loaded."""
    stream.night(2)  # nothing came; its report says so
    program = """
import json, sys
from datetime import date
from pathlib import Path
from anoclust_core.config import RunConfig
from flows.nights.outcome import NightOutcome
from flows.nights.run import run_nights
from tasks.night.cutting import cut_clusters
data, store, config, *nights = sys.argv[1:]
for night in nights:
    asked = RunConfig.model_validate_json(config)
    (outcome,) = run_nights(Path(data), Path(store), asked, as_of=date.fromisoformat(night))
    assert outcome.error is None, outcome.error
    assert not outcome.is_new
heavy = ("torch", "timm", "prefect", "dask", "sklearn", "matplotlib")
print(json.dumps([name for name in heavy if name in sys.modules]))
"""
    before = placed(stream)
    arguments = [str(stream.manifest), str(stream.store), stream.config.model_dump_json(), str(day(1)), str(day(2))]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert placed(stream) == before


def test_what_is_delivered_again_is_not_new(stream: Stream) -> None:
    """A renamed image, a copy and a file that is gone change nothing but the path; a changed file is new."""
    paths = sorted(path for path in stream.data.rglob("*.png"))
    moved = paths[0].with_name(f"moved-{classes_of([paths[0].name])[0]}.png")
    shutil.copy(paths[0], moved)
    stream.forget(paths[0])
    stream.list(moved, "good")
    again = stream.data / CATEGORY / str(day(2)) / "copy-good.png"
    again.parent.mkdir()
    shutil.copy(moved, again)
    stream.list(again, "good")
    stream.forget(paths[3])
    outcome = stream.night(2)
    assert (outcome.is_new, outcome.counters["new"]) == (False, 0)
    assert moved.relative_to(stream.data).as_posix() in stream.partition()
    stream.put(paths[5], surface(777, "hole"), "hole")
    changed = stream.night(2)
    assert (changed.is_new, changed.counters["new"]) == (True, 1)
    with stream.catalog() as catalog:
        assert len(catalog.assignments(CATEGORY)) == 17


def test_later_nights_are_not_seen_yet(stream: Stream) -> None:
    """As of a night, what was taken later is not there; the night that it belongs to takes it up."""
    stream.deliver(5, TWO[:4])
    assert stream.night(3).counters["new"] == 0
    assert stream.night(5).counters["new"] == 4


def test_a_late_delivery_joins_its_night(stream: Stream) -> None:
    """Images that arrive after their night are added to it; what was assigned before stays as it was.

    What was measured on more images stays the figure of the night.
    """
    before = placed(stream)
    with stream.catalog() as catalog:
        first = catalog.nights(CATEGORY)[-1].counters
    stream.deliver(1, TWO[:3], first=50)
    assert stream.night(1).counters["new"] == 3
    after = stream.partition()
    assert {path: after[path] for path in before} == before
    with stream.catalog() as catalog:
        night = catalog.night(CATEGORY, day(1))
    assert night is not None
    assert (night.counters["new"], night.counters["rarity_images"], night.counters["looked_at"]) == (9, 6, 6)
    assert [night.counters[what] for what in ("rarity", "brightness")] == [first["rarity"], first["brightness"]]
    assert night.counters["pair_products"] > first["pair_products"]


def test_a_late_delivery_leaves_told_that_everything_was_re_clustered(stream: Stream) -> None:
    """Later calls of the night that re-cluster nothing tell why it re-clustered and what that did, after a cut too."""

    def told(outcome: NightOutcome) -> tuple[object, object, object]:
        assert outcome.report is not None
        summary = json.loads(outcome.report.with_name("summary.json").read_text(encoding="utf-8"))
        return summary["reclustered"], summary["changes"], summary["counters"]["reclustered"]

    stream.deliver(2, THREE)
    first = told(stream.night(2, recluster=True))
    assert (first[0], first[2]) == ("asked for", 1)
    assert first[1] == {"kept": ["c1", "c2"], "born": ["c3"], "retired": [], "split": [], "merged": []}
    stream.deliver(2, TWO[:3], first=50)
    late = stream.night(2)
    assert (late.reclustered, late.counters["new"]) == (None, 3)
    assert told(late) == first
    with stream.catalog() as catalog:
        cut_clusters(StoreLayout(stream.store), catalog, CATEGORY, 2, who="kim")
    stream.deliver(2, TWO[:1], first=60)
    assert told(stream.night(2)) == first


def test_an_unsettled_file_is_deferred(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may still be written is left to the next night, and counted."""
    from tasks.images import file_check

    (path,) = stream.deliver(2, ["hole"])
    monkeypatch.setattr(file_check, "now", lambda: path.stat().st_mtime + 1)
    data = stream.config.data.model_copy(update={"settle_seconds": 5.0})
    stream.config = stream.config.model_copy(update={"data": data})
    os.utime(path)
    old = path.stat().st_mtime - 3600
    for other in stream.data.rglob("*.png"):
        if other != path:
            os.utime(other, (old, old))
    outcome = stream.night(2)
    assert (outcome.is_new, outcome.counters["new"], outcome.counters["deferred"]) == (False, 0, 1)
    monkeypatch.setattr(file_check, "now", lambda: path.stat().st_mtime + 3600)
    assert stream.night(2).counters["new"] == 1


def test_a_bad_file_is_told_once(stream: Stream) -> None:
    """An image that cannot be decoded is quarantined, told by one event, and not looked at again until it is mended."""
    (path,) = stream.deliver(2, ["hole"])
    path.write_bytes(b"no image")
    outcome = stream.night(2)
    assert (outcome.counters["new"], outcome.counters["quarantined"]) == (0, 1)
    ((night, payload),) = stream.told("anoclust.quarantine")
    assert night == day(2)
    assert payload["n_images"] == 1
    assert outcome.report is not None
    assert "could not be used" in outcome.report.read_text(encoding="utf-8")
    assert stream.night(2).is_new is False
    assert stream.night(3).is_new is False
    stream.put(path, surface(4321, "hole"), "hole")
    assert stream.night(3).counters["new"] == 1
    assert len(stream.told("anoclust.quarantine")) == 1


def test_most_of_a_night_bad_is_an_error(stream: Stream) -> None:
    """A night most of whose files are bad fails and says so, and nothing of it is recorded."""
    for path in stream.deliver(2, ["hole"] * 6):
        path.write_bytes(f"no image {path}".encode())
    with pytest.raises(DatasetError, match="6 of the 6 new files"):
        stream.night(2)
    assert len(stream.partition()) == 16
    for path in list(stream.data.rglob(f"{day(2)}/*.png")):
        stream.forget(path)
    assert stream.night(2).counters["new"] == 0


def test_a_new_class_is_born_once(empty_stream: Stream) -> None:
    """Images of a new kind become one provisional cluster, told once; re-clustered, it is confirmed and not told."""
    stream = empty_stream
    stream.deliver(0, TWO * 2)
    stream.night(0)
    before = placed(stream)
    stream.deliver(2, ["scratch"] * 6)
    outcome = stream.night(2)
    assert outcome.counters["new_clusters"] == 1
    born = identity_of(stream.partition(), "scratch")
    assert born == "c3"
    with stream.catalog() as catalog:
        assert catalog.cluster(CATEGORY, born).state == "provisional"
    again = stream.night(2, recluster=True)
    assert again.reclustered == "asked for"
    after = stream.partition()
    assert {path: after[path] for path in before} == before
    assert identity_of(after, "scratch") == born
    with stream.catalog() as catalog:
        assert catalog.cluster(CATEGORY, born).state == "confirmed"
    ((night, payload),) = stream.told()
    assert (night, payload["cluster"]) == (day(2), born)
    assert payload["n_images"] >= 3
    assert payload["report"] == str(StoreLayout(stream.store).night(CATEGORY, day(2)) / "report.html")


def test_what_people_decide_survives(stream: Stream) -> None:
    """A name and a merge stay through a re-clustering that cuts the classes apart again."""
    with stream.catalog() as catalog:
        catalog.rename(CATEGORY, "c1", "pits", who="kim")
    stream.deliver(2, THREE)
    stream.night(2)
    with stream.catalog() as catalog:
        catalog.merge(CATEGORY, ["c3"], into="pits", who="kim")
    stream.deliver(3, THREE)
    stream.night(3, recluster=True)
    found = stream.partition()
    assert set(found.values()) == {"c1", "c2"}
    assert identity_of(found, "scratch") == "c1"
    with stream.catalog() as catalog:
        assert catalog.cluster(CATEGORY, "pits").cluster == "c1"
        assert catalog.merges(CATEGORY) == {"c3": "c1"}


def test_other_settings_cluster_everything_again(stream: Stream) -> None:
    """Another backbone or temperature never mixes with the old: everything is re-clustered, identities stay."""
    before = placed(stream)
    weigh = stream.config.weigh.model_copy(update={"tau": "0.4sd"})
    stream.config = stream.config.model_copy(update={"weigh": weigh})
    stream.deliver(2, TWO[:2])
    outcome = stream.night(2)
    assert outcome.reclustered == "backbone, recipe or settings were changed"
    after = stream.partition()
    assert {path: after[path] for path in before} == before
    embed = stream.config.embed.model_copy(update={"image_size": 96})
    stream.config = stream.config.model_copy(update={"embed": embed})
    outcome = stream.night(3)
    assert outcome.work["images_embedded"] == 18
    assert outcome.reclustered is not None
    assert set(stream.partition().values()) == {"c1", "c2"}


def test_files_may_be_moved_away(stream: Stream) -> None:
    """What was seen may go: nights, and re-clustering, go on from what the store has."""
    for path in list(stream.data.rglob("*.png")):
        stream.forget(path)
    stream.deliver(2, TWO[:4])
    assert stream.night(2).counters["seen"] == 4
    outcome = stream.night(2, recluster=True)
    assert outcome.reclustered is not None
    assert len(stream.partition()) == 20


def test_an_empty_inbox_is_a_night(stream: Stream) -> None:
    """A folder that was emptied brings nothing new; it is no error."""
    inbox = stream.root / "inbox"
    inbox.mkdir()
    (outcome,) = run_nights(inbox, stream.store, stream.config, as_of=day(4))
    assert (outcome.category, outcome.is_new, outcome.error) == (CATEGORY, False, None)


def test_a_lost_part_is_made_again(stream: Stream) -> None:
    """Where the store has lost what the last clustering is made of, everything is re-clustered."""
    before = placed(stream)
    shutil.rmtree(stream.store / "weights")
    stream.deliver(2, TWO[:2])
    outcome = stream.night(2)
    assert outcome.reclustered == "part of what the last clustering is made of is gone"
    after = stream.partition()
    assert {path: after[path] for path in before} == before


def test_one_run_of_a_category_at_a_time(stream: Stream) -> None:
    """While another run holds the category, a night fails and says who does."""
    with (
        category_lock(StoreLayout(stream.store), CATEGORY),
        pytest.raises(BusyError, match="another run of category board"),
    ):
        stream.night(2)


def test_a_single_image_waits(tmp_path: Path, checkpoint: Path) -> None:
    """One image cannot be clustered: it is unknown until there is another one."""
    stream = Stream(tmp_path, night_config(checkpoint))
    stream.deliver(0, ["good"])
    assert stream.night(0).counters["unknown"] == 1
    assert stream.night(0).is_new is False
    stream.deliver(1, ["hole", "good"])
    assert stream.night(1).reclustered == "the first time"
    assert "unknown" not in stream.partition().values()


def test_a_killed_night_is_done_again(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a night dies, the same command finishes it: the same clusters, and every event once."""
    from flows.nights import flow

    stream.deliver(2, THREE)
    for name in ("assign_images", "watch", "write_night_report", "notify"):
        with monkeypatch.context() as patch:
            dying = getattr(flow, name)

            def die(*_: object, **__: object) -> None:
                raise KeyboardInterrupt

            patch.setattr(dying, "fn", die)
            with pytest.raises(KeyboardInterrupt):
                stream.night(2)
    outcome = stream.night(2)
    assert outcome.is_new
    assert outcome.report is not None
    ((night, payload),) = stream.told()
    assert (night, payload["cluster"]) == (day(2), "c3")
    assert stream.night(2).is_new is False
    with stream.catalog() as catalog:
        recorded = catalog.night(CATEGORY, day(2))
    assert recorded is not None
    assert (recorded.state, recorded.counters["new"]) == ("done", 12)
    assert replace(recorded, counters={}).key
