"""What counts as a reason to re-cluster: images that were decoded, and those that no cluster took tonight."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.builders import TINY_SIDE
from helpers.streams import CATEGORY, TWO, Stream, day, night_config
from numpy.typing import NDArray

from tasks.night import births

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]


def test_images_that_cannot_be_decoded_are_no_growth(stream: Stream) -> None:
    """Twice as many files do not re-cluster a category while some cannot be decoded; twice as many images do."""
    for path in stream.deliver(2, TWO[:4])[:2]:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    assert stream.night(2).reclustered is None
    stream.deliver(3, TWO[:2])
    assert stream.night(3).reclustered == "there are 20 images, the last clustering had 10"


def test_images_wait_where_no_cluster_is_left(stream: Stream) -> None:
    """With every cluster retired, the next images re-cluster everything; what is found gets new identities."""
    with stream.catalog() as catalog:
        for name in ("c1", "c2"):
            catalog.retire(CATEGORY, name, who="kim")
    stream.deliver(2, TWO[:2])
    outcome = stream.night(2)
    assert outcome.reclustered == "no cluster of the last clustering is left"
    assert set(stream.partition().values()) == {"c3", "c4"}
    assert (outcome.counters["new"], outcome.counters["unknown"]) == (2, 0)


def strange(seed: int) -> NDArray[np.uint8]:
    """Draw a board of squares in random colours; two seeds differ in the size of the squares too."""
    squares = np.random.default_rng(seed).integers(0, 256, size=(2 + 3 * seed, 2 + 3 * seed, 3), dtype=np.uint8)
    return squares.repeat(-(-TINY_SIDE // len(squares)), axis=0).repeat(-(-TINY_SIDE // len(squares)), axis=1)


def test_unknown_images_of_tonight_are_counted(empty_stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five images that are like nothing known, and are no new kind, re-cluster the night that brings them."""
    monkeypatch.setattr(births, "find_newcomers", lambda *_, **__: [])
    empty_stream.deliver(0, TWO)
    empty_stream.night(0)
    for seed in range(5):
        empty_stream.put(empty_stream.data / CATEGORY / str(day(1)) / f"{seed}-strange.png", strange(seed), "strange")
    assert empty_stream.night(1).reclustered == "5 of 5 images since the last clustering are unknown"


def test_unknown_images_that_became_a_cluster_are_not_counted(empty_stream: Stream) -> None:
    """Six images of one new kind start new clusters, and are no reason to re-cluster."""
    empty_stream.deliver(0, TWO)
    empty_stream.night(0)
    empty_stream.deliver(1, ["scratch"] * 6)
    outcome = empty_stream.night(1)
    assert outcome.reclustered is None
    assert outcome.counters["new_clusters"] >= 1


def test_a_late_delivery_waits_where_all_are_clustered_together(tmp_path: Path, checkpoint: Path) -> None:
    """By average linkage, images of a night before the last are unknown until the next night with new images."""
    stream = Stream(tmp_path, night_config(checkpoint, recipe="sohn", linkage="average"))
    for number in (0, 2):
        stream.deliver(number, TWO[:6])
        stream.night(number)
    late = stream.deliver(1, TWO[:2])
    outcome = stream.night(1)
    assert (outcome.reclustered, outcome.counters["unknown"]) == (None, 2)
    names = [path.relative_to(stream.data).as_posix() for path in late]
    assert [stream.partition()[name] for name in names] == ["unknown", "unknown"]
    stream.deliver(3, TWO[:2])
    assert stream.night(3).reclustered == "this way of clustering takes every image together"
    assert "unknown" not in stream.partition().values()
