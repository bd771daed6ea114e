"""`anoclust nightly`, `backfill`, `status`, `clusters` and `export clusters`, as a person types them."""

from __future__ import annotations

import json
import re
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.streams import CATEGORY, TWO, Stream, day
from helpers.typed import Typed
from typer.testing import CliRunner

from anoclust_core.config import RunConfig
from anoclust_core.errors import ConfigError
from flows.cli import app
from flows.nights import backfill
from flows.nights.outcome import NightOutcome

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]


def test_nightly_prints_what_came(stream: Stream, typed: Typed) -> None:
    """Per category: images seen, new, assigned, unknown, new clusters, pair products; as a table and as JSON."""
    stream.deliver(2, TWO[:3])  # one more, and there were twice as many images as when all were clustered
    (found,) = typed.json("nightly", stream.manifest, "--as-of", day(2))
    assert (found["category"], found["night"]) == (CATEGORY, str(day(2)))
    assert (found["seen"], found["new"], found["pair_products"]) == (19, 3, 30)
    assert found["assigned"] + found["unknown"] == 3  # type: ignore[operator]
    again = typed("nightly", stream.manifest, "--as-of", day(2))
    assert again.exit_code == 0
    assert f"{CATEGORY} {day(2)}: nothing new" in again.stdout
    for word in ("seen", "new", "assigned", "unknown", "new clusters", "pair products"):
        assert word in again.stdout


def test_a_wrong_date_is_told(stream: Stream, typed: Typed) -> None:
    """One paragraph says what a date looks like."""
    result = typed("nightly", stream.manifest, "--as-of", "yesterday")
    assert result.exit_code == 2
    assert "takes a date as 2026-11-20" in result.stderr


def test_backfill_goes_through_nights_once(stream: Stream, typed: Typed) -> None:
    """Past nights are worked on in order; done again, nothing happens."""
    for number in (2, 3):
        stream.deliver(number, TWO[:4])
    asked = ("backfill", stream.manifest, "--category", CATEGORY, "--from", day(1), "--to", day(3))
    assert [(one["night"], one["new"]) for one in typed.json(*asked)] == [
        (str(day(1)), 0),
        (str(day(2)), 4),
        (str(day(3)), 4),
    ]
    assert [one["is_new"] for one in typed.json(*asked)] == [False, False, False]
    assert len(stream.partition()) == 24
    backwards = typed("backfill", stream.manifest, "--from", day(3), "--to", day(1))
    assert backwards.exit_code == 2
    assert "give the earlier night to --from" in backwards.stderr


def test_a_process_that_is_killed_ends_its_categories_only(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Side by side each category has its outcome: done, of no use, or killed from outside."""
    done = NightOutcome("a", day(1))

    class Pool(nullcontext[None]):
        def __init__(self, *_: object, **__: object) -> None:
            super().__init__()

        def __enter__(self) -> Pool:  # type: ignore[override]
            return self

        def submit(self, _: object, data: Path, store: Path, config: RunConfig, category: str, *rest: object) -> Future:
            future: Future[list[NightOutcome]] = Future()
            if category == "a":
                future.set_result([done])
            else:
                future.set_exception(ConfigError("no b") if category == "b" else BrokenProcessPool("killed"))
            return future

    monkeypatch.setattr(backfill, "ProcessPoolExecutor", Pool)
    found = backfill.run_backfill(
        stream.data, stream.store, stream.config, categories=["a", "b", "c"], nights=[day(1)], max_parallel=3
    )
    told = {one.category: one for one in found}
    assert told["a"] is done
    assert str(told["b"].error) == "no b"
    assert "was killed from outside" in str(told["c"].error)
    assert told["c"].exit_code == 5


def test_status_tells_where_a_category_stands(stream: Stream, typed: Typed) -> None:
    """Last night, images, clusters and the age of the clustering, without anything heavy."""
    (found,) = typed.json("status")
    assert (found["category"], found["last_night"], found["state"]) == (CATEGORY, str(day(1)), "done")
    assert (found["n_images"], found["n_clusters"], found["n_since"]) == (16, 2, 6)
    assert CATEGORY in typed("status").stdout
    wrong = typed("status", "bord")
    assert wrong.exit_code == 2
    assert "did you mean board?" in wrong.stderr


def test_clusters_are_named_merged_and_put_back(stream: Stream, typed: Typed) -> None:
    """Every decision is listed, and the last one can be taken back."""
    assert typed("clusters", "rename", CATEGORY, "c1", "pits", "--by", "kim").exit_code == 0
    assert typed("clusters", "note", CATEGORY, "pits", "look at line 7").exit_code == 0
    assert {one["cluster"]: one["name"] for one in typed.json("clusters", "list", CATEGORY)} == {
        "c1": "pits",
        "c2": None,
    }
    shown = typed("clusters", "show", CATEGORY, "pits")
    assert shown.exit_code == 0
    assert "look at line 7" in shown.stdout
    assert "confidence" in shown.stdout
    assert typed("clusters", "merge", CATEGORY, "c2", "--into", "pits").exit_code == 0
    assert "c2" not in set(stream.partition().values())
    assert typed("clusters", "undo", CATEGORY).exit_code == 0
    assert "c2" in set(stream.partition().values())
    path = next(path for path, cluster in sorted(stream.partition().items()) if cluster == "c1")
    assert "c3 of board now holds these images of c1" in typed("clusters", "split", CATEGORY, "c1", path).stdout
    assert stream.partition()[path] == "c3"
    assert typed("clusters", "retire", CATEGORY, "c3").exit_code == 0
    told = typed("clusters", "history", CATEGORY).stdout
    for words in (
        "kim named c",
        " merged c2 into c",
        "(undone)",
        " split 1 image off c1 as c3",
        " retired c3",
    ):
        assert words in told
    lines = {word: line for line in told.splitlines() for word in ("started", "named", "undid") if f" {word} " in line}
    assert f"  night {day(0)}  " in lines["started"]  # not the day on which the test runs
    for word in ("named", "undid"):
        assert re.search(r"  \d{4}-\d\d-\d\d \d\d:\d\d UTC  ", lines[word])
    nights = {one["kind"]: one["night"] for one in typed.json("clusters", "history", CATEGORY)}
    assert (nights["born"], nights["rename"]) == (str(day(0)), None)
    wrong = typed("clusters", "rename", CATEGORY, "c9", "x")
    assert wrong.exit_code == 2
    assert "there is no cluster c9 of board" in wrong.stderr


def test_a_list_of_images_to_split_off(stream: Stream, typed: Typed, tmp_path: Path) -> None:
    """The list may come from Windows; names that fit nothing are counted, and a file that is no list is refused."""
    with stream.catalog() as catalog:
        placed = {fact.content: fact.cluster for fact in catalog.assignments(CATEGORY)}
        paths = [image.path for image in catalog.images(CATEGORY) if placed[image.content] == "c1"][:2]
    names = tmp_path / "names.txt"
    names.write_bytes("\r\n".join([*paths, "gone.png", "also.png"]).replace("/", "\\").encode("utf-16"))
    refused = typed("clusters", "split", CATEGORY, "c1", f"@{names}")
    assert refused.exit_code == 2
    assert "0 images of board are named gone.png, and 1 more of the 4 names match no image" in refused.stderr
    names.write_bytes("\r\n".join([*paths, paths[0]]).replace("/", "\\").encode("utf-8-sig"))
    assert "now holds these images of c1" in typed("clusters", "split", CATEGORY, "c1", f"@{names}").stdout
    for file in (tmp_path / "absent.txt", tmp_path):
        refused = typed("clusters", "split", CATEGORY, "c1", f"@{file}")
        assert refused.exit_code == 2
        assert "is not a list of images, one per line" in refused.stderr


def test_a_person_starts_a_cluster_and_nights_go_on_with_it(stream: Stream, typed: Typed) -> None:
    """An image is like no other: somebody starts a cluster with it, and the next image like it goes there."""
    rows, columns = np.mgrid[:64, :64]
    for number in (2, 3):
        striped = np.broadcast_to(128 + 100 * np.sin((rows + number + 2 * columns) / 2)[..., None], (64, 64, 3))
        path = stream.put(stream.data / CATEGORY / str(day(number)) / "new.png", striped.astype(np.uint8), "new")
        stream.night(number)
        name = path.relative_to(stream.data).as_posix()
        if number == 2:
            assert stream.partition()[name] == "unknown"
            said = typed("clusters", "start", CATEGORY, name)
            assert said.exit_code == 0, said.output
            new = said.stdout.split()[0]
            assert f"`anoclust clusters rename {CATEGORY} {new} NAME` names it" in said.stdout
        assert stream.partition()[name] == new


def test_clusters_are_exported(stream: Stream, typed: Typed, tmp_path: Path) -> None:
    """Tables have a row per image; FiftyOne's folder and Label Studio's tasks have those whose files are there."""
    for kind in ("csv", "parquet", "fiftyone", "labelstudio"):
        result = typed("export", "clusters", CATEGORY, "--format", kind, "--out", tmp_path / kind / "out")
        assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "csv" / "out")
    assert table["cluster"].fillna("unknown").tolist() == [c for _, c in sorted(stream.partition().items())]
    assert len(pd.read_parquet(tmp_path / "parquet" / "out")) == 16
    labels = json.loads((tmp_path / "fiftyone" / "out" / "labels.json").read_text())
    assert {path.stem for path in (tmp_path / "fiftyone" / "out" / "data").iterdir()} == set(labels["labels"])
    assert max(labels["labels"].values()) == len(labels["classes"]) - 1
    tasks = json.loads((tmp_path / "labelstudio" / "out").read_text())
    assert len(tasks) == 16
    assert {task["predictions"][0]["result"][0]["value"]["choices"][0] for task in tasks} <= set(labels["classes"])
    wrong = typed("export", "clusters", CATEGORY, "--format", "xml")
    assert wrong.exit_code == 2
    assert "--format takes csv, parquet, fiftyone, labelstudio" in wrong.stderr


def test_a_store_of_nights_is_whole_and_kept(stream: Stream, typed: Typed) -> None:
    """`store check` reads the catalog too; `store gc` of everything old leaves what the nights go on from."""
    assert typed("store", "check").exit_code == 0
    before = stream.partition()
    assert typed("store", "gc", "--keep", "0h").exit_code == 0
    assert typed("store", "check").exit_code == 0
    stream.deliver(2, TWO[:2])
    (found,) = typed.json("nightly", stream.manifest, "--as-of", day(2))
    assert (found["new"], found["pair_products"], found["reclustered"]) == (2, 20, None)
    after = stream.partition()
    assert {path: after[path] for path in before} == before


def test_no_nights_yet(tmp_path: Path) -> None:
    """A store without nights says which command makes the first."""
    result = CliRunner().invoke(app, ["status", "--store", str(tmp_path)])
    assert result.exit_code == 4
    assert "anoclust nightly DATA" in result.stderr
