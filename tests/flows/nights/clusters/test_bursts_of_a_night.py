"""A burst of one defective part in a night: told, and no new kind where near-duplicates count once."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.builders import exposed_again, surface
from helpers.streams import CATEGORY, TWO, Stream, day, night_config

from flows.nights.outcome import NightOutcome

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.usefixtures("prefect_db")]

BURST = 4


def begun(root: Path, checkpoint: Path, count: str) -> Stream:
    """Two nights of two kinds, nothing of which is re-clustered again."""
    asked = {"night.recluster_unknown": 1.0, "near_duplicates": count}
    stream = Stream(root, night_config(checkpoint, recluster_every="none", **asked))
    stream.deliver(0, TWO * 6)
    stream.night(0)
    stream.deliver(1, TWO)
    stream.night(1)
    return stream


def with_burst(stream: Stream, number: int) -> NightOutcome:
    """A night in which one scratched part is exposed several times."""
    stream.deliver(number, TWO)
    scratched = surface(999, "scratch")
    for at in range(BURST):
        path = stream.data / CATEGORY / str(day(number)) / f"burst{at}-scratch.png"
        stream.put(path, exposed_again(scratched, at), "scratch")
    return stream.night(number)


def test_a_burst_is_a_new_kind_where_every_image_counts(tmp_path: Path, checkpoint: Path) -> None:
    """As it always was: images that are nearer to each other than to anything older; that they are one part is told."""
    stream = begun(tmp_path, checkpoint, "keep")
    outcome = with_burst(stream, 2)
    ((night, payload),) = stream.told()
    assert (night, payload["n_images"]) == (day(2), BURST)
    assert any(f"{BURST} new images show the same part as another new one (1 part" in note for note in outcome.notes)


def test_a_burst_is_no_new_kind_where_it_counts_once(tmp_path: Path, checkpoint: Path) -> None:
    """One part is one image; two more scratched parts make a kind, and the burst is in it, whole."""
    stream = begun(tmp_path, checkpoint, "count-once")
    outcome = with_burst(stream, 2)
    assert outcome.reclustered is None
    assert stream.told() == []
    assert any(f"{BURST} new images show the same part as another new one (1 part" in note for note in outcome.notes)
    stream.deliver(3, (*TWO, "scratch", "scratch", "scratch"))
    stream.night(3)
    ((night, payload),) = stream.told()
    scratched = {cluster for path, cluster in stream.partition().items() if "-scratch" in path}
    assert (night, scratched) == (day(3), {payload["cluster"]})


def test_a_known_part_that_comes_again_is_told(tmp_path: Path, checkpoint: Path) -> None:
    """Another exposure of a part of the last clustering, by its file."""
    stream = begun(tmp_path, checkpoint, "keep")
    stream.deliver(2, TWO)
    again = stream.data / CATEGORY / str(day(2)) / "again-hole.png"
    stream.put(again, exposed_again(surface(1, "hole"), 5), "hole")
    outcome = stream.night(2)
    (told,) = [note for note in outcome.notes if note.startswith("Near-duplicates")]
    assert "1 new image shows a part that was known (1 part:" in told
    assert "again-hole.png" in told
