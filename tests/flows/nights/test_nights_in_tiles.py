"""Nights over frames that are cut into tiles: settled by the first night, and the same for all that follow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.builders import surface
from helpers.streams import CATEGORY, Stream, day, night_config

from tasks.stores.layout import StoreLayout

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_db")]


def deliver(stream: Stream, number: int, classes: tuple[str, ...], *, times: int = 2) -> None:
    """Write frames that are made of ``times`` x ``times`` good surfaces, but for a defect in the first of them."""
    for at, label in enumerate(classes):
        parts = [surface(1000 * number + 10 * at + part, label if part == 0 else "good") for part in range(times**2)]
        rows = [np.concatenate(parts[times * row : times * row + times], axis=1) for row in range(times)]
        stream.put(stream.data / CATEGORY / str(day(number)) / f"{at:02d}-{label}.png", np.concatenate(rows), label)


def test_tiles_of_the_first_night_stay(tmp_path: Path, checkpoint: Path) -> None:
    """The second night, with larger frames, is cut into as many tiles, assigned, and nothing is re-clustered."""
    config = night_config(checkpoint, recluster_every="none", tile_size=64, n_clusters=2)
    stream = Stream(tmp_path, config)
    deliver(stream, 0, ("good", "hole") * 5)
    first = stream.night(0)
    assert first.reclustered == "the first time"
    kept = StoreLayout(stream.store).frame(CATEGORY).read_text()
    deliver(stream, 1, ("good", "hole"), times=3)
    second = stream.night(1)
    assert second.reclustered is None
    assert (second.counters["new"], second.work["images_embedded"]) == (2, 2)
    assert StoreLayout(stream.store).frame(CATEGORY).read_text() == kept
    assert second.report is not None
    page = second.report.read_text()
    assert page.count('class="zoom" src="data:') == page.count('class="place"') > 0
    assert "a zoom on its place of highest heat, which the blue frame marks" in page
    other = Stream(tmp_path, night_config(checkpoint, recluster_every="none", tile_size=32, n_clusters=2))
    other = stream.at(tmp_path, other.config)
    deliver(other, 2, ("good",))
    assert other.night(2).reclustered is not None
