"""What looks like success is success: nights to which nothing came, and images that do not say when they were taken."""

from __future__ import annotations

import json
import os
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers.builders import save_image, surface
from helpers.streams import CATEGORY, TWO, Stream, day
from helpers.typed import Typed

from anoclust_core.errors import NOTHING_CAME, CaptureError
from flows.nights.run import LIVE_DAYS, run_nights
from tasks.stores.nights.folders import NIGHT_COUNTERS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]

WRONG = "path:*_%Y%m%d%H%M%S_*"
PAGE = Path(__file__).parents[3] / "docs" / "nights.md"


def summary_of(stream: Stream, number: int) -> dict[str, Any]:
    path = stream.store / "nights" / CATEGORY / str(day(number)) / "summary.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def emptied(stream: Stream) -> Path:
    """Take all files away; the folder of the category stays."""
    for path in list(stream.data.rglob("*.png")):
        stream.forget(path)
    stream.manifest.unlink()
    return stream.data


def test_a_pattern_that_fits_no_file_is_refused(stream: Stream, typed: Typed) -> None:
    """The message has the pattern, a path and what to write; an exit code of its own; nothing is recorded."""
    stream.deliver(2, TWO[:3])
    span = ("--from", day(2), "--to", day(3))
    for command in (("nightly", stream.manifest), ("backfill", stream.manifest, *span)):
        result = typed(*command, "--captured", WRONG)
        assert result.exit_code == CaptureError.exit_code
        for words in (
            f"--captured {WRONG} fits none of the 3 new images of category {CATEGORY}",
            f"the first is {CATEGORY}/{day(2)}/00-good.png",
            "write --captured path:%Y-%m-%d, which fits it",
            f"or --captured {WRONG},file to go by the time",
            "nothing of this night was recorded",
        ):
            assert words in result.stderr, result.stderr
    assert len(stream.partition()) == 16
    (found,) = typed.json("nightly", stream.manifest, "--captured", f"{WRONG},file")
    assert found["new"] == 3
    assert any(f"--captured {WRONG} fits none of 3 new images" in str(note) for note in found["notes"])  # type: ignore[attr-defined]


def test_files_that_a_pattern_does_not_fit_are_counted(stream: Stream, typed: Typed) -> None:
    """Where some files do not fit, their number and the first are told, by the command and in the night's summary."""
    stream.deliver(2, TWO[:3])
    path = stream.put(stream.data / CATEGORY / "late" / "x-hole.png", surface(99, "hole"), "hole")
    taken = datetime(2026, 11, 3, 12, tzinfo=UTC).timestamp()
    os.utime(path, (taken, taken))
    told = (
        "--captured path:%Y-%m-%d fits 3 of 4 new images; the nights of the other 1 are those in which their files "
        f"were last changed (first: {CATEGORY}/late/x-hole.png)."
    )
    result = typed("nightly", stream.manifest, "--as-of", day(2))
    assert (result.exit_code, told in result.stdout) == (0, True)
    assert told in summary_of(stream, 2)["notes"]
    assert told not in typed("nightly", stream.manifest, "--as-of", day(2)).stdout  # they are known now


def test_files_of_later_nights_are_told(stream: Stream, typed: Typed) -> None:
    """How many files wait, and for which night; where all do, that is no success."""
    stream.deliver(5, TWO[:4])
    some = typed("nightly", stream.manifest, "--as-of", day(2))
    assert some.exit_code == 0
    assert f"4 files left for later nights, the first of {day(5)}" in some.stdout
    for asked in (("nightly", "--as-of", day(-9)), ("backfill", "--from", day(-11), "--to", day(-9))):
        every = typed(asked[0], stream.manifest, *asked[1:])
        assert every.exit_code == NOTHING_CAME
        assert every.output.count(f"all files are of later nights (20, the first of {day(0)})") == 1
        assert "check the date that you asked for" in every.stderr
    early = typed("backfill", stream.manifest, "--from", day(-2), "--to", day(2))
    assert early.exit_code == 0, early.output  # the nights before the first image are none that were missed
    assert early.output.count("left for later nights") == 1


def test_a_night_to_come_is_told(stream: Stream) -> None:
    """A slip in the date records images all the same; what follows from it is said."""
    stream.deliver(2, TWO[:2])
    ahead = datetime.now(UTC).date() + timedelta(days=400)
    (outcome,) = run_nights(stream.manifest, stream.store, stream.config, as_of=ahead, recluster=True)
    assert outcome.notes[-1] == (
        f"The night {ahead} is yet to come; check the date that you asked for. Nights before it re-cluster only if you "
        "ask for it."
    )


def test_an_emptied_folder_is_told(stream: Stream, typed: Typed) -> None:
    """A category that lists no file: the terminal, the night's summary and the exit code say that no image came."""
    data = emptied(stream)
    for number, words in (
        (2, f"the folder {data / CATEGORY} has no image to cluster"),
        (3, f"there is no folder {CATEGORY} in {data}"),
    ):
        if number == 3:
            shutil.rmtree(data / CATEGORY)
        why = f"{words}; the last images came in the night of {day(1)}"
        for _ in range(2):  # again it is as true, and costs nothing
            result = typed("nightly", data, "--as-of", day(number))
            assert result.exit_code == NOTHING_CAME, result.output
            assert f"{CATEGORY} {day(number)}: no image came: {why}" in result.stderr
        assert f"No image came: {why}." in summary_of(stream, number)["notes"]
        assert (stream.store / "nights" / CATEGORY / str(day(number)) / "report.html").is_file()
    result = typed("nightly", data, "--as-of", day(3), "--json")
    assert result.exit_code == NOTHING_CAME
    (found,) = json.loads(result.stdout)
    assert (found["exit_code"], found["is_new"], found["last_came"]) == (NOTHING_CAME, False, str(day(1)))
    assert found["nothing_came"] == why


def test_what_is_no_loss_is_no_fault(stream: Stream, typed: Typed) -> None:
    """Files that were embedded may go the same night; a category that has ended is not missed for ever."""
    data = emptied(stream)
    assert typed("nightly", data, "--as-of", day(1)).exit_code == 0
    late = 1 + LIVE_DAYS + 1
    result = typed("nightly", data, "--as-of", day(late))
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, f"{CATEGORY} {day(late)}: nothing new")
    assert not (stream.store / "nights" / CATEGORY / str(day(late))).exists()


def test_a_night_without_new_images_says_since_when(stream: Stream, typed: Typed) -> None:
    """Old files are still there: no fault, but the line has the night of the last images."""
    result = typed("nightly", stream.manifest, "--as-of", day(2))
    assert result.exit_code == 0
    assert f"{CATEGORY} {day(2)}: nothing new; the last images came in the night of {day(1)}" in result.stdout


def test_a_manifest_without_a_row_is_told(stream: Stream) -> None:
    """A category that a manifest no longer has."""
    emptied(stream)
    save_image(stream.data / "nut.png", surface(1, "good"))
    stream.manifest.write_text("path,category\nnut.png,nut\n")
    (outcome,) = run_nights(stream.manifest, stream.store, stream.config, categories=[CATEGORY], as_of=day(2))
    assert outcome.nothing_came is not None
    assert f"{stream.manifest} has no row of {CATEGORY}" in outcome.nothing_came


@pytest.mark.parametrize("kind", ["images", "nothing", "nothing, re-clustered"])
def test_every_summary_has_every_counter(stream: Stream, kind: str) -> None:
    """Each counter that the page promises is in the summary of a night with images, and of one without."""
    if kind == "images":
        stream.deliver(2, TWO[:3])
    stream.night(2, recluster=kind.endswith("re-clustered"))
    counters = summary_of(stream, 2)["counters"]
    assert set(NIGHT_COUNTERS) <= set(counters)
    assert (counters["seen"], counters["new"]) == ((19, 3) if kind == "images" else (16, 0))
    assert counters["reclustered"] == (1 if kind.endswith("re-clustered") else 0)
    (row,) = re.findall(r"(?m)^\| `counters` \|.*$", PAGE.read_text(encoding="utf-8"))
    assert set(NIGHT_COUNTERS) <= set(re.findall(r"`(\w+)`", row))


def test_the_first_clustering_has_no_new_cluster(two_nights: Stream, empty_stream: Stream) -> None:
    """Where everything is new, no cluster is: the table, the catalog and the summary count none; a later one counts."""
    with two_nights.catalog() as catalog:
        assert [night.counters["new_clusters"] for night in catalog.nights(CATEGORY)] == [0, 0]
    assert summary_of(two_nights, 0)["counters"]["new_clusters"] == 0
    empty_stream.deliver(0, TWO)
    assert empty_stream.night(0).counters["new_clusters"] == 0
    empty_stream.deliver(1, ("good", "hole", "scratch") * 4)
    born = empty_stream.night(1).counters["new_clusters"]
    assert (born, summary_of(empty_stream, 1)["counters"]["new_clusters"]) == (1, 1)


def test_nothing_came_before_anything_was_clustered(empty_stream: Stream) -> None:
    """A single image is no clustering yet; the night after it, without a new one, has its report all the same."""
    empty_stream.deliver(0, ["good"])
    empty_stream.night(0)
    outcome = empty_stream.night(1)
    assert (outcome.is_new, outcome.exit_code, outcome.last_came) == (False, 0, day(0))
    assert outcome.report is not None
    assert summary_of(empty_stream, 1)["counters"]["seen"] == 1
