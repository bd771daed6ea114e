"""Two nights of one category, made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from streams import TWO, Stream, night_config


@pytest.fixture(scope="session")
def two_nights(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, prefect_db: None) -> Stream:
    """Make two nights of two classes once, for tests to copy."""
    stream = Stream(tmp_path_factory.mktemp("nights"), night_config(checkpoint, recluster_every="none"))
    stream.deliver(0, TWO)
    stream.night(0)
    stream.deliver(1, TWO[:6])
    stream.night(1)
    return stream


@pytest.fixture
def stream(two_nights: Stream, tmp_path: Path) -> Stream:
    """Copy the two nights, images and store."""
    shutil.copytree(two_nights.root, tmp_path / "stream")
    return two_nights.at(tmp_path / "stream")
